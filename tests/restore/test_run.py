"""Restoring a folder: every file restored or accounted for."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from restore_settings import config_of

from ufvnet import data
from ufvnet.config import ConfigError
from ufvnet.imaging.resize import resize
from ufvnet.models import to_network, to_pixels
from ufvnet.restore import Restorer
from ufvnet.restore.folder import run as run_module
from ufvnet.restore.folder.run import close_run, open_run, resolve_run, restore_folder
from ufvnet.restore.folder.shard import restore_in_worker


def hashes(folder: Path) -> dict[str, str]:
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(folder.glob("**/*.png"))}


def test_every_file_is_restored_copied_skipped_or_failed_with_a_reason(crops: Path, model: Path) -> None:
    summary = restore_folder(config_of(crops, model))
    out = crops.parent / "out"
    rows = pd.read_parquet(out / "manifest.parquet").set_index("path")
    assert dict(rows["status"]) == {
        "A.webp": "restored",
        "a.png": "restored", "a.jpg": "restored", "grey.png": "restored", "oblong.webp": "restored",
        "cmyk.tif": "restored", "below/a.png": "restored", "large.jpg": "copied", "dot.png": "failed",
        "text.jpg": "failed", "empty.png": "failed", "cut.jpg": "failed", "notes.txt": "skipped",
        "nowhere.png": "failed", "pipe.png": "failed", "below/loop": "failed",
    }  # fmt: skip
    assert (rows.loc[rows["status"].isin(["failed", "skipped", "copied"]), "reason"].str.len() > 10).all()
    assert summary["counts"] == {"restored": 7, "copied": 1, "no_face": 0, "scaled": 0, "failed": 7, "skipped": 1}
    assert json.loads((out / "summary.json").read_text())["files"] == 16
    for path, row in rows[rows["status"] == "restored"].iterrows():
        assert Image.open(out / row["output"]).size == (64, 64), path
        assert row[["w1", "w2", "w3"]].sum() == pytest.approx(1, abs=1e-5)
        assert row["output_sha256"] == hashlib.sha256((out / row["output"]).read_bytes()).hexdigest()
        assert row["sha256"] == hashlib.sha256((crops / path).read_bytes()).hexdigest()
        assert row["seconds"] > 0
    assert rows.loc["oblong.webp", "face_size"] == pytest.approx((20 + 28) / 2)
    assert sorted(p.name for p in out.rglob("*") if p.is_file()) == sorted(
        [*(Path(o).name for o in rows["output"] if o), "manifest.parquet", "summary.json"]
    )


def test_no_output_is_written_for_a_failed_file(crops: Path, model: Path) -> None:
    restore_folder(config_of(crops, model))
    rows = pd.read_parquet(crops.parent / "out" / "manifest.parquet")
    assert set(rows.loc[rows["status"].isin(["failed", "skipped"]), "output"]) == {""}


def test_names_that_differ_only_in_their_suffix_do_not_collide(crops: Path, model: Path) -> None:
    restore_folder(config_of(crops, model, recursive=False))
    out = crops.parent / "out"
    assert {"a.png.png", "a.jpg.png", "A.webp.png", "grey.png", "large.jpg"} <= {p.name for p in out.iterdir()}
    assert not (out / "below").exists()


def test_a_copied_file_keeps_its_bytes(crops: Path, model: Path) -> None:
    restore_folder(config_of(crops, model))
    assert (crops.parent / "out" / "large.jpg").read_bytes() == (crops / "large.jpg").read_bytes()


def test_a_batch_gives_what_the_network_gives_one_at_a_time(crops: Path, model: Path) -> None:
    restore_folder(config_of(crops, model, batch_size=16))
    restorer = Restorer.load(model, "cpu")
    face = Image.open(crops / "a.png").convert("RGB")
    got = np.asarray(Image.open(crops.parent / "out" / "a.png.png")).astype(int)
    assert np.abs(got - np.asarray(restorer(face))).max() <= 1
    x = torch.from_numpy(np.array(resize(face, 64))).permute(2, 0, 1)[None]
    with torch.inference_mode():
        direct = to_pixels(restorer.network(to_network(x), torch.tensor([1 / 16])).sr)[0].permute(1, 2, 0).numpy()
    assert np.abs(got - direct).max() <= 1


def test_resuming_redoes_only_what_is_missing_or_damaged(crops: Path, model: Path) -> None:
    restore_folder(config_of(crops, model))
    out = crops.parent / "out"
    before = hashes(out)
    times = {p.name: p.stat().st_mtime_ns for p in out.glob("*.png")}
    (out / "grey.png").unlink()
    whole = (out / "cmyk.png").read_bytes()
    (out / "cmyk.png").write_bytes(whole[: len(whole) // 2])
    restore_folder(config_of(crops, model, resume=True))
    assert hashes(out) == before
    changed = {p.name for p in out.glob("*.png") if times[p.name] != p.stat().st_mtime_ns}
    assert changed == {"grey.png", "cmyk.png"}


def test_resuming_a_finished_run_writes_nothing_and_keeps_its_account(crops: Path, model: Path) -> None:
    restore_folder(config_of(crops, model))
    out = crops.parent / "out"
    before, times = pd.read_parquet(out / "manifest.parquet"), {p: p.stat().st_mtime_ns for p in out.rglob("*.png")}
    restore_folder(config_of(crops, model, resume=True))
    after = pd.read_parquet(out / "manifest.parquet")
    undone = ["failed"]  # tried again, in another time
    for frame in (before, after):
        frame.loc[frame["status"].isin(undone), "seconds"] = 0
    pd.testing.assert_frame_equal(before, after)
    assert {p: p.stat().st_mtime_ns for p in out.rglob("*.png")} == times


def test_resuming_with_another_model_or_other_settings_does_the_files_again(
    crops: Path, model: Path, tmp_path: Path
) -> None:
    restore_folder(config_of(crops, model))
    out = crops.parent / "out"
    times = {p.name: p.stat().st_mtime_ns for p in out.glob("*.png")}
    restore_folder(config_of(crops, model, resume=True, size=80))
    assert Image.open(out / "grey.png").size == (80, 80)
    assert all((out / name).stat().st_mtime_ns > before for name, before in times.items())


def test_resuming_with_a_suffix_keeps_what_is_there(crops: Path, model: Path) -> None:
    (crops / os.fsdecode(b"odd.\xff")).write_bytes((crops / "large.jpg").read_bytes())
    restore_folder(config_of(crops, model, suffix="_r.s"))
    times = {p: p.stat().st_mtime_ns for p in (crops.parent / "out").rglob("*_r.s*")}
    assert len(times) == 9
    restore_folder(config_of(crops, model, suffix="_r.s", resume=True))
    assert {p: p.stat().st_mtime_ns for p in times} == times


def test_the_output_of_a_file_that_is_junk_now_is_removed_but_not_if_another_wrote_it(crops: Path, model: Path) -> None:
    restore_folder(config_of(crops, model))
    out = crops.parent / "out"
    (out / "cmyk.png").write_bytes(b"a user's own")
    (crops / "oblong.webp").chmod(0) if os.geteuid() else (crops / "oblong.webp").unlink()
    for name in ("grey.png", "cmyk.tif"):
        (crops / name).write_bytes(b"junk")
    restore_folder(config_of(crops, model, resume=True))
    rows = pd.read_parquet(out / "manifest.parquet").set_index("path")
    assert (rows.loc["grey.png", "status"], rows.loc["grey.png", "output"]) == ("failed", "")
    assert not (out / "grey.png").exists()
    assert (out / "cmyk.png").read_bytes() == b"a user's own"
    assert (out / "oblong.png").exists(), "an input that cannot be read may come back"


def test_an_output_goes_when_its_input_has_another_one(crops: Path, model: Path) -> None:
    out = crops.parent / "out"
    restore_folder(config_of(crops / "a.jpg", model, output=out))
    assert hashes(out).keys() == {"a.png"}
    restore_folder(config_of([crops / "a.jpg", crops / "a.png"], model, output=out, resume=True))
    assert hashes(out).keys() == {"a.jpg.png", "a.png.png"}
    (out / "a.png.png").write_bytes(b"mended by hand")
    restore_folder(config_of([crops / "a.jpg", crops / "a.png"], model, output=out, resume=True, format="jpeg"))
    assert hashes(out).keys() == {"a.png.png"}
    assert {path.name for path in out.glob("*.jpg")} == {"a.jpg.jpg", "a.png.jpg"}


def test_a_folder_of_the_outputs_name_is_no_obstacle(crops: Path, model: Path) -> None:
    (crops / "cmyk.png").mkdir()
    (crops / "a.png").rename(crops / "cmyk.png" / "a.png")
    assert restore_folder(config_of(crops, model))["counts"]["restored"] == 7
    assert (crops.parent / "out" / "cmyk.tif.png").is_file()


def test_a_file_that_changed_is_restored_again(crops: Path, model: Path) -> None:
    restore_folder(config_of(crops, model))
    Image.open(crops / "grey.png").transpose(Image.Transpose.ROTATE_90).save(crops / "grey.png")
    before = hashes(crops.parent / "out")
    restore_folder(config_of(crops, model, resume=True))
    after = hashes(crops.parent / "out")
    assert {name for name in before if before[name] != after[name]} == {"grey.png"}


SCRIPT = """
import sys
from ufvnet.config import RestoreConfig, load
from ufvnet.restore.folder.run import restore_folder
restore_folder(load(RestoreConfig, sys.argv[1]))
"""


@pytest.mark.kills
def test_a_run_that_was_killed_goes_on_to_the_same_bytes(built: Path, model: Path, tmp_path: Path) -> None:
    faces = tmp_path / "in"
    faces.mkdir()
    lr = data.open(built).view("MR8", "train").arrays().lr
    for i in range(96):
        k = 1 + i % 7
        Image.fromarray(lr[k][i % len(lr[k])]).rotate(i).save(faces / f"{i:02d}.png")
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    restore_folder(config_of(faces, model, output=whole, batch_size=16))
    settings = config_of(faces, model, output=cut, batch_size=16).model_dump(mode="json", exclude_none=True)
    (tmp_path / "config.yaml").write_text(json.dumps(settings))
    child = subprocess.Popen([sys.executable, "-c", SCRIPT, str(tmp_path / "config.yaml")])
    deadline = time.monotonic() + 120
    while len(list(cut.glob("*.png"))) < 20 and child.poll() is None and time.monotonic() < deadline:
        time.sleep(0.002)
    child.kill()
    child.wait()
    journal = cut / ".ufvnet" / "manifest.jsonl"
    assert not (cut / "manifest.parquet").exists()
    finished = {
        json.loads(line)["output"] for line in journal.read_bytes().splitlines(keepends=True) if line.endswith(b"\n")
    }
    assert 0 < len(finished) < 96
    with journal.open("a") as file:
        file.write('{"path": "cut off')
    (cut / ".ufvnet-0123456789ab.tmp").write_bytes(b"half a picture")
    times = {name: (cut / name).stat().st_mtime_ns for name in finished}
    summary = restore_folder(config_of(faces, model, output=cut, batch_size=16, resume=True))
    assert summary["counts"]["restored"] == 96
    assert hashes(cut) == hashes(whole)
    assert {name: (cut / name).stat().st_mtime_ns for name in finished} == times
    assert sorted(p.name for p in cut.iterdir() if p.suffix != ".png") == ["manifest.parquet", "summary.json"]


def test_a_second_run_into_the_same_folder_is_refused(crops: Path, model: Path) -> None:
    config = config_of(crops, model)
    with open_run(resolve_run(config)), pytest.raises(ConfigError, match="another run is writing there"):
        restore_folder(config)


def test_shards_done_by_several_processes_make_one_account(crops: Path, model: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(run_module, "PART", 4)
    run = resolve_run(config_of(crops, model))
    with open_run(run, processes=2) as shards:
        assert len(shards) == 4
        restore_in_worker(shards[2])
        again = restore_in_worker(shards[2])  # as after its worker died
        for shard in (shards[0], shards[3], shards[1]):
            restore_in_worker(shard)
        summary = close_run(run, shards, 1.0)
    assert sum(again.values()) == 4
    assert summary["counts"] == {"restored": 7, "copied": 1, "no_face": 0, "scaled": 0, "failed": 7, "skipped": 1}
    assert not list((crops.parent / "out").rglob("*.jsonl"))
    alone = restore_folder(config_of(crops, model, output=crops.parent / "alone"))
    assert alone["counts"] == summary["counts"]
    assert hashes(crops.parent / "alone") == hashes(crops.parent / "out")


def test_faces_that_the_model_cannot_do_fail_and_the_others_are_restored(
    crops: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Restorer.batch

    def unlucky(self: Restorer, images: list[Image.Image]) -> list[Any]:
        if any(image.size == (20, 28) for image in images):
            raise RuntimeError("out of memory" if len(images) > 1 else "out of memory for ever")
        return real(self, images)

    monkeypatch.setattr(Restorer, "batch", unlucky)
    summary = restore_folder(config_of(crops, model))
    rows = pd.read_parquet(crops.parent / "out" / "manifest.parquet").set_index("path")
    assert summary["counts"]["restored"] == 6
    assert rows.loc["oblong.webp", "status"] == "failed"
    assert "out of memory" in rows.loc["oblong.webp", "reason"]
    assert not (crops.parent / "out" / "oblong.png").exists()


def test_a_full_disk_ends_the_run_and_a_resumed_one_goes_on(
    crops: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ufvnet.restore.folder import targets

    real, written = targets.write_output, []

    def full(path: Path, content: bytes) -> None:
        written.append(path)
        if len(written) > 3:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(path, content)

    monkeypatch.setattr(targets, "write_output", full)
    with pytest.raises(OSError, match="No space"):
        restore_folder(config_of(crops, model))
    monkeypatch.setattr(targets, "write_output", real)
    assert restore_folder(config_of(crops, model, resume=True))["counts"]["restored"] == 7


def test_progress_ends_at_the_number_of_files(crops: Path, model: Path) -> None:
    seen: list[tuple[int, int, dict[str, int]]] = []
    restore_folder(config_of(crops, model), lambda done, total, counts: seen.append((done, total, dict(counts))))
    assert [done for done, _, _ in seen] == list(range(1, 17))
    assert seen[-1][1] == 16
    assert sum(seen[-1][2].values()) == 16


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"input": "nowhere"}, "input = nowhere: no such file or folder"),
        ({"model": "nowhere"}, "no model folder there"),
    ],
)
def test_a_wrong_request_is_refused(crops: Path, model: Path, changes: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        restore_folder(config_of(crops, model, **changes))


def test_an_output_that_is_a_file_is_refused(crops: Path, model: Path) -> None:
    with pytest.raises(ConfigError, match="is a file; it must be a folder"):
        restore_folder(config_of(crops, model, output=crops / "a.png"))


def test_several_inputs_need_an_output_that_is_not_named_as_a_picture(crops: Path, model: Path) -> None:
    with pytest.raises(ConfigError, match=r"all\.png: is named as one picture, but these inputs need a folder"):
        restore_folder(config_of(crops, model, output=crops.parent / "all.png"))
    with pytest.raises(ConfigError, match=r"none\.png: no such file or folder"):  # one that is not there needs none
        restore_folder(config_of(crops / "none.png", model, output=crops.parent / "all.png"))


def test_the_input_folder_is_never_written_into_unless_told(crops: Path, model: Path) -> None:
    for inside in (crops, crops / "out"):
        with pytest.raises(ConfigError, match="lies in the input"):
            restore_folder(config_of(crops, model, output=inside))
    with pytest.raises(ConfigError, match="give a suffix"):
        restore_folder(config_of(crops, model, output=crops, into_input=True))
    before = sorted(crops.glob("**/*"))
    restore_folder(config_of(crops, model))
    assert sorted(crops.glob("**/*")) == before


def test_told_to_write_into_the_input_originals_stay_and_outputs_are_no_inputs(crops: Path, model: Path) -> None:
    before = {p: p.read_bytes() for p in crops.rglob("*") if p.is_file() and not p.is_symlink()}
    changes = {"output": crops, "into_input": True, "suffix": "_restored"}
    for _ in range(2):
        summary = restore_folder(config_of(crops, model, **changes, resume=True))
        assert summary["files"] == 16
        assert summary["counts"]["restored"] == 7
    assert {p: p.read_bytes() for p in before} == before
    assert Image.open(crops / "grey_restored.png").size == (64, 64)
    assert Image.open(crops / "below" / "a_restored.png").size == (64, 64)
    inside = config_of(crops, model, output=crops / "done", into_input=True)
    assert restore_folder(inside)["files"] == restore_folder(inside)["files"] == 16 + 10  # 8 outputs and their account


def test_files_of_others_in_the_output_stay_or_are_refused(crops: Path, model: Path) -> None:
    out = crops.parent / "out"
    restore_folder(config_of(crops, model))
    for name in ("manifest-labels.jsonl", "manifest.reading", "manifest.jsonl"):
        (out / name).write_text(name)
    restore_folder(config_of(crops, model))
    assert all((out / name).read_text() == name for name in ("manifest-labels.jsonl", "manifest.reading"))
    (out / "summary.json").write_text('{"of": "somebody else"}')
    with pytest.raises(ConfigError, match=r"has a summary.json that no run wrote"):
        restore_folder(config_of(crops, model))
    (out / "summary.json").unlink()
    pd.DataFrame({"x": [1]}).to_parquet(out / "manifest.parquet")
    with pytest.raises(ConfigError, match=r"has a manifest.parquet that no run wrote"):
        restore_folder(config_of(crops, model, resume=True))


def test_a_broken_manifest_is_no_hindrance(crops: Path, model: Path) -> None:
    first = restore_folder(config_of(crops, model))
    (crops.parent / "out" / "manifest.parquet").write_bytes(b"PAR1 cut off")
    assert restore_folder(config_of(crops, model, resume=True))["counts"] == first["counts"]

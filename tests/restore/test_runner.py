"""Restoring a folder: every file restored or accounted for."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from ufvnet import data
from ufvnet.config import ConfigError, RestoreConfig, load
from ufvnet.data.bicubic import resize
from ufvnet.data.schema import write_json
from ufvnet.models import create, to_network, to_pixels
from ufvnet.restore import Restorer
from ufvnet.restore.runner import restore_folder


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from safetensors.torch import save_model

    folder = tmp_path_factory.mktemp("model")
    torch.manual_seed(0)
    save_model(create("ufvnet", "tiny", 64), str(folder / "model.safetensors"))
    write_json(folder / "model.json", {"model": "ufvnet", "preset": "tiny", "hr_size": 64, "fingerprint": "f"})
    return folder


@pytest.fixture
def crops(built: Path, tmp_path: Path) -> Path:
    """Small faces of many kinds, and files that are none."""
    folder = tmp_path / "in"
    (folder / "below").mkdir(parents=True)
    lr = data.open(built).view("MR8", "train").arrays().lr
    faces = [Image.fromarray(lr[k][i % len(lr[k])]) for i, k in enumerate((1, 2, 5, 8))]
    faces[0].save(folder / "a.png")
    faces[1].save(folder / "a.jpg", quality=95)
    faces[1].save(folder / "A.webp", lossless=True)
    faces[2].convert("L").save(folder / "grey.png")
    faces[3].resize((20, 28)).save(folder / "oblong.webp", lossless=True)
    faces[3].convert("CMYK").save(folder / "cmyk.tif")
    faces[3].save(folder / "below" / "a.png")
    faces[3].resize((100, 90)).save(folder / "large.jpg")
    Image.new("RGB", (1, 1)).save(folder / "dot.png")
    (folder / "text.jpg").write_text("this is no picture")
    (folder / "empty.png").touch()
    (folder / "nowhere.png").symlink_to("gone.png")
    (folder / "below" / "loop").symlink_to(folder)
    os.mkfifo(folder / "pipe.png")
    (folder / "cut.jpg").write_bytes((folder / "large.jpg").read_bytes()[:300])
    return folder


def config_of(crops: Path, folder: Path, /, **changes: object) -> RestoreConfig:
    base = {"input": crops, "output": crops.parent / "out", "model": folder, "device": "cpu", "batch_size": 2}
    return load(RestoreConfig, base | changes)


def hashes(folder: Path) -> dict[str, str]:
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(folder.glob("**/*.png"))}


def test_every_file_is_restored_copied_or_failed_with_a_reason(crops: Path, model: Path) -> None:
    summary = restore_folder(config_of(crops, model, recursive=True))
    rows = pd.read_parquet(crops.parent / "out" / "manifest.parquet").set_index("path")
    assert dict(rows["status"]) == {
        "A.webp": "restored",
        "a.png": "restored", "a.jpg": "restored", "grey.png": "restored", "oblong.webp": "restored",
        "cmyk.tif": "restored", "below/a.png": "restored", "large.jpg": "copied", "dot.png": "failed",
        "text.jpg": "failed", "empty.png": "failed", "cut.jpg": "failed",
        "nowhere.png": "failed", "pipe.png": "failed", "below/loop": "failed",
    }  # fmt: skip
    assert (rows.loc[rows["status"] == "failed", "reason"].str.len() > 10).all()
    assert summary["counts"] == {"restored": 7, "copied": 1, "failed": 7}
    assert json.loads((crops.parent / "out" / "summary.json").read_text())["files"] == 15
    for path, row in rows[rows["status"] == "restored"].iterrows():
        assert Image.open(row["output"]).size == (64, 64), path
        assert row[["w1", "w2", "w3"]].sum() == pytest.approx(1, abs=1e-5)
    assert rows.loc["oblong.webp", "rate"] == pytest.approx((20 + 28) / 2 / 64)


def test_names_that_differ_only_in_their_suffix_do_not_collide(crops: Path, model: Path) -> None:
    restore_folder(config_of(crops, model))
    out = crops.parent / "out"
    assert {"a.png.png", "a.jpg.png", "A.webp.png", "grey.png", "large.jpg"} <= {p.name for p in out.iterdir()}
    assert not (out / "below").exists()


def test_a_copied_file_keeps_its_bytes(crops: Path, model: Path) -> None:
    restore_folder(config_of(crops, model))
    assert (crops.parent / "out" / "large.jpg").read_bytes() == (crops / "large.jpg").read_bytes()


def test_a_batch_gives_what_the_network_gives_one_at_a_time(crops: Path, model: Path) -> None:
    restore_folder(config_of(crops, model, batch_size=5))
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


def test_a_run_that_was_cut_off_goes_on_from_its_journal(crops: Path, model: Path) -> None:
    out = crops.parent / "out"

    class Killed(BaseException):
        pass

    def kill(done: int, total: int) -> None:
        if done >= 4:
            raise Killed

    with pytest.raises(Killed):
        restore_folder(config_of(crops, model), kill)
    assert not (out / "manifest.parquet").exists()
    with (out / "manifest.jsonl").open("a") as journal:
        journal.write('{"path": "cut off')
    times = {p.name: p.stat().st_mtime_ns for p in out.glob("*.png")}
    summary = restore_folder(config_of(crops, model, resume=True))
    assert summary["files"] == 13
    assert times
    assert all((out / name).stat().st_mtime_ns == time for name, time in times.items())
    assert not (out / "manifest.jsonl").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"input": "nowhere"}, "input = nowhere: no such folder"),
        ({"model": "nowhere"}, "no model folder there"),
    ],
)
def test_a_wrong_request_is_refused(crops: Path, model: Path, changes: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        restore_folder(config_of(crops, model, **changes))


def test_an_output_that_is_a_file_is_refused(crops: Path, model: Path) -> None:
    with pytest.raises(ConfigError, match="is a file; it must be a folder"):
        restore_folder(config_of(crops, model, output=crops / "a.png"))


def test_the_input_folder_is_never_written_into(crops: Path, model: Path) -> None:
    with pytest.raises(ConfigError, match="is the input folder"):
        restore_folder(config_of(crops, model, output=crops))
    before = sorted(crops.glob("**/*"))
    restore_folder(config_of(crops, model, recursive=True))
    assert sorted(crops.glob("**/*")) == before

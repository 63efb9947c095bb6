"""Archives are read as folders: members are named, nothing is unpacked, and what cannot be read is a row or refused."""

from __future__ import annotations

import io
import os
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from distributed import LocalCluster
from PIL import Image
from restore_settings import config_of

import tasks.restore
from ufvnet.config import Cluster, ConfigError
from ufvnet.remote import RemotePath
from ufvnet.restore.folder import archives
from ufvnet.restore.folder.run import restore_folder

MEMBERS = {
    "b.png": (20, 20), "sub/deep/a.png": (16, 24), "sub/b.png": (30, 30), ".hidden.png": (9, 9),
    "__MACOSX/b.png": (9, 9),
}  # fmt: skip
READ = ["b.png", "notes.txt", "sub/b.png", "sub/deep/a.png"]


def png(size: tuple[int, int]) -> bytes:
    buffer = io.BytesIO()
    Image.linear_gradient("L").resize(size).convert("RGB").save(buffer, "PNG")
    return buffer.getvalue()


def make(path: Path, members: dict[str, bytes]) -> Path:
    """An archive of the kind that its name says."""
    if path.name.endswith(".zip"):
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, data in members.items():
                archive.writestr(name, data)
        return path
    with tarfile.open(path, {"gz": "w:gz", "txz": "w:xz"}.get(path.name.rpartition(".")[2], "w")) as tar:
        for name, data in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    return path


def run(inputs: Any, model: Path, **changes: Any) -> tuple[dict[str, Any], pd.DataFrame]:
    config = config_of(inputs, model, **{"mode": "aligned"} | changes)
    summary = restore_folder(config)
    return summary, pd.read_parquet(config.output / "manifest.parquet").set_index("path")


@pytest.mark.parametrize("name", ["photos.zip", "photos.tar", "photos.tar.gz", "photos.txz"])
def test_an_archive_is_a_folder_of_pictures(tmp_path: Path, model: Path, name: str) -> None:
    archive = make(tmp_path / name, {n: png(size) for n, size in MEMBERS.items()} | {"notes.txt": b"hello"})
    summary, rows = run(archive, model)
    assert list(rows.index) == READ
    assert dict(rows["status"]) == dict.fromkeys(READ, "restored") | {"notes.txt": "skipped"}
    assert rows.loc["sub/deep/a.png", "output"] == "sub/deep/a.png"
    assert rows.loc["sub/deep/a.png", "height"] == 24
    again, kept = run(archive, model, resume=True)
    assert (again["counts"], list(kept["seconds"])) == (summary["counts"], list(rows["seconds"]))
    written = {p.name for p in tmp_path.rglob("*") if p.is_file()}
    assert written == {name, "a.png", "b.png", "manifest.parquet", "summary.json"}


def test_an_archive_is_restored_into_a_store_by_workers_as_into_a_folder(tmp_path: Path, model: Path) -> None:
    pytest.importorskip("fsspec")
    archive = make(tmp_path / "photos.zip", {n: png(size) for n, size in MEMBERS.items()} | {"notes.txt": b"hello"})
    _, rows = run(archive, model)
    store = RemotePath("memory://archives/out")
    with LocalCluster(n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None) as workers:
        cluster = Cluster(address=workers.scheduler_address)
        config = config_of(archive, model, output=store.url)
        summary = tasks.restore._on_cluster(config, cluster, lambda *_: None)
    assert summary["counts"]["restored"] == 3
    stored = pd.read_parquet(io.BytesIO((store / "manifest.parquet").read_bytes())).set_index("path")
    assert stored.drop(columns="seconds").equals(rows.drop(columns="seconds"))
    for output in filter(None, rows["output"]):
        assert (store / output).read_bytes() == (tmp_path / "out" / output).read_bytes()


def test_archives_and_folders_go_together_and_rows_of_parquet_too(tmp_path: Path, model: Path) -> None:
    one = make(tmp_path / "one.zip", {"a.png": png((20, 20))})
    two = make(tmp_path / "two.tar.gz", {"c.png": png((20, 20)), "a.png": png((24, 24))})
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.png").write_bytes(png((30, 30)))
    _, rows = run([one, two, tmp_path / "in"], model, output=tmp_path / "out")
    assert sorted(rows.index) == ["c.png", "in/a.png", "one.zip/a.png", "two.tar.gz/a.png"]
    assert list(rows["status"]) == ["restored"] * 4
    _, rows = run([one, two], model, output=tmp_path / "table", format="parquet")
    assert set(rows["output"].str.partition("#")[0]) == {"part-00000.parquet"}


def test_members_that_are_damaged_encrypted_or_lead_out_are_rows_with_a_reason(tmp_path: Path, model: Path) -> None:
    archive = make(tmp_path / "photos.zip", {
        "good.png": png((20, 20)), "damaged.png": png((40, 40)), "secret.png": png((20, 20)),
        "../../out.png": png((20, 20)), "/etc/x.png": png((20, 20)), "inner.zip": b"PK\x03\x04",
    })  # fmt: skip
    data = bytearray(archive.read_bytes())
    start = data.index(b"damaged.png") + len(b"damaged.png")
    data[start + 5 : start + 25] = bytes(20)
    flags = data.index(b"PK\x01\x02", data.rindex(b"damaged.png"))  # the next entry of the directory
    assert data[flags + 46 : flags + 56] == b"secret.png"
    data[flags + 8] |= 1
    archive.write_bytes(data)
    _, rows = run(archive, model)
    reasons = dict(rows["reason"])
    assert dict(rows["status"]) == dict.fromkeys(rows.index, "failed") | {
        "good.png": "restored", "inner.zip": "skipped",
    }  # fmt: skip
    assert reasons["damaged.png"].startswith("damaged in the archive")
    assert reasons["secret.png"] == "encrypted in the archive"
    assert reasons["out.png"] == "its name '../../out.png' leads out of the archive"
    assert reasons["etc/x.png"] == "its name '/etc/x.png' leads out of the archive"
    assert not (tmp_path / "out.png").exists()


def test_links_in_a_tar_are_not_followed(tmp_path: Path, model: Path) -> None:
    archive = tmp_path / "photos.tar"
    with tarfile.open(archive, "w") as tar:
        link = tarfile.TarInfo("link.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    _, rows = run(archive, model)
    assert dict(rows["reason"]) == {"link.png": "a link or device in an archive"}


@pytest.mark.parametrize("name", ["bomb.zip", "bomb.tar.gz"])
def test_an_archive_that_unpacks_to_far_more_than_pictures_do_is_refused(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(archives, "BOMB_BYTES", 10_000)
    archive = make(tmp_path / name, {f"{i}.png": bytes(300_000) for i in range(9)})
    with pytest.raises(ConfigError, match=rf"input = .*{name}: unpacks to over [0-9,]+ bytes"):
        run(archive, model)
    assert not (tmp_path / "out").exists()


def test_a_member_over_the_size_of_a_file_that_is_read_fails(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archives, "MAX_BYTES", 1000)
    archive = make(tmp_path / "photos.tar", {"a.png": png((20, 20)), "b.png": bytes(5000)})
    _, rows = run(archive, model)
    assert dict(rows["status"]) == {"a.png": "restored", "b.png": "failed"}
    assert rows.loc["b.png", "reason"] == "unpacks to over 1,000 bytes"


@pytest.mark.parametrize(
    ("content", "name", "message"),
    [(b"no zip", "a.zip", "cannot be read"), (b"no tar", "a.tar", "cannot be read"), (None, "a.zip", "no files in it")],
)
def test_what_is_no_archive_is_refused(
    tmp_path: Path, model: Path, content: bytes | None, name: str, message: str
) -> None:
    path = make(tmp_path / name, {})
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match=rf"input = .*{name}: .*{message}"):
        run(path, model)


def test_archives_inside_folders_stay_files(tmp_path: Path, model: Path) -> None:
    (tmp_path / "in").mkdir()
    make(tmp_path / "in" / "a.zip", {"a.png": png((20, 20))})
    _, rows = run(tmp_path / "in", model)
    assert dict(rows["status"]) == {"a.zip": "skipped"}


def test_few_archives_and_animations_are_open_at_once(tmp_path: Path) -> None:
    paths = [make(tmp_path / f"{i}.zip", {"a.png": png((20, 20))}) for i in range(archives.OPENED + 4)]
    with archives.Archives(tmp_path) as opened:
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(2):
            for path in paths:
                assert opened.read(path, "a.png") == png((20, 20))
        assert len(os.listdir("/proc/self/fd")) <= before + archives.OPENED

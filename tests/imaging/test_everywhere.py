"""One mechanism for every way in: the command, the table of photos of a dataset, the page, and Python."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import damaged
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from PIL import Image

from ufvnet.config import BuildConfig, FolderSource, RestoreConfig, load
from ufvnet.data.build.assembly import finish_dataset
from ufvnet.data.build.resolved import resolve
from ufvnet.data.build.shard_writer import build_shard
from ufvnet.data.build.shards import plan_shards
from ufvnet.imaging.decode import ImageProblem
from ufvnet.restore import Restorer
from ufvnet.restore.folder.run import restore_folder
from ufvnet.restore.resolved import resolve as resolve_restore

MENDED = list(damaged.mended())
OTHERS = [*damaged.of_other_formats(), ("not an image", b"hello")]


@pytest.fixture(scope="module")
def restorer() -> Restorer:
    return Restorer.load("ufvnet-lite", "cpu")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Damaged pictures, pictures that lack pixels, and files of other formats that are named as photos."""
    (tmp_path / "in").mkdir()
    for name, data, _ in MENDED:
        (tmp_path / "in" / name).write_bytes(data)
    for name, data in damaged.incomplete():
        (tmp_path / "in" / f"missing-{name}").write_bytes(data)
    for i, (_, data) in enumerate(OTHERS):
        (tmp_path / "in" / f"other-{i:02d}.jpg").write_bytes(data)
    return tmp_path / "in"


@pytest.mark.parametrize("format", ["png", "jpeg", "webp", "tiff", "bmp", "avif", "same"])
def test_the_command_restores_each_damaged_picture_and_fails_all_others_by_name(folder: Path, format: str) -> None:
    settings = {"input": folder, "output": folder.parent / "out", "model": "ufvnet-lite", "mode": "aligned",
                "device": "cpu", "threads": 1, "batch_size": 4, "size": 32, "format": format}  # fmt: skip
    restore_folder(load(RestoreConfig, settings))
    rows = pd.read_parquet(folder.parent / "out" / "manifest.parquet").set_index("path")
    for name, _, said in MENDED:
        assert rows.loc[name, "status"] == "restored", (name, rows.loc[name, "reason"])
        assert said in rows.loc[name, "reason"]
        Image.open(folder.parent / "out" / rows.loc[name, "output"]).load()
    others = rows[~rows.index.isin([name for name, *_ in MENDED])]
    assert set(others["status"]) == {"failed"}
    for i, (name, _) in enumerate(OTHERS):
        assert name in rows.loc[f"other-{i:02d}.jpg", "reason"]


def test_a_dataset_has_a_row_for_each_of_them(folder: Path) -> None:
    source = FolderSource(root=folder, splits={"train": folder.parent / "all.txt"})
    (folder.parent / "all.txt").write_text("".join(f"{path.name}\n" for path in sorted(folder.iterdir())))
    config = BuildConfig(name="faces", source=source, out=folder.parent, hr_size=64)
    build = resolve(config)
    shards = plan_shards(build)
    finish_dataset(build, shards, [build_shard(shard) for shard in shards])
    rows = pq.read_table(folder.parent / "faces" / "photos").to_pandas().set_index("path")
    assert set(rows.loc[[name for name, *_ in MENDED], "status"]) <= {"no_face", "duplicate"}
    others = rows[~rows.index.isin([name for name, *_ in MENDED])]
    assert set(others["status"]) == {"unreadable"}
    assert "EPS is not a format that is read" in rows.loc["other-00.jpg", "reason"]


def test_the_page_answers_for_all_kinds_of_them() -> None:
    from ufvnet.restore.server.answer import answer

    resolved = resolve_restore(load(RestoreConfig, {"input": "-", "output": "-", "device": "cpu"}))
    for name, data, _ in MENDED[::5]:
        given = answer(data, "aligned", resolved)
        assert (given["width"], given["height"]) == damaged.SIZE, name
    for name, data in damaged.incomplete():
        with pytest.raises(ImageProblem) as problem:
            answer(data, "aligned", resolved)
        assert problem.value.status in ("unreadable", "not_a_picture"), name
    for name, data in damaged.of_other_formats():
        with pytest.raises(ImageProblem) as problem:
            answer(data, "aligned", resolved)
        assert problem.value.status == "not_a_picture"
        assert name == "PDF" or name in problem.value.reason


def test_the_api_takes_a_damaged_picture_that_pillow_opens(restorer: Restorer) -> None:
    whole = restorer(damaged.picture())
    for name in ("eXIf-junk.png", "types.jpg", "signs.jpg", "profile-junk.jpg", "resolution-0-0.tif"):
        (data,) = (data for found, data, _ in MENDED if found == name)
        image = Image.open(io.BytesIO(data))
        restored = restorer.photo(image, [(0, 0, 48, 48)]).image
        assert np.abs(np.asarray(restorer(image)).astype(int) - np.asarray(whole)).mean() < 20
        for kind in ("PNG", "JPEG", "TIFF"):
            restored.save(io.BytesIO(), kind)


def test_an_eps_named_as_a_photo_starts_no_ghostscript(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    for name in ("gs", "gswin32c", "gswin64c"):
        (tmp_path / "bin" / name).write_text(f"#!/bin/sh\ntouch {tmp_path}/started\n")
        (tmp_path / "bin" / name).chmod(0o755)
    (tmp_path / "photo.jpg").write_bytes(OTHERS[0][1])
    code = (
        "import os, sys; os.environ['PATH'] = sys.argv[1] + os.pathsep + os.environ['PATH']\n"
        "from pathlib import Path; from ufvnet.imaging.rgb import read_image\n"
        "read_image(Path(sys.argv[2]))"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "bin"), str(tmp_path / "photo.jpg")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "EPS is not a format that is read" in done.stderr
    assert not (tmp_path / "started").exists()


def test_a_targa_is_failed_by_its_name_and_a_text_is_skipped(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    damaged.picture().save(tmp_path / "in" / "a.tga")
    (tmp_path / "in" / "a.eps").write_bytes(OTHERS[0][1])
    (tmp_path / "in" / "notes.txt").write_text("no picture")
    settings = {"input": tmp_path / "in", "output": tmp_path / "out", "model": "ufvnet-lite", "device": "cpu"}
    restore_folder(load(RestoreConfig, settings))
    rows = pd.read_parquet(tmp_path / "out" / "manifest.parquet").set_index("path")
    assert dict(rows["status"]) == {"a.tga": "failed", "a.eps": "failed", "notes.txt": "skipped"}
    assert rows.loc["a.tga", "reason"].startswith("TGA is not a format that is read")

"""Folders of faces and of comparisons, where they are asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from restore_settings import config_of

from ufvnet.config import ConfigError
from ufvnet.restore import Restorer
from ufvnet.restore.folder.run import restore_folder
from ufvnet.restore.single import restore_single


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A photo with a small and a large face, in a folder below, and a crop with the same stem."""
    from skimage.data import astronaut

    (tmp_path / "in" / "below").mkdir(parents=True)
    Image.fromarray(astronaut()).save(tmp_path / "in" / "below" / "a.png")
    Image.fromarray(astronaut()).resize((40, 40)).save(tmp_path / "in" / "a.png")
    boxes = tmp_path / "boxes.csv"
    boxes.write_text("file,left,top,right,bottom\nbelow/a.png,150,20,330,200\nbelow/a.png,10,10,60,60\n")
    return tmp_path / "in"


def settings(photos: Path, **changes: Any) -> dict[str, Any]:
    root = photos.parent
    base = {"mode": "auto", "boxes": root / "boxes.csv", "faces": root / "faces", "compare": root / "sheets"}
    return base | changes


def files(folder: Path) -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file() and p.name[0] != ".")


def test_each_restored_face_is_written_with_its_crop_and_each_picture_has_a_sheet(photos: Path, lite: Path) -> None:
    restore_folder(config_of(photos, lite, **settings(photos)))
    faces, sheets = photos.parent / "faces", photos.parent / "sheets"
    assert files(faces) == [
        "a.png-0-input.png", "a.png-0-restored.png", "below/a.png-1-input.png", "below/a.png-1-restored.png"
    ]  # fmt: skip
    crop, restored = (Image.open(faces / "below" / f"a.png-1-{name}.png") for name in ("input", "restored"))
    assert (np.asarray(crop) == np.asarray(Image.open(photos / "below" / "a.png"))[10:60, 10:60]).all()
    assert np.abs(np.asarray(restored, int) - np.asarray(Restorer.load(lite, "cpu")(crop), int)).max() <= 1
    assert files(sheets) == ["a.png.jpg", "below/a.png.jpg"]
    output = Image.open(photos.parent / "out" / "below" / "a.png")
    sheet = Image.open(sheets / "below" / "a.png.jpg")
    assert sheet.size == (2 * output.width, output.height)
    right = sheet.crop((output.width, 0, *sheet.size))
    assert np.abs(np.asarray(right, int) - np.asarray(output, int)).mean() < 3


def test_a_resumed_run_makes_what_is_missing_there(photos: Path, lite: Path) -> None:
    config = config_of(photos, lite, **settings(photos, compare=None))
    restore_folder(config)
    face = photos.parent / "faces" / "below" / "a.png-1-input.png"
    content, before = face.read_bytes(), (photos.parent / "out" / "a.png").stat().st_mtime_ns
    face.unlink()
    restore_folder(config.model_copy(update={"resume": True}))
    assert face.read_bytes() == content
    assert (photos.parent / "out" / "a.png").stat().st_mtime_ns == before, "the other picture is kept"


def test_rows_of_a_table_have_faces_too_and_missing_ones_are_made_again(photos: Path, lite: Path) -> None:
    changes = settings(photos, format="parquet", compare=None)
    restore_folder(config_of(photos, lite, **changes))
    face = photos.parent / "faces" / "a.png-0-restored.png"
    face.unlink()
    restore_folder(config_of(photos, lite, **changes, resume=True))
    assert face.is_file()
    assert set(pd.read_parquet(photos.parent / "out" / "manifest.parquet")["status"]) == {"restored"}


def test_one_picture_has_its_faces_named_by_its_file(photos: Path, lite: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(photos.parent)
    picture, output = Path(photos.name, "a.png"), photos.parent / "one.png"
    row = restore_single(config_of(picture, lite, output=output, mode="aligned", faces=photos.parent / "faces"))
    assert row["path"] == str(picture)
    assert files(photos.parent / "faces") == ["a.png-0-input.png", "a.png-0-restored.png"]


@pytest.mark.parametrize("key", ["faces", "compare"])
def test_folders_of_others_or_within_input_or_output_are_refused(photos: Path, lite: Path, key: str) -> None:
    others = photos.parent / "others"
    others.mkdir()
    (others / "mine.txt").touch()
    for folder, message in (
        (others, "is not empty"), (photos / "faces", "overlaps input"), (photos.parent / "out" / "x", "overlaps output")
    ):  # fmt: skip
        with pytest.raises(ConfigError, match=message):
            restore_folder(config_of(photos, lite, **{"mode": "auto", key: folder}))
    assert not (photos.parent / "out").exists()

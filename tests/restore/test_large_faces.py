"""Large faces that hold the content of small ones are restored at the size that they have; sharp ones are left."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from restore_settings import config_of

from ufvnet.data.sample import FACE
from ufvnet.restore import Restorer
from ufvnet.restore.folder.run import restore_folder
from ufvnet.restore.resolved import resolve
from ufvnet.restore.server.answer import answer


def resized(image: Image.Image, side: int) -> Image.Image:
    return image.resize((side, side), Image.Resampling.BICUBIC)


@pytest.fixture(scope="module")
def face() -> Image.Image:
    """About 110 pixels wide."""
    from skimage.data import astronaut

    return Image.fromarray(astronaut()).crop(FACE)


@pytest.fixture(scope="module")
def sharp() -> Image.Image:
    """A head, 200 pixels wide."""
    from skimage.data import astronaut

    return Image.fromarray(astronaut()).crop((125, 0, 325, 200))


@pytest.fixture
def folder(tmp_path: Path, face: Image.Image, sharp: Image.Image) -> Path:
    """An enlarged crop with EXIF and alpha, and a sharp one."""
    (tmp_path / "in").mkdir()
    exif = Image.Exif()
    exif[0x10F] = "maker"
    enlarged = resized(resized(face, 24), 300).convert("RGBA")
    enlarged.putalpha(200)
    enlarged.save(tmp_path / "in" / "enlarged.png", exif=exif)
    sharp.save(tmp_path / "in" / "sharp.png")
    return tmp_path / "in"


def run(folder: Path, model: Path, **changes: Any) -> pd.DataFrame:
    restore_folder(config_of(folder, model, **changes))
    return pd.read_parquet(folder.parent / "out" / "manifest.parquet").set_index("path")


def test_an_enlarged_crop_is_restored_at_its_own_size_and_a_sharp_one_is_copied(folder: Path, lite: Path) -> None:
    rows = run(folder, lite)
    assert dict(rows["status"]) == {"enlarged.png": "restored", "sharp.png": "copied"}
    assert rows["effective_size"]["enlarged.png"] == pytest.approx(24, rel=0.4)
    assert rows["effective_size"]["sharp.png"] > 80
    assert rows["reason"]["sharp.png"] == "faces already larger than 128 px"
    assert "reduced to the size of its content" in rows["reason"]["enlarged.png"]
    result = Image.open(folder.parent / "out" / "enlarged.png")
    assert (result.size, result.mode, result.getexif()[0x10F]) == ((300, 300), "RGBA", "maker")
    received = resized(Image.open(folder / "enlarged.png"), round(rows["effective_size"]["enlarged.png"]))
    expected = Restorer.load(lite, "cpu")(received.convert("RGB"))
    error = np.asarray(result.convert("RGB"), float) - np.asarray(resized(expected, 300), float)
    assert np.abs(error).mean() < 6, "it is the restored content, not the input"


@pytest.mark.parametrize(("changes", "side"), [({"size": "native"}, 128), ({"scale": 0.5}, 150), ({"size": 200}, 200)])
def test_it_has_the_size_that_is_asked_for(folder: Path, lite: Path, changes: dict[str, Any], side: int) -> None:
    run(folder, lite, **changes)
    assert Image.open(folder.parent / "out" / "enlarged.png").size == (side, side)


def test_switched_off_every_large_face_is_left_and_max_face_restores_any(folder: Path, lite: Path) -> None:
    rows = run(folder, lite, effective_size=False)
    assert set(rows["status"]) == {"copied"}
    assert rows["effective_size"].isna().all()
    first = rows["key"].iloc[0]
    rows = run(folder, lite, max_face=4000, resume=True)
    assert set(rows["status"]) == {"restored"}
    assert rows["key"].iloc[0] != first


def test_in_a_photo_an_enlarged_face_is_pasted_back_and_nothing_else_changes(
    folder: Path, face: Image.Image, sharp: Image.Image, lite: Path
) -> None:
    photo = Image.new("RGB", (500, 300), (90, 120, 60))
    photo.paste(resized(resized(face, 24), 240), (20, 30))
    photo.paste(sharp, (290, 50))
    for path in folder.iterdir():
        path.unlink()
    photo.save(folder / "photo.png")
    boxes = folder.parent / "boxes.csv"
    boxes.write_text("file,left,top,right,bottom\nphoto.png,20,30,260,270\nphoto.png,290,50,490,250\n")
    row = run(folder, lite, mode="photo", boxes=boxes, size="input").loc["photo.png"]
    assert [f["restored"] for f in row["faces"]] == [True, False]
    assert row["faces"][0]["effective_size"] < 40 < 80 < row["faces"][1]["effective_size"]
    assert row["reason"] == (
        "1 face reduced to the size of its content first; 1 face of at least 128 pixels left as found"
    )
    before, after = np.asarray(photo), np.asarray(Image.open(folder.parent / "out" / "photo.png"))
    assert (after[30:270, 20:260] != before[30:270, 20:260]).any()
    assert (after[:, 260:] == before[:, 260:]).all()
    assert (after[:30] == before[:30]).all()
    done = Restorer.load(lite, "cpu").photo(photo, [(20, 30, 260, 270), (290, 50, 490, 250)])
    assert (np.asarray(done.image) == after).all()
    assert [f is not None for f in done.faces] == [True, False]
    assert done.effective_sizes == pytest.approx([f["effective_size"] for f in row["faces"]])


def test_the_web_page_is_told_what_a_large_face_holds(folder: Path, lite: Path) -> None:
    said = answer((folder / "enlarged.png").read_bytes(), "aligned", resolve(config_of(folder, lite)))
    assert said["effective_size"] == pytest.approx(24, rel=0.4)
    assert said["notes"][1] == "1 face reduced to the size of its content first."

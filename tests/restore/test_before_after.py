"""The sheet of a face before and after: the picture of README, and the first thing that the demo shows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ufvnet import Restorer
from ufvnet.restore.before_after import COLUMNS, GAP, LABEL, MARGIN, before_after, first_sheet


@pytest.fixture(scope="module")
def astronaut() -> Image.Image:
    return Image.fromarray(pytest.importorskip("skimage.data").astronaut())


def _cell(sheet: Image.Image, row: int, column: str) -> np.ndarray:
    left, top = MARGIN + COLUMNS.index(column) * (128 + GAP), LABEL + row * (128 + GAP)
    return np.asarray(sheet.crop((left, top, left + 128, top + 128)), dtype=float)


def test_a_restored_face_is_nearer_to_the_original_than_bicubic_s(astronaut: Image.Image) -> None:
    sheet = before_after(astronaut, Restorer.load(device="cpu"), sizes=(16, 32))
    for row in range(2):
        original = _cell(sheet, row, "original")
        restored, bicubic = (np.square(_cell(sheet, row, name) - original).mean() for name in ("restored", "bicubic"))
        assert restored < 0.8 * bicubic


def test_the_first_photo_with_a_face_is_shown_and_other_files_are_skipped(
    astronaut: Image.Image, tmp_path: Path
) -> None:
    (tmp_path / "a.txt").write_text("no picture")
    Image.new("RGB", (60, 60), "grey").save(tmp_path / "b.png")
    astronaut.crop((140, 0, 340, 240)).save(tmp_path / "c.png")
    files, sheet = sorted(tmp_path.iterdir()), tmp_path / "sheet.png"
    assert not first_sheet(files[:2], Restorer.load(device="cpu"), sheet)
    assert not sheet.exists()
    assert first_sheet(files, Restorer.load(device="cpu"), sheet)
    assert Image.open(sheet).width == MARGIN + len(COLUMNS) * (128 + GAP)

"""The reasons why pictures were not restored, by status, and what would restore them."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from PIL import Image
from restore_settings import config_of

from ufvnet.restore.console import restore_here
from ufvnet.restore.folder.reasons import LISTED, MOST, OTHER, ReasonCounts, advice


def test_reasons_are_counted_by_their_first_clause_and_the_rarest_together() -> None:
    counts = ReasonCounts()
    for number in range(7):
        for _ in range(7 - number):
            counts.add("failed", f"reason {number}; EXIF orientation applied")
    counts.add("restored", "16 bit")
    counts.add("copied", "")
    found = counts.most_common()
    assert found == {"failed": {**{f"reason {n}": 7 - n for n in range(LISTED)}, OTHER: 3}}


def test_reasons_that_differ_in_every_picture_take_no_memory() -> None:
    counts = ReasonCounts()
    for number in range(2 * MOST):
        counts.add("failed", f"{number}: cannot be opened")
    assert sum(counts.most_common()["failed"].values()) == 2 * MOST
    assert len(counts._counts["failed"]) == MOST + 1


def test_a_run_that_restores_nothing_says_why_and_what_would(
    tmp_path: Path, lite: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from skimage.data import astronaut

    (tmp_path / "in").mkdir()
    head = Image.fromarray(astronaut()).crop((125, 0, 325, 200))
    head.save(tmp_path / "in" / "a.png")
    head.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(tmp_path / "in" / "b.png")
    assert restore_here(config_of(tmp_path / "in", lite)) is False
    out, errors = capsys.readouterr()
    assert out.startswith("0 restored, 2 copied, 0 failed; 0 faces")
    assert "  2 copied: faces already larger than 128 px (--max-face N restores those below N pixels too)" in out
    assert "no face was restored; the reasons above say what would help" in errors
    assert restore_here(config_of(tmp_path / "in" / "a.png", lite, output=tmp_path / "one.png")) is False
    assert "copied (faces already larger than 128 px; --max-face N" in capsys.readouterr().out


def test_a_photo_that_was_enlarged_is_told(tmp_path: Path, lite: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from skimage.data import astronaut

    (tmp_path / "in").mkdir()
    Image.fromarray(astronaut()).resize((200, 200)).save(tmp_path / "in" / "a.png")
    boxes = tmp_path / "boxes.csv"
    boxes.write_text("file,left,top,right,bottom\na.png,70,5,110,45\n")
    restore_here(config_of(tmp_path / "in", lite, mode="photo", boxes=boxes))
    assert "  1 photo enlarged until the restored faces show (--size input keeps the size)" in capsys.readouterr().out
    restore_here(config_of(tmp_path / "in", lite, mode="photo", boxes=boxes, size="input"))
    assert "photo enlarged" not in capsys.readouterr().out


def test_a_picture_that_is_stretched_to_a_face_crop_is_told(
    tmp_path: Path, lite: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in").mkdir()
    Image.new("RGB", (120, 40), "teal").save(tmp_path / "in" / "wide.png")
    Image.new("RGB", (40, 42), "teal").save(tmp_path / "in" / "square.png")
    restore_here(config_of(tmp_path / "in", lite, mode="auto"))
    said = capsys.readouterr().out
    assert "  1 taken for a face crop and not square: stretched (--mode photo" in said
    rows = pd.read_parquet(tmp_path / "out" / "manifest.parquet").set_index("path")
    assert set(rows["status"]) == {"restored"}
    assert rows["reason"]["wide.png"] == "taken for a face crop and not square (120×40): it was stretched"
    assert rows["reason"]["square.png"] == ""
    restore_here(config_of(tmp_path / "in", lite, mode="auto", size="input"))
    assert "stretched" not in capsys.readouterr().out
    restore_here(config_of(tmp_path / "in", lite, mode="aligned", size=256, max_face=20))  # larger: nothing to restore
    rows = pd.read_parquet(tmp_path / "out" / "manifest.parquet").set_index("path")
    assert rows["status"]["wide.png"] == "scaled"
    assert "(120×40): it was stretched" in rows["reason"]["wide.png"]
    assert "stretched" not in rows["reason"]["square.png"]


def test_advice_is_given_for_reasons_that_an_option_ends() -> None:
    assert "--max-face" in advice("faces already larger than 64 px; 1 face reduced")
    assert advice("the file is empty") == ""

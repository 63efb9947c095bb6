"""Formats: only decoders that are meant are reached, and a file of another format is told by name."""

from __future__ import annotations

from pathlib import Path

import damaged
import pytest
from PIL import EpsImagePlugin, Image

from ufvnet.imaging.decode import ImageProblem, NotAnImage, OtherFormat
from ufvnet.imaging.formats import READ, formats, picture_endings
from ufvnet.imaging.rgb import read_image
from ufvnet.restore.picture import read_picture

OTHERS = list(damaged.of_other_formats())


@pytest.fixture(autouse=True)
def _no_other_decoder(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every decoder that is not meant, and Ghostscript, ends the test."""

    def reached(*_: object, **__: object) -> None:
        pytest.fail("a decoder that is not meant was reached")

    Image.init()
    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", reached)
    for kind in set(Image.OPEN) - set(READ):
        monkeypatch.setitem(Image.OPEN, kind, (reached, reached))


@pytest.mark.parametrize(("name", "data"), OTHERS, ids=[name for name, _ in OTHERS])
def test_a_file_of_another_format_is_told_by_name_and_not_decoded(tmp_path: Path, name: str, data: bytes) -> None:
    (tmp_path / "photo.jpg").write_bytes(data)
    for read in (lambda: read_image(tmp_path / "photo.jpg"), lambda: read_picture(data, 10**6)):
        with pytest.raises(NotAnImage, match=f"^{name} is not a format that is read; those are JPEG, PNG") as problem:
            read()
        assert problem.value.status == "unreadable"
        assert isinstance(problem.value, OtherFormat) == (name != "PDF")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "AVIF", "PPM", "JPEG2000", "MPO"])
def test_every_format_that_is_meant_is_read(kind: str) -> None:
    options = {"save_all": True, "append_images": [damaged.picture()]} if kind == "MPO" else {}
    assert read_image(damaged.file_of(damaged.picture(), kind, **options)).format == kind


def test_heic_is_read_for_datasets_too() -> None:
    pytest.importorskip("pillow_heif")
    assert "HEIF" in formats()
    assert read_image(damaged.file_of(damaged.picture(), "HEIF")).format == "HEIF"


def test_endings_of_pictures_are_those_of_formats_that_are_read() -> None:
    assert {
        ".jpg",
        ".png",
        ".webp",
        ".tif",
        ".bmp",
        ".gif",
        ".avif",
        ".heic",
        ".ppm",
        ".jp2",
        ".mpo",
    } <= picture_endings()
    assert not {".eps", ".ps", ".psd", ".ico", ".pdf", ".tga", ".fits", ".wmf", ".h5"} & picture_endings()


def test_ordinary_files_are_not_taken_for_pictures() -> None:
    for data in (b"#include <stdio.h>\n", b"hello", b"PK\3\4", b"<html></html>", b"\x7fELF", b"0,1,2\n"):
        with pytest.raises(ImageProblem) as problem:
            read_image(data)
        assert not isinstance(problem.value, OtherFormat)

"""Decoding: what is optional never fails a picture, missing pixels always do, frames are never counted."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import threading
import warnings
from pathlib import Path

import damaged
import numpy as np
import pytest
from PIL import TiffImagePlugin

from ufvnet.imaging.decode import ImageProblem, decode, quiet
from ufvnet.imaging.mend import optional_parts, without_optional
from ufvnet.imaging.rgb import read_image
from ufvnet.restore.picture import encode_picture, read_picture

MENDED = list(damaged.mended())
INCOMPLETE = list(damaged.incomplete())
FORMATS = ("PNG", "JPEG", "WEBP", "TIFF", "BMP", "AVIF")


@pytest.mark.parametrize(("name", "data", "said"), MENDED, ids=[name for name, *_ in MENDED])
def test_what_is_optional_never_fails_a_picture_and_is_said(name: str, data: bytes, said: str) -> None:
    pixels = np.asarray(damaged.picture("L" if "grey" in name else "RGB").convert("RGB")).astype(int)
    read = read_picture(data, 10**6)
    assert said in "; ".join(read.notes)
    for image in (read.colour, read_image(data).rgb):
        assert np.abs(np.asarray(image.convert("RGB")) - pixels).mean() < 30


@pytest.mark.parametrize(("name", "data", "said"), MENDED, ids=[name for name, *_ in MENDED])
def test_a_picture_with_a_damaged_part_is_written_in_every_format(name: str, data: bytes, said: str) -> None:
    read = read_picture(data, 10**6)
    for kind in FORMATS:
        written, _ = encode_picture(read, kind, 90)
        again = read_picture(written, 10**6)
        assert (again.format, again.size) == (kind, damaged.SIZE)
        assert not [note for note in again.notes if "left out" in note]


@pytest.mark.parametrize(("name", "data"), INCOMPLETE, ids=[name for name, _ in INCOMPLETE])
def test_a_picture_that_lacks_pixels_is_unreadable(name: str, data: bytes) -> None:
    for read in (lambda: read_image(data), lambda: read_picture(data, 10**6)):
        with pytest.raises(ImageProblem) as problem:
            read()
        assert problem.value.status == "unreadable"
        assert "Error" not in problem.value.reason


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OSError("image file is truncated (9 bytes not processed)"), "truncated: 9 bytes not processed"),
        (OSError("image file is truncated (0 bytes not processed)"), "truncated: the file ends too early"),
        (OSError("Truncated File Read"), "truncated: the file ends too early"),
        (OSError("broken data stream when reading image file"), "damaged: broken data stream when reading image file"),
        (SyntaxError("broken PNG file"), "damaged: broken PNG file"),
        (OSError(errno.EIO, "Input/output error"), "cannot be read: Input/output error"),
        (KeyError("tag"), "KeyError: 'tag'"),
    ],
    ids=repr,
)
def test_what_decoders_say_is_told_in_plain_words(
    error: Exception, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise error

    data = damaged.file_of(damaged.picture(), "BMP")
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", fail)
    with pytest.raises(ImageProblem, match=f"^{re.escape(reason)}$"):
        decode(data)


@pytest.mark.parametrize("name", ["no-end.jpg", "no-end-progressive.jpg"])
def test_a_jpeg_without_its_end_marker_has_the_pixels_that_it_has_with_it(name: str) -> None:
    (data,) = (data for found, data, _ in MENDED if found == name)
    whole = read_image(data + b"\xff\xd9").rgb
    np.testing.assert_array_equal(np.asarray(read_image(data).rgb), np.asarray(whole))


def test_frames_are_never_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    directories = 0
    load = TiffImagePlugin.ImageFileDirectory_v2.load

    def counting(*given: object) -> None:
        nonlocal directories
        directories += 1
        load(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(TiffImagePlugin.ImageFileDirectory_v2, "load", counting)
    counts = []
    for pages in (2, 400):
        directories = 0
        for read in (read_image(damaged.tiff_of_pages(pages)), read_picture(damaged.tiff_of_pages(pages), 10**6)):
            assert "first frame of an animation" in read.notes
        counts.append(directories)
    assert counts[0] == counts[1]
    assert "first frame of an animation" not in read_image(damaged.tiff_of_pages(1)).notes


def test_a_pipe_and_a_folder_are_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.png")
    for path in (tmp_path / "a.png", tmp_path):
        with pytest.raises(ImageProblem):
            read_image(path)


def test_warnings_are_off_in_all_threads_that_decode_and_as_before_afterwards() -> None:
    before = list(warnings.filters)
    inside, leave = threading.Event(), threading.Event()

    def other() -> None:
        with quiet():
            inside.set()
            leave.wait(10)

    thread = threading.Thread(target=other)
    with quiet():
        thread.start()
        inside.wait(10)
    with warnings.catch_warnings():
        assert warnings.filters[0][0] == "ignore"
    leave.set()
    thread.join()
    assert list(warnings.filters) == before


def test_pictures_are_read_where_warnings_are_errors() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _, data, _ in MENDED:
            read_picture(data, 10**6)


def test_mutated_files_give_a_picture_or_a_problem_and_nothing_else() -> None:
    random = np.random.default_rng(0)
    seeds = [data for _, data, _ in MENDED if len(data) < 50_000]
    for data in (bytearray(seeds[i % len(seeds)]) for i in range(400)):
        for at in random.integers(0, min(len(data), 300), 3):
            data[at] = random.integers(256)
        with contextlib.suppress(ImageProblem):
            read_picture(bytes(data), 10**6)
    huge = b"II+\0\x08\0\0\0" + b"\xff" * 8 + bytes(20)
    endless = b"II+\0\x08\0\0\0\x10\0\0\0\0\0\0\0" + b"\xff" * 8 + bytes(20)
    for tiff in (huge, endless):
        assert optional_parts(tiff) == list(without_optional(tiff)) == []

"""Files of boxes and landmarks as people have them, and which pictures they are about."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from restore_settings import config_of

from ufvnet.config import ConfigError
from ufvnet.restore.known_faces import KnownFaces, read_known_faces

HEADER = "file,left,top,right,bottom\n"


def _read(folder: Path, content: bytes | str, **changes: Any) -> KnownFaces:
    raw = content.encode("utf-8", "surrogateescape") if isinstance(content, str) else content
    (folder / "boxes.csv").write_bytes(raw)
    settings = {"mode": "photo", "boxes": folder / "boxes.csv"} | changes
    return read_known_faces(config_of(folder / "in", Path("none"), **settings))


@pytest.mark.parametrize(
    "encode",
    [
        lambda text: b"\xef\xbb\xbf" + text.encode(),
        lambda text: text.replace("\n", "\r\n").encode("utf-16"),
        lambda text: text.replace("\n", "\r").encode(),
    ],
    ids=["mark", "powershell", "CR"],
)
def test_boxes_of_other_systems_are_read(tmp_path: Path, encode: Any) -> None:
    known = _read(tmp_path, encode(HEADER + '\n,,,,\n"ä, b.png", 1, 2, 3, 4\n.\\sub\\c.png,5,6,7,8\n'))
    assert known.find("ä, b.png") == [(1, 2, 3, 4)]
    assert known.find("sub/c.png") == [(5, 6, 7, 8)]


def test_a_name_has_the_boxes_of_all_its_spellings_and_a_real_backslash_is_found_first(tmp_path: Path) -> None:
    known = _read(tmp_path, HEADER + "./a.png,1,1,2,2\na.png,2,2,3,3\nb\\c.png,3,3,4,4\n")
    assert known.find("a.png") == [(1, 1, 2, 2), (2, 2, 3, 3)]
    assert known.find("b\\c.png") == known.find("b/c.png") == [(3, 3, 4, 4)]
    assert known.find("c.png") is None


def test_boxes_of_a_picture_whose_name_is_no_utf_8_are_found_by_its_bytes_and_by_its_name_in_the_manifest(
    tmp_path: Path,
) -> None:
    for name in (os.fsdecode(b"caf\xe9.png"), "caf\\xe9.png"):
        assert _read(tmp_path, f"{HEADER}{name},1,2,3,4\n").find("caf\\xe9.png") == [(1, 2, 3, 4)]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (HEADER + "a.png,1,2,3,4\nb\0.png,1,2,3,4\n", "line 3: holds a NUL character"),
        (HEADER + ",1,2,3,4\n", "line 2: must be a file name and four numbers"),
        (HEADER + '"a.png,1,2,3,4\nb.png,1,2,3,4\n', "line 3: unexpected end of data"),
        (b"\x89PNG\0\r\n\x1a\n", "line 1: holds a NUL character"),
        (b"\xff\xd8\xff\xe0", "the header must be file, left, top, right, bottom"),
        (b"", "the header must be file, left, top, right, bottom"),
    ],
)
def test_a_file_that_holds_no_boxes_is_refused_in_one_line(tmp_path: Path, content: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=rf"^boxes = .*boxes\.csv: .*{message}") as refusal:
        _read(tmp_path, content)
    assert "\n" not in str(refusal.value)


def test_a_pipe_or_a_device_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.csv")
    for path in (tmp_path / "pipe.csv", Path("/dev/zero")):
        with pytest.raises(ConfigError, match=r"^boxes = .*: not a file but a pipe, a device or a folder"):
            _read(tmp_path, HEADER, boxes=path)
        with pytest.raises(ConfigError, match=r"^landmarks = .*: must be an existing"):
            _read(tmp_path, HEADER + "a.png,1,2,3,4\n", landmarks=[path])


def test_the_row_of_one_picture_s_path_is_not_that_of_its_namesake_in_another_folder(tmp_path: Path) -> None:
    known = _read(tmp_path, HEADER + "1.png,1,2,3,4\n2,5,6,7,8\n")
    names = ["1.png", "sub/1.png", "sub/2.png"]
    known.check(names)
    for faces in (known, known.part(names)):
        assert faces.find("1.png") == [(1, 2, 3, 4)]
        assert faces.find("sub/1.png") is None
        assert faces.find("sub/2.png") == [(5, 6, 7, 8)]

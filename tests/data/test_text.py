"""Text files as people have them: marks, UTF-16, ends of lines, blank rows, spellings of names, what is refused."""

from __future__ import annotations

import codecs
import os
from pathlib import Path
from typing import Any

import pytest

from ufvnet.data.sources.text import LARGEST, plain_name, read_csv, read_lines, read_names, spellings

ENCODINGS = {
    "plain": lambda text: text.encode(),
    "mark": lambda text: codecs.BOM_UTF8 + text.encode(),
    "powershell": lambda text: codecs.BOM_UTF16_LE + text.encode("utf-16-le"),
    "big end first": lambda text: codecs.BOM_UTF16_BE + text.encode("utf-16-be"),
}


def _put(folder: Path, content: bytes) -> Path:
    (folder / "file.txt").write_bytes(content)
    return folder / "file.txt"


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"], ids=["LF", "CRLF", "CR"])
@pytest.mark.parametrize("encode", ENCODINGS.values(), ids=ENCODINGS)
def test_names_are_read_in_every_encoding_and_with_every_end_of_lines(tmp_path: Path, encode: Any, end: str) -> None:
    path = _put(tmp_path, encode(end.join(["ä.jpg", "", "  ", "b c.jpg", ""])))
    assert list(read_names(path)) == [(1, "ä.jpg"), (4, "b c.jpg")]


@pytest.mark.parametrize("encode", ENCODINGS.values(), ids=ENCODINGS)
def test_rows_of_empty_cells_are_passed_over_and_cells_stripped(tmp_path: Path, encode: Any) -> None:
    path = _put(tmp_path, encode('file , x\r\n,\r\n\r\n"a,b.jpg", 1\r\n , \r\n'))
    assert list(read_csv(path)) == [(1, ["file", "x"]), (4, ["a,b.jpg", "1"])]


def test_only_newlines_end_a_line(tmp_path: Path) -> None:
    names = [f"a{odd}b.jpg" for odd in "\u2028\u2029\x0b\x0c\x1c\x1d\x1e\x85"]
    path = _put(tmp_path, "\n".join(names).encode())
    assert [name for _, name in read_names(path)] == names
    assert [row for _, row in read_csv(path)] == [[name] for name in names]


def test_bytes_that_are_no_utf_8_stay_in_names_and_are_refused_elsewhere(tmp_path: Path) -> None:
    path = _put(tmp_path, b"a.jpg\ncaf\xe9.jpg\n")
    assert os.fsencode([name for _, name in read_names(path)][1]) == b"caf\xe9.jpg"
    with pytest.raises(ValueError, match="line 2: holds bytes that are no utf-8"):
        list(read_lines(path))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a.jpg\nb\0.jpg\n", "line 2: holds a NUL character; the file must be text in utf-8, or in utf-16"),
        ("a.jpg\n".encode("utf-16-le"), "line 1: holds a NUL character"),
        (codecs.BOM_UTF16_LE + b"a\0\n", "line 1 or one soon after it: truncated data"),
        (codecs.BOM_UTF16_LE + b"\x00\xd8a\0", "illegal"),
    ],
    ids=["NUL", "UTF-16 without a mark", "half a character", "half a surrogate"],
)
def test_what_is_no_text_is_refused_with_its_line(tmp_path: Path, content: bytes, message: str) -> None:
    for read in (read_names, read_csv):
        with pytest.raises(ValueError, match=message):
            list(read(_put(tmp_path, content)))


def test_a_quote_that_is_never_closed_is_refused_and_swallows_no_rows(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="line 3: unexpected end of data"):
        list(read_csv(_put(tmp_path, b'a,b\n"c,d\ne,f\n')))


def test_only_regular_files_of_a_sane_size_are_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    os.truncate(_put(tmp_path, b""), LARGEST + 1)
    for path, message in (
        (tmp_path / "pipe", "not a file but a pipe"),
        (Path("/dev/zero"), "not a file but a pipe, a device"),
        (tmp_path, "or a folder"),
        (tmp_path / "file.txt", "a text file may have"),
    ):
        with pytest.raises(ValueError, match=message):
            list(read_lines(path))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("./a//b.jpg", "a/b.jpg"), (' "a b.jpg" ', "a b.jpg"), ("a/./b/", "a/b"), ("/a/b", "/a/b"), ("", ""),
        ("..", ".."), ('a"b', 'a"b'),
    ],
)  # fmt: skip
def test_a_plain_name_has_no_decoration(name: str, expected: str) -> None:
    assert plain_name(name) == expected


def test_a_backslash_may_be_part_of_a_name_or_part_folders() -> None:
    assert list(spellings(".\\a\\b.jpg")) == [".\\a\\b.jpg", ".\\a\\b.jpg", "a/b.jpg"]
    assert list(spellings("a.jpg")) == ["a.jpg", "a.jpg"]

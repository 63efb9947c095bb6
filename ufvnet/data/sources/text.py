"""Text files of users, as editors, spreadsheets and PowerShell write them: lists, CSV, points."""

from __future__ import annotations

import codecs
import csv
import io
import re
import stat
from collections.abc import Iterator
from pathlib import PurePosixPath

from ufvnet.remote import AnyPath

LARGEST = 2**30
"""Upper bound on the bytes of a text file; landmarks of 200,000 photos take a quarter of it."""

MARKS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
"""Encodings by the byte-order mark that a file begins with; without a mark it is UTF-8."""

ALLOWED = "the file must be text in utf-8, or in utf-16 with a byte-order mark"

PROBLEMS = (OSError, ValueError)
"""What the functions of this module raise; the message of a ValueError begins with the number of the line, if any."""


def read_lines(path: AnyPath, names: bool = False) -> Iterator[tuple[int, str]]:
    """(number, line) of each line of a text file, line ends included; memory does not grow with the file.

    A line ends at LF, CR LF or CR only: other characters that Unicode counts as line ends may occur in names.

    Args:
        path: a regular file in UTF-8, with or without a mark, or in UTF-16 with a mark.
        names: keep bytes that are no UTF-8 as ``os.fsdecode`` does, because names of files may hold such bytes.

    Raises:
        OSError: the file cannot be opened.
        ValueError: it is no regular file or too large, or a line holds NUL or is no text.
    """
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):  # a pipe or a device might never end
        raise ValueError("not a file but a pipe, a device or a folder")
    if status.st_size > LARGEST:
        raise ValueError(f"has {status.st_size:,} bytes; a text file may have {LARGEST:,}")
    with path.open("rb") as file:
        start = file.read(3)
        file.seek(0)
        encoding = next((name for mark, name in MARKS.items() if start.startswith(mark)), "utf-8")
        errors = "strict" if encoding == "utf-16" else "surrogateescape"
        yield from _checked(io.TextIOWrapper(file, encoding, errors, newline=""), names)


def _checked(text: io.TextIOWrapper, names: bool) -> Iterator[tuple[int, str]]:
    number = 0
    try:
        for number, line in enumerate(text, start=1):
            if "\0" in line:
                raise ValueError(f"line {number}: holds a NUL character; {ALLOWED}")
            if not names and not line.isascii() and re.search(r"[\udc80-\udcff]", line):
                raise ValueError(f"line {number}: holds bytes that are no utf-8; {ALLOWED}")
            yield number, line
    except UnicodeDecodeError as error:  # the decoder reads ahead of the lines
        raise ValueError(f"line {number + 1} or one soon after it: {error.reason}; {ALLOWED}") from error


def read_names(path: AnyPath) -> Iterator[tuple[int, str]]:
    """(number, line) of each line of a list that is not blank, without line ends: one name per line.

    Raises:
        OSError, ValueError: as ``read_lines``.
    """
    for number, line in read_lines(path, names=True):
        if line.strip():
            yield number, line.rstrip("\r\n")


def read_csv(path: AnyPath) -> Iterator[tuple[int, list[str]]]:
    """(number of its last line, cells) of each row of a CSV, without the spaces around cells.

    Rows that have only empty cells are left out.

    Raises:
        OSError, ValueError: as ``read_lines``, or a row is no CSV, for instance where a quote is never closed.
    """
    rows = csv.reader((line for _, line in read_lines(path, names=True)), strict=True)
    try:
        for row in rows:
            cells = [cell.strip() for cell in row]
            if any(cells):
                yield rows.line_num, cells
    except csv.Error as error:
        raise ValueError(f"line {rows.line_num}: {error}") from error


def spellings(name: str) -> Iterator[str]:
    """What a name in a text file may mean, likeliest first: itself, its plain form, that with ``/`` for ``\\``.

    >>> list(spellings(' ".\\\\a.jpg" '))
    [' ".\\\\a.jpg" ', '.\\\\a.jpg', 'a.jpg']
    """
    yield name
    yield (plain := plain_name(name))
    if "\\" in plain:
        yield plain_name(plain.replace("\\", "/"))


def plain_name(name: str) -> str:
    """A path without the spaces and quotes around it, without ``./`` and doubled separators.

    >>> plain_name('"./a//b.jpg" ')
    'a/b.jpg'
    """
    name = name.strip()
    if len(name) > 1 and name[0] == name[-1] == '"':
        name = name[1:-1].strip()
    return str(PurePosixPath(name)) if name else ""

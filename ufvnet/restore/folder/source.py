"""A source of pictures: a file, or a table with a picture per row."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ufvnet.data.sources.files import TABLES
from ufvnet.files import escape_name
from ufvnet.remote import AnyPath, RemotePath, is_url

PIPE = Path("-")
"""Standard input or standard output in the place of a path."""

MAX_BYTES = 2**29
"""Larger files are not read."""

ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")


def is_archive_name(name: str) -> bool:
    return name.lower().endswith(ARCHIVES)


def is_table_name(name: str) -> bool:
    return name.lower().endswith(TABLES)


def holds_pictures(path: AnyPath) -> bool:
    """True for the name of a table or an archive: its pictures need a folder."""
    return is_table_name(path.name) or is_archive_name(path.name)


def path_of(root: str, name: str) -> AnyPath:
    """The path of a name below a folder, or below the URL of one."""
    return RemotePath(root) / name if is_url(root) else Path(root, name)


@dataclass(frozen=True, slots=True)
class PictureSource:
    """A file that is to be restored, or a table of pictures. A run may have millions, so it holds little.

    root: the folder that its name is relative to, or its URL.
    name: path below root, as the file system spells it.
    base: path of its output below the output folder, without the ending.
    rows: number of pictures in a table; None for a file.
    label: its name in the manifest, if that differs from ``name``.
    verdict: status and reason of what is not read: a table that has no rows to restore, a member of an archive.
    container: path of the archive, or path or URL of the animation, that it is a member or frame of.
    """

    root: str
    name: str
    base: str
    rows: int | None = None
    label: str | None = None
    verdict: tuple[str, str] | None = None
    container: str | None = None

    @property
    def path(self) -> AnyPath:
        return path_of(self.root, self.name)

    @property
    def member(self) -> str:
        """Its name in its container."""
        assert self.container is not None
        return str(self.path).removeprefix(self.container).replace(os.sep, "/").lstrip("/")

    @property
    def ending(self) -> str:
        return os.path.splitext(self.name)[1]

    def count(self) -> int:
        """Number of its rows in the manifest."""
        return 1 if self.rows is None else self.rows

    def names(self) -> Iterator[str]:
        """Names of its pictures in the manifest, which can be printed."""
        name = escape_name(self.label or self.name)
        if self.rows is None:
            yield name
        else:
            yield from (f"{name}#{row:06d}" for row in range(self.rows))

"""The files of a folder, and paths below a source's root that text files name."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from ufvnet.errors import ConfigError
from ufvnet.remote import AnyPath, RemotePath

from .text import PROBLEMS, read_names, spellings

TABLES = (".parquet", ".arrow")
"""Endings of image tables."""


def files_below(folder: Path, recursive: bool = True, above: tuple[tuple[int, int], ...] = ()) -> Iterator[Path]:
    """Everything in a folder except folders and hidden files, by name: as whole paths would be sorted.

    Links to folders are followed. What cannot be read is listed too: pipes, links to nowhere, a link to a folder that
    the link lies in, a folder that may not be listed. Whoever reads them reports what is wrong.

    Args:
        folder: where to look.
        recursive: also look in the folders below.
        above: (device, inode) of the folders that this one lies in.
    """
    try:
        status = folder.stat()
        with os.scandir(folder) as entries:
            names = sorted(e.name + "/" * _is_folder(e) for e in entries if not e.name.startswith("."))
    except OSError:
        yield folder
        return
    within = (*above, (status.st_dev, status.st_ino))
    for name in names:
        path = folder / name
        if not name.endswith("/"):
            yield path
        elif recursive:
            target = path.stat()
            if path.is_symlink() and (target.st_dev, target.st_ino) in within:
                yield path
            else:
                yield from files_below(path, True, within)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # e.g. a name of bytes that this file system refuses
        return False


def paths_in(folder: AnyPath, root: AnyPath) -> Iterator[str]:
    """The files of a folder as paths below the source's root, in their order.

    Raises:
        ConfigError: there is no such folder.
    """
    if not folder.is_dir():
        raise ConfigError(f"source.root = {root}: must hold the folder {folder.name}")
    files = folder.files() if isinstance(folder, RemotePath) else files_below(folder)
    return (name_below(root, path) for path in files)


def name_below(root: AnyPath, path: AnyPath) -> str:
    """A file's path below the source's root, ``/`` between folders."""
    if isinstance(path, RemotePath):
        assert isinstance(root, RemotePath)
        return path.name_below(root)
    assert isinstance(root, Path)
    return path.relative_to(root).as_posix()


def required_file(root: AnyPath, name: str, folder: str) -> AnyPath:
    """A file of the source, which lies in its root or in a folder of it.

    Raises:
        ConfigError: it lies in neither.
    """
    for path in (root / name, root / f"{folder}/{name}"):
        if path.is_file():
            return path
    raise ConfigError(f"source.root = {root}: must hold {name} (or {folder}/{name})")


def numbered_lines(path: AnyPath) -> Iterator[tuple[str, str]]:
    """(place, line) of each line of a text file that is not blank; the place is for messages.

    Raises:
        ConfigError: the file cannot be read, or is no text.
    """
    try:
        for number, line in read_names(path):
            yield f"{path}, line {number}", line
    except PROBLEMS as error:
        raise ConfigError(f"{path}: cannot be read ({error})") from error


def path_below(root: AnyPath, name: str, place: str) -> str:
    """A name from a text file as a path below the source's root, ``/`` between folders.

    A backslash is part of the name where such a file exists. Elsewhere it is a separator, as on Windows.

    Args:
        root: the source's root.
        name: the name as it was read.
        place: where it was read, for the message.

    Raises:
        ConfigError: the name is empty, or leads out of the root.
    """
    _, path, *slashed = spellings(name)
    if slashed and not _is_there(root / path):
        path = slashed[0]
    parts = PurePosixPath(path).parts
    if not parts or path.startswith("/") or ".." in parts or not _is_possible(path):
        raise ConfigError(f"{place}: {path[:80]!r} is no path below source.root")
    return path


def _is_there(path: AnyPath) -> bool:
    return os.path.lexists(path) if isinstance(path, Path) else path.exists()


def _is_possible(name: str) -> bool:
    """False for names that no file can have: pickles may hold NUL and halves of characters."""
    try:
        return b"\0" not in os.fsencode(name)
    except UnicodeEncodeError:
        return False

"""The files of a folder, and paths below a source's root that text files name."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from ufvnet.errors import ConfigError
from ufvnet.remote import AnyPath, RemotePath

from .text import PROBLEMS, read_names, spellings

TABLES = (".parquet", ".arrow")
"""Endings of image tables."""

AHEAD = 16
"""Folders that are read ahead."""


@dataclass(frozen=True)
class _Contents:
    """What is in a folder.

    identity: its device and inode; None if it cannot be read.
    names: by name, as whole paths would be sorted: those of folders end with a slash.
    links: names of folders that are links.
    """

    identity: tuple[int, int] | None
    names: tuple[str, ...] = ()
    links: frozenset[str] = frozenset()


def files_below(folder: Path, recursive: bool = True) -> Iterator[Path]:
    """Everything in a folder except folders and hidden files, by name: as whole paths would be sorted.

    Links to folders are followed. What cannot be read is listed too: pipes, links to nowhere, a link to a folder that
    the link lies in, a folder that may not be listed. Whoever reads them reports what is wrong.

    Args:
        folder: where to look.
        recursive: also look in the folders below. Several of them are read ahead at once: on a network file system
            that is mostly waiting.
    """
    with ThreadPoolExecutor(AHEAD) as readers:
        yield from _files_of(folder, _read(folder), recursive, (), readers)


def _files_of(
    folder: Path, contents: _Contents, recursive: bool, above: tuple[tuple[int, int], ...], readers: ThreadPoolExecutor
) -> Iterator[Path]:
    """The files of a folder that was read; above: the identities of those that it lies in."""
    if contents.identity is None:
        yield folder
        return
    within = (*above, contents.identity)
    below = _read_ahead([folder / name for name in contents.names if name.endswith("/") and recursive], readers)
    for name in contents.names:
        path = folder / name
        if not name.endswith("/"):
            yield path
        elif recursive:
            inner = next(below)
            if name in contents.links and inner.identity in within:
                yield path
            else:
                yield from _files_of(path, inner, True, within, readers)


def _read_ahead(folders: list[Path], readers: ThreadPoolExecutor) -> Iterator[_Contents]:
    """The contents of each folder, in order; up to AHEAD more are being read meanwhile."""
    waiting = deque[Future[_Contents]]()
    for folder in folders:
        waiting.append(readers.submit(_read, folder))
        if len(waiting) > AHEAD:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def _read(folder: Path) -> _Contents:
    try:
        status = folder.stat()
        with os.scandir(folder) as entries:
            found = [(entry, _is_folder(entry)) for entry in entries if not entry.name.startswith(".")]
            links = frozenset(f"{entry.name}/" for entry, is_folder in found if is_folder and entry.is_symlink())
            names = tuple(sorted(entry.name + "/" * is_folder for entry, is_folder in found))
    except OSError:
        return _Contents(None)
    return _Contents((status.st_dev, status.st_ino), names, links)


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

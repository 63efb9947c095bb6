"""Zip and tar archives as folders of pictures: members are listed and read one by one, and none is unpacked."""

from __future__ import annotations

import bz2
import contextlib
import functools
import gzip
import lzma
import stat
import tarfile
import tempfile
import threading
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from ufvnet.errors import in_one_line
from ufvnet.remote import AnyPath

from .animations import open_frames
from .source import MAX_BYTES, is_archive_name

OPENED = 8
"""Archives and animations that are open at once: a folder may hold many thousand, and sources follow their order."""

ZIP = b"PK"
PACKED: dict[bytes, Any] = {b"\x1f\x8b": gzip.GzipFile, b"BZh": bz2.BZ2File, b"\xfd7zXZ": lzma.LZMAFile}
"""What packs a tar archive, by its first bytes; names may say something else."""

BOMB_RATIO, BOMB_BYTES = 200, 2**30
"""An archive that unpacks to over so many times its size, and to over so many bytes, is refused: pictures are packed
already."""


@dataclass(frozen=True)
class Member:
    """A file in an archive.

    name: below the archive, ``/`` between folders, without what could lead out of it.
    fault: why it is not read; None if it is.
    """

    name: str
    fault: str | None = None


def list_members(path: Path, recursive: bool = True) -> list[Member]:
    """The files in an archive, without hidden ones; of two with one name the later, which is what unpacking leaves.

    Args:
        path: the archive.
        recursive: also list the files in its folders.

    Raises:
        OSError: it cannot be read, or unpacks to too much.
    """
    members = {}
    total = 0
    try:
        limit = _most_bytes(path)
        for name, size, fault in _entries(path):
            total += size
            if total > limit:
                raise OSError(_too_much(limit))
            parts = [part for part in name.replace("\\", "/").split("/") if part not in ("", ".")]
            if not parts or any(part.startswith(".") and part != ".." for part in parts) or parts[0] == "__MACOSX":
                continue
            if name.startswith("/") or ".." in parts or ":" in parts[0] or "\0" in name:
                fault = f"its name {name[:200]!r} leads out of the archive"
                parts = [part.replace(":", "_").replace("\0", "_") for part in parts if part != ".."] or ["_"]
            if recursive or len(parts) == 1:
                members["/".join(parts)] = Member("/".join(parts), fault)
    except OSError:
        raise
    except Exception as error:  # damaged archives raise nearly anything
        raise OSError(f"an archive that cannot be read ({in_one_line(error)})") from error
    return list(members.values())


def _most_bytes(path: Path) -> int:
    return max(BOMB_BYTES, BOMB_RATIO * path.stat().st_size)


def _too_much(limit: int) -> str:
    return f"unpacks to over {limit:,} bytes, as no archive of pictures does"


def _entries(path: Path) -> Iterator[tuple[str, int, str | None]]:
    """(name, bytes, why it is not read) of each entry that is no folder."""
    if _begins_with(path, ZIP):
        with zipfile.ZipFile(path) as archive:
            for info in archive.infolist():
                if not info.is_dir():
                    yield info.filename, info.file_size, _fault_of(info)
        return
    with tarfile.open(path, "r|*") as tar:
        for entry in tar:
            if not entry.isdir():
                yield entry.name, entry.size, None if entry.isreg() else "a link or device in an archive"


def _fault_of(info: zipfile.ZipInfo) -> str | None:
    if info.flag_bits & 1:
        return "encrypted in the archive"
    if stat.S_ISLNK(info.external_attr >> 16):
        return "a link or device in an archive"
    return None


class Archives:
    """Opened archives and animations, whose members and frames threads may read at once.

    Each is opened when its first member is read, and closed when OPENED others were opened after its last.

    Args:
        folder: where packed tar archives are unpacked to a file without a name, so that members are read in any order.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self._opened: dict[AnyPath, tuple[dict[str, Callable[[], IO[bytes]]], contextlib.ExitStack]] = {}
        self._lock = threading.Lock()  # the members of an archive share its file

    def __enter__(self) -> Archives:
        return self

    def __exit__(self, *_: object) -> None:
        for opened in self._opened.values():
            opened[1].close()

    def read(self, path: AnyPath, name: str) -> bytes:
        """The bytes of a member.

        Raises:
            OSError: it cannot be read, or has over MAX_BYTES.
        """
        try:
            with self._lock, self._members(path)[name]() as file:
                data = file.read(MAX_BYTES + 1)
        except MemoryError:
            raise
        except KeyError:
            raise OSError("the archive does not have it any more") from None
        except Exception as error:  # damaged archives raise nearly anything
            raise OSError(f"damaged in the archive ({in_one_line(error)})") from error
        if len(data) > MAX_BYTES:
            raise OSError(f"unpacks to over {MAX_BYTES:,} bytes")
        return data

    def _members(self, path: AnyPath) -> dict[str, Callable[[], IO[bytes]]]:
        """What opens each member of an archive or animation, which is the last opened one now."""
        opened = self._opened.pop(path, None)
        if opened is None:
            with contextlib.ExitStack() as files:
                members = self._open(path, files)
                opened = members, files.pop_all()
        self._opened[path] = opened
        while len(self._opened) > OPENED:
            self._opened.pop(next(iter(self._opened)))[1].close()
        return opened[0]

    def _open(self, path: AnyPath, files: contextlib.ExitStack) -> dict[str, Callable[[], IO[bytes]]]:
        """What opens each member, by its name as ``list_members`` gives it; ``files`` closes what they share."""
        if not isinstance(path, Path) or not is_archive_name(path.name):
            return open_frames(path)
        if _begins_with(path, ZIP):
            archive = files.enter_context(zipfile.ZipFile(path))
            return {_plain(info.filename): functools.partial(archive.open, info) for info in archive.infolist()}
        packed = next((opener for beginning, opener in PACKED.items() if _begins_with(path, beginning)), None)
        if packed is None:
            tar = files.enter_context(tarfile.open(path, "r:"))  # noqa: SIM115
        else:
            tar = files.enter_context(tarfile.open(fileobj=self._unpacked(path, packed, files), mode="r:"))  # noqa: SIM115
        return {_plain(entry.name): functools.partial(_of_tar, tar, entry) for entry in tar if entry.isreg()}

    def _unpacked(self, path: Path, opener: Callable[[Path], IO[bytes]], files: contextlib.ExitStack) -> IO[bytes]:
        """The tar in a packed one, in a file without a name; its size was checked when it was listed."""
        file: IO[bytes] = files.enter_context(tempfile.TemporaryFile(dir=self.folder))  # noqa: SIM115
        limit = _most_bytes(path)
        with opener(path) as packed:
            while chunk := packed.read(2**20):
                file.write(chunk)
                if file.tell() > 2 * limit:  # headers and padding come on top of what was counted
                    raise OSError(_too_much(limit))
        file.seek(0)
        return file


def _of_tar(tar: tarfile.TarFile, entry: tarfile.TarInfo) -> IO[bytes]:
    file = tar.extractfile(entry)
    assert file is not None  # it is a regular file
    return file


def _plain(name: str) -> str:
    return "/".join(part for part in name.replace("\\", "/").split("/") if part not in ("", "."))


def _begins_with(path: Path, beginning: bytes) -> bool:
    with path.open("rb") as file:
        return file.read(len(beginning)) == beginning


@dataclass(frozen=True)
class ArchivedFile:
    """A member of an archive or a frame of an animation, which is read when it is asked for."""

    archives: Archives
    path: AnyPath
    name: str

    def read(self) -> bytes:
        """As ``Archives.read``."""
        return self.archives.read(self.path, self.name)

"""Outputs that a run may write: under names that are free, and only over files that runs of ours wrote."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import itertools
import os
import re
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from ufvnet.errors import OutputLostError
from ufvnet.files import (
    escape_name,
    printed,
    safe_name,
    sealed_line,
    sha256,
    unescape_name,
    unseal,
    write_atomically,
    write_bytes,
)
from ufvnet.remote import AnyPath, RemotePath

from .desk import lost_output
from .notes import EARLIER, WORK, WRITTEN, notes
from .records import ACCOUNT, file_of

LONGEST = 255
"""Bytes of a file's name on the usual file systems."""
LONGEST_KEY = 1024
"""Bytes of an object's name."""

OutputDigest = tuple[str, str]
"""An output's escaped name and the sha256 of its content."""


def free_name(base: str, suffix: str = "", ending: str = "") -> str:
    """The path of an output without suffix and ending, changed if it is one of our own names or too long.

    So an output folder called manifest.parquet does not stand where the manifest goes.
    """
    first, *rest = base.split("/")
    reserved = first.casefold() in ACCOUNT and rest
    parts = [f"{first}~{_short_hash(first)}" if reserved else first, *rest]
    parts = [safe_name(part) if part.casefold().startswith(WORK) else part for part in parts]
    limit = LONGEST - len(os.fsencode(suffix)) - max(16, len(os.fsencode(ending)))
    last = os.fsencode(parts[-1])
    if len(last) > limit:
        parts[-1] = f"{os.fsdecode(last[: limit - 13])}~{_short_hash(base)}"
    return "/".join(parts)


def _short_hash(name: str) -> str:
    return hashlib.sha256(os.fsencode(name)).hexdigest()[:12]


def output_path(output: AnyPath, name: str) -> AnyPath:
    """The path of an output.

    Raises:
        OSError: it, or a folder on the way to it, is a symbolic link, which may lead elsewhere; or no object can have
            its name.
    """
    if isinstance(output, RemotePath):
        stored = output / name
        if len(os.fsencode(stored.key)) > LONGEST_KEY or re.search(r"[\x00-\x1f\x7f\ud800-\udfff]", name):
            raise OSError(errno.EINVAL, "no object can have its name")
        return stored
    path = output
    for part in Path(name).parts:
        path = path / part
        if path.is_symlink():
            raise OSError(errno.ELOOP, f"{printed(path.relative_to(output))} in the output is a symbolic link; "
                          "nothing is written or kept through it")  # fmt: skip
    return path


def output_sha256(output: AnyPath, name: str) -> str | None:
    """The sha256 of an output; None if there is no such file, or only through a link."""
    try:
        return sha256(output_path(output, name))
    except OSError:
        return None


def write_output(path: AnyPath, data: bytes) -> None:
    """Write an output whole: by renaming a file, or as an object, which stores show when it is complete.

    Raises:
        OSError: the file cannot be written.
        OutputLostError: the store cannot be written to.
    """
    if isinstance(path, Path):
        write_bytes(path, data)
    else:
        with lost_output(path):
            path.write_bytes(data)


def _is_there(path: AnyPath) -> bool:
    """Whether a file, a link or an object has this path.

    Raises:
        IsADirectoryError: it is a folder; in stores, an object may have the name of one.
        OutputLostError: the store does not answer.
    """
    if isinstance(path, RemotePath):
        with lost_output(path):
            return path.is_file()
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    return os.path.lexists(path)


class OutputGuard:
    """Lets a run write its outputs, each only where nothing is or where a run of ours wrote.

    Args:
        output: the output folder.
        desk: where notes of earlier runs lie.
        note: file of this process's own that names each output before it is written.
        beside_others: the folder may hold files of others, so that a file with other content than we wrote there is not
            ours, whatever its name.
    """

    def __init__(self, output: AnyPath, desk: Path, note: Path, beside_others: bool):
        self.output, self.desk, self.beside_others = output, desk, beside_others
        self.lock = threading.Lock()
        self.file = note.open("ab")
        self._digests: dict[str, bytes] | None = None

    def close(self) -> None:
        self.file.close()

    def admit(self, name: str, data: bytes) -> tuple[AnyPath, str]:
        """Note that an output is about to be written; returns its path and the sha256 of ``data``.

        Raises:
            OutputLostError: the output folder is gone, or the store does not answer.
            OSError: a link, or a file that ufvnet did not write, is in the way.
        """
        check_in_place(self.file)
        path, digest = output_path(self.output, name), sha256(data)
        assert digest is not None
        if _is_there(path) and sha256(path) != digest and not self._is_ours(path, name):
            raise FileExistsError(errno.EEXIST, "a file stands there that ufvnet did not write, or that was changed "
                                  "since; it is not replaced")  # fmt: skip
        with self.lock:
            self.file.write(_line((escape_name(name), digest)))
            self.file.flush()
        return path, digest

    def _is_ours(self, path: AnyPath, name: str) -> bool:
        with self.lock:
            if self._digests is None:
                self._digests = _by_name(noted_outputs(self.desk))
        digests = self._digests.get(escape_name(name), b"")
        if not path.is_file() or not digests:
            return False
        content = bytes.fromhex(sha256(path) or "")
        return not self.beside_others or content in (digests[i : i + 32] for i in range(0, len(digests), 32))


def check_in_place(file: BinaryIO) -> None:
    """See that an open file still has its name.

    Raises:
        OutputLostError: it was removed or moved away, itself or with its folder.
    """
    status = os.fstat(file.fileno())
    try:
        # some file systems have another inode number at each look
        if os.path.samestat(os.stat(file.name), status) or status.st_nlink:
            return
    except (FileNotFoundError, NotADirectoryError):
        pass
    raise OutputLostError(
        f"{printed(file.name)} was removed or moved away while restoring; what is finished stays where it is, and the "
        "same command with --resume does the rest"
    )


# Notes of outputs


def noted_outputs(desk: Path) -> Iterator[OutputDigest]:
    """What runs of ours wrote or were about to write, as their notes say."""
    for path in notes(desk / WORK, WRITTEN):
        yield from _read(path)


def keep_notes(desk: Path, listed: Iterable[OutputDigest]) -> None:
    """Join the notes of earlier runs and the outputs that their accounts list into one note, before they go."""
    earlier = desk / WORK / EARLIER
    digests = _by_name(itertools.chain(noted_outputs(desk), listed))
    write_atomically(earlier, lambda temporary: _write(temporary, digests))
    for path in notes(desk / WORK, WRITTEN):
        if path != earlier:
            path.unlink()


class EarlierOutputs:
    """Outputs of earlier runs that the account of a finished run does not list; they stay ours."""

    def __init__(self, output: AnyPath, desk: Path):
        self.output, self.desk = output, desk
        self.digests = _by_name(_read(desk / WORK / EARLIER))

    def drop(self, names: Iterable[str]) -> None:
        """The new account lists these."""
        for name in names if self.digests else ():
            self.digests.pop(file_of(name), None)

    def save(self) -> int:
        """Note those that still exist, and remove the notes of this run; returns how many exist."""
        left = {n: raw for n, raw in self.digests.items() if self._exists(unescape_name(n))}
        earlier = self.desk / WORK / EARLIER
        if left:
            write_atomically(earlier, lambda temporary: _write(temporary, left))
        for path in notes(self.desk / WORK, WRITTEN):
            if path != earlier or not left:
                path.unlink()
        return len(left)

    def _exists(self, name: str) -> bool:
        path = self.output / name
        return os.path.lexists(path) if isinstance(path, Path) else path.exists()


def _read(path: Path) -> Iterator[OutputDigest]:
    with contextlib.suppress(FileNotFoundError), path.open("rb") as lines:
        for line in lines:
            record = unseal(line)
            if record is not None:
                yield str(record["output"]), str(record["sha256"])


def _write(path: Path, digests: dict[str, bytes]) -> None:
    with path.open("wb") as file:
        for name, raw in digests.items():
            file.writelines(_line((name, raw[i : i + 32].hex())) for i in range(0, len(raw), 32))


def _line(output: OutputDigest) -> bytes:
    return sealed_line({"output": output[0], "sha256": output[1]})


def _by_name(outputs: Iterable[OutputDigest]) -> dict[str, bytes]:
    """Digests by name, 32 bytes each, joined: there may be a great many."""
    digests: dict[str, bytes] = {}
    for name, digest in outputs:
        raw = bytes.fromhex(digest)
        if raw not in digests.get(name, b""):
            digests[name] = digests.get(name, b"") + raw
    return digests

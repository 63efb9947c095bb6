"""What a run may write in its output folder: names that are free for outputs, and only over files of its own."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import itertools
import json
import os
import re
import stat
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from ufvnet.config import ConfigError, RestoreConfig
from ufvnet.errors import OutputLostError
from ufvnet.files import (
    MARKER,
    check_ours,
    check_writable,
    claim,
    escape_name,
    printed,
    safe_name,
    seal,
    sha256,
    unescape_name,
    unseal,
    write_atomically,
)

from .inputs import OURS
from .notes import WORK, notes

KIND = "restored"
"""What the marker of a run's output folder says."""
LOCK = ".ufvnet.lock"
WRITTEN = ".written"
EARLIER = f"earlier{WRITTEN}"
"""Outputs of earlier runs that the account does not list."""
LONGEST = 255
"""Bytes of a file's name on the usual file systems."""
TEMPORARY = re.compile(r"\.ufvnet-[0-9a-f]{12}\.tmp")

Claim = tuple[str, str]
"""An output's printable name and the sha256 of what was written there."""


def check_folder(config: RestoreConfig) -> None:
    """Refuse an output folder that is not empty and not of a run of ours; ``into_input`` allows it.

    Raises:
        ConfigError: it is such a folder, or cannot be written to.
    """
    check_writable("output", config.output)
    if config.into_input:
        return
    try:
        check_ours("output", config.output, KIND, cards=_has_card)
    except ConfigError as error:
        raise ConfigError(f"{error}; --into-input writes beside them and replaces none of them") from None


def not_ours(output: Path) -> list[Path]:
    """What is called as a run's lock, marker or notes, but is a link, which may lead elsewhere, or no such thing."""
    work, lock = output / WORK, output / LOCK
    files = (lock, output / MARKER, *(notes(work) if work.is_dir() else ()))
    found = [path for path in files if os.path.lexists(path) and not stat.S_ISREG(path.lstat().st_mode)]
    if os.path.lexists(work) and not stat.S_ISDIR(work.lstat().st_mode):
        found.insert(0, work)
    if lock not in found and lock.is_file() and lock.stat().st_size:  # ours is empty
        found.append(lock)
    return found


def mark(config: RestoreConfig) -> None:
    """Put our marker into the output folder until the account stands there; not beside files of others."""
    if not config.into_input:
        claim(config.output, KIND)


def unmark(output: Path) -> None:
    """The account shows from now on whose folder it is."""
    (output / MARKER).unlink(missing_ok=True)


def _has_card(folder: Path) -> bool:
    """The account of a run (``check_account`` has refused those of others), or the notes of one that was killed."""
    return any((folder / name).is_file() for name in OURS) or (folder / WORK / "manifest.jsonl").is_file()


def remove_temporaries(output: Path) -> None:
    """Remove what a killed run left half written; folders that links lead to are not ours to clean."""
    for folder, _, names in os.walk(output):
        for name in filter(TEMPORARY.fullmatch, names):
            path = Path(folder, name)
            with contextlib.suppress(OSError):
                if stat.S_ISREG(path.lstat().st_mode):
                    path.unlink()


def free_name(base: str, suffix: str = "", ending: str = "") -> str:
    """The path of an output without suffix and ending, changed where it would be one of ours or too long.

    So an input folder called manifest.parquet does not stand where the account goes.
    """
    first, *rest = base.split("/")
    reserved = first.casefold() in OURS and rest
    parts = [f"{first}~{_short(first)}" if reserved else first, *rest]
    parts = [safe_name(part) if part.casefold().startswith(WORK) else part for part in parts]
    room = LONGEST - len(os.fsencode(suffix)) - max(16, len(os.fsencode(ending)))
    last = os.fsencode(parts[-1])
    if len(last) > room:
        parts[-1] = f"{os.fsdecode(last[: room - 13])}~{_short(base)}"
    return "/".join(parts)


def _short(name: str) -> str:
    return hashlib.sha256(os.fsencode(name)).hexdigest()[:12]


def place(output: Path, name: str) -> Path:
    """The path of an output.

    Raises:
        OSError: it or a folder on the way to it is a symbolic link, which may lead elsewhere.
    """
    path = output
    for part in Path(name).parts:
        path = path / part
        if path.is_symlink():
            raise OSError(errno.ELOOP, f"{printed(path.relative_to(output))} in the output is a symbolic link; "
                          "nothing is written or kept through it")  # fmt: skip
    return path


def digest(output: Path, name: str) -> str | None:
    """The sha256 of an output; None where there is no such file, or only through a link."""
    try:
        return sha256(place(output, name))
    except OSError:
        return None


class Outputs:
    """Lets outputs be written, and only where nothing is or what a run of ours wrote.

    Args:
        output: the output folder.
        notes: the process's file that says beforehand what is going to be written.
        beside_others: the folder may hold files of others, so that a file whose content is not what we wrote is not
            ours, whatever its name.
    """

    def __init__(self, output: Path, notes: Path, beside_others: bool):
        self.output, self.beside_others = output, beside_others
        self.lock = threading.Lock()
        self.file = notes.open("ab")
        self._written: dict[str, bytes] | None = None

    def close(self) -> None:
        self.file.close()

    def check(self) -> None:
        """
        Raises:
            OutputLostError: the notes are not where they were.
        """
        check_there(self.file)

    def admit(self, name: str, data: bytes) -> tuple[Path, str]:
        """Note that an output is going to be written; gives its path and the sha256 of what it is to hold.

        Raises:
            OSError: a file that ufvnet did not write, or a link, is in the way.
        """
        path, content = place(self.output, name), sha256(data)
        assert content is not None
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        if os.path.lexists(path) and sha256(path) != content and not self._ours(path, name):
            raise FileExistsError(errno.EEXIST, "a file stands there that ufvnet did not write, or that was changed "
                                  "since; it is not replaced")  # fmt: skip
        with self.lock:
            self.file.write(_line((escape_name(name), content)))
            self.file.flush()
        return path, content

    def _ours(self, path: Path, name: str) -> bool:
        with self.lock:
            if self._written is None:
                self._written = _by_name(claims(self.output))
        found = self._written.get(escape_name(name), b"")
        if not path.is_file() or not found:
            return False
        there = bytes.fromhex(sha256(path) or "")
        return not self.beside_others or there in (found[i : i + 32] for i in range(0, len(found), 32))


def check_there(file: BinaryIO) -> None:
    """See that an open file still has its name.

    Raises:
        OutputLostError: it was removed or moved away, itself or with its folder.
    """
    here = os.fstat(file.fileno())
    try:
        if os.path.samestat(os.stat(file.name), here) or here.st_nlink:  # some file systems have a number for each look
            return
    except (FileNotFoundError, NotADirectoryError):
        pass
    raise OutputLostError(
        f"{printed(file.name)} was removed or moved away while restoring; what is finished stays where it is, and the "
        "same command with --resume does the rest"
    )


def claims(output: Path) -> Iterator[Claim]:
    """What runs of ours wrote, or were going to, as their notes say."""
    for path in notes(output / WORK, WRITTEN):
        yield from _read(path)


def _read(path: Path) -> Iterator[Claim]:
    with contextlib.suppress(FileNotFoundError), path.open("rb") as lines:
        for line in lines:
            found = unseal(line)
            if found is not None:
                yield str(found["output"]), str(found["sha256"])


def _line(claim: Claim) -> bytes:
    return json.dumps(seal({"output": claim[0], "sha256": claim[1]})).encode() + b"\n"


def _by_name(found: Iterable[Claim]) -> dict[str, bytes]:
    """Digests by name, one after the other: there may be a great many."""
    written: dict[str, bytes] = {}
    for name, content in found:
        raw = bytes.fromhex(content)
        if raw not in written.get(name, b""):
            written[name] = written.get(name, b"") + raw
    return written


def keep_claims(output: Path, rows: Iterable[Claim]) -> None:
    """Note what earlier runs wrote, as their rows and their own notes say, before their account goes."""
    earlier = output / WORK / EARLIER
    write_atomically(earlier, lambda temporary: _dump(temporary, _by_name(itertools.chain(claims(output), rows))))
    for path in notes(output / WORK, WRITTEN):
        if path != earlier:
            path.unlink()


def _dump(path: Path, written: dict[str, bytes]) -> None:
    with path.open("wb") as file:
        for name, raw in written.items():
            file.writelines(_line((name, raw[i : i + 32].hex())) for i in range(0, len(raw), 32))


class Earlier:
    """Outputs of earlier runs that a finished run does not list; they stay ours."""

    def __init__(self, output: Path):
        self.output = output
        self.written = _by_name(_read(output / WORK / EARLIER))

    def drop(self, names: Iterable[str]) -> None:
        """These are in the new account."""
        for name in names if self.written else ():
            self.written.pop(file_of(name), None)

    def save(self) -> None:
        """Keep what still lies there, and remove the notes of this run."""
        left = {n: raw for n, raw in self.written.items() if os.path.lexists(self.output / unescape_name(n))}
        earlier = self.output / WORK / EARLIER
        if left:
            write_atomically(earlier, lambda temporary: _dump(temporary, left))
        for path in notes(self.output / WORK, WRITTEN):
            if path != earlier or not left:
                path.unlink()


def file_of(output: str) -> str:
    """The file of a manifest's ``output``, which for a row of a part is ``part#row``."""
    part = re.fullmatch(r"(.*\.parquet)#\d+", output, re.DOTALL)
    return part[1] if part else output

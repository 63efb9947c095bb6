"""The output folder of a run: whose it is, and that only one run writes into it."""

from __future__ import annotations

import contextlib
import json
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path

import filelock
import pyarrow as pa
import pyarrow.parquet as pq

from ufvnet.config import ConfigError, RestoreConfig
from ufvnet.files import MARKER, check_ours, check_writable, claim, marked_kind, printed
from ufvnet.remote import AnyPath, RemotePath

from .columns import ROWS
from .desk import desk_of, fetch
from .notes import JOURNAL, WORK, notes
from .records import ACCOUNT, MANIFEST, SUMMARY

KIND = "restored"
"""What the marker says of the folder."""
LOCK = ".ufvnet.lock"
TEMPORARY = re.compile(r"\.ufvnet-[0-9a-f]{12}\.tmp")


def check_foreign_names(output: AnyPath) -> None:
    """Refuse an output folder in which somebody else's file has one of our names.

    A damaged file of ours is still ours; what it recorded is done again.

    Raises:
        ConfigError: there is such a file.
    """
    manifest, summary = output / MANIFEST, output / SUMMARY
    foreign: list[AnyPath] = [*_foreign_notes(output)] if isinstance(output, Path) else []
    foreign += [path for path in (manifest, summary) if path.exists() and not path.is_file()]
    with contextlib.suppress(OSError, ValueError, pa.ArrowException):  # broken
        if manifest.is_file():
            with manifest.open("rb") as file:
                names = set(pq.read_schema(file).names)
            if len(names & set(ROWS.names)) < len(ROWS) / 2:
                foreign.append(manifest)
    if summary.is_file() and not _is_summary(summary, manifest.is_file() and manifest not in foreign):
        foreign.append(summary)
    if foreign:
        name = foreign[0].name
        raise ConfigError(f"output = {printed(output)}: has a {name} that no run wrote, and this one would; move it")


def _foreign_notes(output: Path) -> list[Path]:
    """Files that are named like a run's lock, marker or notes, but are links, which may lead elsewhere, or something
    else."""
    work, lock = output / WORK, output / LOCK
    files = (lock, output / MARKER, *(notes(work) if work.is_dir() else ()))
    foreign = [path for path in files if os.path.lexists(path) and not stat.S_ISREG(path.lstat().st_mode)]
    if os.path.lexists(work) and not stat.S_ISDIR(work.lstat().st_mode):
        foreign.insert(0, work)
    if lock not in foreign and lock.is_file() and lock.stat().st_size:  # ours is empty
        foreign.append(lock)
    return foreign


def _is_summary(path: AnyPath, beside_manifest: bool) -> bool:
    """True for a summary, even with a flipped bit; a file that is no JSON passes only beside a manifest of ours."""
    try:
        card = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return beside_manifest
    return isinstance(card, dict) and len({"files", "counts", "faces", "failures", "config"} & set(card)) >= 2


def check_folder(config: RestoreConfig) -> None:
    """Refuse an output folder that is neither empty nor of a run of ours; ``into_input`` allows it.

    Raises:
        ConfigError: it is such a folder, or cannot be written to.
    """
    if isinstance(config.output, RemotePath):
        _check_stored_folder(config, config.output)
        return
    check_writable("output", config.output)
    if config.into_input:
        return
    try:
        check_ours("output", config.output, KIND, cards=_has_account)
    except ConfigError as error:
        raise ConfigError(f"{error}; --into-input writes beside them and replaces none of them") from None


def _check_stored_folder(config: RestoreConfig, output: RemotePath) -> None:
    """As ``check_folder``, for a folder in a store. Whether it can be written to shows when the run begins.

    Raises:
        ConfigError: as ``check_folder``.
    """
    if config.into_input:
        raise ConfigError(f"into_input = True: output = {printed(output)} lies in a store, and must hold files of runs "
                          "alone")  # fmt: skip
    try:
        ours = marked_kind(output) == KIND or any((output / name).is_file() for name in ACCOUNT)
        foreign = not ours and (output.is_file() or output.is_dir())
    except OSError as error:
        raise ConfigError(f"output = {printed(output)}: cannot be read ({printed(error)})") from error
    if foreign:
        raise ConfigError(f"output = {printed(output)}: is not empty, and ufvnet did not make it; name a new folder")


def _has_account(folder: Path) -> bool:
    """True if a run's manifest or summary is there (``check_foreign_names`` has refused those of others), or the
    journal of a run that was killed."""
    return any((folder / name).is_file() for name in ACCOUNT) or (folder / WORK / JOURNAL).is_file()


@contextlib.contextmanager
def hold(output: AnyPath, desk: Path) -> Iterator[None]:
    """Hold the lock of a run's desk.

    Raises:
        ConfigError: another run holds it, or the folder cannot be written to.
    """
    lock = filelock.FileLock(desk / LOCK, timeout=0)
    try:
        desk.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except filelock.Timeout:
        raise ConfigError(f"output = {printed(output)}: another run is writing there") from None
    except OSError as error:
        raise ConfigError(f"output = {printed(output)}: {error.strerror}") from error
    try:
        yield
        (desk / LOCK).unlink(missing_ok=True)
    finally:
        lock.release()


def mark(config: RestoreConfig) -> None:
    """Put our marker into the output folder until the account is there; not beside files of others."""
    if isinstance(config.output, RemotePath):
        fetch(config.output, desk_of(config.output), KIND)
    elif not config.into_input:
        claim(config.output, KIND)


def unmark(desk: Path) -> None:
    """Remove the marker: from now on the account shows whose folder it is."""
    (desk / MARKER).unlink(missing_ok=True)


def remove_temporaries(desk: Path) -> None:
    """Remove what a killed run left half written; folders that links lead to are not ours to clean."""
    for folder, _, names in os.walk(desk):
        for name in filter(TEMPORARY.fullmatch, names):
            path = Path(folder, name)
            with contextlib.suppress(OSError):
                if stat.S_ISREG(path.lstat().st_mode):
                    path.unlink()

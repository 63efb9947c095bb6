"""The desk of a run: the folder in which its journal, notes and account lie while it works.

An output folder is its own desk. An output in a store, whose objects can be neither extended nor locked, has a desk
on this machine, by its URL. The store keeps a copy of it, a minute old at most, from which a run on another machine
goes on: a marker with the number of the run that writes there, and segments of the journal.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

from ufvnet.config import ConfigError
from ufvnet.errors import OutputLostError
from ufvnet.files import MARKER, cache_folder, printed, write_bytes, write_json
from ufvnet.remote import AnyPath, RemotePath

from .notes import EARLIER, JOURNAL, OURS, WORK, notes
from .records import ACCOUNT

INTERVAL = 60.0
"""Seconds between segments of a journal."""
SEGMENT = re.compile(r"(manifest(?:-\d{6})?\.jsonl)\.\d{6}")


def desk_of(output: AnyPath) -> Path:
    """The folder of a run's notes; for an output in a store, one below the cache folder of this machine."""
    if isinstance(output, Path):
        return output
    return cache_folder() / "restore" / hashlib.sha256(output.url.encode("utf-8", "surrogatepass")).hexdigest()[:16]


@contextlib.contextmanager
def _store_errors(output: RemotePath) -> Iterator[None]:
    """
    Raises:
        ConfigError: instead of OSError, before there was any work.
    """
    try:
        yield
    except OSError as error:
        raise ConfigError(f"output = {printed(output)}: cannot be used ({printed(error)})") from error


# When a run begins


def fetch(output: RemotePath, desk: Path, kind: str) -> None:
    """Make the desk hold what the store has of earlier runs, unless the run that wrote there last worked at this desk;
    then the desk knows more. Mark both as this run's.

    Args:
        output: of the run.
        desk: its desk.
        kind: what the marker says of it.

    Raises:
        ConfigError: the store does not answer, or refuses.
    """
    with _store_errors(output):
        marker = _bytes_of(output / MARKER)
        if marker is not None and marker == _bytes_of(desk / MARKER):
            return
        clear(desk)
        for name in ACCOUNT:
            content = _bytes_of(output / name)
            if content is not None:
                write_bytes(desk / name, content)
        for path in (output / WORK).files():
            segment = SEGMENT.fullmatch(path.name)
            if segment or OURS.fullmatch(path.name):
                (desk / WORK).mkdir(parents=True, exist_ok=True)
                with (desk / WORK / (segment[1] if segment else path.name)).open("ab") as file:
                    file.write(path.read_bytes())
        write_json(desk / MARKER, {"made_by": "ufvnet", "kind": kind, "run": uuid.uuid4().hex})
        (output / MARKER).upload(desk / MARKER)


def send_notes(output: AnyPath, desk: Path) -> None:
    """Replace the store's copy of earlier runs' accounts by the notes that this run begins with.

    Raises:
        ConfigError: the store does not answer, or refuses.
    """
    if isinstance(output, Path):
        return
    with _store_errors(output):
        first = {f"{JOURNAL}.{0:06d}": desk / WORK / JOURNAL, EARLIER: desk / WORK / EARLIER}
        present = {name: path for name, path in first.items() if path.is_file()}
        for name, path in present.items():
            (output / WORK / name).upload(path)
        _forget_others(output, set(present))
        for name in ACCOUNT:
            (output / name).unlink(missing_ok=True)


# While it works


class JournalCopy:
    """The store's copy of a journal that grows, in segments.

    Args:
        output: of the run.
        desk: its desk.
        journal: whose first bytes ``send_notes`` sent, if it is the journal of the whole run.
    """

    def __init__(self, output: RemotePath, desk: Path, journal: Path):
        self.output, self.desk, self.journal = output, desk, journal
        self.sent = journal.stat().st_size if journal.name == JOURNAL and journal.is_file() else 0
        self.segments, self.due, self.lock = 0, time.monotonic() + INTERVAL, threading.Lock()

    def send(self, now: bool = False) -> None:
        """Send the rows that are new, if it is time.

        Raises:
            OutputLostError: another run has begun to write there, or the store cannot be written to.
        """
        if (not now and time.monotonic() < self.due) or not self.lock.acquire(blocking=now):
            return
        try:
            self.due = time.monotonic() + INTERVAL
            with self.journal.open("rb") as file:
                file.seek(self.sent)
                rows = file.read()
            rows = rows[: rows.rfind(b"\n") + 1]
            with lost_output(self.output):
                check_run(self.output, self.desk)
                if rows:
                    self.segments += 1
                    (self.output / WORK / f"{self.journal.name}.{self.segments:06d}").write_bytes(rows)
            self.sent += len(rows)
        finally:
            self.lock.release()


@contextlib.contextmanager
def lost_output(path: AnyPath) -> Iterator[None]:
    """
    Raises:
        OutputLostError: instead of OSError: a store that cannot be written to now is no fault of a picture.
    """
    try:
        yield
    except OSError as error:
        raise OutputLostError(
            f"{printed(path)}: cannot be written ({printed(error)}); what is finished stays, and the same command with "
            "--resume does the rest"
        ) from error


def check_run(output: RemotePath, desk: Path) -> None:
    """See that no other run has begun to write there: stores have no locks, and the run that began last goes on.

    Raises:
        OutputLostError: one has.
        OSError: the store does not answer.
    """
    if _bytes_of(output / MARKER) != _bytes_of(desk / MARKER):
        raise OutputLostError(
            f"{printed(output)}: another run has begun to write there, or it was emptied; this run ends"
        )


# When it ends


def send_account(output: AnyPath, desk: Path) -> None:
    """Send the manifest, and then the summary, which proves it.

    Raises:
        OutputLostError: another run has begun to write there, or the store cannot be written to.
    """
    if isinstance(output, RemotePath):
        with lost_output(output):
            check_run(output, desk)
            for name in ACCOUNT:
                (output / name).upload(desk / name)


def leave(output: AnyPath, desk: Path) -> None:
    """Leave in the store only what a finished run leaves in a folder, and nothing at the desk.

    Raises:
        OutputLostError: the store cannot be written to.
    """
    if isinstance(output, RemotePath):
        with lost_output(output):
            earlier = desk / WORK / EARLIER
            if earlier.is_file():
                (output / WORK / EARLIER).upload(earlier)
            _forget_others(output, {EARLIER} if earlier.is_file() else set())
            (output / MARKER).unlink(missing_ok=True)
        clear(desk)


def clear(desk: Path) -> None:
    """Remove the notes and the account at the desk of an output in a store."""
    for path in (*notes(desk / WORK), *(desk / name for name in (*ACCOUNT, MARKER))):
        path.unlink(missing_ok=True)


def _forget_others(output: RemotePath, kept: set[str]) -> None:
    for path in (output / WORK).files():
        if path.name not in kept and (SEGMENT.fullmatch(path.name) or OURS.fullmatch(path.name)):
            path.unlink(missing_ok=True)


def _bytes_of(path: AnyPath) -> bytes | None:
    """The bytes of a small file or object; None if there is none."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None

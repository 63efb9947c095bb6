"""The journal: rows of a run as its pictures are finished, which a resumed run goes on from."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from ufvnet.errors import OutputLostError
from ufvnet.files import printed, sealed_line, unseal
from ufvnet.remote import AnyPath, RemotePath

from .desk import JournalCopy, desk_of
from .notes import JOURNAL, JOURNALS, WORK, WRITTEN, notes
from .outputs import OutputGuard, check_in_place
from .records import ManifestRow

log = logging.getLogger(__name__)


class Journal:
    """Appends rows to a file, and finds rows of earlier runs, of which it holds only their places in the file.

    Args:
        output: the output folder.
        name: file name of the journal; each of several processes that share a run has its own.
        beside_others: as in ``OutputGuard``.
        desk: where its file lies, if the process that began the run is not this one.
    """

    def __init__(
        self, output: AnyPath, name: str = JOURNAL, beside_others: bool = False, desk: Path | None = None
    ):  # fmt: skip
        desk = desk_of(output) if desk is None else desk
        self.output, self.path = output, desk / WORK / name
        self.lock = threading.Lock()
        self.counts: Counter[str] = Counter()
        self._places: dict[str, tuple[int, int]] = {}
        files = [desk / WORK / JOURNAL, *([self.path] if name != JOURNAL else [])]
        for number, file in enumerate(files):
            self._places |= {path: (number, place) for path, place in index_rows(file)}
        self.guard = OutputGuard(output, desk, self.path.with_suffix(WRITTEN), beside_others)
        self._readers = [file.open("rb") if file.is_file() else None for file in files]
        self._writer = self.path.open("ab")
        if self._writer.tell() and not self.path.read_bytes().endswith(b"\n"):
            self._writer.write(b"\n")  # ends the line that a kill cut off
        self._copy = JournalCopy(output, desk, self.path) if isinstance(output, RemotePath) else None

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if self._copy is not None and kind is not OutputLostError:
                self._copy.send(now=True)
        finally:
            for file in (*self._readers, self._writer, self.guard):
                if file is not None:
                    file.close()

    def earlier(self, path: str) -> ManifestRow | None:
        """The row of an earlier run; None if there is none or its line is damaged."""
        place = self._places.get(path)
        if place is None:
            return None
        reader = self._readers[place[0]]
        if reader is None:
            return None
        with self.lock:
            reader.seek(place[1])
            return unseal(reader.readline())

    def append(self, *rows: ManifestRow) -> None:
        """Append finished rows, all or none of them as far as a reader can see, and count them.

        Raises:
            OutputLostError: the journal is gone, or the store that is to have a copy of it cannot be written to.
        """
        for row in rows:
            row["reason"] = printed(row["reason"])  # it may quote a name
        text = b"".join(map(sealed_line, rows))
        with self.lock:
            self._writer.write(text)
            self._writer.flush()
        self.count(*rows)
        if self._copy is not None:
            self._copy.send()

    def count(self, *rows: ManifestRow) -> None:
        """Count rows that are in the journal already.

        Raises:
            OutputLostError: the journal is gone.
        """
        check_in_place(self._writer)
        with self.lock:
            self.counts.update(row["status"] for row in rows)


def journals_of(desk: Path) -> list[Path]:
    """All journals at a desk: that of the run before those of its processes, whose rows are later."""
    return sorted(notes(desk / WORK, JOURNALS), key=lambda path: (path.name != JOURNAL, path.name))


def index_rows(journal: Path) -> Iterator[tuple[str, int]]:
    """(path, place of its line in the file) of a journal's rows; damaged and cut-off lines are left out and logged."""
    if not journal.is_file():
        return
    damaged = 0
    with journal.open("rb") as file:
        place = 0
        for line in file:
            row = unseal(line) if line.endswith(b"\n") else None
            if row is not None:
                yield row["path"], place
            damaged += row is None and line != b"\n"
            place += len(line)
    if damaged:
        log.warning("%s: %d lines are damaged or cut off: what they recorded is done again", journal, damaged)

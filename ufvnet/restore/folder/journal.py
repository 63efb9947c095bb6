"""The journal: rows of a run as its pictures are finished, which a resumed run goes on from."""

from __future__ import annotations

import json
import logging
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from ufvnet.files import printed, seal, unseal

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
    """

    def __init__(self, output: Path, name: str = JOURNAL, beside_others: bool = False):
        self.output, self.path = output, output / WORK / name
        self.lock = threading.Lock()
        self.counts: Counter[str] = Counter()
        self._places: dict[str, tuple[int, int]] = {}
        files = [output / WORK / JOURNAL, *([self.path] if name != JOURNAL else [])]
        for number, file in enumerate(files):
            self._places |= {path: (number, place) for path, place in index_rows(file)}
        self.guard = OutputGuard(output, self.path.with_suffix(WRITTEN), beside_others)
        self._readers = [file.open("rb") if file.is_file() else None for file in files]
        self._writer = self.path.open("ab")
        if self._writer.tell() and not self.path.read_bytes().endswith(b"\n"):
            self._writer.write(b"\n")  # ends the line that a kill cut off

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
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
            OutputLostError: the journal is gone.
        """
        for row in rows:
            row["reason"] = printed(row["reason"])  # it may quote a name
        text = "".join(map(line_of, rows)).encode()
        with self.lock:
            self._writer.write(text)
            self._writer.flush()
        self.count(*rows)

    def count(self, *rows: ManifestRow) -> None:
        """Count rows that are in the journal already.

        Raises:
            OutputLostError: the journal is gone.
        """
        check_in_place(self._writer)
        with self.lock:
            self.counts.update(row["status"] for row in rows)


def journals_of(output: Path) -> list[Path]:
    """All journals in an output folder: that of the run before those of its processes, whose rows are later."""
    return sorted(notes(output / WORK, JOURNALS), key=lambda path: (path.name != JOURNAL, path.name))


def line_of(row: ManifestRow) -> str:
    """A row as a line of a journal, with a digest of its content."""
    return json.dumps(seal(row)) + "\n"


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

"""The crash diary: a file that names what a process is working on. It outlives the process and warns the next one.

A photo, a picture or a method can kill the whole process (by a fault in a decoder's native code, or by taking all the
memory), and no ``except`` sees that. The next process finds its name here. Restoring then tries such a suspect in a
separate process first; building and scoring skip it once DEATHS processes in a row have died of it.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

from ufvnet.files import printed, sealed_line, unseal

DEATHS = 3
"""Number of processes in a row that must die before their work is blamed: a single one may die of another cause."""

log = logging.getLogger(__name__)


class Diary:
    """What this process is working on, and how many earlier processes died of each thing.

    A context manager: the file is removed at the end, also after an exception, because an exception is no crash. Its
    methods may be called from several threads. A file that is damaged counts as empty.

    Attributes:
        deaths: suspects: name -> number of processes in a row that died while they worked on it. A name stays with 0
            deaths after other things have killed a process, because a resumed run tries failed rows again.

    Raises:
        OSError: the file cannot be opened, or is a symbolic link.
    """

    def __init__(self, path: Path):
        self.path, self._lock = path, threading.Lock()
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = open(path, "r+b", buffering=0, opener=_open)  # noqa: SIM115 (closed by ``close``)
        text = self._file.read()
        self._length = len(text)
        in_work, self.deaths = _parse(path, text)
        for name in self.deaths if in_work else ():
            if name not in in_work and not self.is_condemned(name):
                self.deaths[name] = 0
        for name in in_work:
            self.deaths[name] = self.deaths.get(name, 0) + 1
        self._in_work: set[str] = set()
        self._write()  # at once: a death before the first work begins is the fault of none of them

    def __enter__(self) -> Diary:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def is_condemned(self, name: str) -> bool:
        """True if DEATHS processes in a row died while they worked on this."""
        return self.deaths.get(name, 0) >= DEATHS

    @contextlib.contextmanager
    def in_work(self, name: str) -> Iterator[None]:
        """Note that ``name`` is in work while the block runs.

        The file may still name it after the block, until the next thing begins: a wrong suspicion costs one trial,
        whereas removing each name would cost one more write for each thing.
        """
        with self._lock:
            self._in_work.add(name)
            self._write()
        try:
            yield
        finally:
            with self._lock:
                self._in_work.discard(name)

    def add_death(self, name: str) -> None:
        """Count a process that this one started for ``name`` and that died of it."""
        with self._lock:
            self.deaths[name] = self.deaths.get(name, 0) + 1
            self._write()

    def close(self) -> None:
        """Remove the file: nothing is in work any more."""
        with self._lock:
            self._file.close()
            self.path.unlink(missing_ok=True)

    def _write(self) -> None:
        """Overwrite the whole file by one call, so that a kill leaves either the old text or the new one."""
        if self._file.closed:
            return
        text = sealed_line({"in_work": sorted(self._in_work), "deaths": self.deaths})
        self._length = max(self._length, len(text))
        self._file.seek(0)
        self._file.write(text.ljust(self._length))


def _open(path: str, flags: int) -> int:
    """Open a file, creating it if it is missing, but not through a symbolic link, which may lead elsewhere."""
    return os.open(path, flags | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o666)


def _parse(path: Path, text: bytes) -> tuple[set[str], dict[str, int]]:
    """What was in work when the file was written last, and the deaths before that."""
    entry = unseal(text) if text else {"in_work": [], "deaths": {}}
    if entry is None or not {"in_work", "deaths"} <= set(entry):
        log.warning("%s: is damaged and starts anew: its list of what may kill processes is lost",
                    printed(path))  # fmt: skip
        return set(), {}
    return set(entry["in_work"]), dict(entry["deaths"])

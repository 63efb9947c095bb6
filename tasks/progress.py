"""Rich progress bars, one live display a process, a line for each task that runs."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from ufvnet.files import printed_line

Update = Callable[..., None]


@dataclass
class _Display:
    """The live display that parallel tasks share; it stands while any of them runs."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    users: int = 0
    live: Progress | None = None

    def enter(self) -> Progress:
        with self.lock:
            if self.live is None:
                self.live = Progress(
                    TextColumn("{task.description}"),
                    BarColumn(),
                    MofNCompleteColumn(),
                    TimeElapsedColumn(),
                    TimeRemainingColumn(),
                    TextColumn("{task.fields[note]}"),
                    console=Console(stderr=True),
                    transient=True,
                )
                self.live.start()
            self.users += 1
            return self.live

    def leave(self) -> None:
        with self.lock:
            self.users -= 1
            if not self.users and self.live is not None:
                self.live.stop()
                self.live = None


_display = _Display()


@contextmanager
def progress_bar(description: str, total: int) -> Iterator[Update]:
    """A bar with the time gone and left.

    Yields:
        update(completed, note=""): moves the bar.
    """
    live = _display.enter()
    line = live.add_task(_plain(description), total=total, note="")
    try:
        yield lambda completed, note="": live.update(line, completed=completed, note=_plain(note))
    finally:
        live.remove_task(line)
        _display.leave()


def _plain(text: str) -> str:
    """A text that may hold names, with nothing in it that a terminal or rich takes for more than text."""
    return escape(printed_line(text))

"""Rich progress in a terminal, plain log lines elsewhere."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

_lock = threading.Lock()
_shared: list[Any] = [None, 0]  # the one live display of this process, and how many use it


@contextmanager
def progress_bar(description: str, total: int) -> Iterator[Any]:
    """A bar in the process's one live display; parallel tasks each have a line in it.

    Yields:
        update(completed, note=""): moves the bar.
    """
    with _lock:
        if _shared[0] is None:
            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
                       TimeRemainingColumn(), TextColumn("{task.fields[note]}"))  # fmt: skip
            started = Progress(*columns, console=Console(stderr=True), transient=True)
            started.start()
            _shared[0] = started
        _shared[1] += 1
        display: Progress = _shared[0]
    line = display.add_task(description, total=total, note="")
    try:
        yield lambda completed, note="": display.update(line, completed=completed, note=note)
    finally:
        with _lock:
            display.remove_task(line)
            _shared[1] -= 1
            if not _shared[1]:
                display.stop()
                _shared[0] = None

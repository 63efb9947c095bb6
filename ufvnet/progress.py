"""How far work has come: one interface, shown as a bar on a terminal and as a line now and then elsewhere."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING

from ufvnet.files import printed_line

if TYPE_CHECKING:
    from rich.progress import Progress as Display

Progress = Callable[[int, int, Mapping[str, float]], None]
"""Called with the number of things done, that of all, and figures by name: counts by status, a rate, a loss."""

LINE_EVERY = 30.0
"""Seconds between two lines where there is no terminal, e.g. under nohup."""

ENOUGH, RECENT = 10, 60.0
"""Things that must be done before their rate means something, and the last seconds that it is taken of."""


class Tally:
    """Adds up what is done and shows it; several threads may add.

    Args:
        progress: shows it; None for nobody.
        total: number of things to do.
    """

    def __init__(self, progress: Progress | None, total: int):
        self.progress, self.total, self.done = progress, total, 0
        self.figures: Counter[str] = Counter()
        self._lock = threading.Lock()

    def add(self, done: int = 1, figures: Mapping[str, int] | None = None) -> None:
        """So many more things are done, and these figures are added to those before."""
        with self._lock:
            self.done += done
            self.figures.update(figures or {})
            if self.progress is not None:
                self.progress(self.done, self.total, self.figures)


@contextlib.contextmanager
def shown(title: str, tell: Callable[[str], object] | None = None) -> Iterator[Progress]:
    """Show progress on standard error for as long as the block runs.

    Args:
        title: what is done.
        tell: takes the lines where there is no terminal, instead of standard error.
    """
    if sys.stderr.isatty():
        with _display.bar(title) as progress:
            yield progress
    else:
        yield _Lines(title, tell or _print)


def _print(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


class Rate:
    """Things per second of late, which may begin with many done at once: an interrupted work goes on."""

    def __init__(self) -> None:
        self.seen: deque[tuple[float, int]] = deque()

    def at(self, now: float, done: int) -> float:
        """Things per second; 0 while too few were seen to mean something."""
        if not self.seen or now - self.seen[-1][0] >= 1:
            self.seen.append((now, done))
        while len(self.seen) > 2 and now - self.seen[1][0] >= RECENT and done - self.seen[1][1] >= ENOUGH:
            self.seen.popleft()
        start, first = self.seen[0]
        return (done - first) / (now - start) if done - first >= ENOUGH and now > start else 0.0

    def account(self, now: float, done: int, total: int) -> str:
        """How far work has come in words: numbers, and as soon as they mean something a rate and the time left."""
        rate = self.at(now, done)
        left = f"{spell_seconds((total - done) / rate)} left" if rate and done < total else ""
        return ", ".join(filter(None, [f"{done:,} of {total:,}", spell_rate(rate), left]))


def spell_rate(rate: float) -> str:
    """Things per second in a unit in which they are one or more, e.g. ``4.2/min``; empty for none."""
    units = (("s", 1), ("min", 60), ("h", 3600), ("day", 86400))
    return next((f"{rate * seconds:,.1f}/{unit}" for unit, seconds in units if rate * seconds >= 0.95), "")


def spell_seconds(seconds: float) -> str:
    """A time in the unit that suits it, e.g. ``40 seconds``, ``15 minutes``, ``2.5 hours``."""
    if seconds < 90:
        return f"{seconds:.0f} seconds"
    return f"{seconds / 60:.0f} minutes" if seconds < 5400 else f"{seconds / 3600:,.1f} hours"


class _Lines:
    """A line every LINE_EVERY seconds."""

    def __init__(self, title: str, tell: Callable[[str], object]):
        self.title, self.tell, self.rate = title, tell, Rate()
        self.last = time.perf_counter()

    def __call__(self, done: int, total: int, figures: Mapping[str, float]) -> None:
        now = time.perf_counter()
        account = self.rate.account(now, done, total)
        if now - self.last < LINE_EVERY:
            return
        self.last = now
        text = ", ".join(filter(None, [f"{self.title}: {account}", _text(figures)]))
        self.tell(printed_line(text))


class _Display:
    """The live display that works running side by side share, a bar each; it stands while any of them runs."""

    def __init__(self) -> None:
        self.lock, self.users = threading.Lock(), 0
        self.live: Display | None = None

    @contextlib.contextmanager
    def bar(self, title: str) -> Iterator[Progress]:
        live, rate = self._enter(), Rate()
        line = live.add_task(_plain(title), total=None, account="", figures="")

        def update(done: int, total: int, figures: Mapping[str, float]) -> None:
            account = rate.account(time.perf_counter(), done, total)
            live.update(line, completed=done, total=total, account=account, figures=_plain(_text(figures)))

        try:
            yield update
        finally:
            live.remove_task(line)
            self._leave()

    def _enter(self) -> Display:
        with self.lock:
            self.users += 1
            if self.live is None:
                self.live = _rich_display()
                self.live.start()
            return self.live

    def _leave(self) -> None:
        with self.lock:
            self.users -= 1
            if not self.users and self.live is not None:
                self.live.stop()
                self.live = None


_display = _Display()


def _rich_display() -> Display:
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Display

    return Display(
        TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[account]}"), TimeElapsedColumn(),
        TextColumn("{task.fields[figures]}"),
        console=Console(stderr=True), transient=True,
    )  # fmt: skip


def _text(figures: Mapping[str, float]) -> str:
    """Figures that are not 0, e.g. ``1,200 ok, 3 no_face`` or ``0.0123 loss``."""
    numbers = {name: f"{n:,.0f}" if n >= 1000 or n == int(n) else f"{n:.4g}" for name, n in figures.items() if n}
    return ", ".join(f"{number} {name}" for name, number in numbers.items())


def _plain(text: str) -> str:
    """A text that may hold names, with nothing in it that a terminal or rich takes for more than text."""
    from rich.markup import escape

    return escape(printed_line(text))

"""A run at the terminal: what is printed before, while and after."""

from __future__ import annotations

import errno
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from ufvnet.config import ConfigError, RestoreConfig
from ufvnet.files import printed_line

from .folder.run import restore_folder
from .folder.shard import Progress
from .folder.source import PIPE
from .single import is_single, restore_single

LINE_EVERY = 30.0
"""Seconds between lines of progress where there is no terminal, e.g. under nohup."""
REASONS = 5


def restore_here(
    config: RestoreConfig, flow: Callable[[RestoreConfig], dict[str, Any]] | None = None, crashed: bool = False
) -> bool:
    """Run a configuration, tell how it goes and what became of it; True if anything failed.

    Args:
        config: what and how.
        flow: does the run instead of this process.
        crashed: as ``restore_folder``'s.
    """
    try:
        if is_single(config):
            return _tell_one(config, restore_single(config))
        if flow is not None:
            summary = flow(config)
        else:
            with _progress() as progress:
                summary = restore_folder(config, progress, crashed)
    except KeyboardInterrupt:
        print("ufvnet: stopped; the same command with --resume goes on", file=sys.stderr)
        raise SystemExit(130) from None
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise ConfigError(f"{error.filename or config.output}: {error.strerror or error}") from error
    _tell(config, summary)
    return bool(summary["counts"]["failed"] or not summary["usable"])


def _tell_one(config: RestoreConfig, row: Mapping[str, Any]) -> bool:
    line = f"{row['path']}: {row['status']}" + (f" ({row['reason']})" if row["reason"] else "")
    print(printed_line(line), file=sys.stderr if config.output == PIPE or row["status"] == "failed" else sys.stdout)
    return row["status"] == "failed"


def _tell(config: RestoreConfig, summary: Mapping[str, Any]) -> None:
    counts, seconds = summary["counts"], summary["seconds"]
    told = ", ".join(f"{n:,} {status}" for status, n in counts.items() if n or status in ("restored", "failed"))
    rate = f", {summary['files'] / seconds:,.1f} pictures a second" if seconds else ""
    print(f"{told}; {summary['faces']:,} faces{rate}: {printed_line(config.output)}")
    for reason in summary["failures"][:REASONS]:
        print(f"  {printed_line(reason)}", file=sys.stderr)
    if counts["failed"] > REASONS:
        manifest = printed_line(config.output / "manifest.parquet")
        print(f"  and {counts['failed'] - REASONS:,} more: {manifest}", file=sys.stderr)
    if not summary["usable"]:
        print(f"ufvnet: none of {summary['files']:,} inputs could be used", file=sys.stderr)


@contextmanager
def _progress() -> Iterator[Progress]:
    """A bar with rate and time left on a terminal, else a line now and then."""
    if not sys.stderr.isatty():
        yield _Lines()
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (TextColumn("restore"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"),
               TimeElapsedColumn(), TimeRemainingColumn(), TextColumn("{task.fields[note]}"))  # fmt: skip
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        line = bar.add_task("restore", total=None, rate="", note="")
        started = time.perf_counter()

        def update(done: int, total: int, counts: Mapping[str, int]) -> None:
            rate = f"{done / max(1e-9, time.perf_counter() - started):.1f}/s"
            bar.update(line, completed=done, total=total, rate=rate, note=_short(counts))

        yield update


class _Lines:
    """Prints how far a run is every so often."""

    def __init__(self) -> None:
        self.started = self.last = time.perf_counter()

    def __call__(self, done: int, total: int, counts: Mapping[str, int]) -> None:
        now = time.perf_counter()
        if now - self.last < LINE_EVERY:
            return
        self.last = now
        rate = done / (now - self.started)
        left = (total - done) / rate / 60
        print(f"{done:,} of {total:,}, {rate:.1f}/s, {left:.0f} minutes left; {_short(counts)}",
              file=sys.stderr, flush=True)  # fmt: skip


def _short(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{n:,} {status}" for status, n in counts.items() if n and status != "restored")

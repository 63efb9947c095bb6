"""Replacements for the parts of Prefect that flows and tasks use, for ``--direct``.

A flow or task is the function that it wraps. There is no server, and there are no runs, artifacts or retries; the files
that are written are the same.
"""

from __future__ import annotations

import functools
import logging
import sys
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

NO_ANSWER: tuple[type[Exception], ...] = ()
NO_CACHE = None
State = Any


class DirectTask:
    """A task that only calls its function; ``map`` calls it on several arguments at once, in threads."""

    def __init__(self, function: Callable[..., Any]):
        functools.update_wrapper(self, function)
        self.fn = function

    def __call__(self, *arguments: Any, wait_for: Any = None, **keywords: Any) -> Any:
        return self.fn(*arguments, **keywords)

    def map(self, items: Iterable[Any]) -> Futures:
        items = list(items)
        with ThreadPoolExecutor(max(1, len(items))) as pool:
            return Futures(pool.submit(self.fn, item) for item in items)


class Futures(list[Future[Any]]):
    """Future results, in the order of the calls."""

    def result(self) -> list[Any]:
        """All results. Raises what the first failed call raised."""
        return [future.result() for future in self]


def task(function: Callable[..., Any] | None = None, **_settings: Any) -> Any:
    """As ``prefect.task``, whose settings (name, retries, cache) have no meaning here."""
    return functools.partial(task, **_settings) if function is None else DirectTask(function)


flow = task


def wait(futures: Futures) -> None:
    """Wait until all calls are done; their errors are raised by ``result``."""
    for future in futures:
        future.exception()


def with_failures(name: str, message: str, data: Any) -> Any:
    """What a flow returns when some inputs could not be used."""
    return data


def skipped(reason: str) -> None:
    """What a flow returns when there was nothing to do."""


class _ToStderr(logging.Handler):
    """Writes to what is standard error at that moment: while a progress bar is shown, its lines go above the bar."""

    def emit(self, record: logging.LogRecord) -> None:
        print(self.format(record), file=sys.stderr)


@functools.cache
def get_run_logger() -> logging.Logger:
    """Logger that writes lines as Prefect's console does."""
    log, handler = logging.getLogger("ufvnet.direct"), _ToStderr()
    handler.setFormatter(logging.Formatter("%(asctime)s | %(levelname)-7s | %(message)s", "%H:%M:%S"))
    log.setLevel(logging.INFO)
    log.propagate = False
    log.addHandler(handler)
    return log


def _no_artifact(*_: Any, **__: Any) -> None:
    """Do nothing: artifacts and events are stored by a server, and a direct run has none."""


create_table_artifact = create_markdown_artifact = create_image_artifact = _no_artifact
create_progress_artifact = update_progress_artifact = deliver_event = _no_artifact

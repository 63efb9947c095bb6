"""A single worker process for jobs that need no cluster: it starts in a second, and is replaced if it dies."""

from __future__ import annotations

import atexit
import multiprocessing
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import resource_tracker
from multiprocessing.connection import wait
from typing import Any, TypeVar

from ufvnet.children import ctrl_c_waits, heed_ctrl_c, when_parent_ends
from ufvnet.console import leave_at_once
from ufvnet.errors import PipelineError

T = TypeVar("T")
R = TypeVar("R")


class OneProcess:
    """Runs library functions in a separate process, one after the other.

    Args:
        environment: variables that the process gets in addition to this process's.
        tries: how often a job is tried whose process dies. The library's functions note what they are working on, and
            skip it after some deaths, so that a later try succeeds.
        retries: how often a job that raises is repeated.
    """

    def __init__(self, environment: Mapping[str, str], tries: int = 10, retries: int = 2):
        self.environment, self.tries, self.retries = environment, tries, retries
        self._pool: ProcessPoolExecutor | None = None

    def __enter__(self) -> OneProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def run(self, function: Callable[[T], R], job: T) -> R:
        """The function's result for a job.

        Raises:
            PipelineError: the process died too often.
        """
        deaths = errors = 0
        while True:
            try:
                with with_variables(self.environment):
                    pool = self._started()
                    with ctrl_c_waits():  # so it does in the process, while that imports what the job needs
                        running = pool.submit(_heeding_ctrl_c, function, job)
                    return running.result()
            except BrokenProcessPool as error:
                self._end()
                deaths += 1
                if deaths == self.tries:
                    raise PipelineError(f"a process that works on a part of this died {deaths} times") from error
            except Exception:
                errors += 1
                if errors > self.retries:
                    raise

    def _started(self) -> ProcessPoolExecutor:
        if self._pool is None:
            if sys.platform != "win32":
                resource_tracker.ensure_running()  # its start lets a Ctrl-C through that is to wait
            context = multiprocessing.get_context("spawn")  # a fork would copy locks that other threads hold
            self._pool = ProcessPoolExecutor(1, context, initializer=_begin)
        return self._pool

    def _end(self) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
            self._pool = None


@contextmanager
def with_variables(values: Mapping[str, str]) -> Iterator[None]:
    """Set variables while a process is started, which inherits them; afterwards restore this process's own."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _heeding_ctrl_c(function: Callable[[T], R], job: T) -> R:
    heed_ctrl_c()
    return function(job)


def _begin() -> None:
    """Let this process end when its parent dies, however that ends, and at once when its work is done."""
    parent: Any = multiprocessing.parent_process()
    when_parent_ends(lambda: os._exit(1), lambda: not wait([parent.sentinel]))
    atexit.register(leave_at_once, 0)

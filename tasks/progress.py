"""Progress of a task: shown as everywhere, told to the run's log where there is no terminal, and kept by Prefect."""

from __future__ import annotations

import contextlib
import contextvars
import time
from collections.abc import Iterator, Mapping

from tasks.artifacts import artifact_key
from tasks.runtime import create_progress_artifact, get_run_logger, update_progress_artifact
from ufvnet.progress import Progress, shown

ARTIFACT_EVERY = 20.0
"""Seconds between two updates of the artifact; a shorter task has none."""


@contextlib.contextmanager
def task_progress(title: str) -> Iterator[Progress]:
    """Show the progress of the task that runs, with a progress artifact of Prefect's where it takes long."""
    log, artifact = get_run_logger(), _Artifact(title)
    with shown(title, log.info) as show:

        def progress(done: int, total: int, figures: Mapping[str, float]) -> None:
            show(done, total, figures)
            artifact(done, total)

        yield progress


class _Artifact:
    """A progress artifact, in per cent. It may be updated from any thread, one at a time."""

    def __init__(self, title: str):
        self.title, self.shown = title, time.monotonic()
        self.number: object = None
        self.context = contextvars.copy_context()  # Prefect's: which task runs, which other threads do not know

    def __call__(self, done: int, total: int) -> None:
        now, share = time.monotonic(), 100 * done / max(1, total)
        if now - self.shown < ARTIFACT_EVERY and not (self.number and done == total):
            return
        self.shown = now
        self.context.run(self._put, share)

    def _put(self, share: float) -> None:
        if self.number is None:
            self.number = create_progress_artifact(share, artifact_key(self.title), f"{self.title}, in %")
        else:
            update_progress_artifact(self.number, share)  # type: ignore[arg-type]

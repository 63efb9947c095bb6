"""Progress of a task: on the terminal, or in the run's log if there is no terminal, and as a Prefect artifact."""

from __future__ import annotations

import contextlib
import contextvars
import subprocess
import time
from collections.abc import Iterator, Mapping

from tasks.artifacts import artifact_key
from tasks.runtime import create_progress_artifact, get_run_logger, update_progress_artifact
from ufvnet.files import printed_line
from ufvnet.progress import Progress, Rate, shown

ARTIFACT_EVERY = 20.0
"""Seconds between two updates of the artifact; a shorter task has none."""


@contextlib.contextmanager
def task_progress(title: str) -> Iterator[Progress]:
    """Show the progress of the running task; a task that takes long also gets a progress artifact of Prefect."""
    log, artifact = get_run_logger(), _Artifact(title)
    with shown(title, log.info) as show:

        def progress(done: int, total: int, figures: Mapping[str, float]) -> None:
            show(done, total, figures)
            artifact(done, total)

        yield progress


def gpu_use() -> str:
    """Use and memory of this machine's GPUs, as the driver's tool says, e.g. ``; GPU 97 %, 30.1 of 79.6 GiB``.

    Empty where there is no such tool, or it gives no answer.
    """
    query = ["nvidia-smi", "--query-gpu=utilization.gpu,memory.used,memory.total", "--format=csv,noheader,nounits"]
    try:
        lines = subprocess.run(query, capture_output=True, text=True, timeout=5, check=True).stdout.strip().splitlines()
        gpus = [[float(value) for value in line.split(",")] for line in lines]
        uses = [f"GPU {use:.0f} %, {used / 1024:.1f} of {total / 1024:.1f} GiB" for use, used, total in gpus]
    except (OSError, ValueError, subprocess.SubprocessError):
        return ""
    return "".join(f"; {use}" for use in uses)


class _Artifact:
    """A progress artifact: per cent, rate, time left, and the use of GPUs where there are some.

    Any thread may update it, but only one at a time.
    """

    def __init__(self, title: str):
        self.title, self.shown, self.rate = title, time.monotonic(), Rate()
        self.number: object = None
        self.context = contextvars.copy_context()  # tells Prefect which task runs; other threads do not have it

    def __call__(self, done: int, total: int) -> None:
        now, share = time.monotonic(), 100 * done / max(1, total)
        account = self.rate.account(now, done, total)
        if now - self.shown < ARTIFACT_EVERY and not (self.number and done == total):
            return
        self.shown = now
        self.context.run(self._put, share, printed_line(f"{self.title}: {account}{gpu_use()}"))

    def _put(self, share: float, account: str) -> None:
        if self.number is None:
            self.number = create_progress_artifact(share, artifact_key(self.title), account)
        else:
            update_progress_artifact(self.number, share, account)  # type: ignore[arg-type]

"""Progress of a task: on the terminal, or in the run's log if there is no terminal, and as a Prefect artifact."""

from __future__ import annotations

import contextlib
import contextvars
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping

from tasks.artifacts import artifact_key
from tasks.runtime import NO_ANSWER, create_progress_artifact, get_run_logger, update_progress_artifact
from ufvnet.files import printed_line
from ufvnet.progress import Progress, Rate, shown

ARTIFACT_EVERY = 20.0
"""Seconds between two updates of the artifact; a shorter task has none."""

LAST = 5.0
"""Seconds that the end of a task waits for an update that is on its way."""


@contextlib.contextmanager
def task_progress(title: str) -> Iterator[Progress]:
    """Show the progress of the running task; a task that takes long also gets a progress artifact of Prefect."""
    log, artifact = get_run_logger(), _Artifact(title)
    with shown(title, log.info) as show:

        def progress(done: int, total: int, figures: Mapping[str, float]) -> None:
            show(done, total, figures)
            artifact(done, total)

        yield progress
    artifact.join()


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

    Any thread may update it, but only one at a time. A thread of its own sends the updates; those that come while one
    is on its way are dropped. So the work neither waits for Prefect's server nor fails without it.
    """

    def __init__(self, title: str):
        self.title, self.shown, self.rate = title, time.monotonic(), Rate()
        self.number: object = None
        self.sender = threading.Thread()
        self.context = contextvars.copy_context()  # tells Prefect which task runs; other threads do not have it

    def __call__(self, done: int, total: int) -> None:
        now, share = time.monotonic(), 100 * done / max(1, total)
        account = self.rate.account(now, done, total)
        is_last = done == total
        if is_last:
            self.join()
        if self.sender.is_alive() or (now - self.shown < ARTIFACT_EVERY and not (self.number and is_last)):
            return
        self.shown = now
        self.sender = threading.Thread(target=self.context.run, args=(self._put, share, account), daemon=True)
        self.sender.start()

    def join(self) -> None:
        """Wait for an update that is on its way, but not for a server that is away."""
        if self.sender.is_alive():
            self.sender.join(LAST)

    def _put(self, share: float, account: str) -> None:
        text = printed_line(f"{self.title}: {account}{gpu_use()}")
        with contextlib.suppress(*NO_ANSWER, RuntimeError):  # RuntimeError: the task has ended and closed its client
            if self.number is None:
                self.number = create_progress_artifact(share, artifact_key(self.title), text)
            else:
                update_progress_artifact(self.number, share, text)  # type: ignore[arg-type]

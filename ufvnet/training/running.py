"""The training processes that this process has started, and how they are stopped."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Collection

RUNNING: set[subprocess.Popen[str]] = set()
"""The training processes that this process has started and that have not ended."""

STOPPING: set[subprocess.Popen[str]] = set()
"""Those of them that were asked to stop. One that was still starting then dies of the signal, with no event."""

GRACE = 20.0
"""Seconds for training processes to end their step and write a checkpoint, when they are asked to stop. Prefect kills a
cancelled run after 30."""


def stop_running() -> None:
    """Ask every training process to write a checkpoint, and wait until they have."""
    stop(list(RUNNING))


def stop(processes: Collection[subprocess.Popen[str]]) -> None:
    """Ask processes to stop. Those that have not in time are killed; they go on from their last checkpoint."""
    for child in processes:
        STOPPING.add(child)
        child.terminate()
    deadline = time.monotonic() + GRACE
    for child in processes:
        try:
            child.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()

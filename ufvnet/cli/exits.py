"""Ctrl-C while Prefect runs."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable


def leave_on_signals(stop: Callable[[], None]) -> None:
    """On Ctrl-C or SIGTERM call ``stop``, then leave at once.

    Prefect's own way out waits for its server, which had the same Ctrl-C.
    """

    def leave(number: int, _: object) -> None:
        import psutil

        stop()
        for child in psutil.Process().children(recursive=True):  # Prefect's server among them
            with contextlib.suppress(psutil.Error):
                child.terminate()
        os._exit(128 + number)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, leave)

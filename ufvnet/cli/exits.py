"""Ctrl-C while a command of the pipeline works, or Prefect starts for it."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

from ufvnet.children import end_descendants


def leave_on_signals(stop: Callable[[], None]) -> None:
    """On Ctrl-C or SIGTERM call ``stop``, then leave at once.

    Prefect's own way out waits for its server, which had the same Ctrl-C.
    """

    def leave(number: int, _: object) -> None:
        stop()
        end_descendants()  # Prefect's server among them
        os._exit(128 + number)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, leave)

"""Ctrl-C or SIGTERM while a command is imported, while one of the pipeline works, or while Prefect starts for it."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable

STOPPING = (signal.SIGINT, signal.SIGTERM)


def leave_on_signals(stop: Callable[[], None]) -> None:
    """On Ctrl-C or SIGTERM call ``stop``, then leave at once; a signal that the caller ignores stays ignored.

    Prefect's own way out waits for its server, which had the same Ctrl-C. Imports that are interrupted by an exception
    show it, or take it for a failure of their own.

    Args:
        stop: says that the command has stopped.
    """

    def leave(number: int, _: object) -> None:
        for other in STOPPING:
            signal.signal(other, signal.SIG_IGN)
        try:
            stop()
            from ufvnet.children import end_descendants

            end_descendants()  # Prefect's server among them
        finally:
            os._exit(128 + number)

    for number in STOPPING:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, leave)


def say_stopped() -> None:
    """That nothing is left to go on with."""
    print("ufvnet: stopped", file=sys.stderr, flush=True)


def signals_as_usual() -> None:
    """Undo ``leave_on_signals``: Ctrl-C raises KeyboardInterrupt, as in any Python, and SIGTERM ends the process."""
    if getattr(signal.getsignal(signal.SIGTERM), "__module__", None) == __name__:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if signal.getsignal(signal.SIGINT) not in (signal.SIG_IGN, signal.default_int_handler):
        signal.signal(signal.SIGINT, signal.default_int_handler)

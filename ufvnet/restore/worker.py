"""The process that restores for the ``ufvnet restore`` command: ``python -P -m ufvnet.restore.worker``.

``begin`` starts it, ``supervise`` hands it its job. Settings that change a whole process belong here, never to a
process that calls ``Restorer`` or ``restore_folder``.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

from ufvnet.children import coming_job, heed_ctrl_c, without_collection
from ufvnet.console import SOME_FAILED, escape_logs, exit_on_errors, leave_at_once, prepare_streams

STOPPED = 128 + signal.SIGINT
"""Exit code after Ctrl-C. The process that waits says so; this one only ends."""


def main() -> None:
    """Do the job and end with its exit code."""
    _on_ctrl_c(lambda *_: os._exit(STOPPED))  # nothing has begun that would have to be ended well
    heed_ctrl_c()
    prepare_streams()
    escape_logs()
    job = coming_job()
    with exit_on_errors():
        with without_collection():  # before there is a job: the other process still reads its options
            from .console import restore_here

        config, crashed = job()
        try:
            _on_ctrl_c(_interrupt_once)
            failed = restore_here(config, crashed=crashed)
        except KeyboardInterrupt:
            leave_at_once(STOPPED)
    leave_at_once(SOME_FAILED if failed else 0)


def _on_ctrl_c(act: Callable[..., object]) -> None:
    if signal.getsignal(signal.SIGINT) != signal.SIG_IGN:
        signal.signal(signal.SIGINT, act)


def _interrupt_once(*_: object) -> None:
    """Ctrl-C comes twice: from the terminal and from the process that waits."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    raise KeyboardInterrupt


if __name__ == "__main__":
    main()

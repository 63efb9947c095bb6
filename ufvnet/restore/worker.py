"""The process that restores for the ``ufvnet restore`` command: ``python -P -m ufvnet.restore.worker``.

``supervise`` starts it and hands it its job. Settings that change a whole process belong here, never to a process that
calls ``Restorer`` or ``restore_folder``.
"""

from __future__ import annotations

import signal

from ufvnet.children import take_job, without_collection
from ufvnet.console import SOME_FAILED, escape_logs, exit_on_errors, leave_at_once, prepare_streams


def main() -> None:
    """Do the job and end with its exit code."""
    if signal.getsignal(signal.SIGINT) != signal.SIG_IGN:
        signal.signal(signal.SIGINT, _interrupt_once)
    prepare_streams()
    escape_logs()
    config, crashed = take_job()
    try:
        with exit_on_errors():
            with without_collection():
                from .console import restore_here

            failed = restore_here(config, crashed=crashed)
    except KeyboardInterrupt:
        raise SystemExit(128 + signal.SIGINT) from None
    leave_at_once(SOME_FAILED if failed else 0)


def _interrupt_once(*_: object) -> None:
    """Ctrl-C comes twice: from the terminal and from the process that waits."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    raise KeyboardInterrupt


if __name__ == "__main__":
    main()

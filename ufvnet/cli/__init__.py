"""The process of the ``ufvnet`` command. While its commands are imported, Ctrl-C and SIGTERM are heeded already."""

from __future__ import annotations

import sys
from typing import Any, NoReturn

from .exits import leave_on_signals, say_stopped


def entry() -> NoReturn:
    """``commands.main``, and the end of its process."""
    leave_on_signals(say_stopped)
    from ufvnet.children import ignore_leaked_semaphores
    from ufvnet.console import leave_at_once, prepare_streams
    from ufvnet.restore.begin import begun_early

    prepare_streams()  # first: the next file that is opened would take a closed stream's number
    ignore_leaked_semaphores()
    code: Any = 0
    with begun_early(sys.argv[1:]) as begun:
        from .commands import main

        try:
            main(begun)
        except SystemExit as end:
            code = end.code
    if "prefect" in sys.modules or not isinstance(code, int | None):  # Prefect stops its server at the end
        sys.exit(code)
    leave_at_once(code or 0)

"""The process that waits: it has one that restores, and starts another one where that crashes.

A fault in a decoder's own code, or want of memory, ends a whole process. The next one finds in the crash diary which
pictures the dead one had in work, and tries each in a process of its own before it restores it.
"""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from ufvnet.children import CTRL_C, BegunChild, cause_of_death, ctrl_c_waits
from ufvnet.config import ConfigError, RestoreConfig
from ufvnet.files import printed

from .begin import begin
from .folder.desk import desk_of
from .folder.notes import JOURNALS, WORK, notes
from .trial import DEADLY

FRUITLESS = 5
"""Number of crashes in a row, with no picture finished in between, after which a run is given up."""
CRASHES = ("SIGSEGV", "SIGBUS", "SIGABRT", "SIGILL", "SIGFPE", "SIGKILL")
"""Signals after which a run goes on by itself; SIGKILL is what a machine that is short of memory sends."""
PASSED_ON = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
"""Signals that ask a run to stop."""


def supervise(config: RestoreConfig, picture: str | None = None, begun: BegunChild | None = None) -> int:
    """Restore in a child process, and go on in another one after a crash, until nothing is finished between crashes.

    This process imports neither torch nor what knows pictures.

    Args:
        config: what to restore and how.
        picture: name of the only picture, if there is one: a crash is its fault, and there is nothing to go on with.
        begun: the first child process, if it was started already.

    Returns:
        The exit code of the run.

    Raises:
        ConfigError: the output lies in memory, and would end with the child process.
    """
    if str(config.output).startswith("memory:"):
        raise ConfigError(
            f"output = {printed(config.output)}: ends with the process that restores; it must be a folder or a file, "
            "or lie in s3:// or gs://"
        )
    fruitless, crashed = 0, False
    while True:
        size = _journals_size(desk_of(config.output))
        code = _run_worker(config, crashed, begun)
        cause = _crash(code)
        if cause is None:
            return code if code >= 0 else 128 - code
        if picture is not None:
            print(f"{printed(picture)}: failed ({DEADLY} ({cause}))", file=sys.stderr)
            return 1
        fruitless = 1 if _journals_size(desk_of(config.output)) > size else fruitless + 1
        print(f"ufvnet: the process died ({cause})", file=sys.stderr, end="", flush=True)
        if fruitless == FRUITLESS:
            print(f" {FRUITLESS} times in a row without finishing a picture; --resume tries again", file=sys.stderr)
            return code if code >= 0 else 128 - code
        print("; going on with what is left", file=sys.stderr, flush=True)
        config, crashed, begun = config.model_copy(update={"resume": True}), True, None


def _run_worker(config: RestoreConfig, crashed: bool, begun: BegunChild | None) -> int:
    """The exit code of a process that restores, negative if it died of a signal.

    One that a signal ended before it had a job is no picture's fault; another one takes its place.
    """
    waits = begun is not None and (begun.process.poll() or 0) >= 0
    with ctrl_c_waits() as heed, contextlib.nullcontext(begun) if begun and waits else begin() as child:
        child.give((config, crashed))
        return _wait(child.process, heed)


def _wait(child: subprocess.Popen[bytes], heed: Callable[[], None]) -> int:
    """Wait for a child's end; signals that ask this process to stop are passed on to it.

    ``heed`` lets a Ctrl-C through that came before.

    On Windows the console sends Ctrl-C to both processes.
    """

    def pass_on(number: int, _: object) -> None:
        if sys.platform != "win32":
            child.send_signal(number)

    heeded = [number for number in PASSED_ON if signal.getsignal(number) != signal.SIG_IGN]  # nohup ignores one
    before = {number: signal.signal(number, pass_on) for number in heeded}
    heed()
    try:
        return child.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _crash(code: int) -> str | None:
    """What crashed a process with this exit code; None where it ended by itself or was asked to."""
    cause = cause_of_death(code)
    return cause if cause in CRASHES or (code > 0 and code != CTRL_C) else None


def _journals_size(desk: Path) -> int:
    """Bytes of rows of finished pictures."""
    try:
        return sum(path.stat().st_size for path in notes(desk / WORK, JOURNALS))
    except OSError:  # an impossible name, which the run refuses
        return 0

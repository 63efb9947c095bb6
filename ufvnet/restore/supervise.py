"""Going on after a picture that brings the whole process down, as a fault in a decoder's own code does.

Names of pictures in work stand in a file that outlives the process. The next one tries those alone, each in a process
of its own, before it touches them: what kills that one too is a failed row.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import logging
import os
import pickle
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from ufvnet.children import environment, python
from ufvnet.config import RestoreConfig
from ufvnet.files import printed, seal, unseal

from .folder.notes import JOURNALS, WORK, notes

READING = ".reading"
DEADLY = "it kills the process that restores it"
DEATHS = 5
"""In a row, with nothing finished in between, after which a run is given up."""
CRASHES = ("SIGSEGV", "SIGBUS", "SIGABRT", "SIGILL", "SIGFPE", "SIGKILL")
"""Signals after which a run goes on by itself; SIGKILL is what a machine short of memory sends."""
log = logging.getLogger(__name__)


class Reading:
    """Names of the pictures that a process has in work, and those that a dead one had.

    Args:
        journal: of the process; the names stand beside it.
    """

    def __init__(self, journal: Path):
        self.path = journal.with_suffix(READING)
        self.suspects = {name for path in notes(journal.parent, READING) for name in _names(path)}
        self.names: set[str] = set()
        self.lock, self.length = threading.Lock(), 0
        self.file = self.path.open("wb", buffering=0)

    @contextlib.contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """``name`` is in work."""
        with self.lock:
            self.names.add(name)
            self._note()
        try:
            yield
        finally:
            with self.lock:
                self.names.discard(name)

    def _note(self) -> None:
        """Earlier suspects stay to the end, as failed rows are done again when a run resumes; names that are
        finished stay until another begins: suspects by mistake, which a trial clears."""
        if self.file.closed:
            return
        text = json.dumps(seal({"names": sorted(self.names | self.suspects)})).encode()
        self.length = max(self.length, len(text))
        os.pwrite(self.file.fileno(), text.ljust(self.length), 0)  # over what was there, in one call

    def close(self) -> None:
        """Nothing is in work any more."""
        with self.lock:
            self.file.close()
            self.path.unlink(missing_ok=True)


def forget(output: Path) -> None:
    """Remove the names that earlier processes had in work."""
    for path in notes(output / WORK, READING):
        path.unlink(missing_ok=True)


def _names(path: Path) -> list[str]:
    try:
        text = path.read_bytes()
    except OSError:
        return []
    found = unseal(text)
    if found is None and text:
        log.warning("%s is damaged: no picture is tried in a process of its own before it is restored", path)
    return found["names"] if found else []


def cause_of_death(config: RestoreConfig, name: str, content: Path | bytes, ending: str) -> str | None:
    """What became of a process of its own that restored a picture; None only if it told at its end that it lived."""
    token = secrets.token_hex()
    order = pickle.dumps((token, config, name, content, ending))
    command = python("-m", __name__)
    done = subprocess.run(command, input=order, capture_output=True, env=environment(), check=False)
    if done.returncode < 0:
        return f"{DEADLY} ({_signal(done.returncode)})"
    if done.returncode == 0 and done.stdout.decode(errors="replace").endswith(token):
        return None
    last = done.stderr.decode(errors="replace").strip().rpartition("\n")[2]
    return f"a trial in a process of its own did not live to its end (exit code {done.returncode}): {last}"


def _try() -> None:
    """Restore a picture into nothing, then give back the token that says that it did no harm."""
    from .single import restore_alone

    token, *order = pickle.load(sys.stdin.buffer)
    restore_alone(*order)
    sys.stdout.write(token)


def supervised(output: Path, one: str | None = None) -> bool:
    """Split into a process that works, in which this returns, and one that waits for it and never returns.

    If the first crashes another takes its place, until nothing gets finished between crashes. Where processes
    cannot be split (Windows) there is one, and a crash ends the run.

    Args:
        output: the output folder.
        one: name of the only picture, which needs no second try.

    Returns:
        Whether an earlier process crashed, so that this one must resume.

    Raises:
        SystemExit: in the process that waits, with the exit code of the run.
    """
    if not hasattr(os, "fork"):
        return False
    deaths = crashed = 0
    while True:
        size = _journalled(output)
        parent, child = os.getpid(), os.fork()
        if not child:
            _die_with(parent)
            return crashed > 0
        code = _wait(child)
        if _signal(code) not in CRASHES:
            raise SystemExit(code if code >= 0 else 128 - code)
        if one is not None:
            print(f"{printed(one)}: failed ({DEADLY} ({_signal(code)}))", file=sys.stderr)
            raise SystemExit(1)
        crashed += 1
        deaths = 1 if _journalled(output) > size else deaths + 1
        print(f"ufvnet: the process died ({_signal(code)})", file=sys.stderr, end="", flush=True)
        if deaths == DEATHS:
            print(f" {DEATHS} times in a row without finishing a picture; --resume tries again", file=sys.stderr)
            raise SystemExit(128 - code)
        print("; going on with what is left", file=sys.stderr, flush=True)


def _wait(child: int) -> int:
    """The exit code of a process, negative if it died of a signal; signals that ask to stop are passed on."""
    wanted = [n for n in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP) if signal.getsignal(n) != signal.SIG_IGN]
    before = [signal.signal(number, lambda given, _: os.kill(child, given)) for number in wanted]  # nohup ignores one
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    for number, handler in zip(wanted, before):
        signal.signal(number, handler)
    return code


def _die_with(parent: int) -> None:
    """This process dies when its parent does: at once on Linux, elsewhere within a second."""
    if signal.getsignal(signal.SIGINT) != signal.SIG_IGN:
        signal.signal(signal.SIGINT, _interrupt_once)

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
        if os.getppid() != parent:
            os._exit(1)
    else:
        threading.Thread(target=watch, daemon=True).start()


def _interrupt_once(*_: object) -> None:
    """Ctrl-C comes twice, from the terminal and from the process that waits."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    raise KeyboardInterrupt


def _journalled(output: Path) -> int:
    try:
        return sum(path.stat().st_size for path in notes(output / WORK, JOURNALS))
    except OSError:  # an impossible name, which the run will tell
        return 0


def _signal(code: int) -> str:
    return signal.Signals(-code).name if code < 0 else ""


if __name__ == "__main__":
    _try()

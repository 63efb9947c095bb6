"""Child processes of ours: they import nothing from the working directory, and end when their parent does."""

from __future__ import annotations

import contextlib
import gc
import os
import pickle
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import IO, Any

KEEP_MEMORY = {"MALLOC_MMAP_THRESHOLD_": str(2**30), "MALLOC_TRIM_THRESHOLD_": str(2**31 - 1)}
"""Variables of a process that computes: glibc keeps what one layer frees for the next one. By default it gives large
blocks back to the kernel, which clears them page by page when they are asked for again: a twentieth of the time
(benchmarks/README.md)."""
CTRL_C = 0xC000013A
"""Windows' exit code of a process that Ctrl-C ended."""


def python(*arguments: str) -> list[str]:
    """A command that runs this Python without the working directory on its import path."""
    return [sys.executable, "-P", *arguments]


def environment(**defaults: str) -> dict[str, str]:
    """The environment of a child process: this process's, with ``-P`` for grandchildren too.

    An empty entry of PYTHONPATH means the working directory (``export PYTHONPATH=$PYTHONPATH:lib`` makes one), so
    empty entries are left out.

    Args:
        defaults: variables that are set only where this process's environment has no value for them.
    """
    variables = defaults | dict(os.environ) | {"PYTHONSAFEPATH": "1"}
    if "PYTHONPATH" in variables:
        variables["PYTHONPATH"] = os.pathsep.join(filter(None, variables["PYTHONPATH"].split(os.pathsep)))
    return variables


def ignore_leaked_semaphores() -> None:
    """Let the process that frees the semaphores of a killed command do so without a warning, which helps no user."""
    before = os.environ.get("PYTHONWARNINGS")
    os.environ["PYTHONWARNINGS"] = ",".join(filter(None, [before, "ignore:resource_tracker"]))


@contextlib.contextmanager
def without_collection() -> Iterator[None]:
    """Imports without a search for garbage, which takes a tenth of torch's import and finds nothing."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.freeze()  # what was imported stays


class _NoPandas:
    """Finds no module of the name pandas."""

    @staticmethod
    def find_spec(name: str, *_: object) -> None:
        if name == "pandas":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


def arrow_without_pandas() -> None:
    """Keep pyarrow from importing pandas, which takes 0.26 CPU-seconds, at its first array, to know columns of pandas.

    Only for processes that never import pandas: where it comes later, conversions of this pyarrow make other types.
    """
    if "pandas" in sys.modules:
        return
    import pyarrow as pa

    sys.meta_path.insert(0, _NoPandas)
    try:
        pa.scalar(0)
    finally:
        sys.meta_path.remove(_NoPandas)


@dataclass
class BegunChild:
    """A child process that imports what it needs and waits for its job, which it takes by ``coming_job``."""

    process: subprocess.Popen[bytes]
    lifeline: IO[bytes]
    """Its standard input. The child ends when this is closed, as it is when this process ends."""
    has_job: bool = False

    def give(self, job: object) -> None:
        """Hand it its job, which is anything that can be pickled."""
        self.has_job = True
        with contextlib.suppress(BrokenPipeError):  # the child has died; its exit code says how
            pickle.dump(pickle.dumps(job), self.lifeline)  # bytes, which are read where nothing can be imported yet
            self.lifeline.flush()


@contextlib.contextmanager
def begun_child(module: str, defaults: Mapping[str, str] | None = None, **streams: Any) -> Iterator[BegunChild]:
    """Start ``python -P -m module``; wait for its end when the block is left.

    A child that the block gave no job is killed then; one that still works ends, because its lifeline is closed.

    Args:
        module: name of a module of ours.
        defaults: as ``environment``'s.
        streams: ``stdout`` and ``stderr`` of ``subprocess.Popen``; without them the child has those of this process.
    """
    command, variables = python("-m", module), environment(**defaults or {})
    with subprocess.Popen(command, stdin=subprocess.PIPE, env=variables, **streams) as process:
        lifeline, process.stdin = process.stdin, None  # ``communicate`` would close it
        assert lifeline is not None
        child = BegunChild(process, lifeline)
        try:
            yield child
        finally:
            if not child.has_job:
                process.kill()
            with contextlib.suppress(OSError):
                lifeline.close()


@contextlib.contextmanager
def ctrl_c_waits() -> Iterator[Callable[[], None]]:
    """Let a Ctrl-C wait until the block calls what it is given, or ends.

    A child that is started in the block begins in the same way, and must call ``heed_ctrl_c`` once it knows what to do:
    a Ctrl-C while Python starts would show a traceback. On Windows nothing can wait.
    """
    if sys.platform == "win32":
        yield lambda: None
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield lambda: heed_ctrl_c() if signal.SIGINT not in before else None
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def heed_ctrl_c() -> None:
    """Take the Ctrl-C that ``ctrl_c_waits`` has kept waiting, and those to come."""
    if sys.platform != "win32":
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])


def coming_job() -> Callable[[], Any]:
    """Begin to take the job that ``BegunChild.give`` hands to this process.

    From now on it ends when its parent does.

    Returns:
        What waits for the job.
    """
    received: queue.SimpleQueue[bytes] = queue.SimpleQueue()

    def watch() -> None:
        with contextlib.suppress(EOFError, pickle.UnpicklingError):  # the parent has died, before or while it wrote
            received.put(pickle.load(sys.stdin.buffer))
            while os.read(0, 2**16):
                pass
        os._exit(1)

    threading.Thread(target=watch, name="parent", daemon=True).start()
    return lambda: pickle.loads(received.get())


def when_parent_ends(act: Callable[[], object], read: Callable[[], object] = lambda: os.read(0, 2**16)) -> None:
    """Call ``act`` in a thread of its own once the process that started this one is gone, however it ended.

    The parent must have made this process's standard input a pipe of which it alone holds the other end: it need
    write nothing, and the system closes its end with it.

    Args:
        act: called once.
        read: waits for what the parent writes; gives something false once it is gone. Processes of
            ``multiprocessing`` have a sentinel to wait for instead of standard input.
    """

    def watch() -> None:
        while read():
            pass
        act()

    threading.Thread(target=watch, name="parent", daemon=True).start()


def end_descendants() -> None:
    """Send SIGTERM to every process that this one has started, and to theirs."""
    import psutil

    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            child.terminate()


def cause_of_death(code: int) -> str | None:
    """What ended a process with this exit code: the name of a signal, on Windows the number of an exception.

    None where the process ended by itself.
    """
    if code < 0:
        return signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
    return f"0x{code:08X}" if code >= 0xC0000000 else None

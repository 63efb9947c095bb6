"""Starting the process that restores, as the first thing that ``ufvnet restore`` does.

It imports torch while this process still reads its options.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

from ufvnet.children import KEEP_MEMORY, BegunChild, begun_child, ctrl_c_waits

WORKER = "ufvnet.restore.worker"
VARIABLES = {**KEEP_MEMORY, "OMP_WAIT_POLICY": "PASSIVE", "OPENBLAS_NUM_THREADS": "1"}
"""Variables of that process. It computes with one thread per picture. The further threads of torch and NumPy serve only
while the model is loaded, and on busy cores they spin for ten times as long as the loading takes."""
NOT_EARLY = {"--cluster", "--help"}
"""Options with which no such process restores, but the flow, or nothing does."""


@contextmanager
def begin() -> Iterator[BegunChild]:
    """A process that restores, begun; its job is a configuration and whether the process before it crashed."""
    with ExitStack() as stack:
        with ctrl_c_waits():  # the child, until it knows what to do; this process only while it starts it
            child = stack.enter_context(begun_child(WORKER, VARIABLES))
        yield child


@contextmanager
def begun_early(arguments: list[str]) -> Iterator[BegunChild | None]:
    """``begin``, if these arguments of ``ufvnet``, which may be wrong, are those of a command that restores so.

    None also where it cannot be started: ``supervise`` tries again and says why.
    """
    with ExitStack() as stack:
        child = None
        if _restores(arguments):
            with suppress(OSError):
                child = stack.enter_context(begin())
        yield child


def _restores(arguments: list[str]) -> bool:
    """Whether they may be those of a command whose pictures a process of ``begin`` restores.

    Standard streams are ``-``, ``--input=-`` or ``-i-``.
    """
    if arguments[:1] != ["restore"] or len(arguments) == 1:
        return False
    return not any(word.endswith("-") or word.partition("=")[0] in NOT_EARLY for word in arguments)

"""Starting the process that restores, as the first thing that ``ufvnet restore`` does.

It imports torch while this process still reads its options.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from ufvnet.children import KEEP_MEMORY, BegunChild, begun_child, ctrl_c_waits

WORKER = "ufvnet.restore.worker"
VARIABLES = {**KEEP_MEMORY, "OMP_WAIT_POLICY": "PASSIVE", "OPENBLAS_NUM_THREADS": "1"}
"""Variables of that process. It computes with one thread per picture; the further threads of torch and NumPy serve only
while the model is loaded, and on busy cores spin for ten times as long as that takes."""
OTHERWISE = {"-", "--cluster", "--help"}
"""Arguments with which no such process restores: standard streams, the flow, and help."""


@contextmanager
def begin() -> Iterator[BegunChild]:
    """A process that restores, begun; its job is a configuration and whether the process before it crashed."""
    with ExitStack() as stack:
        with ctrl_c_waits():
            child = stack.enter_context(begun_child(WORKER, VARIABLES))
        yield child


@contextmanager
def begun_early(arguments: list[str]) -> Iterator[BegunChild | None]:
    """``begin``, if these arguments of ``ufvnet`` are those of a command that restores; they may be wrong."""
    command, *rest = arguments or [""]
    if command != "restore" or not rest or OTHERWISE & {argument.partition("=")[0] for argument in rest}:
        yield None
        return
    with begin() as child:
        yield child

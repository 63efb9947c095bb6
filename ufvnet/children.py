"""Child processes of ours: none of them imports what happens to lie in the working directory."""

from __future__ import annotations

import os
import sys


def python(*arguments: str) -> list[str]:
    """A command that runs this Python without the working directory on its import path."""
    return [sys.executable, "-P", *arguments]


def environment(**more: str) -> dict[str, str]:
    """This process's environment, with ``-P`` for grandchildren too; ``more`` where it says nothing.

    An empty entry of PYTHONPATH means the working directory (``export PYTHONPATH=$PYTHONPATH:lib`` makes one), so
    empty ones are left out.
    """
    found = more | dict(os.environ) | {"PYTHONSAFEPATH": "1"}
    if "PYTHONPATH" in found:
        found["PYTHONPATH"] = os.pathsep.join(filter(None, found["PYTHONPATH"].split(os.pathsep)))
    return found

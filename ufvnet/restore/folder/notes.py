"""The folder in a run's output for what only an unfinished run needs: journals, lists of outputs, crash diaries."""

from __future__ import annotations

import re
from pathlib import Path

WORK = ".ufvnet"
"""Name of the folder."""
DIARY = ".reading"
"""Ending of a crash diary in it: names of the pictures that a process has in work."""
NOTES = re.compile(r"manifest(-\d{6})?\.(jsonl|written|reading)|earlier\.written")
"""Names of the files that a run makes there; a file of another name belongs to somebody else."""


def notes(work: Path, ending: str = "") -> list[Path]:
    """The files of runs in a folder WORK that have this ending."""
    return sorted(path for path in work.glob(f"*{ending}") if NOTES.fullmatch(path.name))


def forget(output: Path) -> None:
    """Remove the diaries of earlier processes: what they had in work is no suspect."""
    for path in notes(output / WORK, DIARY):
        path.unlink(missing_ok=True)

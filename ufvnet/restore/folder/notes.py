"""Notes at a run's desk that only an unfinished run needs: journals, lists of outputs, crash diaries."""

from __future__ import annotations

import re
from pathlib import Path

WORK = ".ufvnet"
"""Name of their folder, below the desk."""
JOURNAL = "manifest.jsonl"
"""Rows of a run in one process. Processes that share a run have a journal each: ``manifest-000000.jsonl`` etc."""
JOURNALS = ".jsonl"
WRITTEN = ".written"
"""Ending of lists of outputs that are about to be written."""
EARLIER = f"earlier{WRITTEN}"
"""Outputs of earlier runs that the manifest does not list."""
DIARY = ".reading"
"""Ending of crash diaries: names of the pictures that a process has in work."""
OURS = re.compile(r"manifest(-\d{6})?\.(jsonl|written|reading)|earlier\.written")


def notes(work: Path, ending: str = "") -> list[Path]:
    """The notes of runs in a folder WORK that have this ending, sorted; a file of any other name is not ours."""
    return sorted(path for path in work.glob(f"*{ending}") if OURS.fullmatch(path.name))


def forget(desk: Path) -> None:
    """Remove the diaries of earlier processes: what they had in work is not suspect."""
    for path in notes(desk / WORK, DIARY):
        path.unlink(missing_ok=True)

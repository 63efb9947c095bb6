"""Names of the notes that a run keeps in its output folder until it is finished; imports nothing heavy."""

from __future__ import annotations

import re
from pathlib import Path

WORK = ".ufvnet"
"""Folder of the notes, below the output folder."""
JOURNAL = "manifest.jsonl"
"""The rows of a run in one process. Processes that share a run have a journal each, ``manifest-000000.jsonl`` etc."""
JOURNALS = ".jsonl"
WRITTEN = ".written"
"""Ending of notes that name outputs before they are written."""
EARLIER = f"earlier{WRITTEN}"
"""Outputs of earlier runs that the manifest does not list."""
OURS = re.compile(r"manifest(-\d{6})?\.(jsonl|written|reading)|earlier\.written")


def notes(work: Path, ending: str = "") -> list[Path]:
    """Our notes with this ending in a run's folder WORK, sorted; a file of any other name is not ours."""
    return sorted(path for path in work.glob(f"*{ending}") if OURS.fullmatch(path.name))

"""Rows of the manifest: how they are made, and their statuses."""

from __future__ import annotations

import re
from typing import Any

MANIFEST, SUMMARY = "manifest.parquet", "summary.json"
ACCOUNT = (MANIFEST, SUMMARY)
"""What a run writes into its output folder beside the pictures; never an input where the output folder is one."""

STATUSES = {
    "restored": "At least one face was restored; `faces` lists each, also those left as they were.",
    "copied": "Nothing in it is smaller than the model's output; its bytes are copied.",
    "no_face": "No face was found; copied too.",
    "scaled": "There was no face to restore; enlarged or reduced to the size that was asked for.",
    "failed": "Anything else. The reason says why.",
    "skipped": "Not a picture, by name and content; a table without pictures; or left out by `unrestored: leave`.",
}
"""Values of ``status``, what can become of a picture, and their meanings."""
FINISHED = ("restored", "copied", "no_face", "scaled", "skipped")
"""Statuses that a resumed run does not try again."""
USABLE = ("restored", "copied", "no_face", "scaled")
"""Statuses of pictures that could be read."""

ManifestRow = dict[str, Any]


def new_row(name: str, key: str) -> ManifestRow:
    """The row of a picture of which nothing is known yet."""
    return {"path": name, "status": "", "reason": "", "output": "", "sha256": "", "output_sha256": "", "key": key}


def file_of(output: str) -> str:
    """The file that a row's ``output`` names, which for a row of a Parquet part is ``part#row``."""
    part = re.fullmatch(r"(.*\.parquet)#\d+", output, re.DOTALL)
    return part[1] if part else output

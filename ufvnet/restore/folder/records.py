"""Rows of the manifest: how they are made, and their statuses."""

from __future__ import annotations

import re
from typing import Any

MANIFEST, SUMMARY = "manifest.parquet", "summary.json"
ACCOUNT = (MANIFEST, SUMMARY)
"""What a run writes into its output folder beside the pictures; never an input where the output folder is one."""

STATUSES = ("restored", "copied", "no_face", "failed", "skipped")
"""``restored``: at least one face was restored. ``copied``: no face in it is smaller than the model's output.
``no_face``: no face was found. ``skipped``: not a picture, by its name and by its content, or left out because the
configuration says so. ``failed``: anything else."""
FINISHED = ("restored", "copied", "no_face", "skipped")
"""Statuses that a resumed run does not try again."""
USABLE = ("restored", "copied", "no_face")
"""Statuses of pictures that could be read."""

ManifestRow = dict[str, Any]


def new_row(name: str, key: str) -> ManifestRow:
    """The row of a picture of which nothing is known yet."""
    return {"path": name, "status": "", "reason": "", "output": "", "sha256": "", "output_sha256": "", "key": key}


def file_of(output: str) -> str:
    """The file that a row's ``output`` names, which for a row of a Parquet part is ``part#row``."""
    part = re.fullmatch(r"(.*\.parquet)#\d+", output, re.DOTALL)
    return part[1] if part else output

"""Rows of the manifest: their columns and statuses."""

from __future__ import annotations

import re
from typing import Any

import pyarrow as pa

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

FACE = pa.struct(
    [
        ("left", pa.float32()), ("top", pa.float32()), ("right", pa.float32()), ("bottom", pa.float32()),
        ("restored", pa.bool_()), ("effective_size", pa.float32()),
        ("w1", pa.float32()), ("w2", pa.float32()), ("w3", pa.float32()),
    ]
)  # fmt: skip

ROWS = pa.schema(
    [
        ("path", pa.string()),
        ("status", pa.string()),
        ("reason", pa.string()),
        ("mode", pa.string()),
        ("format", pa.string()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("faces_found", pa.int32()),
        ("faces_restored", pa.int32()),
        ("face_size", pa.float32()),
        ("effective_size", pa.float32()),
        ("w1", pa.float32()),
        ("w2", pa.float32()),
        ("w3", pa.float32()),
        ("faces", pa.list_(FACE)),
        ("seconds", pa.float32()),
        ("output", pa.string()),
        ("output_width", pa.int32()),
        ("output_height", pa.int32()),
        ("sha256", pa.string()),
        ("output_sha256", pa.string()),
        ("key", pa.string()),
    ]
)
"""One row per picture. ``mode``: ``aligned`` or ``photo``, as the picture was treated. Sizes are those of upright
pictures. ``face_size``: mean side in pixels of the restored faces' crops; ``effective_size``: mean effective size in
pixels of the crops that are not smaller than the model's output, restored or not; ``w1`` ... ``w3``: mean weights of
the anchors; ``faces`` lists each face. ``output``: path below the output folder (``part#row`` for a row of a Parquet
part). ``sha256``: of the input. ``key``: fingerprint of the model and the settings."""

ManifestRow = dict[str, Any]


def new_row(name: str, key: str) -> ManifestRow:
    """The row of a picture of which nothing is known yet."""
    return {"path": name, "status": "", "reason": "", "output": "", "sha256": "", "output_sha256": "", "key": key}


def file_of(output: str) -> str:
    """The file that a row's ``output`` names, which for a row of a Parquet part is ``part#row``."""
    part = re.fullmatch(r"(.*\.parquet)#\d+", output, re.DOTALL)
    return part[1] if part else output

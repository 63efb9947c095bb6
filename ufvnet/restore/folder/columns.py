"""Columns of the manifest, for the modules that write it; the others need no pyarrow, which takes long to import."""

from __future__ import annotations

import pyarrow as pa

FACE = pa.struct(
    [
        ("left", pa.float32()), ("top", pa.float32()), ("right", pa.float32()), ("bottom", pa.float32()),
        ("restored", pa.bool_()), ("w1", pa.float32()), ("w2", pa.float32()), ("w3", pa.float32()),
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
pictures. ``face_size``: mean side in pixels of the restored faces' crops; ``w1`` ... ``w3``: mean weights of the
anchors; ``faces`` lists each face. ``output``: path below the output folder (``part#row`` for a row of a Parquet part).
``sha256``: of the input. ``key``: fingerprint of the model and the settings."""

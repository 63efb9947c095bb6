"""Columns of the manifest, for the modules that write it; the others need no pyarrow, which takes long to import."""

from __future__ import annotations

import pyarrow as pa

FACE = pa.struct(
    [
        ("left", pa.float32()), ("top", pa.float32()), ("right", pa.float32()), ("bottom", pa.float32()),
        ("restored", pa.bool_()), ("effective_size", pa.float32()),
        ("w1", pa.float32()), ("w2", pa.float32()), ("w3", pa.float32()),
    ]
)  # fmt: skip

COLUMNS: dict[str, tuple[pa.DataType, str]] = {
    "path": (pa.string(), "Name of the input: its path below the folder that was given, or `<table>#<row>`."),
    "status": (pa.string(), "What became of the picture."),
    "reason": (pa.string(), "Why, or what was converted or left out."),
    "mode": (pa.string(), "`aligned` or `photo`, as the picture was treated."),
    "format": (pa.string(), "Image format of the input, by its content."),
    "width": (pa.int32(), "Width in pixels of the upright input."),
    "height": (pa.int32(), "Height in pixels of the upright input."),
    "faces_found": (pa.int32(), "Number of faces found."),
    "faces_restored": (pa.int32(), "Number of faces restored."),
    "face_size": (pa.float32(), "Mean side in pixels of the restored faces' crops."),
    "effective_size": (
        pa.float32(),
        "Mean effective size in pixels of the crops that are not smaller than the model's output, restored or not.",
    ),
    "w1": (pa.float32(), "Mean weight of the first anchor over the restored faces; null if the model has none."),
    "w2": (pa.float32(), "Of the second anchor."),
    "w3": (pa.float32(), "Of the third anchor."),
    "faces": (
        pa.list_(FACE),
        "Each face of a photo: its crop, whether it was restored, effective size, weights.",
    ),
    "seconds": (pa.float32(), "Time spent on reading, restoring (its share of the batches) and writing it."),
    "output": (
        pa.string(),
        "Path below the output folder; `<part>#<row>` in a Parquet part; empty for none.",
    ),
    "output_width": (pa.int32(), "Width in pixels of a restored output."),
    "output_height": (pa.int32(), "Height in pixels of a restored output."),
    "sha256": (pa.string(), "sha256 of the input."),
    "output_sha256": (pa.string(), "sha256 of the output, or of its Parquet part."),
    "key": (pa.string(), "Fingerprint of the model and the settings, by which `--resume` knows what is finished."),
}
"""A row for each picture. docs/reference/columns.md is made from this table."""

ROWS = pa.schema([(name, kind) for name, (kind, _) in COLUMNS.items()])

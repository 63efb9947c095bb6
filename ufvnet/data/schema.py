"""Parquet schemas of a built dataset (DESIGN.md, Storage) and atomic writing of its files."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from .bicubic import SIXTEENTHS

SCHEMA_VERSION = 1
FINGERPRINT = b"ufvnet.fingerprint"
ROW_GROUP = 100

IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
"""The Hugging Face image type: a lossless PNG and a name for it."""

IMAGE_COLUMNS = ("hr", *(f"lr_{k}" for k in SIXTEENTHS))

PHOTOS = pa.schema(
    [
        ("path", pa.string()),
        ("split", pa.string()),
        ("bytes", pa.int64()),
        ("sha256", pa.string()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("format", pa.string()),
        ("status", pa.string()),
        ("reason", pa.string()),
        ("faces_found", pa.int32()),
    ]
)

FACES = pa.schema(
    [
        ("face_id", pa.string()),
        ("photo", pa.string()),
        ("sha256", pa.string()),
        ("landmarks", pa.list_(pa.float32())),
        ("box", pa.list_(pa.int32())),
        *((name, IMAGE) for name in IMAGE_COLUMNS),
    ],
    metadata={"huggingface": json.dumps({"info": {"features": {name: {"_type": "Image"} for name in IMAGE_COLUMNS}}})},
)


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Let ``write`` fill a temporary file beside ``path``, then rename it into place."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        write(temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Atomically write UTF-8 text."""
    write_atomically(path, lambda p: p.write_text(text, encoding="utf-8"))


def write_json(path: Path, data: object) -> None:
    """Atomically write indented JSON."""
    write_text(path, json.dumps(data, indent=2, default=str) + "\n")


def write_table(path: Path, table: pa.Table, fingerprint: str = "") -> None:
    """Atomically write a table in row groups of ROW_GROUP; the fingerprint goes into its metadata."""
    metadata = {**(table.schema.metadata or {}), FINGERPRINT: fingerprint.encode()}
    table = table.replace_schema_metadata(metadata)
    columns = [f.name for f in table.schema if f.type != IMAGE]
    write_atomically(
        path,
        lambda p: pq.write_table(
            table, p, row_group_size=ROW_GROUP, compression={name: "zstd" for name in columns} or "none"
        ),
    )


def read_fingerprint(path: Path) -> str | None:
    """The fingerprint in a Parquet file's footer; None for a missing or broken file."""
    try:
        return (pq.read_schema(path).metadata or {}).get(FINGERPRINT, b"").decode()
    except (OSError, pa.ArrowInvalid):
        return None

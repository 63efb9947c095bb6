"""Parquet schemas of a built dataset (docs/architecture.md, Storage), and atomic writing of its files."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ufvnet.files import write_atomically
from ufvnet.imaging.resize import SIXTEENTHS

SCHEMA_VERSION = 2
FINGERPRINT = b"ufvnet.fingerprint"
ROW_GROUP = 100
IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
"""The Hugging Face image type: a lossless PNG and a name for it."""

IMAGE_COLUMNS = ("hr", *(f"lr_{k}" for k in SIXTEENTHS))

PHOTOS = pa.schema(
    [
        ("path", pa.string()),
        ("split", pa.string()),
        ("identity", pa.string()),
        ("bytes", pa.int64()),
        ("sha256", pa.string()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("format", pa.string()),
        ("status", pa.string()),
        ("reason", pa.string()),
        ("faces_found", pa.int32()),
        ("faces_built", pa.int32()),
        ("dhash", pa.string()),
        ("key", pa.string()),
    ]
)
"""A row for each photo. ``dhash``: difference hash, 64 hex digits; ``key``: fingerprint of what decides its rows."""

STATUSES = (
    "ok", "no_face", "too_small", "clipped", "unreadable", "too_large", "crashed", "duplicate", "near_duplicate",
    "missing", "not_listed", "landmarks_missing",
)  # fmt: skip
"""Values of ``status``: what can become of a photo."""

NO_FAILURES = ("ok", "duplicate", "near_duplicate", "not_listed")
"""Statuses of photos that need no attention."""

FACES = pa.schema(
    [
        ("face_id", pa.string()),
        ("photo", pa.string()),
        ("sha256", pa.string()),
        ("landmarks", pa.list_(pa.float32())),
        ("box", pa.list_(pa.int32())),
        ("angle", pa.float32()),
        *((name, IMAGE) for name in IMAGE_COLUMNS),
    ],
    metadata={"huggingface": json.dumps({"info": {"features": {name: {"_type": "Image"} for name in IMAGE_COLUMNS}}})},
)


def write_table(path: Path, table: pa.Table, fingerprint: str = "") -> None:
    """Atomically write a table as ``write_rows`` does."""
    write_rows(path, table.schema, table.to_pylist(), fingerprint)


def write_rows(path: Path, schema: pa.Schema, rows: Iterable[dict[str, Any]], fingerprint: str = "") -> int:
    """Atomically write rows in row groups of ROW_GROUP, one of them in memory at a time; returns the number of rows.

    Columns of images are not compressed, as the images are. Pages carry checksums, and the file's metadata the
    fingerprint. The bytes depend only on the arguments.
    """
    schema = schema.with_metadata({**(schema.metadata or {}), FINGERPRINT: fingerprint.encode()})
    plain = [f.name for f in schema if f.type != IMAGE]
    compression = {f.name: "zstd" if f.name in plain else "none" for f in schema}
    options = {"compression": compression, "use_dictionary": plain, "write_statistics": plain}
    counts: list[int] = []

    def write(temporary: Path) -> None:
        with pq.ParquetWriter(temporary, schema, write_page_checksum=True, **options) as writer:
            for group in _batched(rows, ROW_GROUP):
                writer.write_table(pa.Table.from_pylist(group, schema=schema))
                counts.append(len(group))

    write_atomically(path, write)
    return sum(counts)


def _batched(rows: Iterable[dict[str, Any]], size: int) -> Iterator[list[dict[str, Any]]]:
    rows = iter(rows)
    while group := list(itertools.islice(rows, size)):
        yield group


def read_fingerprint(path: Path) -> str | None:
    """The fingerprint in a Parquet file's footer; None for a missing or broken file."""
    try:
        return (pq.read_schema(path).metadata or {}).get(FINGERPRINT, b"").decode()
    except (OSError, pa.ArrowInvalid):
        return None


CONTENT = b"ufvnet.content"
"""Metadata key of the sha256 over all that ``read_checked`` returns."""


def write_checked(path: Path, table: pa.Table, fingerprint: str = "") -> None:
    """Atomically write a small table that ``read_checked`` can prove to be as it was written."""
    table = table.replace_schema_metadata({CONTENT: content_of(table, fingerprint).encode()})
    write_table(path, table, fingerprint)


def read_checked(path: Path) -> tuple[pa.Table, str] | None:
    """The table and the fingerprint that ``write_checked`` wrote; None if the file is missing, damaged or not from it.

    Every changed bit of the file is noticed unless it changes nothing that is read.
    """
    try:
        with pq.ParquetFile(path, page_checksum_verification=True, memory_map=False) as file:
            table = file.read(use_threads=False)
        metadata = table.schema.metadata or {}
        fingerprint = metadata[FINGERPRINT].decode()
        if metadata[CONTENT].decode() != content_of(table, fingerprint):
            return None
        return table.replace_schema_metadata(None), fingerprint
    except Exception:  # of a damaged file pyarrow raises any kind of error, even MemoryError
        return None


def content_of(table: pa.Table, fingerprint: str) -> str:
    """sha256 (hex) over names, types and values of a table, floats exactly, and its fingerprint."""
    whole = hashlib.sha256(repr((fingerprint, [(f.name, str(f.type)) for f in table.schema])).encode())
    for column in table.columns:
        whole.update(repr(column.to_pylist()).encode("utf-8", "surrogatepass"))
    return whole.hexdigest()

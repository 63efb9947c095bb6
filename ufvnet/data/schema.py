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

FINGERPRINT = b"ufvnet.fingerprint"
ROW_GROUP = 100
IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
"""The Hugging Face image type: a lossless PNG and a name for it."""

IMAGE_COLUMNS = ("hr", *(f"lr_{k}" for k in SIXTEENTHS))

Columns = dict[str, tuple[pa.DataType, str]]
"""Columns of a table by name: type and meaning. docs/reference/columns.md is made from them."""

PHOTO_COLUMNS: Columns = {
    "path": (pa.string(), "Name of the photo: its path below the source's root, or file and row of a table."),
    "split": (pa.string(), "Split that it belongs to; null if it is in no list."),
    "identity": (pa.string(), "Person, if the source names one."),
    "bytes": (pa.int64(), "Size of the file; null if it could not be read."),
    "sha256": (pa.string(), "sha256 of the file's bytes."),
    "width": (pa.int32(), "Width in pixels of the upright photo."),
    "height": (pa.int32(), "Height in pixels of the upright photo."),
    "format": (pa.string(), "Image format, as Pillow names it."),
    "status": (pa.string(), "What became of the photo."),
    "reason": (pa.string(), "Why, or for `ok` what was converted while reading."),
    "faces_found": (pa.int32(), "Number of faces found, or 1 if a file gives the landmarks."),
    "faces_built": (pa.int32(), "Number of rows that the photo has in `faces/`."),
    "dhash": (pa.string(), "Difference hash, 64 hex digits, by which photos that look alike are found."),
    "key": (pa.string(), "Fingerprint of all that decides the photo's rows; empty if the next build tries it again."),
}
"""A row for each photo."""

FACE_COLUMNS: Columns = {
    "face_id": (pa.string(), "Name of the face: `<path of the photo>#<number>`."),
    "photo": (pa.string(), "Path of the photo, as in `photos/`."),
    "sha256": (pa.string(), "sha256 of the photo's bytes."),
    "landmarks": (pa.list_(pa.float32()), "68 landmarks x0, y0, ..., x67, y67 in pixels of the upright photo."),
    "box": (pa.list_(pa.int32()), "Crop: left, top, right, bottom in pixels of the upright photo."),
    "angle": (pa.float32(), "Degrees by which the photo was turned before the crop; 0 unless `crop.align` is set."),
    "hr": (IMAGE, "HR face."),
    **{f"lr_{k}": (IMAGE, f"LR face of {k}/16 of the HR size.") for k in SIXTEENTHS},
}
"""A row for each face."""

STATUSES = {
    "ok": "Has faces in `faces/`. The reason says what was converted (16 bits, CMYK, a colour profile, EXIF, ...).",
    "no_face": "No face was found, or none where the source's annotation has one.",
    "too_small": "The face's crop has fewer pixels than `min_face`.",
    "clipped": "The face's crop leaves the photo (`crop.clip: drop`).",
    "unreadable": "Cannot be read or decoded. The reason says why.",
    "too_large": "Has more pixels than `max_pixels`, or the file is larger than 512 MiB.",
    "crashed": "Three processes that read it died, one after the other.",
    "duplicate": "Has the same bytes as the photo that the reason names, and the source means no other face in it. "
    "Of such a pair the test photo stays.",
    "near_duplicate": "Looks like the photo that the reason names (`near_duplicates: drop`). The test photo stays; "
    "within a split, the one of more pixels.",
    "missing": "In a list, but there is no such file.",
    "not_listed": "In none of the source's lists.",
    "landmarks_missing": "The landmarks that a file gives do not make a crop.",
}
"""Values of ``status``, what can become of a photo, and their meanings."""


def schema_of(columns: Columns, metadata: dict[str, str] | None = None) -> pa.Schema:
    """The Arrow schema of a table."""
    return pa.schema([(name, kind) for name, (kind, _) in columns.items()], metadata=metadata)


PHOTOS = schema_of(PHOTO_COLUMNS)
FEATURES = {"info": {"features": {name: {"_type": "Image"} for name in IMAGE_COLUMNS}}}
FACES = schema_of(FACE_COLUMNS, {"huggingface": json.dumps(FEATURES)})


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

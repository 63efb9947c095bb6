"""Photos that are rows of Parquet or Arrow files with an image column, as ``datasets`` saves them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ufvnet.config import ConfigError, TableSource

from .sources import Photo

TABLES = (".parquet", ".arrow")

BLOCK = 1000
"""Rows that are read together, at most. A row group of many blocks is read again for each: write a few thousand
rows a group at most, as ``datasets`` does."""

BLOCKS = 1_000_000


def list_cells(source: TableSource) -> list[Photo]:
    """A photo a row, by file and row.

    Raises:
        ConfigError: no files, a file that cannot be read, a column that is missing or holds no images, a name twice.
    """
    files: dict[str | None, list[Path]] = {s: sorted(source.root.rglob(g)) for s, g in source.files.items()}
    if not files:
        files[None] = sorted(p for p in source.root.rglob("*") if p.suffix.lower() in TABLES and p.is_file())
    for split, found in files.items():
        if not found:
            wanted = f"source.files.{split} = {source.files[split]}" if split else "source.root"
            raise ConfigError(f"{wanted}: no such file below {source.root}")
    photos = [photo for split, found in files.items() for path in found for photo in cells_of(source, path, split)]
    if len({p.path for p in photos}) < len(photos):
        raise ConfigError(f"source.name = {source.name}: two rows have the same name")
    return photos


def cells_of(source: TableSource, path: Path, split: str | None = None) -> Iterator[Photo]:
    """A photo a row of one file.

    Raises:
        ConfigError: it cannot be read, or a column is missing or holds no images.
    """
    file = path.relative_to(source.root).as_posix()
    columns = {key: getattr(source, key) for key in ("name", "split", "identity") if getattr(source, key)}
    try:
        schema = read_schema(path)
        for key, column in {"image": source.image, **columns}.items():
            if column not in schema.names:
                raise ConfigError(f"source.{key} = {column}: no such column in {file}; there are {schema.names}")
        _check_image_type(schema.field(source.image).type, source.image, file)
        for block, first, batch in _blocks(path, list(columns.values())):
            rows = batch.to_pylist() if columns else [{}] * len(batch)
            for i, row in enumerate(rows, start=first):
                told = {key: str(row[c]) if row[c] not in (None, "") else None for key, c in columns.items()}
                name = told.get("name") or f"{file}#{i:06d}"
                yield Photo(name, told.get("split") or split, told.get("identity"), cell=(file, block, i))
    except (OSError, pa.ArrowException) as error:
        raise ConfigError(f"{path}: cannot be read ({error})") from error


def _check_image_type(kind: pa.DataType, column: str, file: str) -> None:
    inner = kind.field("bytes").type if pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0 else kind
    if not (pa.types.is_binary(inner) or pa.types.is_large_binary(inner)):
        raise ConfigError(f"source.image = {column}: {file} has {kind} there, not encoded images")


def read_cells(root: Path, image: str, photos: Sequence[Photo]) -> Iterator[bytes | Path | OSError | None]:
    """The encoded images of photos of tables, in their order; a path where the row only names a file, an error where
    the table is damaged.

    A block is read once while its photos follow each other.
    """
    at: tuple[str, int] | None = None
    first, column, damage = 0, None, None
    for photo in photos:
        assert photo.cell is not None
        file, block, row = photo.cell
        if (file, block) != at:
            at = (file, block)
            try:
                first, column = next((f, b.column(0)) for n, f, b in _blocks(root / file, [image], block) if n == block)
            except (OSError, pa.ArrowException, StopIteration) as error:
                column = None
                damage = OSError(f"the table's column {image} cannot be read there ({type(error).__name__}: {error})")
        yield damage if column is None else _bytes_of(column[row - first].as_py(), root / file)


def _bytes_of(value: Any, file: Path) -> bytes | Path | None:
    if isinstance(value, dict):
        if value["bytes"] is None and value.get("path"):
            return file.parent / value["path"]
        return value["bytes"]
    return value


def read_schema(path: Path) -> pa.Schema:
    """The columns of a Parquet or Arrow file."""
    if path.suffix.lower() == ".parquet":
        return pq.read_schema(path)
    with pa.memory_map(str(path)) as mapped:
        return _arrow(mapped).schema


def read_rows(path: Path, columns: list[str], first: int, count: int) -> pa.Table:
    """Some columns of some rows; nothing before their row group is read.

    Raises:
        OSError, pa.ArrowException: they cannot be read.
    """
    parts, at = [], 0
    for _, rows, batches in _groups(path, columns):
        if at + rows <= first:
            at += rows
            continue
        for batch in batches:
            low, high = max(first, at), min(first + count, at + len(batch))
            if low < high:
                parts.append(batch.slice(low - at, high - low))
            at += len(batch)
            if at >= first + count:
                return pa.Table.from_batches(parts)
    raise OSError(f"{path.name} has fewer rows than it had")


def _blocks(path: Path, columns: list[str], only: int | None = None) -> Iterator[tuple[int, int, pa.RecordBatch]]:
    """(number, first row, columns) of each block of rows; with ``only``, those of that block's row group alone.

    A block's number is that of its row group (or Arrow batch) times BLOCKS, plus its place therein.
    """
    first = 0
    for group, rows, batches in _groups(path, columns):
        if only is None or group == only // BLOCKS:
            start = first
            for place, batch in enumerate(batches):
                yield group * BLOCKS + place, start, batch
                start += len(batch)
        first += rows


def _groups(path: Path, columns: list[str]) -> Iterator[tuple[int, int, Iterator[pa.RecordBatch]]]:
    """(number, rows, batches, which are read when they are asked for) of each row group or Arrow batch."""
    if path.suffix.lower() == ".parquet":
        with pq.ParquetFile(path) as file:
            for group in range(file.num_row_groups):
                rows = file.metadata.row_group(group).num_rows
                batches = file.iter_batches(BLOCK, row_groups=[group], columns=columns) if columns else _lengths(rows)
                yield group, rows, batches
        return
    with pa.memory_map(str(path)) as mapped:
        reader = _arrow(mapped)
        stream = isinstance(reader, pa.RecordBatchReader)
        for group, batch in enumerate(reader if stream else map(reader.get_batch, range(reader.num_record_batches))):
            chosen = batch.select(columns)
            pieces = (chosen.slice(i, BLOCK) for i in range(0, len(batch), BLOCK)) if columns else _lengths(len(batch))
            yield group, len(batch), pieces


def _arrow(mapped: pa.MemoryMappedFile) -> Any:
    """A reader of an Arrow file, which begins with its name, or of a stream, as ``datasets`` writes them."""
    named = mapped.read(6) == b"ARROW1"
    mapped.seek(0)
    return pa.ipc.open_file(mapped) if named else pa.ipc.open_stream(mapped)


def _lengths(rows: int) -> Iterator[pa.RecordBatch]:
    """Batches of no columns would have no length: a counter stands in."""
    for start in range(0, rows, BLOCK):
        yield pa.record_batch([pa.array(range(start, min(rows, start + BLOCK)))], names=["row"])

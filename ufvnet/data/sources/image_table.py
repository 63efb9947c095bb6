"""Photos that are rows of Parquet or Arrow files with an image column, as ``datasets`` saves them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ufvnet.config import TableSource
from ufvnet.errors import ConfigError, in_one_line
from ufvnet.files import check_name
from ufvnet.remote import AnyPath, RemotePath

from .cells import HOLDS, Cell, holds_pictures, is_label, picture_of
from .files import TABLES, name_below
from .photo import Photo, TableRow

BLOCK = 1000
"""Upper bound on the number of rows that are read together. A row group of many blocks is read again for each of them,
so tables should have a few thousand rows per group at most, as ``datasets`` writes them."""

BLOCKS = 1_000_000
"""Upper bound on the number of blocks in a row group."""

ROWS = 1_000_000
"""A table of more rows must have at least one byte for each: a larger number is damage, and would cost days."""


class NoPictures(ConfigError):
    """The table has no column of the name that the configuration gives for pictures."""


def list_cells(source: TableSource) -> list[Photo]:
    """A photo for each row of each table; a table whose rows cannot be listed is one photo with a fault.

    Raises:
        ConfigError: there is no table or none that can be listed, a name occurs twice, or image_root is no folder.
    """
    if source.image_root is not None and not os.path.isdir(source.image_root):
        raise ConfigError(f"source.image_root = {source.image_root}: no such folder")
    photos, faults = list[Photo](), list[ConfigError]()
    for split, path in _files(source):
        try:
            photos += cells_of(source, path, split)
        except ConfigError as error:
            faults.append(error)
            file = name_below(source.root, path)
            fault = ("unreadable", f"a table whose rows cannot be listed: {error}")
            photos.append(Photo(file, split, table_row=TableRow(file, -1, 0), fault=fault))
    if faults and len(faults) == len(photos):
        raise faults[0]
    if len({p.path for p in photos}) < len(photos):
        raise ConfigError(f"source.name = {source.name}: two rows have the same name")
    return photos


def _files(source: TableSource) -> list[tuple[str | None, AnyPath]]:
    """(split, file) of everything that has the name of a table; whether it is one is found out when it is read.

    Raises:
        ConfigError: a pattern is malformed or fits no file.
    """
    files: list[tuple[str | None, AnyPath]] = []
    patterns: list[tuple[str | None, str]] = [*source.files.items()] or [(None, "*")]
    for split, pattern in patterns:
        key = f"source.files.{split} = {pattern}" if split else "source.root"
        try:
            paths = _matching(source.root, pattern)
        except (ValueError, NotImplementedError, IndexError, OSError) as error:
            raise ConfigError(f"{key}: no pattern of files below {source.root} ({error})") from error
        if split is None:
            paths = [p for p in paths if p.suffix.lower() in TABLES]
        if not paths or ".." in Path(pattern).parts:
            raise ConfigError(f"{key}: no such file below {source.root}")
        files += [(split, path) for path in paths]
    return files


def _matching(root: AnyPath, pattern: str) -> list[AnyPath]:
    """The files below a folder that fit a pattern, by name, without hidden ones and those in hidden folders."""
    if isinstance(root, RemotePath):
        return [path for path in root.files() if PurePosixPath(path.name_below(root)).match(pattern)]
    found = (p for p in root.rglob(pattern) if not any(part.startswith(".") for part in p.relative_to(root).parts))
    return sorted(p for p in found if not p.is_dir())


def cells_of(source: TableSource, path: AnyPath, split: str | None = None) -> list[Photo]:
    """A photo for each row of one table.

    Args:
        source: names the columns.
        path: the table, below the source's root.
        split: of rows that have none of their own.

    Raises:
        NoPictures: it has no column of the name that pictures should have.
        ConfigError: it cannot be read, or a column is missing or of a type that cannot be used.
    """
    file = name_below(source.root, path)
    columns = {key: getattr(source, key) for key in ("name", "split", "identity") if getattr(source, key)}
    try:
        schema = read_schema(path)
        _check_columns(schema, {"image": source.image, **columns}, file)
        photos = []
        for block, first, batch in _blocks(path, list(columns.values())):
            labels = {key: _labels(batch.column(column)) for key, column in columns.items()}
            for i, row in enumerate(range(first, first + len(batch))):
                name, own, person = (labels[key][i] if key in labels else None for key in ("name", "split", "identity"))
                if own is not None:
                    check_name(f"{file}, row {row}: source.split", own)
                place = TableRow(file, block, row)
                photos.append(Photo(name or f"{file}#{row:06d}", own or split, person, table_row=place))
        return photos
    except ConfigError:
        raise
    except Exception as error:  # of damaged files pyarrow raises nearly anything
        raise ConfigError(f"{path}: cannot be read ({in_one_line(error)})") from error


def _check_columns(schema: pa.Schema, columns: dict[str, str], file: str) -> None:
    """
    Raises:
        NoPictures: the column of pictures is missing.
        ConfigError: another column is missing, or one occurs twice or is of a type that cannot be used.
    """
    for key, column in columns.items():
        if column not in schema.names:
            problem = NoPictures if key == "image" else ConfigError
            raise problem(f"source.{key} = {column}: no such column in {file}; there are {schema.names[:50]}")
        if schema.names.count(column) > 1:
            raise ConfigError(f"source.{key} = {column}: {file} has {schema.names.count(column)} columns of that name")
        kind = schema.field(column).type
        fits, wanted = (
            (holds_pictures, f"encoded images ({HOLDS})") if key == "image" else (is_label, "text or numbers")
        )
        if not fits(kind):
            raise ConfigError(f"source.{key} = {column}: {file} has {str(kind)[:200]} there, not {wanted}")


def _labels(column: pa.Array) -> list[str | None]:
    """The values of a column as text; None for null, empty text and NaN."""
    try:
        values = column.to_pylist()
    except UnicodeDecodeError:
        values = [v and v.decode("utf-8", "backslashreplace") for v in pc.cast(column, pa.binary()).to_pylist()]
    return [None if v is None or v == "" or v != v else str(v) for v in values]


def read_cells(source: TableSource, photos: Sequence[Photo]) -> Iterator[Cell]:
    """The encoded images of photos that are rows of tables, in the order of the photos.

    A path where the row only names a file; an error where the table is damaged or the row names a file that it may
    not name. A block is read once as long as its photos follow each other.
    """
    current: tuple[str, int] | None = None
    first, column, damage = 0, None, None
    for photo in photos:
        assert photo.table_row is not None
        file, block, row = photo.table_row
        if photo.fault is not None:
            yield OSError(photo.fault[1])
            continue
        path = source.root / file
        if (file, block) != current:
            current = (file, block)
            try:
                blocks = ((f, b.column(source.image)) for n, f, b in _blocks(path, [source.image], block) if n == block)
                first, column = next(blocks, (0, []))
            except Exception as error:  # of damaged files pyarrow raises nearly anything
                column = None
                damage = OSError(f"the table's column {source.image} cannot be read there ({in_one_line(error)})")
        if column is None:
            yield damage
        elif row - first >= len(column):
            yield OSError("the table has fewer rows than it declares")
        else:
            yield picture_of(column[row - first], path.parent, source.image_root)


def read_schema(path: AnyPath) -> pa.Schema:
    """The columns of a Parquet or Arrow file.

    Raises:
        Exception: it cannot be read; of damaged files pyarrow raises nearly anything.
    """
    if not path.is_file():  # a pipe would wait for ever
        raise OSError("not a file but a pipe, a device or a link to nowhere")
    if path.suffix.lower() == ".parquet":
        with _opened(path) as file:
            return pq.read_schema(file)
    with _mapped(path) as mapped:
        return _arrow(mapped).schema


def read_rows(path: AnyPath, columns: list[str], first: int, count: int) -> pa.Table:
    """Some columns of ``count`` rows from row ``first`` on; row groups before them are not read.

    Raises:
        OSError, pa.ArrowException: they cannot be read.
    """
    parts, start = [], 0
    for _, rows, batches in _groups(path, columns):
        if start + rows <= first:
            start += rows
            continue
        for batch in batches:
            low, high = max(first, start), min(first + count, start + len(batch))
            if low < high:
                parts.append(batch.slice(low - start, high - low))
            start += len(batch)
            if start >= first + count:
                return pa.Table.from_batches(parts)
    raise OSError(f"{path.name} has fewer rows than it had")


def _blocks(path: AnyPath, columns: list[str], only: int | None = None) -> Iterator[tuple[int, int, pa.RecordBatch]]:
    """(number, first row, columns) of each block of rows; with ``only``, just those of that block's row group.

    A block's number is the number of its row group (or Arrow batch) times BLOCKS, plus its index in the group.
    """
    first = 0
    for group, rows, batches in _groups(path, columns):
        if only is None or group == only // BLOCKS:
            start = first
            for i, batch in enumerate(batches):
                yield group * BLOCKS + i, start, batch
                start += len(batch)
        first += rows


def _groups(path: AnyPath, columns: list[str]) -> Iterator[tuple[int, int, Iterator[pa.RecordBatch]]]:
    """(number, rows, batches) of each row group or Arrow batch; the batches are read when they are iterated."""
    limit, total = max(ROWS, path.stat().st_size), 0
    if path.suffix.lower() == ".parquet":
        with _opened(path) as content, pq.ParquetFile(content) as file:
            for group in range(file.num_row_groups):
                rows = file.metadata.row_group(group).num_rows
                total = _add_rows(total, rows, limit)
                batches = file.iter_batches(BLOCK, row_groups=[group], columns=columns) if columns else _lengths(rows)
                yield group, rows, batches
        return
    with _mapped(path) as mapped:
        reader = _arrow(mapped)
        stream = isinstance(reader, pa.RecordBatchReader)
        for group, batch in enumerate(reader if stream else map(reader.get_batch, range(reader.num_record_batches))):
            rows = len(batch)
            total = _add_rows(total, rows, limit)
            yield group, rows, _validated(_select(batch, columns), rows) if columns else _lengths(rows)


def _opened(path: AnyPath) -> AbstractContextManager[Any]:
    """What pyarrow reads a Parquet file from."""
    return nullcontext(path) if isinstance(path, Path) else path.open()


@contextmanager
def _mapped(path: AnyPath) -> Iterator[pa.NativeFile]:
    """What pyarrow reads an Arrow file from: the mapped file, or the object in parts."""
    if isinstance(path, Path):
        with pa.memory_map(str(path)) as mapped:
            yield mapped
    else:
        with path.open() as file, pa.PythonFile(file, mode="r") as read:
            yield read


def _select(batch: pa.RecordBatch, columns: list[str]) -> pa.RecordBatch:
    """The columns of these names; all of them where several have the same name."""
    return batch.select([i for i, name in enumerate(batch.schema.names) if name in columns])


def _add_rows(before: int, rows: int, limit: int) -> int:
    """The number of rows so far.

    Raises:
        OSError: no table of pictures of this file's size has so many.
    """
    if rows < 0 or before + rows > limit:
        raise OSError(f"declares {before + rows:,} rows, too many for pictures in a file of its size")
    return before + rows


def _validated(batch: pa.RecordBatch, rows: int) -> Iterator[pa.RecordBatch]:
    """The blocks of an Arrow batch, validated: pyarrow uses the file's offsets as they are, and wrong ones would read
    other memory of this process or kill it."""
    batch.validate()
    for start in range(0, rows, BLOCK):
        block = batch.slice(start, BLOCK)
        block.validate(full=True)
        yield block


def _arrow(mapped: pa.NativeFile) -> Any:
    """A reader of an Arrow file, which begins with ``ARROW1``, or of an Arrow stream, which ``datasets`` writes."""
    is_file = mapped.read(6) == b"ARROW1"
    mapped.seek(0)
    return pa.ipc.open_file(mapped) if is_file else pa.ipc.open_stream(mapped)


def _lengths(rows: int) -> Iterator[pa.RecordBatch]:
    """Batches of a counter, in place of batches without columns, which would have no length."""
    for start in range(0, rows, BLOCK):
        yield pa.record_batch([pa.array(range(start, min(rows, start + BLOCK)))], names=["row"])

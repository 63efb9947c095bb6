"""Tables of pictures (Parquet, Arrow): their rows, pictures and other columns, whatever is damaged in them."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator

import pyarrow as pa
import pyarrow.parquet as pq

from ufvnet.config import ConfigError, RestoreConfig, TableSource
from ufvnet.data.sources.cells import Cell
from ufvnet.data.sources.image_table import NoPictures, cells_of, read_cells, read_rows, read_schema
from ufvnet.errors import in_one_line
from ufvnet.files import printed
from ufvnet.remote import AnyPath

from .source import PictureSource

MAGIC = (b"PAR1", b"PARE", b"ARRO", b"\xff\xff\xff\xff")
"""First bytes of Parquet files (PARE: with an encrypted footer), Arrow files and Arrow streams."""


def count_rows(path: AnyPath, config: RestoreConfig) -> tuple[int | None, tuple[str, str] | None]:
    """The number of pictures in a table, or the status and reason of a table that has none or cannot be read.

    Both are None for a file that is named like a table but is none by its content.

    Raises:
        ConfigError: a table that is an input itself has no such column, or cannot be read.
    """
    try:
        count = len(cells_of(_table_source(path, config), path))
    except ConfigError as error:
        text = printed(str(error).replace("source.image = ", "image_column = "))
        if any(str(given_path.absolute()) == str(path) for given_path in config.inputs):
            raise ConfigError(f"input = {printed(path)}: {text}") from error
        if isinstance(error, NoPictures):
            return None, ("skipped", f"a table without a column of pictures of that name: {text}")
        return None, ("failed", f"a table that cannot be read: {text}") if _is_table_by_content(path) else None
    return (count, None) if count else (None, ("skipped", "a table without rows"))


def _is_table_by_content(path: AnyPath) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(4) in MAGIC
    except OSError:
        return True  # its content is unknown, so its name decides


def _table_source(path: AnyPath, config: RestoreConfig) -> TableSource:
    return TableSource(kind="table", root=path.parent, image=config.image_column, image_root=config.image_root)


def table_cells(source: PictureSource, config: RestoreConfig) -> Iterator[tuple[str, Cell]]:
    """(name in the manifest, picture) of each row in order, as many as were listed, whatever has become of the table
    since then."""
    contents: Iterator[Cell] = iter(())
    fault = OSError("the table has fewer rows than when the run began")
    try:
        table = _table_source(source.path, config)
        contents = read_cells(table, cells_of(table, source.path))
    except ConfigError as error:
        fault = OSError(f"the table cannot be read any more ({error})")
    yield from zip(source.names(), itertools.chain(contents, itertools.repeat(fault)))


def other_columns(source: PictureSource, config: RestoreConfig, first: int, count: int) -> tuple[pa.Table, str]:
    """``count`` rows of a table from row ``first`` on without their pictures, and a note on columns that are lost.

    A column that is damaged, or of a type that Parquet cannot hold, is null, so that all parts have the same columns.
    """
    try:
        schema = read_schema(source.path)
    except Exception as error:  # pyarrow raises nearly anything for damaged files
        return pa.table({}), f"the table's other columns cannot be read any more ({in_one_line(error)})"
    names = [name for name in schema.names if name != config.image_column]
    foreign = [name for name in names if not _fits_parquet(schema, name)]
    with contextlib.suppress(Exception):
        if not foreign:
            return read_rows(source.path, names, first, count) if names else pa.table({}), ""
    columns, damaged = {}, []
    for name in dict.fromkeys(names):
        try:
            columns[name] = pa.nulls(count) if name in foreign else read_rows(source.path, [name], first, count)[name]
        except Exception:
            columns[name] = pa.nulls(count, schema.field(name).type if schema.names.count(name) == 1 else pa.null())
            damaged.append(name)
    faults = (
        ("cannot be read in the table and is null", damaged),
        ("is of a type that Parquet has not, and null", foreign),
    )
    return pa.table(columns), "; ".join(f"{fault}: {', '.join(lost)}" for fault, lost in faults if lost)


def _fits_parquet(schema: pa.Schema, name: str) -> bool:
    """True if Parquet can hold the types of all columns of this name."""
    fields = [field for field in schema if field.name == name]
    try:
        pq.write_table(pa.schema(fields).empty_table(), pa.BufferOutputStream())
    except pa.ArrowNotImplementedError:
        return False
    return True

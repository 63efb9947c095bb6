"""Cells of image tables: which types of columns can hold pictures, and the bytes or the file that a cell gives."""

from __future__ import annotations

import re
from pathlib import Path

import pyarrow as pa
import pyarrow.types as types

from ufvnet.errors import in_one_line
from ufvnet.remote import AnyPath, RemotePath

from .text import spellings

Cell = bytes | AnyPath | OSError | None
"""A row's picture: its encoded bytes, the file that the row names, why it cannot be read, or None for an empty cell."""

HOLDS = "binary, lists of uint8, or a struct with such a field bytes or a text field path"


def holds_pictures(kind: pa.DataType) -> bool:
    """Whether cells of this type can hold encoded pictures or names of their files."""
    kind = _plain(kind)
    if not types.is_struct(kind):
        return _is_bytes(kind)
    fields = {kind.field(i).name: _plain(kind.field(i).type) for i in range(kind.num_fields)}
    unique = len(fields) == kind.num_fields
    return unique and (_is_bytes(fields["bytes"]) if "bytes" in fields else is_text(fields.get("path", pa.null())))


def is_text(kind: pa.DataType) -> bool:
    """Whether cells of this type are text."""
    kind = _plain(kind)
    return types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind)


def is_label(kind: pa.DataType) -> bool:
    """Whether cells of this type can name photos, splits or persons: text, numbers, truth values, or all null."""
    kind = _plain(kind)
    numbers = types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind)
    return is_text(kind) or numbers or types.is_null(kind)


def _plain(kind: pa.DataType) -> pa.DataType:
    """The type of the values, without dictionary, run-length encoding or extension around it."""
    while True:
        if isinstance(kind, pa.BaseExtensionType):
            kind = kind.storage_type
        elif types.is_dictionary(kind) or types.is_run_end_encoded(kind):
            kind = kind.value_type
        else:
            return kind


def _is_bytes(kind: pa.DataType) -> bool:
    binary = (types.is_binary, types.is_large_binary, types.is_binary_view, types.is_fixed_size_binary)
    lists = (types.is_list, types.is_large_list, types.is_fixed_size_list, types.is_list_view, types.is_large_list_view)
    if any(is_list(kind) for is_list in lists):
        return types.is_uint8(kind.value_type)
    return any(is_binary(kind) for is_binary in binary) or types.is_null(kind)


def picture_of(cell: pa.Scalar, folder: AnyPath, further: Path | None) -> Cell:
    """The picture of a cell.

    Args:
        cell: of a type that ``holds_pictures``.
        folder: of the table; a file that the cell names must lie below it, symbolic links resolved.
        further: another folder below which such files may lie; relative names are looked for there too.
    """
    try:
        cell = _value(cell)
        if not isinstance(cell, pa.StructScalar) or not cell.is_valid:
            return _bytes_of(cell)
        fields = set(cell.keys())
        content = _bytes_of(_value(cell["bytes"])) if "bytes" in fields else None
        name = _value(cell["path"]).as_py() if content is None and "path" in fields else None
        if not name or not isinstance(name, str):
            return content
        return named_file(name, folder, further) if isinstance(folder, Path) else _named_object(name, folder)
    except OSError as error:
        return error
    except Exception as error:  # a damaged cell raises nearly anything; it fails this row only
        return OSError(f"the table's cell cannot be read ({in_one_line(error)})")


def _value(cell: pa.Scalar) -> pa.Scalar:
    while isinstance(cell, pa.DictionaryScalar | pa.RunEndEncodedScalar | pa.ExtensionScalar) and cell.is_valid:
        cell = cell.value
    return cell


def _bytes_of(cell: pa.Scalar) -> bytes | None:
    if not cell.is_valid:
        return None
    if not isinstance(cell, pa.ListScalar):  # the base class of all kinds of lists
        return cell.as_py()
    if cell.values.null_count:
        raise OSError("the table's cell is a list of bytes some of which are missing")
    return cell.values.to_numpy().tobytes()


def named_file(name: str, folder: Path, further: Path | None = None) -> Path:
    """The file that a row names, symbolic links resolved, so that the file that is read is the one that was checked.

    Raises:
        OSError: the name is an address on the network or no file's name, or the file lies neither below ``folder`` nor
            below ``further``.
    """
    shown = repr(name[:200])
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", name):
        raise OSError(f"the row names {shown}, which is not fetched; tables must hold their pictures or name files")
    roots = [root.resolve() for root in (folder, further) if root is not None]
    inside, outside = [], False
    for path in (root / spelling for spelling in spellings(name) for root in roots):
        try:
            real = path.resolve()
        except (ValueError, RuntimeError) as error:  # NUL; a circle of links
            raise OSError(f"the row names {shown}, which no file can be called ({error})") from error
        if not any(real.is_relative_to(root) for root in roots):
            outside = True
        elif real.exists():
            return real
        else:
            inside.append(real)
    if outside:
        raise OSError(f"the row names {shown}, which is not below the table's folder; image_root may name another one")
    return inside[0]


def _named_object(name: str, folder: RemotePath) -> RemotePath:
    """The object that a row of a table in a store names, below the table's folder.

    Raises:
        OSError: there is none.
    """
    for path in (folder / spelling for spelling in spellings(name)):
        if ".." not in path.url.split("/") and path.is_file():
            return path
    raise OSError(f"the row names {name[:200]!r}, and there is no such object below the table's folder")

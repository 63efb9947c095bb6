"""Cells of image tables: types as libraries write them, files that a row may name, and those that it may not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ufvnet.config import ConfigError, TableSource
from ufvnet.data.sources.cells import named_file
from ufvnet.data.sources.image_table import cells_of, read_cells

PICTURE = b"\x89PNG\0\xff picture"
WRITTEN = {"bytes": PICTURE, "path": "p.png"}


def _struct(content: pa.DataType, path: pa.DataType | None = None, *more: tuple[str, pa.DataType]) -> pa.DataType:
    return pa.struct([("bytes", content), ("path", path or pa.string()), *more])


def _dictionary(kind: pa.DataType, values: list[Any]) -> pa.Array:
    return pa.DictionaryArray.from_arrays(pa.array([0, 0, None], pa.int32()), pa.array(values, kind))


COLUMNS: dict[str, pa.Array] = {
    "binary": pa.array([PICTURE, PICTURE, None]),
    "large": pa.array([PICTURE, PICTURE, None], pa.large_binary()),
    "view, as Polars has them": pa.array([PICTURE, PICTURE, None], pa.binary_view()),
    "fixed size": pa.array([PICTURE, PICTURE, None], pa.binary(len(PICTURE))),
    "dictionary": pa.array([PICTURE, PICTURE, None]).dictionary_encode(),
    "list": pa.array([list(PICTURE), list(PICTURE), None], pa.list_(pa.uint8())),
    "large list": pa.array([list(PICTURE), list(PICTURE), None], pa.large_list(pa.uint8())),
    "fixed list": pa.array([list(PICTURE), list(PICTURE), None], pa.list_(pa.uint8(), len(PICTURE))),
    "list view": pa.array([list(PICTURE), list(PICTURE), None], pa.list_view(pa.uint8())),
    "struct": pa.array([WRITTEN, WRITTEN, None], _struct(pa.binary())),
    "large struct": pa.array([WRITTEN, WRITTEN, None], _struct(pa.large_binary(), pa.large_string())),
    "struct of views": pa.array([WRITTEN, WRITTEN, None], _struct(pa.binary_view(), pa.string_view())),
    "struct with more": pa.array([WRITTEN, WRITTEN, None], _struct(pa.binary(), None, ("n", pa.list_(pa.int8())))),
    "struct of lists": pa.array(
        [{**WRITTEN, "bytes": list(PICTURE)}, {**WRITTEN, "bytes": list(PICTURE)}, None], _struct(pa.list_(pa.uint8()))
    ),
    "struct without path": pa.array([{"bytes": PICTURE}, {"bytes": PICTURE}, None]),
    "dictionary of structs": _dictionary(_struct(pa.binary()), [WRITTEN]),
    "runs": pa.RunEndEncodedArray.from_arrays(pa.array([2, 3], pa.int32()), pa.array([PICTURE, None])),
}
ONLY_ARROW = ("dictionary of structs", "runs")


def _write(table: pa.Table, file: Path) -> None:
    if file.suffix == ".parquet":
        pq.write_table(table, file)
        return
    new = pa.ipc.new_file if file.stem == "file" else pa.ipc.new_stream
    with pa.OSFile(str(file), "wb") as sink, new(sink, table.schema) as writer:
        writer.write_table(table)


def _read(file: Path, **settings: Any) -> list[Any]:
    source = TableSource(kind="table", root=file.parent, **settings)
    return list(read_cells(source, cells_of(source, file)))


@pytest.mark.parametrize("name", ["t.parquet", "file.arrow", "stream.arrow"])
@pytest.mark.parametrize("kind", COLUMNS)
def test_pictures_are_read_from_every_type_that_libraries_write(tmp_path: Path, kind: str, name: str) -> None:
    if name == "t.parquet" and kind in ONLY_ARROW:
        pytest.skip("Parquet has no such type")
    _write(pa.table({"image": COLUMNS[kind], "n": [1, 2, 3]}), tmp_path / name)
    assert _read(tmp_path / name) == [PICTURE, PICTURE, None]


@pytest.mark.parametrize(
    "column",
    [
        pa.array([1]),
        pa.array(["a.png"]),
        pa.array([[1]], pa.list_(pa.int32())),
        pa.array([[PICTURE]]),
        pa.array([{"data": PICTURE}]),
        pa.array([{"bytes": "text"}]),
        pa.array([{"bytes": {"bytes": PICTURE}}]),
    ],
    ids=lambda column: str(column.type),
)
def test_types_that_hold_no_pictures_are_refused(tmp_path: Path, column: pa.Array) -> None:
    _write(pa.table({"image": column}), tmp_path / "t.parquet")
    with pytest.raises(ConfigError, match="there, not encoded images"):
        _read(tmp_path / "t.parquet")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A table's folder, with pictures in it, beside it, and links that lead out of it."""
    for name in ("table/in/a.png", "table/back\\slash.png", "table/a b.png", "private.png", "further/b.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(name.encode())
    (tmp_path / "table" / "link.png").symlink_to(tmp_path / "private.png")
    (tmp_path / "table" / "out").symlink_to(tmp_path / "further")
    (tmp_path / "table" / "circle").symlink_to("circle")
    return tmp_path / "table"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("in/a.png", "in/a.png"), ("./in/../in/a.png", "in/a.png"), ("in\\a.png", "in/a.png"),
        ("back\\slash.png", "back\\slash.png"), ("a b.png", "a b.png"), ("gone.png", "gone.png"),
    ],
)  # fmt: skip
def test_a_row_names_files_below_its_table_s_folder(folder: Path, name: str, expected: str) -> None:
    assert named_file(name, folder) == folder / expected
    assert named_file(str(folder / "in" / "a.png"), folder) == folder / "in" / "a.png"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("../private.png", "not below the table's folder; image_root may name another one"),
        ("..\\private.png", "not below the table's folder"),
        ("in/../../private.png", "not below the table's folder"),
        ("link.png", "not below the table's folder"),
        ("out/b.png", "not below the table's folder"),
        ("/etc/passwd", "not below the table's folder"),
        ("/dev/zero", "not below the table's folder"),
        ("https://example.org/a.png", "which is not fetched"),
        ("s3://bucket/a.png", "which is not fetched"),
        ("zip://a.png::https://example.org/a.zip", "which is not fetched"),
        ("in/a\0.png", "which no file can be called"),
        ("x" * 300, "name too long"),
    ],
)
def test_a_row_names_nothing_else(folder: Path, name: str, message: str) -> None:
    with pytest.raises(OSError, match=f"(?i){message}"):
        named_file(name, folder)


def test_a_circle_of_links_is_an_error_or_a_file_that_cannot_be_opened(folder: Path) -> None:
    try:
        path = named_file("circle", folder)
    except OSError:
        return
    with pytest.raises(OSError, match="symbolic links"):
        path.read_bytes()


def test_a_further_root_is_allowed_by_its_option_and_relative_names_are_looked_for_there(folder: Path) -> None:
    further = folder.parent / "further"
    for name in ("out/b.png", "../further/b.png", str(further / "b.png"), "b.png"):
        assert named_file(name, folder, further) == further / "b.png"
    with pytest.raises(OSError, match="not below"):
        named_file("link.png", folder, further)


def test_names_that_are_no_utf_8_are_one_row_s_trouble(tmp_path: Path) -> None:
    content, paths = pa.array([None, PICTURE], pa.binary()), pa.array([b"caf\xe9.png", b"b.png"])
    broken = pa.Array.from_buffers(pa.string(), 2, paths.buffers())
    _write(
        pa.table({"image": pa.StructArray.from_arrays([content, broken], ["bytes", "path"])}), tmp_path / "t.parquet"
    )
    first, second = _read(tmp_path / "t.parquet")
    assert "the table's cell cannot be read (UnicodeDecodeError" in str(first)
    assert second == PICTURE


def test_offsets_that_leave_their_buffer_are_an_error_and_read_no_other_memory(tmp_path: Path) -> None:
    _write(pa.table({"image": [b"one", b"two", b"three"]}), tmp_path / "s.arrow")
    whole = (tmp_path / "s.arrow").read_bytes()
    at = whole.index(b"\0\0\0\0\3\0\0\0\6\0\0\0\x0b\0\0\0")  # 0, 3, 6, 11
    (tmp_path / "s.arrow").write_bytes(whole[: at + 12] + b"\xff\xff\xff\x0f" + whole[at + 16 :])
    assert all("cannot be read there (ArrowInvalid" in str(cell) for cell in _read(tmp_path / "s.arrow"))


@pytest.mark.parametrize(
    ("name", "rows"), [("s.arrow", 2**31 - 1), ("file.arrow", 2**31 - 1), ("t.parquet", 1_000_001)]
)
def test_more_rows_than_a_file_of_pictures_can_have_end_no_listing(tmp_path: Path, name: str, rows: int) -> None:
    nothing = pa.Array.from_buffers(pa.null(), rows, [None])
    _write(pa.table({"image": nothing.cast(pa.binary()) if name == "t.parquet" else nothing}), tmp_path / name)
    with pytest.raises(ConfigError, match="rows, too many for pictures in a file of its size"):
        _read(tmp_path / name)

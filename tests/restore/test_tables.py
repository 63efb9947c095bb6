"""Parquet and Arrow in, Parquet out: every row restored or accounted for, other columns as they came."""

from __future__ import annotations

import errno
import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from restore_settings import config_of

from ufvnet import data
from ufvnet.config import ConfigError
from ufvnet.restore.console import restore_here
from ufvnet.restore.folder import shard, targets
from ufvnet.restore.folder.run import close_run, open_run, resolve_run, restore_folder
from ufvnet.restore.folder.shard import restore_shard


@pytest.fixture
def faces(built: Path) -> list[bytes]:
    """Ten small faces, one row without a picture, and a broken one."""
    lr = data.open(built).view("MR8", "train").arrays().lr
    encoded: list[Any] = []
    for i in range(10):
        file = io.BytesIO()
        Image.fromarray(lr[1 + i % 7][i]).save(file, "PNG")
        encoded.append(file.getvalue())
    return [*encoded, None, b"broken"]


@pytest.fixture
def table(tmp_path: Path, faces: list[bytes]) -> Path:
    path = tmp_path / "in" / "faces.parquet"
    path.parent.mkdir()
    images = pa.array([f and {"bytes": f, "path": None} for f in faces], data_type())
    pq.write_table(pa.table({"person": list(range(12)), "image": images}), path)
    return path


def data_type() -> pa.DataType:
    return pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def check(out: Path, faces: list[bytes]) -> None:
    parts = sorted(out.rglob("part-*.parquet"))
    frame = pd.concat([pd.read_parquet(p) for p in parts])
    assert list(frame["restore_status"]) == ["restored"] * 10 + ["failed"] * 2
    assert all(Image.open(io.BytesIO(i["bytes"])).size == (64, 64) for i in frame["image"][:10])
    assert all(i is None for i in frame["image"][10:])
    assert all(frame["restore_reason"].iloc[10:].str.len() > 10)
    features = json.loads(pq.read_schema(parts[0]).metadata[b"huggingface"])["info"]["features"]
    assert features == {"image": {"_type": "Image"}}


@pytest.mark.parametrize("size", [5, 100])
def test_rows_of_a_table_become_rows_of_parts(
    table: Path, faces: list[bytes], model: Path, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shard, "PART", size)
    out = table.parent.parent / "out"
    summary = restore_folder(config_of(table, model, output=out))
    assert summary["counts"] == {"restored": 10, "copied": 0, "no_face": 0, "scaled": 0, "failed": 2, "skipped": 0}
    check(out, faces)
    frame = pd.concat([pd.read_parquet(p) for p in sorted((out / "faces").glob("*.parquet"))])
    assert list(frame["person"]) == list(range(12))
    rows = pd.read_parquet(out / "manifest.parquet")
    assert list(rows["path"]) == [f"faces.parquet#{i:06d}" for i in range(12)]
    assert rows["output"].iloc[6] == f"faces/part-{6 // size:05d}.parquet#{6 % size}"


def test_a_resumed_table_keeps_whole_parts(
    table: Path, faces: list[bytes], model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shard, "PART", 4)
    out = table.parent.parent / "out"
    restore_folder(config_of(table, model, output=out))
    parts = sorted((out / "faces").iterdir())
    whole = [p.read_bytes() for p in parts]
    parts[1].write_bytes(whole[1][:100])
    times = [p.stat().st_mtime_ns for p in parts]
    summary = restore_folder(config_of(table, model, output=out, resume=True))
    assert summary["counts"]["restored"] == 10
    assert [p.read_bytes() for p in parts] == whole
    assert parts[0].stat().st_mtime_ns == times[0]
    assert parts[1].stat().st_mtime_ns > times[1]


def test_a_table_may_become_files(table: Path, model: Path) -> None:
    out = table.parent.parent / "out"
    restore_folder(config_of(table, model, output=out, format="png"))
    assert [p.name for p in sorted((out / "faces").iterdir())] == [f"{i:06d}.png" for i in range(10)]


def test_files_may_become_a_table(tmp_path: Path, faces: list[bytes], model: Path) -> None:
    (tmp_path / "in").mkdir()
    for i, face in enumerate(faces):
        (tmp_path / "in" / f"{i:02d}.png").write_bytes(face or b"")
    config = config_of(tmp_path / "in", model, format="parquet")
    restore_folder(config)
    check(tmp_path / "out", faces)
    before = (tmp_path / "out" / "part-00000.parquet").read_bytes()
    restore_folder(config_of(tmp_path / "in", model, format="parquet", resume=True))
    assert (tmp_path / "out" / "part-00000.parquet").read_bytes() == before


def test_an_arrow_file_of_datasets_is_read(tmp_path: Path, faces: list[bytes], model: Path) -> None:
    (tmp_path / "in").mkdir()
    table = pa.table({"image": pa.array([{"bytes": f, "path": "x.png"} for f in faces[:3]], data_type())})
    with pa.OSFile(str(tmp_path / "in" / "data.arrow"), "wb") as file, pa.ipc.new_stream(file, table.schema) as stream:
        stream.write_table(table)
    assert restore_folder(config_of(tmp_path / "in", model))["counts"]["restored"] == 3


def test_a_table_without_pictures_is_skipped_in_a_folder_and_refused_by_name(tmp_path: Path, model: Path) -> None:
    (tmp_path / "in").mkdir()
    path = tmp_path / "in" / "numbers.parquet"
    pq.write_table(pa.table({"x": [1]}), path)
    assert restore_folder(config_of(tmp_path / "in", model))["counts"]["skipped"] == 1
    with pytest.raises(ConfigError, match="image_column = image: no such column"):
        restore_folder(config_of(path, model, output=tmp_path / "out"))


def rows_of(out: Path) -> pd.DataFrame:
    return pd.read_parquet(out / "manifest.parquet").set_index("path")


def test_tables_of_one_name_in_two_folders_keep_their_rows_apart(table: Path, model: Path) -> None:
    (table.parent / "below").mkdir()
    shutil.copy(table, table.parent / "below")
    assert restore_folder(config_of(table.parent, model))["files"] == 24


def test_a_damaged_column_is_null_and_told_and_the_pictures_are_restored(
    table: Path, model: Path, tmp_path: Path
) -> None:
    columns = (
        pq.read_table(table).append_column("caption", pa.array(["words"] * 12)).append_column("n", pa.array([7] * 12))
    )
    pq.write_table(columns, table)
    whole = table.read_bytes()
    at = pq.read_metadata(table).row_group(0).column(3)
    assert at.path_in_schema == "caption"
    start = at.dictionary_page_offset
    table.write_bytes(whole[:start] + b"\xff" * at.total_compressed_size + whole[start + at.total_compressed_size :])
    assert restore_folder(config_of(table, model, output=tmp_path / "out"))["counts"]["restored"] == 10
    part = pq.read_table(tmp_path / "out" / "faces" / "part-00000.parquet")
    assert part["caption"].null_count == 12
    assert part["caption"].type == pa.string()
    assert part["n"].to_pylist() == [7] * 12
    assert rows_of(tmp_path / "out")["reason"].str.contains("cannot be read in the table and is null: caption").all()
    table.write_bytes(whole)
    restore_folder(config_of(table, model, output=tmp_path / "out", resume=True))
    assert pq.read_table(tmp_path / "out" / "faces" / "part-00000.parquet")["caption"].to_pylist() == ["words"] * 12


def test_a_damaged_column_of_pictures_is_told(table: Path, model: Path, tmp_path: Path) -> None:
    at = pq.read_metadata(table).row_group(0).column(1)
    whole, start = table.read_bytes(), at.dictionary_page_offset
    table.write_bytes(whole[:start] + b"\xff" * 40 + whole[start + 40 :])
    assert restore_folder(config_of(table, model, output=tmp_path / "out"))["counts"]["failed"] == 12
    assert rows_of(tmp_path / "out")["reason"].str.contains("the table's column image cannot be read there").all()


@pytest.mark.parametrize("format", ["auto", "png"])
def test_a_table_moved_away_during_the_run_becomes_failed_rows(table: Path, model: Path, format: str) -> None:
    Image.new("RGB", (16, 16)).save(table.parent / "z.png")
    run = resolve_run(config_of(table.parent, model, format=format))
    with open_run(run) as shards:
        table.rename(table.parent.parent / "moved.parquet")
        restore_shard(shards[0], run.resolved)
        assert close_run(run, shards, 1.0)["counts"]["restored"] == 1
    rows = rows_of(table.parent.parent / "out")
    assert rows["reason"].str.contains("the table cannot be read any more").sum() == 12


def test_a_part_that_cannot_be_written_is_failed_rows_and_the_run_goes_on(table: Path, model: Path) -> None:
    Image.new("RGB", (16, 16)).save(table.parent / "z.png")
    (table.parent.parent / "out" / "faces" / "part-00000.parquet").mkdir(parents=True)
    assert restore_folder(config_of(table.parent, model, into_input=True))["counts"]["restored"] == 1
    rows = rows_of(table.parent.parent / "out")
    assert rows["reason"].str.contains("cannot be written: .*Is a directory").sum() == 10
    assert set(rows["output"]) == {"", "z.png"}


def test_a_full_disk_ends_a_run_that_writes_parts(table: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, content: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(targets, "write_output", full)
    with pytest.raises(OSError, match="No space"):
        restore_folder(config_of(table.parent, model))


def test_odd_names_are_told_apart_in_tables_and_files(tmp_path: Path, faces: list[bytes], model: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    large = io.BytesIO()
    Image.new("RGB", (200, 200)).save(large, "PNG")
    try:
        (folder / os.fsdecode(b"x.\xff")).write_bytes(large.getvalue())  # copied, with its ending
    except OSError:
        pytest.skip("this file system takes only UTF-8 names")
    (folder / os.fsdecode(b"y\xff.png")).write_bytes(faces[0])
    (folder / "y\\xff.png").write_bytes(faces[1])
    for out, format in (("files", "png"), ("parts", "parquet")):
        config = config_of(folder, model, output=tmp_path / out, format=format)
        counts = restore_folder(config)["counts"]
        assert (counts["restored"], counts["copied"]) == (2, 1)
        assert len(set(rows_of(tmp_path / out)["sha256"])) == 3
    assert list(rows_of(tmp_path / "files").index) == ["x.\\xff", "y\\x5cxff.png", "y\\xff.png"]


@pytest.mark.parametrize("name", ["UP.PARQUET", "stream.arrow", "file.arrow", "FILE.ARROW"])
def test_tables_of_every_kind_are_read(tmp_path: Path, faces: list[bytes], model: Path, name: str) -> None:
    (tmp_path / "in").mkdir()
    path = tmp_path / "in" / name
    images = pa.array([{"bytes": f, "path": None} for f in faces[:3]], data_type())
    write(pa.table({"n": [0, 1, 2], "image": images}), path)
    config = config_of(tmp_path / "in", model)
    assert restore_folder(config)["counts"]["restored"] == 3
    assert pd.read_parquet(tmp_path / "out" / path.stem)["n"].to_list() == [0, 1, 2]
    write(pa.table({"x": [1]}), path)
    restore_folder(config)
    (row,) = pq.read_table(tmp_path / "out" / "manifest.parquet").to_pylist()
    assert (row["status"], row["path"]) == ("skipped", name)
    assert "image_column = image: no such column" in row["reason"]
    write(pa.table({"image": images[:0]}), path)
    restore_folder(config)
    (row,) = pq.read_table(tmp_path / "out" / "manifest.parquet").to_pylist()
    assert (row["status"], row["reason"]) == ("skipped", "a table without rows")
    path.write_bytes(path.read_bytes()[: -len(path.read_bytes()) // 2])
    restore_folder(config)
    (row,) = pq.read_table(tmp_path / "out" / "manifest.parquet").to_pylist()
    assert row["status"] == "failed"
    assert "a table that cannot be read" in row["reason"]


def write(table: pa.Table, path: Path) -> None:
    if path.suffix.lower() == ".parquet":
        pq.write_table(table, path)
        return
    new = pa.ipc.new_file if path.stem.lower() == "file" else pa.ipc.new_stream
    with pa.OSFile(str(path), "wb") as file, new(file, table.schema) as writer:
        writer.write_table(table, max_chunksize=2)


def test_outputs_of_a_table_and_of_a_folder_of_its_name_stay_apart(
    table: Path, faces: list[bytes], model: Path
) -> None:
    (table.parent / "faces").mkdir()
    (table.parent / "faces" / "000000.png").write_bytes(faces[5])
    (table.parent / "faces.parquet#000000").write_bytes(faces[6])
    restore_folder(config_of(table.parent, model, format="png"))
    rows = rows_of(table.parent.parent / "out")
    outputs = rows["output"][rows["status"] == "restored"]
    assert len(set(outputs)) == len(set(outputs.index)) == 12
    assert outputs["faces/000000.png"] == "faces/000000.png"
    assert outputs["faces.parquet#000000"] == "faces.parquet/000000.png"


def test_columns_that_have_the_names_of_ours_are_kept_under_others(
    table: Path, model: Path, faces: list[bytes]
) -> None:
    given = pq.read_table(table).rename_columns(["restore_reason", "face"])
    given = given.append_column("image", pa.array([f"caption {i}" for i in range(12)]))
    pq.write_table(given.append_column("input_image", pa.array(range(12))), table)
    restore_folder(config_of(table, model, image_column="face"))
    (part,) = (table.parent / "out").rglob("part-*.parquet")
    frame = pd.read_parquet(part)
    assert list(frame["input_restore_reason"]) == list(frame["input_image"]) == list(range(12))
    assert list(frame["input_input_image"]) == [f"caption {i}" for i in range(12)]
    check(table.parent / "out", faces)


def test_whatever_the_reader_of_a_table_raises_is_the_reason_of_its_rows(
    few: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    picture = {"bytes": (few / "a.png").read_bytes(), "path": None}
    pd.DataFrame({"image": [picture] * 4}).to_parquet(few / "faces.parquet")
    real = shard.table_cells

    def failing(*given: Any) -> Iterator[Any]:
        for number, cell in enumerate(real(*given)):
            if number == 2:
                raise KeyError("odd")
            yield cell

    monkeypatch.setattr(shard, "table_cells", failing)
    summary = restore_folder(config_of(few, model))
    assert summary["counts"] | {"restored": 5, "failed": 2} == summary["counts"]
    assert "KeyError" in rows_of(few.parent / "out").loc["faces.parquet#000003", "reason"]


# Tables that cannot be listed


def test_no_table_ends_a_run_whatever_is_in_it(table: Path, model: Path, tmp_path: Path) -> None:
    folder, image = table.parent, pa.array([b"x"])
    pq.write_table(pa.Table.from_arrays([image, image], ["image", "image"]), folder / "twice.parquet")
    pq.write_table(pa.table({"image": [1]}), folder / "numbers.parquet")
    pq.write_table(pa.table({"image": [{"a": [b"x"]}]}), folder / "nested.parquet")
    pq.write_table(pa.table({}), folder / "empty.parquet")
    (folder / "cut.parquet").write_bytes(table.read_bytes()[:-20])
    (folder / "encrypted.parquet").write_bytes(b"PARE" + table.read_bytes()[4:-4] + b"PARE")
    (folder / "latin.parquet").write_bytes(table.read_bytes().replace(b"person", b"pers\xf6n"))
    (folder / "text.parquet").write_text("no table")
    os.mkfifo(folder / "pipe.parquet")
    config = config_of(folder, model)
    assert restore_folder(config)["counts"]["restored"] == 10
    rows = rows_of(tmp_path / "out")
    rows = rows[~rows.index.str.startswith("faces")]
    expected = {
        "twice": "has 2 columns of that name", "numbers": "not encoded images", "nested": "not encoded images",
        "empty": "no such column", "cut": "cannot be read", "encrypted": "cannot be read", "latin": "cannot be read",
        "text": "a table that cannot be read", "pipe": "not a regular file",
    }  # fmt: skip
    assert set(rows.index) == {f"{name}.parquet" for name in expected}
    for name, reason in expected.items():
        assert reason in rows.loc[f"{name}.parquet", "reason"], name
        assert rows.loc[f"{name}.parquet", "status"] == ("skipped" if name == "empty" else "failed"), name
        assert "\n" not in rows.loc[f"{name}.parquet", "reason"]
        if name not in ("text", "pipe"):
            with pytest.raises(ConfigError, match=rf"^input = .*{name}\.parquet: .*{reason}") as refusal:
                restore_folder(config_of(folder / f"{name}.parquet", model, output=tmp_path / "other"))
            assert "\n" not in str(refusal.value)


def test_columns_that_have_one_name_or_are_of_types_that_parquet_has_not_harm_no_picture(
    tmp_path: Path, faces: list[bytes], model: Path
) -> None:
    (tmp_path / "in").mkdir()
    runs = pa.RunEndEncodedArray.from_arrays(pa.array([3], pa.int32()), pa.array([7]))
    columns = [pa.array(faces[:3]), pa.array([1, 2, 3]), pa.array(["a", "b", "c"]), runs]
    write(pa.Table.from_arrays(columns[:3], ["image", "x", "x"]), tmp_path / "in" / "twice.arrow")
    write(pa.Table.from_arrays([columns[0], columns[3]], ["image", "runs"]), tmp_path / "in" / "runs.arrow")
    assert restore_folder(config_of(tmp_path / "in", model))["counts"]["restored"] == 6
    twice = pq.ParquetFile(tmp_path / "out" / "twice" / "part-00000.parquet").read()
    assert [c.to_pylist() for n, c in zip(twice.column_names, twice.columns) if n == "x"] == [
        [1, 2, 3],
        ["a", "b", "c"],
    ]
    assert rows_of(tmp_path / "out").loc["runs.arrow#000000", "reason"].endswith("Parquet has not, and null: runs")


# Rows that name files


def test_a_row_that_names_a_file_elsewhere_fails_and_its_pixels_go_nowhere(
    tmp_path: Path, faces: list[bytes], model: Path
) -> None:
    folder, private = tmp_path / "in", tmp_path / "private"
    for path in (folder / "beside.png", private / "private.png"):
        path.parent.mkdir()
        path.write_bytes(faces[0])
    (folder / "link.png").symlink_to(private / "private.png")
    names = ["beside.png", str(private / "private.png"), "../private/private.png", "link.png", "https://x.org/a.png",
             "a\0.png", "x" * 300]  # fmt: skip
    images = pa.array([{"bytes": None, "path": name} for name in names], data_type())
    pq.write_table(pa.table({"image": images}), folder / "t.parquet")
    for format in ("auto", "png"):
        out = tmp_path / format
        restore_folder(config_of(folder / "t.parquet", model, output=out, format=format))
        rows = rows_of(out)
        assert list(rows["status"]) == ["restored"] + ["failed"] * 6
        reasons = ("", *["not below the table's folder"] * 3, "not fetched", "no file can be called", "too long")
        assert all(wanted in reason for wanted, reason in zip(reasons, rows["reason"]))
        assert len([p for p in out.rglob("*.png")]) == (format == "png")
    with pytest.raises(ConfigError, match=r"^image_root = .*gone: no such folder"):
        restore_folder(config_of(folder, model, output=tmp_path / "allowed", image_root=tmp_path / "gone"))
    config = config_of(folder / "t.parquet", model, output=tmp_path / "allowed", image_root=private)
    assert restore_folder(config)["counts"]["restored"] == 4


# Exit codes


def test_a_run_in_which_nothing_was_usable_does_not_exit_with_0(
    tmp_path: Path, faces: list[bytes], model: Path
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    pq.write_table(pa.table({"picture": faces[:2]}), folder / "t.parquet")
    command = [sys.executable, "-m", "ufvnet.cli", "restore", folder, tmp_path / "out", "--model", model]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    told = [line for line in done.stderr.splitlines() if "minutes left" not in line]  # a slow machine's progress
    assert (done.returncode, told) == (1, ["ufvnet: none of 1 inputs could be used"])
    with pytest.raises(ConfigError, match=r"image_column = image: no such column in t\.parquet"):
        restore_here(config_of(folder / "t.parquet", model))
    assert not restore_here(config_of(folder / "t.parquet", model, image_column="picture"))


def test_pictures_that_are_left_out_as_told_are_no_failure(tmp_path: Path, model: Path) -> None:
    (tmp_path / "in").mkdir()
    Image.new("RGB", (200, 200)).save(tmp_path / "in" / "large.png")
    assert not restore_here(config_of(tmp_path / "in", model, unrestored="leave"))
    assert list(rows_of(tmp_path / "out")["status"]) == ["skipped"]

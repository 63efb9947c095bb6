"""Parquet and Arrow in, Parquet out: every row restored or accounted for, other columns as they came."""

from __future__ import annotations

import io
import json
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
from ufvnet.restore import runner
from ufvnet.restore.runner import restore_folder


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
    monkeypatch.setattr(runner, "PART", size)
    out = table.parent.parent / "out"
    summary = restore_folder(config_of(table, model, output=out))
    assert summary["counts"] == {"restored": 10, "copied": 0, "no_face": 0, "failed": 2, "skipped": 0}
    check(out, faces)
    frame = pd.concat([pd.read_parquet(p) for p in sorted((out / "faces").glob("*.parquet"))])
    assert list(frame["person"]) == list(range(12))
    rows = pd.read_parquet(out / "manifest.parquet")
    assert list(rows["path"]) == [f"faces.parquet#{i:06d}" for i in range(12)]
    assert rows["output"].iloc[6] == f"faces/part-{6 // size:05d}.parquet#{6 % size}"


def test_a_resumed_table_keeps_whole_parts(
    table: Path, faces: list[bytes], model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "PART", 4)
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

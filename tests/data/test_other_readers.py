"""A built dataset in other people's readers: pandas, Hugging Face datasets, DuckDB."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from ufvnet import data


def _split(built: Path, split: str) -> str:
    return str(built / "faces" / f"split={split}" / "*.parquet")


def test_pandas_reads_rows_and_pictures(built: Path) -> None:
    photos, faces = pd.read_parquet(built / "photos"), pd.read_parquet(built / "faces")
    assert len(photos) == len(faces) == 24
    assert faces["split"].value_counts().to_dict() == {"train": 12, "val": 6, "test": 6}
    assert set(faces["photo"]) == set(photos["path"])
    assert Image.open(io.BytesIO(faces["lr_2"][0]["bytes"])).size == (8, 8)


def test_hugging_face_datasets_gives_pictures_without_being_told(built: Path, tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    files = {split: _split(built, split) for split in ("train", "val", "test")}
    read = datasets.load_dataset("parquet", data_files=files, cache_dir=str(tmp_path))
    assert {split: len(rows) for split, rows in read.items()} == {"train": 12, "val": 6, "test": 6}
    view = data.open(built).view("MR3", "train")
    first = read["train"][0]
    assert first["face_id"] == view.face(0)["face_id"]
    np.testing.assert_array_equal(np.asarray(first["hr"]), next(view.column("hr")))
    streamed = next(iter(datasets.load_dataset("parquet", data_files=files, streaming=True)["test"]))
    assert streamed["lr_4"].size == (16, 16)


def test_duckdb_counts_photos_by_status_and_joins_them_with_faces(built: Path) -> None:
    duckdb = pytest.importorskip("duckdb")
    counts = duckdb.sql(f"select status, count(*) from '{built}/photos/*.parquet' group by status").fetchall()
    assert counts == [("ok", 24)]
    joined = duckdb.sql(
        f"select count(*), min(octet_length(f.hr.bytes)) from '{built}/faces/*/*.parquet' f "
        f"join '{built}/photos/*.parquet' p on p.path = f.photo where f.split = 'train'"
    ).fetchall()
    assert joined[0][0] == 12
    assert joined[0][1] > 100

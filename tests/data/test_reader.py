"""A built dataset, back as arrays."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ufvnet import data
from ufvnet.config import BuildConfig, ConfigError, FolderSource
from ufvnet.data.build.assembly import finish_dataset
from ufvnet.data.build.resolved import resolve
from ufvnet.data.build.shard_writer import build_shard
from ufvnet.data.build.shards import plan_shards
from ufvnet.data.dataset import DatasetView
from ufvnet.files import sha256


@pytest.mark.parametrize(
    ("view", "ks"), [("MR3", (2, 4, 8)), ("MR7", (2, 3, 4, 5, 6, 7, 8)), ("MR8", tuple(range(1, 9)))]
)
def test_a_view_gives_the_scales_of_its_name(built: Path, view: str, ks: tuple[int, ...]) -> None:
    arrays = data.open(built).view(view, "train").arrays()
    assert tuple(arrays.lr) == ks
    assert arrays.hr.shape == (12, 64, 64, 3)
    assert {k: lr.shape for k, lr in arrays.lr.items()} == {k: (12, 4 * k, 4 * k, 3) for k in ks}
    assert {a.dtype for a in (arrays.hr, *arrays.lr.values())} == {np.dtype(np.uint8)}
    assert len(arrays) == len(arrays.face_ids) == 12


@pytest.mark.parametrize(("split", "n"), [("train", 12), ("val", 6), ("test", 6)])
def test_a_split_holds_its_own_faces(built: Path, split: str, n: int) -> None:
    dataset = data.open(str(built))
    ids = {s: dataset.view(split=s).face_ids() for s in ("train", "val", "test")}
    assert len(dataset.view(split=split)) == len(ids[split]) == n
    assert len({i for s in ids.values() for i in s}) == 24


def test_arrays_hold_the_stored_images_in_the_order_of_their_ids(built: Path) -> None:
    view = data.open(built).view("MR3", "train")
    arrays = view.arrays()
    assert arrays.face_ids == view.face_ids()
    for name, array in {"hr": arrays.hr, **{f"lr_{k}": a for k, a in arrays.lr.items()}}.items():
        np.testing.assert_array_equal(array, np.stack(list(view.column(name))))
    assert len(np.unique(arrays.hr.reshape(12, -1), axis=0)) == 12


def test_arrays_are_read_only_memory_maps(built: Path) -> None:
    arrays = data.open(built).view("MR3").arrays()
    assert isinstance(arrays.hr, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        arrays.hr[0] = 0


def test_views_share_their_decoded_columns(built: Path) -> None:
    dataset = data.open(built)
    decoded = Path(dataset.view("MR3", "val").arrays().lr[4].filename)  # pyright: ignore
    written = decoded.stat().st_mtime_ns
    again = Path(dataset.view("MR8", "val").arrays().lr[4].filename)  # pyright: ignore
    assert again == decoded
    assert again.stat().st_mtime_ns == written


def test_any_scales_can_be_selected(built: Path) -> None:
    arrays = data.open(built).select((5,), "test").arrays()
    assert {k: lr.shape for k, lr in arrays.lr.items()} == {5: (6, 20, 20, 3)}


def test_decoding_again_after_a_rebuild_gives_the_new_faces(photos: Path, tmp_path: Path) -> None:
    config = BuildConfig(
        name="set",
        source=FolderSource(root=photos, fractions={"train": 1}),
        out=tmp_path / "out",
        hr_size=64,
        limit=4,
        allow_loss=True,
    )
    sizes = []
    for limit in (4, 3):
        config = config.model_copy(update={"limit": limit})
        build = resolve(config)
        shards = plan_shards(build)
        finish_dataset(build, shards, [build_shard(s) for s in shards])
        view = data.open(tmp_path / "out" / "set").view("MR3")
        arrays = view.arrays()
        sizes.append(len(arrays))
        np.testing.assert_array_equal(arrays.hr, np.stack(list(view.column("hr"))))
    assert sizes == [4, 3]


def test_landmarks_of_many_faces_are_read_with_few_rows_in_memory(tmp_path: Path) -> None:
    count, points = 4000, np.random.default_rng(0).random((68, 2), np.float32)
    row = {"landmarks": points.ravel().tolist(), "box": [0, 0, 64, 64], "angle": 0.0}
    rows = pa.Table.from_pylist([row] * count).append_column("face_id", pa.array(map(str, range(count))))
    pq.write_table(rows, tmp_path / "faces.parquet")
    view = DatasetView(tmp_path, "train", (8,), 64, "", (("faces.parquet", sha256(tmp_path / "faces.parquet") or ""),))
    tracemalloc.start()
    landmarks = view.landmarks()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    np.testing.assert_allclose(landmarks, np.broadcast_to(points, (count, 68, 2)), rtol=1e-6)
    assert peak < 2 * landmarks.nbytes


def test_an_unknown_view_is_refused_by_what_there_is(built: Path) -> None:
    with pytest.raises(ConfigError, match="view = MR9: must be one of MR3, MR7, MR8"):
        data.open(built).view("MR9")


def test_an_unknown_split_is_refused_by_what_there_is(built: Path) -> None:
    with pytest.raises(ConfigError, match=r"no faces in split 'holdout'.*'train': 12"):
        data.open(built).view("MR8", "holdout")


@pytest.mark.parametrize("card", [None, "{half a card"])
def test_what_is_no_built_dataset_is_refused_by_its_path(tmp_path: Path, card: str | None) -> None:
    if card is not None:
        (tmp_path / "dataset.json").write_text(card)
    with pytest.raises(ConfigError, match=f"{tmp_path.name}: no built dataset"):
        data.open(tmp_path)

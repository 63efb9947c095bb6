"""Photos that are the same or look alike, and who of them gives way."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from ufvnet.config import BuildConfig, FolderSource
from ufvnet.data.build import duplicates
from ufvnet.data.build.assembly import finish_dataset
from ufvnet.data.build.copies import find_copies
from ufvnet.data.build.duplicates import LookAlike, bits_of, dhash, find_dropped, find_look_alikes
from ufvnet.data.build.resolved import resolve
from ufvnet.data.build.scan import PhotoHashes
from ufvnet.data.build.shard_writer import build_shard
from ufvnet.data.build.shards import plan_shards
from ufvnet.data.sources.photo import Photo


def _distance(a: str, b: str) -> int:
    return (int(a, 16) ^ int(b, 16)).bit_count()


def _hashes(number: int) -> list[str]:
    """Random hashes, every third a near or, rarely, equal copy of an earlier one."""
    rng = np.random.default_rng(0)
    made: list[int] = []
    for i in range(number):
        new = int.from_bytes(rng.bytes(32), "big")
        if i % 3 == 2:
            new = made[int(rng.integers(i))]
            for bit in rng.integers(0, 256, int(rng.integers(0, 40))):
                new ^= 1 << int(bit)
        made.append(new)
    return [f"{h:064x}" for h in made]


def test_a_hash_is_64_hex_digits_near_for_copies_and_far_for_others(photos: Path) -> None:
    pictures = [Image.open(p).convert("RGB") for p in sorted(photos.iterdir())[:4]]
    for picture in pictures:
        smaller = picture.resize((picture.width // 2, picture.height // 2), Image.Resampling.BICUBIC)
        assert len(dhash(picture)) == 64
        assert dhash(picture) == dhash(picture.copy())
        assert _distance(dhash(picture), dhash(smaller)) <= 24
        assert _distance(dhash(picture), dhash(picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT))) > 24


@pytest.mark.parametrize("k", range(4))
@pytest.mark.parametrize("distance", [3, 24])
def test_near_pairs_are_found_whatever_is_compared(k: int, distance: int, monkeypatch: pytest.MonkeyPatch) -> None:
    hashes = _hashes(150)
    monkeypatch.setattr(duplicates, "_blocks_to_agree", lambda *_: k)
    bits = np.array([[int(h[i : i + 16], 16) for i in range(0, 64, 16)] for h in hashes], dtype=np.uint64)
    monkeypatch.setattr(duplicates, "PAIRS_AT_ONCE", 5)  # so that buckets are gone through in several calls
    monkeypatch.setattr(duplicates, "BUCKET", 50)
    found = [
        ((max(i, j), min(i, j)), apart)
        for pairs in duplicates.near_pairs(bits, distance)
        for i, j, apart in zip(*(column.tolist() for column in pairs))
    ]
    compared = {(i, j): _distance(hashes[i], hashes[j]) for i in range(150) for j in range(i)}
    assert sorted(found) == sorted((pair, apart) for pair, apart in compared.items() if apart <= distance)
    assert found


def test_the_more_photos_the_fewer_are_compared() -> None:
    ways = [duplicates._blocks_to_agree(count, 24) for count in (10, 40_000, 10**6, 10**8)]
    assert ways == sorted(ways)
    assert (ways[0], ways[-1]) == (0, 3)
    assert duplicates._blocks_to_agree(1000, 64) == 0


@pytest.mark.parametrize("groups", [["a"] * 200, ["a", "b", "c", "b"] * 50])
def test_pairs_are_those_that_comparing_one_by_one_finds(groups: Sequence[str]) -> None:
    hashes, expected = _hashes(200), []
    for i in range(200):
        for group in dict.fromkeys(groups):
            near = [(_distance(hashes[i], hashes[j]), j) for j in range(i) if groups[j] == group]
            near = [pair for pair in near if pair[0] <= 24]
            if near:
                expected.append(LookAlike(i, min(near)[1], min(near)[0]))
    found = find_look_alikes(bits_of(hashes), groups, 24)
    assert len(found) > 30
    assert sorted(found, key=lambda p: (p.photo, p.original)) == sorted(expected, key=lambda p: (p.photo, p.original))


def test_those_who_give_way_look_like_one_that_stays() -> None:
    hashes = _hashes(200)
    gone = find_dropped(bits_of(hashes), 24)
    assert len(gone) > 20
    for i in range(200):
        near = [j for j in range(i) if j not in gone and _distance(hashes[i], hashes[j]) <= 24]
        assert (i in gone) == bool(near)
        if near:
            assert gone[i].original in near
            assert gone[i].distance == min(_distance(hashes[i], hashes[j]) for j in near)


def test_many_equal_hashes_take_little_memory_and_one_pair_each() -> None:
    hashes = [f"{2**200 - 1:064x}"] * 20_000
    gone = find_dropped(bits_of(hashes), 24)
    assert len(gone) == 19_999
    assert {pair.original for pair in gone.values()} == {0}
    assert len(find_look_alikes(bits_of(hashes), ["a"] * 20_000, 24)) == 19_999


def test_plain_pictures_pair_with_nothing() -> None:
    plain = [dhash(Image.new("RGB", (50, 50), c)) for c in ("white", "black")]
    assert find_look_alikes(bits_of(plain), ["a", "a"], 24) == []
    assert find_dropped(bits_of(plain), 24) == {}


# Equal bytes


def _points(x: float) -> np.ndarray:
    return np.full((68, 2), x, np.float32)


def test_photos_of_equal_bytes_are_kept_where_the_source_means_other_faces_in_one_split() -> None:
    photos = [
        Photo("a", "train", landmarks=_points(50)), Photo("b", "train", landmarks=_points(300)),
        Photo("c", "train", landmarks=_points(301)), Photo("d", "train", hint=(51.0, 50.0)), Photo("e", "train"),
        Photo("f", "train", landmarks=_points(np.nan)), Photo("g", "val"),
    ]  # fmt: skip
    config = BuildConfig(name="set", source=FolderSource(root="."), near_duplicates="drop")
    same = [PhotoHashes("0" * 64)] * 6
    wanted = {2: ("b", None), 3: ("a", None), 4: ("a", None), 5: ("a", None)}
    assert find_copies(photos[:6], same, config) == wanted
    in_two_splits = find_copies(photos, [*same, same[0]], config)
    assert in_two_splits == dict.fromkeys(range(6), ("g", None))


def test_all_faces_of_a_picture_give_way_to_one_that_looks_like_it() -> None:
    photos = [Photo(name, "train", landmarks=_points(at)) for name, at in [("a", 50), ("b", 300), ("c", 50)]]
    looks = f"{2**200 - 1:064x}"
    hashes = [PhotoHashes("0" * 64, looks, 100), PhotoHashes("0" * 64, looks, 100), PhotoHashes("1" * 64, looks, 400)]
    config = BuildConfig(name="set", source=FolderSource(root="."), near_duplicates="drop")
    assert find_copies(photos, hashes, config) == {0: ("c", 0), 1: ("c", 0)}


# In a build


@pytest.fixture
def source(photos: Path, tmp_path: Path) -> FolderSource:
    """Ten photos of train; of test, one like the first of them and one equal to the second."""
    names = sorted(p.name for p in photos.iterdir())
    for name in names[10:]:
        (photos / name).unlink()
    first = Image.open(photos / names[0]).convert("RGB")
    first.resize((first.width * 9 // 10, first.height * 9 // 10), Image.Resampling.BICUBIC).save(
        photos / "zz-like.jpg", quality=80
    )
    shutil.copy(photos / names[1], photos / "zz-copy.jpg")
    lists = {"train": tmp_path / "train.txt", "test": tmp_path / "test.txt"}
    lists["train"].write_text("\n".join(names[:10]))
    lists["test"].write_text("zz-like.jpg\nzz-copy.jpg")
    return FolderSource(root=photos, splits=lists)


def _build(source: FolderSource, tmp_path: Path, **settings: Any) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    config = BuildConfig(name="set", source=source, out=tmp_path / "out", hr_size=64, **settings)
    build = resolve(config)
    shards = plan_shards(build)
    card = finish_dataset(build, shards, [build_shard(s) for s in shards])
    files = (tmp_path / "out" / "set" / "photos").glob("*.parquet")
    return card, {row["path"]: row for f in files for row in pq.read_table(f).to_pylist()}


def test_pairs_are_reported_within_and_across_splits(source: FolderSource, tmp_path: Path) -> None:
    card, rows = _build(source, tmp_path)
    first, second = sorted(rows)[:2]
    assert card["near_duplicates"] == {"within": 0, "across": 1}
    (pair,) = pq.read_table(tmp_path / "out" / "set" / "near_duplicates.parquet").to_pylist()
    assert pair == {"path": first, "split": "train", "like": "zz-like.jpg", "like_split": "test",
                    "distance": _distance(rows[first]["dhash"], rows["zz-like.jpg"]["dhash"])}  # fmt: skip
    assert rows[first]["status"] == "ok"
    assert (rows[second]["status"], rows[second]["reason"]) == ("duplicate", "same bytes as zz-copy.jpg")


def test_dropping_keeps_the_test_photo(source: FolderSource, tmp_path: Path) -> None:
    card, rows = _build(source, tmp_path, near_duplicates="drop")
    first = sorted(rows)[0]
    assert rows[first]["status"] == "near_duplicate"
    assert "looks like zz-like.jpg" in rows[first]["reason"]
    assert card["faces"] == {"test": 2, "train": 8}
    assert card["near_duplicates"] == {"within": 0, "across": 1}


def test_rows_of_photos_that_stay_are_those_of_a_fresh_build(source: FolderSource, tmp_path: Path) -> None:
    (source.root / "broken.jpg").write_bytes(b"no photo")
    _build(source, tmp_path, near_duplicates="report")
    card, rows = _build(source, tmp_path, near_duplicates="drop", allow_loss=True)
    fresh, fresh_rows = _build(source, tmp_path / "fresh", near_duplicates="drop")
    assert rows == fresh_rows
    assert {shard["photos_sha256"] for shard in card["shards"]} == {s["photos_sha256"] for s in fresh["shards"]}
    assert [row["dhash"] for row in rows.values() if row["status"] == "duplicate"] == [None]


def test_dropping_keeps_the_larger_photo_of_a_split(photos: Path, tmp_path: Path) -> None:
    for photo in sorted(photos.iterdir())[1:]:
        photo.unlink()
    (whole,) = photos.iterdir()
    with Image.open(whole) as picture:
        picture.convert("RGB").resize((picture.width // 8, picture.height // 8), Image.Resampling.BOX).save(
            photos / "0-thumbnail.png"
        )
    _, rows = _build(FolderSource(root=photos, fractions={"train": 1}), tmp_path, near_duplicates="drop")
    assert {path: row["status"] for path, row in rows.items()} == {
        whole.name: "ok", "0-thumbnail.png": "near_duplicate"
    }  # fmt: skip


def test_off_looks_at_none(source: FolderSource, tmp_path: Path) -> None:
    _build(source, tmp_path)
    card, rows = _build(source, tmp_path, near_duplicates="off")
    assert card["near_duplicates"] is None
    assert not (tmp_path / "out" / "set" / "near_duplicates.parquet").exists()
    assert {row["dhash"] for row in rows.values()} == {None}

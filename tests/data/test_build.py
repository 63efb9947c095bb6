"""Photos to a dataset: every file accounted for, the same bytes however it is built, the layouts of the sources."""

from __future__ import annotations

import io
import json
import os
import pickle
import re
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from ufvnet import data
from ufvnet.config import BuildConfig, CelebASource, ConfigError, FolderSource, HelenSource, load
from ufvnet.data.build.assembly import finish_dataset
from ufvnet.data.build.resolved import resolve
from ufvnet.data.build.shard_writer import ShardReport, build_shard
from ufvnet.data.build.shards import ShardJob, plan_shards
from ufvnet.data.lr_images import face_under
from ufvnet.data.schema import IMAGE, IMAGE_COLUMNS, STATUSES
from ufvnet.data.sources.splits import hashed_splits
from ufvnet.faces.finders import hog

PutHostile = Callable[[Path], dict[str, str]]
FIVE = (36, 45, 30, 48, 54)
"""Of the 68 landmarks, those that stand where CelebA's five do."""


def _config(photos: Path, **settings: Any) -> BuildConfig:
    source = settings.pop("source", None) or FolderSource(root=photos, fractions={"train": 0.5, "test": 0.5})
    return BuildConfig(
        **{"name": "set", "source": source, "out": photos.parent / "out", "hr_size": 64, "allow_loss": True} | settings
    )


def _build(config: BuildConfig, shards: list[ShardJob] | None = None) -> tuple[dict[str, Any], list[ShardReport]]:
    """Build shards in the given order (that of the plan by default)."""
    build = resolve(config)
    reports = [build_shard(s) for s in shards or plan_shards(build)]
    return finish_dataset(build, plan_shards(build), reports), reports


def _photos(config: BuildConfig) -> dict[str, dict[str, Any]]:
    files = sorted((config.out / config.name / "photos").glob("*.parquet"))
    rows = [row for file in files for row in pq.read_table(file).to_pylist()]
    assert len({row["path"] for row in rows}) == len(rows)
    return {row["path"]: row for row in rows}


def _faces(config: BuildConfig, split: str = "*") -> dict[str, dict[str, Any]]:
    files = sorted((config.out / config.name / "faces").glob(f"split={split}/*.parquet"))
    return {row["photo"]: row for file in files for row in pq.ParquetFile(file).read().to_pylist()}


def _statuses(config: BuildConfig) -> dict[str, str]:
    return {path: row["status"] for path, row in _photos(config).items()}


def _bytes(config: BuildConfig) -> dict[str, bytes]:
    """Every file of the dataset but the timings."""
    root = config.out / config.name
    files = [p for p in root.rglob("*") if p.is_file() and "timings" not in p.parts]
    return {p.relative_to(root).as_posix(): p.read_bytes() for p in files}


def _names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def _write_list(path: Path, names: list[str]) -> Path:
    path.write_text("".join(f"{name}\n" for name in names))
    return path


def _write_landmarks(path: Path, rows: dict[str, list[float]]) -> Path:
    header = ["file", *(f"{axis}{i}" for i in range(68) for axis in "xy")]
    return _write_list(path, [",".join(map(str, line)) for line in [header, *([n, *r] for n, r in rows.items())]])


# What becomes of each file


def test_every_file_has_a_row_with_its_status_and_the_counts_add_up(photos: Path, put_hostile: PutHostile) -> None:
    expected = dict.fromkeys(_names(photos), "ok") | put_hostile(photos / "bad")
    expected = {name if name in _names(photos) else f"bad/{name}": status for name, status in expected.items()}
    config = _config(photos)
    card, _ = _build(config)
    assert _statuses(config) == expected
    assert {k: n for k, n in card["counts"].items() if n} == Counter(expected.values())
    assert set(card["counts"]) == set(STATUSES)
    assert sum(card["counts"].values()) == card["photos"] == len(expected)
    assert sum(card["faces"].values()) == card["counts"]["ok"] == len(_faces(config)) == 12


def test_every_photo_that_is_not_ok_has_a_reason(photos: Path, put_hostile: PutHostile) -> None:
    put_hostile(photos)
    config = _config(photos)
    _build(config)
    without = [p for p, row in _photos(config).items() if row["status"] != "ok" and not row["reason"]]
    assert not without


def test_a_photo_s_row_tells_its_size_format_and_content(photos: Path) -> None:
    import hashlib

    config = _config(photos)
    _build(config)
    for path, row in _photos(config).items():
        file = photos / path
        with Image.open(file) as image:
            assert (row["width"], row["height"], row["format"]) == (*image.size, "JPEG")
        assert row["bytes"] == file.stat().st_size
        assert row["sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()
        assert row["faces_found"] >= 1


def test_photos_of_the_same_bytes_are_built_once(photos: Path) -> None:
    first = _names(photos)[0]
    shutil.copy(photos / first, photos / "zz_again.jpg")
    (photos / "sub").mkdir()
    shutil.copy(photos / first, photos / "sub" / "again.png")
    config = _config(photos)
    card, _ = _build(config)
    rows = _photos(config)
    assert rows[first]["status"] == "ok"
    assert [rows[p]["status"] for p in ("zz_again.jpg", "sub/again.png")] == ["duplicate", "duplicate"]
    assert first in rows["zz_again.jpg"]["reason"]
    assert card["counts"]["duplicate"] == 2
    assert set(_faces(config)) == {p for p, row in rows.items() if row["status"] == "ok"}


def test_a_face_of_too_few_pixels_is_recorded_and_not_built(photos: Path) -> None:
    name = _names(photos)[0]
    config = _config(photos, min_face=1000)
    card, _ = _build(config)
    assert set(_statuses(config).values()) == {"too_small"}
    assert "1000" in _photos(config)[name]["reason"]
    assert card["faces"] == {"test": 0, "train": 0}


def test_the_limit_of_pixels_is_the_config_s(photos: Path) -> None:
    config = _config(photos, max_pixels=50)
    _build(config)
    assert set(_statuses(config).values()) == {"too_large"}


def test_a_photo_turned_by_exif_gives_an_upright_face(photos: Path) -> None:
    name = _names(photos)[0]
    exif = Image.Exif()
    exif[0x0112] = 6
    with Image.open(photos / name) as photo:
        photo.convert("RGB").transpose(Image.Transpose.ROTATE_90).save(photos / "turned.jpg", exif=exif, quality=100)
    config = _config(photos)
    _build(config)
    upright, turned = _photos(config)[name], _photos(config)["turned.jpg"]
    assert turned["status"] == "ok"
    assert (turned["width"], turned["height"]) == (upright["width"], upright["height"])
    faces = _faces(config)
    np.testing.assert_allclose(faces["turned.jpg"]["box"], faces[name]["box"], atol=6)


def test_a_file_name_that_is_no_utf_8_is_built_and_cut_again_like_any_other(photos: Path) -> None:
    latin, backslash = os.fsdecode(b"caf\xe9.jpg"), "a\\x5f.jpg"
    try:
        for name, new in zip(_names(photos), (latin, backslash)):
            (photos / name).rename(photos / new)
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    config = _config(photos, source=FolderSource(root=photos, fractions={"train": 1}))
    _build(config)
    assert _statuses(config)["caf\\xe9.jpg"] == "ok"
    assert "caf\\xe9.jpg" in _faces(config)
    originals = data.open(config.out / "set").view("MR3").originals(photos)
    assert {photos / latin, photos / backslash} < {original.path for original in originals}
    for row in _faces(config).values():
        face_under("crop", row, 64, photos)


def test_hidden_files_are_no_photos(photos: Path) -> None:
    (photos / ".cache").mkdir()
    (photos / ".cache" / "thumb.jpg").write_bytes(b"x")
    (photos / ".DS_Store").write_bytes(b"x")
    assert len([e for s in plan_shards(resolve(_config(photos))) for e in s.photos]) == 12


# What a face's row holds


def test_the_hr_face_is_pil_s_bicubic_of_the_box_in_the_photo(photos: Path) -> None:
    config = _config(photos)
    _build(config)
    for name, row in _faces(config).items():
        with Image.open(photos / name) as photo:
            hr = photo.convert("RGB").crop(row["box"]).resize((64, 64), Image.Resampling.BICUBIC)
        np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(row["hr"]["bytes"]))), np.asarray(hr))


def test_the_box_follows_from_the_landmarks_by_the_method_s_formula(photos: Path) -> None:
    config = _config(photos)
    _build(config)
    for name, row in _faces(config).items():
        points = np.array(row["landmarks"]).reshape(68, 2)
        (x, y), (right, bottom) = points.min(0), points.max(0)
        s = min(right - x, bottom - y)
        x, y = x + (right - x - s) // 2, y + (bottom - y - s) // 2
        e = int(0.3 * s / 2)
        width, height = _photos(config)[name]["width"], _photos(config)[name]["height"]
        assert row["box"] == [max(0, x - e), max(0, y - e), min(width, x + s + e), min(height, y + s + e)]


def test_image_columns_are_the_hugging_face_image_type(built: Path) -> None:
    for file in built.glob("faces/*/*.parquet"):
        schema = pq.read_schema(file)
        features = json.loads(schema.metadata[b"huggingface"])["info"]["features"]
        assert {name for name in schema.names if schema.field(name).type == IMAGE} == set(IMAGE_COLUMNS)
        assert features == {name: {"_type": "Image"} for name in ("hr", *(f"lr_{k}" for k in range(1, 9)))}
        assert [schema.field("hr").type.field(i).name for i in range(2)] == ["bytes", "path"]


def test_images_are_stored_as_png_of_their_sides(built: Path) -> None:
    row = pq.ParquetFile(next(built.glob("faces/split=train/*.parquet"))).read().to_pylist()[0]
    for column in IMAGE_COLUMNS:
        image = Image.open(io.BytesIO(row[column]["bytes"]))
        side = 64 if column == "hr" else 4 * int(column[3:])
        assert (image.format, image.mode, image.size) == ("PNG", "RGB", (side, side))
        assert row[column]["path"].endswith(".png")


def test_the_card_tells_what_was_built(built: Path) -> None:
    card = json.loads((built / "dataset.json").read_text())
    assert card["faces"] == {"test": 6, "train": 12, "val": 6}
    assert card["hr_size"] == 64
    assert set(card["fingerprints"]) == {"train", "val", "test"}
    assert load(BuildConfig, card["config"]).hr_size == 64


# The same bytes, however it is built


def test_shards_built_in_any_order_or_anew_give_the_same_bytes(photos: Path, put_hostile: PutHostile) -> None:
    put_hostile(photos)
    config = _config(photos, shard_size=4)
    _build(config)
    once = _bytes(config)
    assert len(once) > 10
    shutil.rmtree(config.out)
    _build(config, plan_shards(resolve(config))[::-1])
    assert _bytes(config) == once


def test_a_shard_survives_its_way_to_another_process(photos: Path) -> None:
    config = _config(photos, shard_size=6)
    _build(config)
    once = _bytes(config)
    shutil.rmtree(config.out)
    _build(config, [pickle.loads(pickle.dumps(s)) for s in plan_shards(resolve(config))])
    assert _bytes(config) == once


def test_photos_elsewhere_give_the_same_shards(photos: Path, tmp_path: Path) -> None:
    here = _config(photos)
    there = _config(Path(shutil.copytree(photos, tmp_path / "elsewhere" / "copy")))
    _build(here)
    _build(there)
    a, b = _bytes(here), _bytes(there)
    assert {n: a[n] for n in a if n != "dataset.json"} == {n: b[n] for n in b if n != "dataset.json"}


@pytest.mark.parametrize("kind", ["photos", "faces"])
@pytest.mark.parametrize("harm", ["deleted", "truncated"])
def test_only_a_shard_that_lost_a_file_is_built_again(photos: Path, kind: str, harm: str) -> None:
    config = _config(photos, shard_size=4)
    _build(config)
    once, victim = _bytes(config), plan_shards(resolve(config))[1]
    file = victim.photos_file if kind == "photos" else victim.faces_file
    assert file is not None
    if harm == "deleted":
        file.unlink()
    else:
        file.write_bytes(file.read_bytes()[:-20])
    _, reports = _build(config)
    assert [r.skipped for r in reports] == [r.index != victim.index for r in reports]
    assert _bytes(config) == once


def test_a_rerun_skips_every_shard_and_writes_none(photos: Path, put_hostile: PutHostile) -> None:
    put_hostile(photos)
    config = _config(photos, shard_size=5)
    card, first = _build(config)
    written = {p: p.stat().st_mtime_ns for p in (config.out / "set").rglob("part-*.parquet")}
    again, reports = _build(config)
    assert not any(r.skipped for r in first)
    assert all(r.skipped for r in reports)
    assert again == card
    assert {p: p.stat().st_mtime_ns for p in (config.out / "set").rglob("part-*.parquet")} == written


def test_a_changed_photo_rebuilds_its_shard_alone_and_changes_its_split_s_fingerprint(photos: Path) -> None:
    config = _config(photos, shard_size=3)
    before, _ = _build(config)
    victim = plan_shards(resolve(config))[0]
    name = victim.photos[0].photo.path
    with Image.open(photos / name) as image:
        brighter = image.convert("RGB").point([min(255, v + 9) for v in range(256)] * 3)
    brighter.save(photos / name)
    after, reports = _build(config)
    assert [r.index for r in reports if not r.skipped] == [victim.index]
    changed = {s for s in before["fingerprints"] if before["fingerprints"][s] != after["fingerprints"][s]}
    assert changed == {victim.split}


@pytest.mark.parametrize("setting", [{"hr_size": 128}, {"min_face": 60}, {"max_pixels": 10**7}])
def test_a_changed_setting_rebuilds_every_shard(photos: Path, setting: dict[str, int]) -> None:
    _build(_config(photos))
    _, reports = _build(_config(photos, **setting))
    assert not any(r.skipped for r in reports)


def test_finishing_removes_the_shards_of_an_earlier_other_build(photos: Path) -> None:
    _build(_config(photos, shard_size=2))
    config = _config(photos, shard_size=100)
    _build(config)
    once = _bytes(config)
    assert sorted(once) == [
        "README.md",
        "dataset.json",
        "faces/split=test/part-00000.parquet",
        "faces/split=train/part-00000.parquet",
        "near_duplicates.parquet",
        "photos/part-00000.parquet",
        "photos/part-00001.parquet",
    ]
    shutil.rmtree(config.out)
    _build(config)
    assert _bytes(config) == once


def test_finishing_refuses_counts_that_do_not_add_up(photos: Path) -> None:
    config = _config(photos, shard_size=4)
    build = resolve(config)
    shards = plan_shards(build)
    reports = [build_shard(s) for s in shards]
    with pytest.raises(RuntimeError, match="12 photos were found but"):
        finish_dataset(build, shards, reports[:-1])
    assert not (config.out / "set" / "dataset.json").exists()


# Splits


def test_fractions_share_many_photos_out_by_the_seed() -> None:
    names = [f"{i:06d}.jpg" for i in range(20_000)]
    shares = {"train": 0.9, "val": 0.04, "test": 0.06}
    counts = Counter(hashed_splits(names, shares, 0).values())
    for split, share in shares.items():
        assert abs(counts[split] / len(names) - share) < 0.01
    assert hashed_splits(names, shares, 0) == hashed_splits(names[::-1], shares, 0)
    assert hashed_splits(names, shares, 0) != hashed_splits(names, shares, 1)


def test_more_photos_move_none_to_another_split() -> None:
    names = [f"{i}.jpg" for i in range(2000)]
    few, many = (hashed_splits(names[:n], {"train": 0.8, "test": 0.2}, 0) for n in (500, 2000))
    assert all(many[name] == split for name, split in few.items())


@pytest.mark.parametrize("seed", range(20))
def test_a_handful_of_photos_leaves_no_split_empty(seed: int) -> None:
    splits = hashed_splits([f"{i}.jpg" for i in range(4)], {"train": 0.98, "val": 0.01, "test": 0.01}, seed)
    assert set(splits.values()) == {"train", "val", "test"}


def test_lists_decide_the_splits_and_what_they_leave_out_or_lack_is_recorded(photos: Path, tmp_path: Path) -> None:
    names = _names(photos)
    train = _write_list(tmp_path / "train.txt", [*names[:4], "never_there.jpg"])
    test = _write_list(tmp_path / "test.txt", names[4:6])
    config = _config(photos, source=FolderSource(root=photos, splits={"train": train, "test": test}))
    card, _ = _build(config)
    assert _statuses(config) == {
        **dict.fromkeys(names[:6], "ok"),
        **dict.fromkeys(names[6:], "not_listed"),
        "never_there.jpg": "missing",
    }
    assert sorted(_faces(config, "train")) == names[:4]
    assert sorted(_faces(config, "test")) == names[4:6]
    assert (card["counts"]["ok"], card["counts"]["not_listed"], card["counts"]["missing"]) == (6, 6, 1)
    assert card["photos"] == 13


def test_a_photo_in_no_list_does_not_make_a_listed_one_a_duplicate(photos: Path, tmp_path: Path) -> None:
    name = _names(photos)[3]
    shutil.copy(photos / name, photos / "00_copy.jpg")
    splits = {"train": _write_list(tmp_path / "train.txt", [name])}
    config = _config(photos, source=FolderSource(root=photos, splits=splits))
    _build(config)
    assert (_statuses(config)[name], _statuses(config)["00_copy.jpg"]) == ("ok", "not_listed")


def test_a_photo_in_two_lists_is_refused_by_its_name(photos: Path, tmp_path: Path) -> None:
    names = _names(photos)
    splits = {s: _write_list(tmp_path / f"{s}.txt", names[i : i + 3]) for i, s in enumerate(["train", "test"])}
    with pytest.raises(ConfigError, match=f"{names[1]} is in both train and test"):
        plan_shards(resolve(_config(photos, source=FolderSource(root=photos, splits=splits))))


def test_a_limit_takes_a_seeded_subset_of_each_split(photos: Path) -> None:
    def chosen(seed: int) -> list[str]:
        return [e.photo.path for s in plan_shards(resolve(_config(photos, limit=2, seed=seed))) for e in s.photos]

    config = _config(photos, limit=2)
    card, _ = _build(config)
    assert card["faces"] == {"test": 2, "train": 2}
    assert card["photos"] == 4
    assert chosen(0) == chosen(0)
    assert chosen(0) != chosen(1)


@pytest.mark.parametrize("kind", ["folder", "celeba", "helen"])
def test_a_missing_source_is_refused_by_its_name(tmp_path: Path, kind: str) -> None:
    raw = {"name": "set", "source": {"kind": kind, "root": str(tmp_path / "gone")}, "out": str(tmp_path)}
    with pytest.raises(ConfigError, match="gone: no such folder"):
        plan_shards(resolve(load(BuildConfig, raw)))


def test_a_folder_without_photos_is_refused(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    with pytest.raises(ConfigError, match="no photos"):
        plan_shards(resolve(_config(tmp_path / "photos")))


def test_a_missing_list_is_refused_by_its_name(photos: Path, tmp_path: Path) -> None:
    source = FolderSource(root=photos, splits={"train": tmp_path / "no_list.txt"})
    with pytest.raises(ConfigError, match=r"no_list\.txt"):
        plan_shards(resolve(_config(photos, source=source)))


# Landmarks that are given


def test_given_landmarks_are_taken_and_other_photos_searched(photos: Path, tmp_path: Path) -> None:
    names = _names(photos)
    square = [v for i in range(68) for v in ((60, 70), (160, 170))[i % 2]]
    source = FolderSource(root=photos, landmarks=_write_landmarks(tmp_path / "l.csv", {names[0]: square}))
    config = _config(photos, source=source)
    _build(config)
    faces = _faces(config)
    assert set(faces) == set(names)
    assert faces[names[0]]["landmarks"] == square
    assert faces[names[0]]["box"] == [45, 55, 175, 185]
    assert faces[names[1]]["box"] != [45, 55, 175, 185]


@pytest.mark.parametrize("value", ["nan", "inf", "-90000"])
def test_landmarks_that_give_no_crop_are_recorded(photos: Path, tmp_path: Path, value: str) -> None:
    name = _names(photos)[0]
    points = [float(value) + 50 * (i % 3) for i in range(136)]
    source = FolderSource(root=photos, landmarks=_write_landmarks(tmp_path / "l.csv", {name: points}))
    config = _config(photos, source=source)
    _build(config)
    assert _statuses(config)[name] == "landmarks_missing"


@pytest.mark.parametrize("names", [["b/y.jpg", "y.jpg"], ["y", ".\\b\\y.jpg"]])
def test_two_landmark_rows_of_one_photo_must_agree(tmp_path: Path, names: list[str]) -> None:
    for path in (tmp_path / "p/a/x.jpg", tmp_path / "p/b/y.jpg"):
        path.parent.mkdir(parents=True)
        path.touch()
    points = [float(i) for i in range(136)]
    file = _write_landmarks(tmp_path / "l.csv", {names[0]: points, names[1]: [*points[1:], 136.0]})
    config = _config(tmp_path / "p", source=FolderSource(root=tmp_path / "p", landmarks=file))
    message = f"source.landmarks: {names[0]} and {names[1]} both name the photo b/y.jpg, with different points"
    with pytest.raises(ConfigError, match=re.escape(message)):
        resolve(config)
    _write_landmarks(file, {names[0]: points, names[1]: [x + 1e-4 for x in points]})
    assert [p.path for p in resolve(config).photos if p.landmarks is not None] == ["b/y.jpg"]


def test_a_landmark_file_of_another_header_is_refused_by_its_name(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "l.csv").write_text("name,x,y\na.jpg,1,2\n")
    with pytest.raises(ConfigError, match=r"l\.csv: the header must be file, x0, y0"):
        plan_shards(resolve(_config(photos, source=FolderSource(root=photos, landmarks=tmp_path / "l.csv"))))


def test_a_landmark_row_of_too_few_numbers_is_refused_by_its_file(photos: Path, tmp_path: Path) -> None:
    path = _write_landmarks(tmp_path / "l.csv", {_names(photos)[0]: [1.0] * 100})
    with pytest.raises(ConfigError, match=r"l\.csv"):
        plan_shards(resolve(_config(photos, source=FolderSource(root=photos, landmarks=path))))


def test_boxes_from_given_landmarks_and_from_dlib_s_agree(faces_root: Path, tmp_path: Path) -> None:
    portraits = sorted((faces_root / "us_congress" / "images").iterdir())[::20][:40]
    photos = tmp_path / "photos"
    photos.mkdir()
    for portrait in portraits:
        shutil.copy(portrait, photos)
    both = []
    for name, landmarks in (("given", faces_root / "us_congress" / "landmarks68.csv"), ("found", None)):
        config = _config(
            photos, source=FolderSource(root=photos, fractions={"test": 1}, landmarks=landmarks), name=name
        )
        _build(config)
        both.append(_faces(config))
    given, found = both
    assert set(given) == set(_names(photos))
    assert len(found) >= 38
    apart = [np.abs(np.subtract(given[n]["box"], found[n]["box"])).max() for n in found]
    assert np.median(apart) <= 8


# The layouts of CelebA and Helen


@pytest.fixture
def celeba(tmp_path: Path, photos: Path) -> Path:
    """CelebA's layout: six photos of which the last is in no list, and a listed one that does not exist."""
    root = tmp_path / "celeba"
    (root / "img_celeba").mkdir(parents=True)
    (root / "Eval").mkdir()
    for i, name in enumerate(_names(photos)[:6], 1):
        shutil.copy(photos / name, root / "img_celeba" / f"{i:06d}.jpg")
    codes = {1: 0, 2: 0, 3: 1, 4: 2, 5: 2, 7: 0}
    _write_list(root / "Eval" / "list_eval_partition.txt", [f"{i:06d}.jpg {code}" for i, code in codes.items()])
    return root


def _write_five(root: Path, points: dict[str, np.ndarray]) -> None:
    (root / "Anno").mkdir()
    header = "lefteye_x lefteye_y righteye_x righteye_y nose_x nose_y leftmouth_x leftmouth_y rightmouth_x rightmouth_y"
    rows = [f"{name}  " + "  ".join(str(round(v)) for v in p.ravel()) for name, p in points.items()]
    _write_list(root / "Anno" / "list_landmarks_celeba.txt", [str(len(points)), header, *rows])


def _two_faces(photos: Path, to: Path) -> tuple[np.ndarray, np.ndarray]:
    """A photo of a large face on the left and a smaller one on the right; the 68 landmarks of both."""
    large, small = (Image.open(photos / name).convert("RGB") for name in _names(photos)[:2])
    large = large.resize((large.width * 13 // 10, large.height * 13 // 10), Image.Resampling.BICUBIC)
    both = Image.new("RGB", (large.width + small.width, max(large.height, small.height)), "gray")
    both.paste(large, (0, 0))
    both.paste(small, (large.width, 0))
    both.save(to, quality=97)
    return hog.find_faces(large)[0].landmarks, hog.find_faces(small)[0].landmarks + np.array([large.width, 0])


def test_celeba_is_read_from_its_authors_layout(celeba: Path) -> None:
    config = _config(celeba, source=CelebASource(kind="celeba", root=celeba))
    card, _ = _build(config)
    rows = {path.removeprefix("img_celeba/"): (row["split"], row["status"]) for path, row in _photos(config).items()}
    assert rows == {
        "000001.jpg": ("train", "ok"),
        "000002.jpg": ("train", "ok"),
        "000003.jpg": ("val", "ok"),
        "000004.jpg": ("test", "ok"),
        "000005.jpg": ("test", "ok"),
        "000006.jpg": (None, "not_listed"),
        "000007.jpg": ("train", "missing"),
    }
    assert card["faces"] == {"test": 2, "train": 2, "val": 1}


@pytest.mark.parametrize("near_duplicates", ["report", "drop"])
def test_celeba_s_five_points_tell_which_face_of_a_picture_is_meant(
    celeba: Path, photos: Path, near_duplicates: str
) -> None:
    large, small = _two_faces(photos, celeba / "img_celeba" / "000001.jpg")
    shutil.copy(celeba / "img_celeba" / "000001.jpg", celeba / "img_celeba" / "000002.jpg")
    _write_five(celeba, {"000001.jpg": small[[*FIVE]], "000002.jpg": large[[*FIVE]]})
    config = _config(celeba, source=CelebASource(kind="celeba", root=celeba), near_duplicates=near_duplicates)
    _build(config)
    faces = _faces(config)
    for name, meant in (("000001.jpg", small), ("000002.jpg", large)):
        got = np.array(faces[f"img_celeba/{name}"]["landmarks"]).reshape(68, 2)
        assert np.linalg.norm(got - meant, axis=1).mean() < 10


def test_celeba_s_five_points_where_no_face_is_found_are_recorded(celeba: Path) -> None:
    _write_five(celeba, {"000001.jpg": np.full((5, 2), 3.0)})
    config = _config(celeba, source=CelebASource(kind="celeba", root=celeba))
    _build(config)
    row = _photos(config)["img_celeba/000001.jpg"]
    assert (row["status"], row["reason"]) == ("no_face", "no face where the annotation has one")
    assert _statuses(config)["img_celeba/000002.jpg"] == "ok"


def test_celeba_without_its_partition_is_refused_by_what_it_lacks(celeba: Path) -> None:
    (celeba / "Eval" / "list_eval_partition.txt").unlink()
    with pytest.raises(ConfigError, match=r"list_eval_partition\.txt"):
        plan_shards(resolve(_config(celeba, source=CelebASource(kind="celeba", root=celeba))))


def test_celeba_with_an_unknown_partition_is_refused_by_the_line(celeba: Path) -> None:
    _write_list(celeba / "Eval" / "list_eval_partition.txt", ["000001.jpg 3"])
    with pytest.raises(ConfigError, match=r"'000001\.jpg 3' must be a name and 0, 1 or 2"):
        plan_shards(resolve(_config(celeba, source=CelebASource(kind="celeba", root=celeba))))


def test_celeba_with_two_splits_or_points_of_a_photo_is_refused_by_the_line(celeba: Path) -> None:
    config = _config(celeba, source=CelebASource(kind="celeba", root=celeba))
    partition = celeba / "Eval" / "list_eval_partition.txt"
    partition.write_text(f"{partition.read_text()}000001.jpg 2\n")
    with pytest.raises(ConfigError, match=r"line 7: 000001\.jpg is in both train and test"):
        resolve(config)
    _write_list(partition, ["000001.jpg 0", "000001.jpg 0"])
    (celeba / "Anno").mkdir()
    rows = [f"000001.jpg {' '.join(map(str, range(i, i + 10)))}" for i in (0, 0, 5)]
    _write_list(celeba / "Anno" / "list_landmarks_celeba.txt", ["3", "header", *rows])
    with pytest.raises(ConfigError, match=r"line 5: 000001\.jpg occurs twice, with different points"):
        resolve(config)


def test_celeba_with_malformed_points_is_refused_by_their_file(celeba: Path) -> None:
    (celeba / "Anno").mkdir()
    _write_list(celeba / "Anno" / "list_landmarks_celeba.txt", ["1", "header", "000001.jpg 69 109 x 113"])
    with pytest.raises(ConfigError, match=r"list_landmarks_celeba\.txt"):
        plan_shards(resolve(_config(celeba, source=CelebASource(kind="celeba", root=celeba))))


@pytest.fixture
def helen(tmp_path: Path, photos: Path) -> Path:
    """Helen's layout: photos in numbered folders, lists of names without their endings."""
    root = tmp_path / "helen"
    for i, name in enumerate(_names(photos)[:5]):
        folder = root / f"helen_{i % 2 + 1}"
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(photos / name, folder / f"face_{i}_1.jpg")
    _write_list(root / "trainnames.txt", ["face_0_1", "face_1_1", "face_2_1"])
    _write_list(root / "testnames.txt", ["face_3_1", "face_9_1"])
    return root


def test_helen_is_read_from_its_authors_layout(helen: Path) -> None:
    config = _config(helen, source=HelenSource(kind="helen", root=helen))
    card, _ = _build(config)
    rows = {path: (row["split"], row["status"]) for path, row in _photos(config).items()}
    assert rows == {
        "helen_1/face_0_1.jpg": ("train", "ok"),
        "helen_2/face_1_1.jpg": ("train", "ok"),
        "helen_1/face_2_1.jpg": ("train", "ok"),
        "helen_2/face_3_1.jpg": ("test", "ok"),
        "helen_1/face_4_1.jpg": (None, "not_listed"),
        "face_9_1.jpg": ("test", "missing"),
    }
    assert card["faces"] == {"test": 1, "train": 3}


def test_helen_without_a_list_is_refused_by_its_name(helen: Path) -> None:
    (helen / "testnames.txt").unlink()
    with pytest.raises(ConfigError, match=r"testnames\.txt"):
        plan_shards(resolve(_config(helen, source=HelenSource(kind="helen", root=helen))))

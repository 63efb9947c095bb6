"""Manifests, image tables, lists, persons, pickles: which photos a source has, and in which split."""

from __future__ import annotations

import hashlib
import os
import pickle
import sys
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ufvnet.config import BuildConfig, ConfigError, load
from ufvnet.data.build.assembly import finish_dataset
from ufvnet.data.build.resolved import resolve
from ufvnet.data.build.scan import proof_files, scan, scan_jobs
from ufvnet.data.build.shard_writer import build_shard
from ufvnet.data.build.shards import plan_shards
from ufvnet.data.sources.files import files_below, name_below
from ufvnet.data.sources.listing import list_photos
from ufvnet.data.sources.photo import Photo

REPO = Path(__file__).parents[2]
SHIPPED = sorted((REPO / "configs" / "datasets").glob("*.yaml"))


def _config(root: Path, out: Path | None = None, seed: int = 0, **source: Any) -> BuildConfig:
    raw = {"name": "set", "out": out or root.parent / "out", "hr_size": 64, "seed": seed,
           "source": {"root": root} | source}  # fmt: skip
    return load(BuildConfig, raw)


def _list(root: Path, **source: Any) -> dict[str, Photo]:
    return {p.path: p for p in list_photos(_config(root, **source))}


def _build(config: BuildConfig) -> dict[str, dict[str, Any]]:
    build = resolve(config)
    shards = plan_shards(build)
    finish_dataset(build, shards, [build_shard(s) for s in shards])
    files = (config.out / "set" / "photos").glob("*.parquet")
    return {row["path"]: row for f in files for row in pq.read_table(f).to_pylist()}


def _faces(config: BuildConfig) -> dict[str, bytes]:
    files = (config.out / "set" / "faces").glob("*/*.parquet")
    return {row["sha256"]: row["hr"]["bytes"] for f in files for row in pq.ParquetFile(f).read().to_pylist()}


def _put(root: Path, *names: str) -> Path:
    """Files that are photos by name only."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(name.encode("utf-8", "surrogateescape"))
    return root


@pytest.mark.parametrize("file", SHIPPED, ids=lambda p: p.name)
def test_shipped_configurations_are_valid(file: Path) -> None:
    assert load(BuildConfig, file).source.root


# Folder


def test_a_person_s_photos_share_a_split_whatever_the_seed(tmp_path: Path) -> None:
    root = _put(tmp_path / "p", *(f"{person}/{i}.jpg" for person in range(30) for i in range(4)))
    seen = set()
    for seed in range(12):
        config = _config(root, seed=seed, identity_pattern="([^/]+)/[^/]+$")
        splits: dict[str | None, set[str | None]] = {}
        for photo in list_photos(config):
            assert photo.identity == photo.path.split("/")[0]
            splits.setdefault(photo.identity, set()).add(photo.split)
        assert all(len(s) == 1 for s in splits.values())
        seen.add(tuple(next(iter(splits[p])) for p in sorted(splits, key=str)))
    assert len(seen) > 6


def test_patterns_that_name_no_person_are_refused(tmp_path: Path) -> None:
    root = _put(tmp_path / "p", "a.jpg")
    with pytest.raises(ConfigError, match=r"identity_pattern = .*: fits none of the photos"):
        _list(root, identity_pattern=r"(\d+)_")
    with pytest.raises(ConfigError, match="must have a group in parentheses"):
        _list(root, identity_pattern=r"\d+")
    with pytest.raises(ConfigError, match="not a regular expression"):
        _list(root, identity_pattern="(")


def test_lists_name_photos_by_path_file_name_or_stem(tmp_path: Path) -> None:
    root = _put(tmp_path / "p", "a/1.jpg", "a/2.jpg", "b/3.x.jpg", "b/4.jpg", "b/5.jpg")
    (tmp_path / "train.txt").write_text("a/1.jpg\n2.jpg\n\n3.x\nb/4\n6.jpg\n")
    photos = _list(root, splits={"train": tmp_path / "train.txt"})
    assert {p: photo.split for p, photo in photos.items()} == {
        "a/1.jpg": "train", "a/2.jpg": "train", "b/3.x.jpg": "train", "b/4.jpg": "train", "b/5.jpg": None,
        "6.jpg": "train",
    }  # fmt: skip


def test_a_bare_name_of_several_photos_is_refused(tmp_path: Path) -> None:
    root = _put(tmp_path / "p", "a/1.jpg", "b/1.jpg")
    (tmp_path / "train.txt").write_text("1.jpg\n")
    with pytest.raises(ConfigError, match=r"1\.jpg fits several photos"):
        _list(root, splits={"train": tmp_path / "train.txt"})
    (tmp_path / "train.txt").write_text("a/1.jpg\n")
    assert _list(root, splits={"train": tmp_path / "train.txt"})["b/1.jpg"].split is None


def test_counts_that_are_expected_are_checked(tmp_path: Path) -> None:
    root = _put(tmp_path / "p", "1.jpg", "2.jpg", "3.jpg")
    (tmp_path / "train.txt").write_text("1.jpg\n2.jpg\n")
    splits = {"train": tmp_path / "train.txt"}
    assert len(_list(root, splits=splits, expect={"train": 2})) == 3
    with pytest.raises(ConfigError, match=r"source\.expect\.train = 3: the source has 2 photos of that split"):
        _list(root, splits=splits, expect={"train": 3})


def test_links_to_folders_are_followed_and_their_loops_end(tmp_path: Path) -> None:
    _put(tmp_path / "elsewhere", "1.jpg", "deep/2.jpg")
    root = _put(tmp_path / "p", "3.jpg")
    (root / "link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "back").symlink_to(root)
    assert set(_list(root)) == {"3.jpg", "link/1.jpg", "link/deep/2.jpg", "link/back"}
    rows = _build(_config(root))
    assert (rows["link/back"]["status"], rows["link/back"]["reason"]) == (
        "unreadable", "a link to a folder that it lies in",
    )  # fmt: skip


def test_a_folder_that_cannot_be_listed_is_a_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = _put(tmp_path / "p", "1.jpg", "closed/2.jpg")
    real = os.scandir

    def refusing(folder: Path) -> Any:
        if folder == root / "closed":
            raise PermissionError(13, "Permission denied")
        return real(folder)

    monkeypatch.setattr(os, "scandir", refusing)
    rows = _build(_config(root))
    assert rows["closed"]["status"] == "unreadable"
    assert rows["closed"]["reason"] == "cannot be listed"


def test_a_folder_is_listed_in_the_order_of_paths_with_few_photos_in_memory(tmp_path: Path) -> None:
    root = _put(
        tmp_path / "p", "a/1.jpg", "a/b/2.jpg", "a-b.jpg", "a.jpg", "a/b.jpg", "a0/1.jpg", ".hidden/3.jpg", "b.jpg"
    )
    config = _config(root)
    found = [(p.path, p.split) for p in list_photos(config)]
    everything_in_memory = list_photos(config.model_copy(update={"limit": 100}))
    assert found == [(p.path, p.split) for p in everything_in_memory]
    assert [path for path, _ in found] == ["a-b.jpg", "a.jpg", "a/1.jpg", "a/b.jpg", "a/b/2.jpg", "a0/1.jpg", "b.jpg"]


# Manifest


def _manifest(folder: Path, text: str, **settings: Any) -> dict[str, Photo]:
    (folder / "m.csv").write_text(text, encoding="utf-8", errors="surrogateescape")
    return _list(folder / "p", kind="manifest", file=folder / "m.csv", **settings)


def test_folders_are_read_several_at_once_and_listed_in_the_order_of_paths(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"{i:02d}{end}" for i in range(24) for end in ("/b.jpg", "/a.jpg", ".jpg", "/a/c.jpg", "-/a.jpg")]
    root = _put(tmp_path, *names)
    together, scan = threading.Barrier(4, timeout=60), os.scandir

    def wait_for_others(folder: Path) -> Any:
        if folder.parent == root and folder.name in ("00", "00-", "01", "01-"):
            together.wait()  # breaks if fewer than four folders are read at once
        return scan(folder)

    monkeypatch.setattr(os, "scandir", wait_for_others)
    assert [name_below(root, path) for path in files_below(root)] == sorted(names)


def test_a_manifest_names_photos_splits_and_persons(tmp_path: Path) -> None:
    _put(tmp_path / "p", "1.jpg", "a/2.jpg", "unnamed.jpg")
    text = "\ufeffsplit,path,who\ntrain,1.jpg,x\ntest,./a/2.jpg,\n,gone.jpg,y\ntrain,1.jpg,x\n"
    photos = _manifest(tmp_path, text, split="split", identity="who")
    assert {p.path: (p.split, p.identity) for p in photos.values()} == {
        "1.jpg": ("train", "x"), "a/2.jpg": ("test", None), "gone.jpg": (None, "y"),
    }  # fmt: skip


def test_a_manifest_s_persons_stay_in_one_split_and_its_missing_files_have_rows(tmp_path: Path) -> None:
    root = _put(tmp_path / "p", "0.jpg")
    text = "path,who\n" + "".join(f"{i}.jpg,{i % 10}\n" for i in range(60))
    photos = _manifest(tmp_path, text, identity="who", fractions={"train": 0.5, "test": 0.5})
    for person in range(10):
        assert len({p.split for p in photos.values() if p.identity == str(person)}) == 1
    assert {p.split for p in photos.values()} == {"train", "test"}
    rows = _build(_config(root, kind="manifest", file=tmp_path / "m.csv"))
    assert Counter(r["status"] for r in rows.values()) == {"missing": 59, "unreadable": 1}


def test_a_manifest_in_bytes_that_are_no_utf_8_finds_its_photo(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9.jpg")
    _put(tmp_path / "p", name)
    (photo,) = _manifest(tmp_path, f"path\n{name}\n").values()
    assert (tmp_path / "p" / photo.path).is_file()


@pytest.mark.parametrize(
    ("text", "settings", "message"),
    [
        ("file\n1.jpg\n", {}, r"source\.path = path: no such column .* there are \['file'\]"),
        ("path\n1.jpg\n", {"identity": "who"}, r"source\.identity = who: no such column"),
        ("path\n/etc/passwd\n", {}, "line 2: '/etc/passwd' is no path below source.root"),
        ("path\n../x.jpg\n", {}, "line 2: '../x.jpg' is no path below source.root"),
        ("path\na/../../x.jpg\n", {}, "line 2: .* is no path below source.root"),
        ("path,split\n1.jpg,train\n1.jpg,test\n", {"split": "split"}, r"line 3: 1\.jpg occurs twice"),
        ("path\n", {}, "no photos in it"),
    ],
)
def test_a_wrong_manifest_is_refused(tmp_path: Path, text: str, settings: dict[str, str], message: str) -> None:
    _put(tmp_path / "p", "1.jpg")
    with pytest.raises(ConfigError, match=message):
        _manifest(tmp_path, text, **settings)


# Tables


@pytest.fixture
def encoded(photos: Path) -> list[bytes]:
    """A dozen encoded photos."""
    return [p.read_bytes() for p in sorted(photos.iterdir())]


def _table(encoded: list[bytes], **columns: list[Any]) -> pa.Table:
    images = pa.array(
        [{"bytes": b, "path": None} for b in encoded], pa.struct([("bytes", "binary"), ("path", "string")])
    )
    return pa.table({"image": images} | columns)


def _arrow(table: pa.Table, file: Path, rows: int = 5) -> None:
    with pa.OSFile(str(file), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=rows)


def test_a_table_builds_the_faces_of_its_photos(photos: Path, encoded: list[bytes], tmp_path: Path) -> None:
    wanted = _config(photos, tmp_path / "a", fractions={"train": 1})
    _build(wanted)
    root = tmp_path / "table"
    root.mkdir()
    pq.write_table(_table(encoded[:8]), root / "train-0.parquet", row_group_size=3)
    _arrow(_table(encoded[8:]), root / "train-1.arrow", 3)
    config = _config(root, tmp_path / "b", kind="table", fractions={"train": 1})
    rows = _build(config)
    assert set(rows) == {*(f"train-0.parquet#{i:06d}" for i in range(8)), *(f"train-1.arrow#{i:06d}" for i in range(4))}
    assert _faces(config) == _faces(wanted)


def test_splits_names_and_persons_of_a_table_come_from_its_columns(encoded: list[bytes], tmp_path: Path) -> None:
    columns = {"id": [f"n{i}" for i in range(12)], "part": ["train", "test", None] * 4, "who": list(range(12))}
    pq.write_table(_table(encoded, **columns), tmp_path / "t.parquet")
    photos = _list(tmp_path, kind="table", name="id", split="part", identity="who")
    assert [photos[f"n{i}"].split for i in range(3)] == ["train", "test", None]
    assert photos["n7"].identity == "7"
    (tmp_path / "t.parquet").rename(tmp_path / "train-x.parquet")
    photos = _list(tmp_path, kind="table", files={"train": "train-*.parquet"})
    assert {p.split for p in photos.values()} == {"train"}


def test_each_row_of_many_blocks_keeps_its_own_bytes(tmp_path: Path) -> None:
    values = [f"picture {i}".encode() for i in range(2500)]
    root = tmp_path / "tables"
    root.mkdir()
    pq.write_table(pa.table({"image": values}), root / "one-group.parquet")
    pq.write_table(pa.table({"image": values[::-1]}), root / "groups.parquet", row_group_size=700)
    _arrow(pa.table({"image": values}), root / "batches.arrow", 1700)
    config = _config(root, tmp_path / "out", kind="table").model_copy(update={"shard_size": 300})
    found = {p.path: s.sha256 for job in scan_jobs(resolve(config)) for p, s in zip(job.photos, scan(job))}
    for name, expected in (("one-group.parquet", values), ("groups.parquet", values[::-1]), ("batches.arrow", values)):
        for i, value in enumerate(expected):
            assert found[f"{name}#{i:06d}"] == hashlib.sha256(value).hexdigest()
    assert max(len(s.photos) for s in plan_shards(resolve(config))) <= 3000


def test_rows_without_a_picture_or_in_broken_pages_are_rows(encoded: list[bytes], photos: Path, tmp_path: Path) -> None:
    root = tmp_path / "table"
    root.mkdir()
    told = [
        {"bytes": encoded[0], "path": None},
        {"bytes": None, "path": "beside.jpg"},
        {"bytes": None, "path": None},
        None,
    ]
    kind = pa.struct([("bytes", "binary"), ("path", "string")])
    pq.write_table(pa.table({"image": pa.array(told, kind)}), root / "a.parquet")
    (root / "beside.jpg").write_bytes(encoded[1])
    pq.write_table(_table(encoded[2:6]), root / "b.parquet", row_group_size=2, compression="none")
    content = bytearray((root / "b.parquet").read_bytes())
    content[4:40] = b"\xff" * 36  # the first row group's first page; the footer is whole
    (root / "b.parquet").write_bytes(content)
    rows = _build(_config(root, tmp_path / "out", kind="table", fractions={"train": 1}))
    statuses = [rows[n]["status"] for n in sorted(rows)]
    assert statuses == ["ok", "ok", "unreadable", "unreadable", "unreadable", "unreadable", "ok", "ok"]


@pytest.mark.parametrize(
    ("table", "settings", "message"),
    [
        ({"picture": [b"x"]}, {}, r"source\.image = image: no such column in t\.parquet; there are \['picture'\]"),
        ({"image": [1]}, {}, "not encoded images"),
        ({"image": [b"x", b"y"], "id": ["a", "a"]}, {"name": "id"}, "two rows have the same name"),
        (
            {"image": [b"x"]},
            {"files": {"train": "no-*.parquet"}},
            r"source\.files\.train = no-\*\.parquet: no such file",
        ),
    ],
)
def test_a_wrong_table_is_refused(tmp_path: Path, table: dict[str, Any], settings: Any, message: str) -> None:
    pq.write_table(pa.table(table), tmp_path / "t.parquet")
    with pytest.raises(ConfigError, match=message):
        _list(tmp_path, kind="table", **settings)


def test_a_file_that_is_no_table_is_refused(tmp_path: Path) -> None:
    (tmp_path / "t.parquet").write_bytes(b"nothing")
    with pytest.raises(ConfigError, match=r"t\.parquet: cannot be read"):
        _list(tmp_path, kind="table")


# CelebA and Helen with the pickles of Ma et al.


def _pickle(file: Path, names: list[str]) -> Path:
    points = np.random.default_rng(0).uniform(0, 100, (68, 2))
    entries = {n: {"landmark": (points + i).tolist(), "bbox": [0, 0, 9, 9]} for i, n in enumerate(names)}
    file.write_bytes(pickle.dumps(entries))
    return file


@pytest.mark.parametrize("kind", ["celeba", "helen"])
def test_the_pickles_give_splits_and_landmarks_by_bare_names(tmp_path: Path, kind: str) -> None:
    folder = {"celeba": "img_celeba", "helen": "helen_1"}[kind]
    root = _put(tmp_path / "p", *(f"{folder}/{i:06d}.jpg" for i in range(6)))
    train = _pickle(tmp_path / "train.pkl", [f"{i:06d}.jpg" for i in range(3)])
    test = _pickle(tmp_path / "test.pkl", ["000003.png", "000004.png"])
    splits = {"train": train, "test": test}
    photos = _list(root, kind=kind, splits=splits, landmarks=[train], expect={"train": 3, "test": 2})
    assert [photos[f"{folder}/{i:06d}.jpg"].split for i in range(6)] == ["train"] * 3 + ["test"] * 2 + [None]
    first, second = (photos[f"{folder}/{i:06d}.jpg"].landmarks for i in (0, 1))
    assert first is not None
    assert second is not None
    np.testing.assert_allclose(second - first, 1, atol=1e-4)
    assert photos[f"{folder}/000003.jpg"].landmarks is None


def test_landmarks_of_other_photos_are_refused(tmp_path: Path) -> None:
    root = _put(tmp_path / "p", "a.jpg")
    with pytest.raises(ConfigError, match="none of its 1 names fits a photo"):
        _list(root, landmarks=_pickle(tmp_path / "l.pkl", ["b.jpg"]))


# Text files as people have them


ENCODED = {
    "mark": lambda text: b"\xef\xbb\xbf" + text.encode(),
    "powershell": lambda text: b"\xff\xfe" + text.replace("\n", "\r\n").encode("utf-16-le"),
    "windows": lambda text: text.replace("\n", "\r\n").encode(),
}


@pytest.mark.parametrize("encode", ENCODED.values(), ids=ENCODED)
def test_lists_and_manifests_of_other_systems_name_the_same_photos(tmp_path: Path, encode: Any) -> None:
    root = _put(tmp_path / "p", "a/1.jpg", "a/2.jpg", "3 x.jpg", "back\\slash.jpg")
    (tmp_path / "train.txt").write_bytes(encode('.\\a\\1.jpg\n\n./a/2.jpg \n"3 x.jpg"\nback\\slash.jpg\n'))
    photos = _list(root, splits={"train": tmp_path / "train.txt"})
    assert {path: photo.split for path, photo in photos.items()} == dict.fromkeys(photos, "train")
    (tmp_path / "m.csv").write_bytes(
        encode('path,who\n.\\a\\1.jpg,x\n,\n ./a/2.jpg , y \n"3 x.jpg",\nback\\slash.jpg,\n')
    )
    photos = _list(root, kind="manifest", file=tmp_path / "m.csv", identity="who")
    assert {path: photo.identity for path, photo in photos.items()} == {
        "a/1.jpg": "x", "a/2.jpg": "y", "3 x.jpg": None, "back\\slash.jpg": None,
    }  # fmt: skip


@pytest.mark.parametrize("encode", ENCODED.values(), ids=ENCODED)
def test_the_lists_of_celeba_and_helen_are_read_as_other_systems_save_them(tmp_path: Path, encode: Any) -> None:
    celeba = _put(tmp_path / "c", "img_celeba/1.jpg", "img_celeba/2.jpg")
    (celeba / "list_eval_partition.txt").write_bytes(encode("1.jpg 0\n\n2.jpg\t2\n"))
    points = " ".join(map(str, range(10)))
    (celeba / "list_landmarks_celeba.txt").write_bytes(encode(f"2\nlefteye_x ...\n1.jpg {points}\n"))
    photos = _list(celeba, kind="celeba")
    assert [photos[f"img_celeba/{i}.jpg"].split for i in (1, 2)] == ["train", "test"]
    assert photos["img_celeba/1.jpg"].hint == (4.0, 5.0)
    helen = _put(tmp_path / "h", "helen_1/1.jpg", "helen_1/2.jpg")
    for split, name in (("train", "1"), ("test", "2")):
        (helen / f"{split}names.txt").write_bytes(encode(f"{name}\n\n"))
    assert {p: photo.split for p, photo in _list(helen, kind="helen").items()} == {
        "helen_1/1.jpg": "train", "helen_1/2.jpg": "test",
    }  # fmt: skip


def test_names_in_lists_end_at_newlines_only(tmp_path: Path) -> None:
    name = "a\u2028b\x0bc\x85.jpg"
    root = _put(tmp_path / "p", name)
    (tmp_path / "train.txt").write_text(f"{name}\n", encoding="utf-8")
    assert _list(root, splits={"train": tmp_path / "train.txt"})[name].split == "train"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("../../private.jpg", "train.txt, line 2: '../../private.jpg' is no path below source.root"),
        ("/etc/passwd", "train.txt, line 2: '/etc/passwd' is no path below source.root"),
        ("..\\private.jpg", "line 2: '../private.jpg' is no path below"),
        ("a\0b.jpg", "train.txt: cannot be read .line 2: holds a NUL character"),
    ],
)
def test_lists_that_name_what_no_photo_of_the_source_can_be_are_refused(
    tmp_path: Path, name: str, message: str
) -> None:
    root = _put(tmp_path / "p", "1.jpg")
    (tmp_path / "train.txt").write_text(f"1.jpg\n{name}\n")
    with pytest.raises(ConfigError, match=message):
        _list(root, splits={"train": tmp_path / "train.txt"})


@pytest.mark.parametrize("name", ["a\0b.jpg", "\ud800.jpg", "../x.jpg"])
def test_pickles_that_name_what_no_photo_can_be_are_refused(tmp_path: Path, name: str) -> None:
    root = _put(tmp_path / "p", "1.jpg")
    with pytest.raises(ConfigError, match=r"l\.pkl, entry 1: .* is no path below source\.root"):
        _list(root, splits={"train": _pickle(tmp_path / "l.pkl", [name])})


def test_a_name_longer_than_names_can_be_is_a_row(tmp_path: Path) -> None:
    root = _put(tmp_path / "p", "1.jpg")
    (tmp_path / "train.txt").write_text("x" * 300 + "\n")
    config = _config(root, splits={"train": tmp_path / "train.txt"})
    assert _build(config)["x" * 300]["status"] == "unreadable"
    jobs = scan_jobs(resolve(config))
    assert [file.name for file in proof_files(jobs)] == ["1.jpg"], "what proves the source to workers"


@pytest.mark.skipif(sys.platform != "linux", reason="names that are no UTF-8")
def test_a_name_that_looks_like_another_one_s_escape_has_a_row_of_its_own(tmp_path: Path) -> None:
    root = _put(tmp_path / "p", "1.jpg")
    for name in (b"a\xe9.jpg", b"a\\xe9.jpg"):
        (root / os.fsdecode(name)).write_bytes((root / "1.jpg").read_bytes())
    assert set(_build(_config(root))) == {"1.jpg", r"a\xe9.jpg", r"a\x5cxe9.jpg"}


@pytest.mark.parametrize("value", ["../../../ESCAPED", "a/b", ".hidden", "x" * 300, "a b", "\x1b[31m"])
def test_a_split_that_can_be_no_folder_is_refused_wherever_it_comes_from(tmp_path: Path, value: str) -> None:
    root = _put(tmp_path / "p", "1.jpg")
    with pytest.raises(ConfigError, match=r"line 2: source\.split = .*: must be a name"):
        _manifest(tmp_path, f'path,split\n1.jpg,"{value}"\n', split="split")
    pq.write_table(pa.table({"image": [b"x"], "part": [value]}), root / "t.parquet")
    with pytest.raises(ConfigError, match=r"t\.parquet, row 0: source\.split = .*: must be a name"):
        _list(root, kind="table", split="part")


@pytest.mark.parametrize(
    "column",
    [pa.array([["train"]]), pa.array([{"a": "train"}]), pa.array([b"train"])],
    ids=["list", "struct", "binary"],
)
@pytest.mark.parametrize("key", ["split", "name", "identity"])
def test_columns_of_impossible_types_are_refused(tmp_path: Path, key: str, column: pa.Array) -> None:
    pq.write_table(pa.table({"image": [b"x"], "told": column}), tmp_path / "t.parquet")
    with pytest.raises(ConfigError, match=rf"source\.{key} = told: t\.parquet has .* there, not text or numbers"):
        _list(tmp_path, kind="table", **{key: "told"})


def test_splits_and_persons_of_numbers_and_nothing_are_taken_as_they_are(tmp_path: Path) -> None:
    told = {"part": pa.array([0, None]), "who": pa.array([float("nan"), 2.5]), "no": pa.nulls(2)}
    pq.write_table(pa.table({"image": [b"x", b"y"]} | told), tmp_path / "t.parquet")
    photos = list(_list(tmp_path, kind="table", split="part", identity="who").values())
    assert [(p.split, p.identity) for p in photos] == [("0", None), (None, "2.5")]
    assert [p.split for p in _list(tmp_path, kind="table", split="no").values()] == [None, None]


def test_a_manifest_with_two_columns_of_one_name_is_refused(tmp_path: Path) -> None:
    _put(tmp_path / "p", "1.jpg")
    with pytest.raises(ConfigError, match=r"source\.path = path: several columns of that name"):
        _manifest(tmp_path, "path,path\n1.jpg,2.jpg\n")


def test_a_pipe_is_no_list_and_no_manifest(tmp_path: Path) -> None:
    root = _put(tmp_path / "p", "1.jpg")
    os.mkfifo(tmp_path / "pipe")
    for settings in ({"splits": {"train": tmp_path / "pipe"}}, {"kind": "manifest", "file": tmp_path / "pipe"}):
        with pytest.raises(ConfigError, match=r"pipe.*: .*not a file but a pipe"):
            _list(root, **settings)


# Tables that cannot be listed, and rows that name files


def test_a_table_that_cannot_be_listed_is_a_row_and_the_others_are_built(encoded: list[bytes], tmp_path: Path) -> None:
    root = tmp_path / "table"
    root.mkdir()
    pq.write_table(_table(encoded[:2]), root / "good.parquet")
    (root / "cut.parquet").write_bytes((root / "good.parquet").read_bytes()[:-9])
    pq.write_table(pa.Table.from_arrays([pa.array([b"x"])] * 2, ["image", "image"]), root / "twice.parquet")
    pq.write_table(pa.table({"n": [1]}), root / "numbers.parquet")
    pq.write_table(pa.table({}), root / "empty.parquet")
    os.mkfifo(root / "pipe.parquet")
    for settings in ({"fractions": {"train": 1}}, {"files": {"train": "*.parquet"}}):
        config = _config(root, tmp_path / "out", kind="table", **settings)
        rows = _build(config)
        reasons = {name: row["reason"] for name, row in rows.items() if row["status"] == "unreadable"}
        assert set(reasons) == {f"{n}.parquet" for n in ("cut", "twice", "numbers", "empty", "pipe")}
        assert all("a table whose rows cannot be listed: " in reason for reason in reasons.values())
        assert "has 2 columns of that name" in reasons["twice.parquet"]
        assert [rows[f"good.parquet#00000{i}"]["status"] for i in range(2)] == ["ok", "ok"]
    limited = _config(root, kind="table", files={"train": "*.parquet"}).model_copy(update={"limit": 1})
    assert sum(p.fault is not None for p in list_photos(limited)) == 5


def test_a_table_without_splits_that_cannot_be_listed_is_unreadable_and_not_left_out(
    encoded: list[bytes], tmp_path: Path
) -> None:
    root = tmp_path / "table"
    root.mkdir()
    pq.write_table(_table(encoded[:1], part=["train"]), root / "good.parquet")
    (root / "bad.parquet").write_bytes(b"PAR1")
    rows = _build(_config(root, tmp_path / "out", kind="table", split="part"))
    assert {name: row["status"] for name, row in rows.items()} == {
        "bad.parquet": "unreadable", "good.parquet#000000": "ok",
    }  # fmt: skip
    pq.write_table(_table(encoded[1:2], part=["train"]), root / "bad.parquet")
    rows = _build(_config(root, tmp_path / "out", kind="table", split="part"))
    assert {name: row["status"] for name, row in rows.items()} == {
        "bad.parquet#000000": "ok", "good.parquet#000000": "ok",
    }  # fmt: skip


def test_a_list_may_name_rows_of_tables_and_what_it_names_in_vain_is_missing(
    encoded: list[bytes], tmp_path: Path
) -> None:
    root = tmp_path / "table"
    root.mkdir()
    pq.write_table(_table(encoded[:2], id=["a", "b"]), root / "t.parquet")
    (tmp_path / "train.txt").write_text("a\ngone\n")
    rows = _build(_config(root, tmp_path / "out", kind="table", name="id", splits={"train": tmp_path / "train.txt"}))
    assert {n: r["status"] for n, r in rows.items()} == {"a": "ok", "b": "not_listed", "gone": "missing"}


def test_a_row_that_names_a_file_elsewhere_is_unreadable_unless_that_root_is_allowed(
    encoded: list[bytes], tmp_path: Path
) -> None:
    root, private = tmp_path / "table", tmp_path / "private"
    root.mkdir()
    private.mkdir()
    (private / "x.jpg").write_bytes(encoded[0])
    names = [str(private / "x.jpg"), "../private/x.jpg", "s3://bucket/x.jpg", "a\0.jpg"]
    kind = pa.struct([("bytes", "binary"), ("path", "string")])
    pq.write_table(pa.table({"image": pa.array([{"bytes": None, "path": n} for n in names], kind)}), root / "t.parquet")
    rows = list(_build(_config(root, tmp_path / "out", kind="table", fractions={"train": 1})).values())
    assert {row["status"] for row in rows} == {"unreadable"}
    assert {row["sha256"] for row in rows} == {None}
    reasons = [row["reason"] for row in sorted(rows, key=lambda row: row["path"])]
    for reason, wanted in zip(reasons, ("not below the table's", "not below the table's", "not fetched", "no file")):
        assert wanted in reason
    allowed = _config(root, tmp_path / "out", kind="table", fractions={"train": 1}, image_root=private)
    with pytest.raises(ConfigError, match=r"source\.image_root = .*gone: no such folder"):
        _list(root, kind="table", image_root=tmp_path / "gone")
    assert sorted(row["status"] for row in _build(allowed).values()) == ["duplicate", "ok", "unreadable", "unreadable"]


@pytest.mark.parametrize("files", [{}, {"train": "*.parquet"}])
def test_hidden_tables_are_not_read(tmp_path: Path, files: dict[str, str]) -> None:
    root = tmp_path / "table"
    (root / ".ipynb_checkpoints").mkdir(parents=True)
    for name in ("t.parquet", ".ipynb_checkpoints/t.parquet"):
        pq.write_table(pa.table({"image": [b"x"]}), root / name)
    (root / "._t.parquet").write_bytes(b"\0\5\x16\7 beside a table that a Mac copied")
    assert set(_list(root, kind="table", files=files)) == {"t.parquet#000000"}


@pytest.mark.parametrize("pattern", ["/abs/*.parquet", "", "../*.parquet", "a**b"])
def test_patterns_of_tables_elsewhere_are_refused(tmp_path: Path, pattern: str) -> None:
    (tmp_path / "root").mkdir()
    pq.write_table(pa.table({"image": [b"x"]}), tmp_path / "t.parquet")
    with pytest.raises(ConfigError, match=r"source\.files\.train = "):
        _list(tmp_path / "root", kind="table", files={"train": pattern})


def test_odd_names_in_a_table_are_names_of_rows_and_lead_nowhere(encoded: list[bytes], tmp_path: Path) -> None:
    root = tmp_path / "table"
    root.mkdir()
    names = ["../../x", "a\0b", "x" * 300, "/etc/passwd", "", None]
    pq.write_table(_table(encoded[:6], id=names), root / "t.parquet")
    rows = _build(_config(root, tmp_path / "out", kind="table", name="id", fractions={"train": 1}))
    assert set(rows) == {*names[:4], "t.parquet#000004", "t.parquet#000005"}
    assert {row["status"] for row in rows.values()} == {"ok"}
    assert {p.name for p in tmp_path.iterdir()} == {"table", "out", "photos"}

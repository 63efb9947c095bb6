"""Only files of ours are replaced or removed, none behind a link, and names from data never leave the folder."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from PIL import Image

from ufvnet import data
from ufvnet.config import BuildConfig, ConfigError, FolderSource, load
from ufvnet.data import card
from ufvnet.data.build.assembly import finish_dataset
from ufvnet.data.build.folder import locked
from ufvnet.data.build.resolved import resolve
from ufvnet.data.build.shard_writer import build_shard
from ufvnet.data.build.shards import plan_shards
from ufvnet.data.build.verify import verify
from ufvnet.data.export import export
from ufvnet.data.packed import Packed
from ufvnet.data.sample import demo_folders
from ufvnet.data.show import contact_sheet
from ufvnet.data.sources.photo import Photo
from ufvnet.files import check_name, seal

REPO = Path(__file__).parents[2]


def _config(photos: Path, **settings: Any) -> BuildConfig:
    source = settings.pop("source", None) or FolderSource(root=photos, fractions={"train": 0.5, "test": 0.5})
    return BuildConfig(
        **{"name": "set", "source": source, "out": photos.parent / "out", "hr_size": 64, "shard_size": 100} | settings
    )


def _build(config: BuildConfig) -> None:
    build = resolve(config)
    shards = plan_shards(build)
    finish_dataset(build, shards, [build_shard(s) for s in shards])


def _tree(folder: Path) -> dict[str, str]:
    """Every file below a folder, by its content."""
    files = [p for p in folder.rglob("*") if p.is_file()]
    return {p.relative_to(folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def _foreign(file: Path) -> Path:
    """A table as Dask and Spark name them."""
    file.parent.mkdir(parents=True, exist_ok=True)
    pd.DataFrame({"mine": [1, 2, 3]}).to_parquet(file)
    return file


@pytest.fixture
def few(photos: Path) -> Path:
    """Six photos."""
    for photo in sorted(photos.iterdir())[6:]:
        photo.unlink()
    return photos


# Whose folder it is


def test_a_build_into_the_folder_of_its_photos_leaves_every_photo(few: Path, tmp_path: Path) -> None:
    for name, part in (("diary", slice(0, 3)), ("earlier/2020", slice(3, 6))):
        (tmp_path / "pics" / "me" / name).mkdir(parents=True)
        for photo in sorted(few.iterdir())[part]:
            shutil.copy(photo, tmp_path / "pics" / "me" / name)
    before = _tree(tmp_path / "pics")
    words = ["build", str(REPO / "configs/datasets/folder.yaml"), "-s", "name=me", "-s", "out=pics"]
    command = [sys.executable, "-m", "ufvnet.cli", *words, "-s", "source={kind: folder, root: pics/me}"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "out = pics/me: overlaps source.root = pics/me" in done.stderr
    assert _tree(tmp_path / "pics") == before


def test_a_folder_of_somebody_else_s_files_is_refused(few: Path) -> None:
    config = _config(few)
    _foreign(config.out / "set" / "photos" / "part-00000.parquet")
    before = _tree(config.out)
    with pytest.raises(ConfigError, match=r"out = .*set: is not empty, and ufvnet did not make it"):
        plan_shards(resolve(config))
    assert _tree(config.out) == before


@pytest.mark.parametrize("key", ["root", "landmarks", "splits", "file"])
def test_a_folder_that_overlaps_what_is_read_is_refused(few: Path, key: str) -> None:
    inside = few.parent / "out" / "set" / "given"
    values: dict[str, Any] = {"root": inside.parent, "landmarks": [inside], "splits": {"train": inside}, "file": inside}
    raw = {"root": few, "kind": "manifest" if key == "file" else "folder", key: values[key]}
    config = load(BuildConfig, {"name": "set", "out": few.parent / "out", "source": raw})
    with pytest.raises(ConfigError, match=rf"overlaps source\.{key}"):
        plan_shards(resolve(config))
    assert not inside.exists()


def test_a_foreign_file_in_a_dataset_survives_every_rebuild_and_is_refused_where_it_is_in_the_way(few: Path) -> None:
    _build(_config(few))
    root = few.parent / "out" / "set"
    aside = [_foreign(root / name) for name in ("photos/part-00077.parquet", "timings/mine.tmp", "diary/2020.txt")]
    _foreign(root / "earlier" / "photos.parquet")
    before = _tree(root / "earlier") | {p.name: p.read_bytes() for p in aside}
    _build(_config(few, min_face=20))
    assert _tree(root / "earlier") | {p.name: p.read_bytes() for p in aside} == before
    last = plan_shards(resolve(_config(few, min_face=20, shard_size=1, name="other")))[-1].photos_file.name
    assert not (root / "photos" / last).exists()
    _foreign(root / "photos" / last)
    whole = _tree(root)
    with pytest.raises(ConfigError, match=rf"{last}: is in the way.*move it away"):
        plan_shards(resolve(_config(few, min_face=20, shard_size=1)))
    assert _tree(root) == whole


def test_an_interrupted_build_is_cleared_by_its_plan_and_by_nothing_else(few: Path) -> None:
    root = few.parent / "out" / "set"
    for shard in plan_shards(resolve(_config(few, shard_size=1)))[:3]:
        build_shard(shard)
    mine = _foreign(root / "photos" / "part-00077.parquet")
    _build(_config(few))
    assert sorted(p.name for p in root.iterdir()) == [
        "README.md", "dataset.json", "faces", "near_duplicates.parquet", "photos", "timings",
    ]  # fmt: skip
    assert mine.exists()
    mine.unlink()
    assert verify(root) == []


def test_an_earlier_build_stands_whole_until_everything_new_stands(few: Path) -> None:
    root = few.parent / "out" / "set"
    _build(_config(few))
    before = {name: digest for name, digest in _tree(root).items() if not name.startswith("timings")}
    build = resolve(_config(few, shard_size=1))
    shards = plan_shards(build)
    reports = [build_shard(s) for s in shards]
    assert before.items() <= _tree(root).items()
    assert verify(root) == []
    finish_dataset(build, shards, reports)
    assert verify(root) == []
    assert not (root / "building").exists()


@pytest.mark.parametrize("link", ["faces", "faces/split=train", "photos", "building", "diary"])
def test_nothing_is_written_moved_or_removed_behind_a_link(few: Path, link: str) -> None:
    root, elsewhere = few.parent / "out" / "set", few.parent / "elsewhere"
    _build(_config(few))
    if (root / link).exists():
        shutil.move(root / link, elsewhere)
    elsewhere.mkdir(exist_ok=True)
    (root / link).symlink_to(elsewhere)
    before = _tree(elsewhere)
    with pytest.raises(ConfigError, match="is a symbolic link"):
        _build(_config(few, shard_size=1))
    assert _tree(elsewhere) == before


def test_two_builds_of_one_dataset_at_once_are_refused(few: Path) -> None:
    config = _config(few)
    with locked(config), pytest.raises(ConfigError, match="another build of this dataset is running"), locked(config):
        pass
    with locked(config):
        pass
    assert not (config.out / "set").exists()  # nothing was built, so nothing stays


def test_a_build_that_came_to_nothing_leaves_a_dataset_as_it_was(few: Path) -> None:
    config = _config(few)
    _build(config)
    before = _tree(config.out)
    with locked(config):
        plan_shards(resolve(config))
    assert _tree(config.out) == before


# Names from data


@pytest.mark.parametrize(
    "split", ["../../../../../ESCAPED", "a/b", "", ".", "..", "x" * 65, "\u4e2d" * 70, "a\0b", "a\n", "-x"]
)
def test_a_split_that_is_no_name_is_refused_before_anything_is_written(
    few: Path, split: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigError, match="must be a name of at most 64"):
        check_name("split", split)
    with pytest.raises(ConfigError, match=r"must be a name of at most 64|contains a NUL"):
        load(BuildConfig, {"name": "set", "source": {"root": few, "fractions": {split: 1.0}}})
    names = sorted(p.name for p in few.iterdir())
    monkeypatch.setattr("ufvnet.data.build.resolved.list_photos", lambda _: Packed(Photo(n, split) for n in names))
    with pytest.raises(ConfigError, match="must be a name of at most 64"):
        plan_shards(resolve(_config(few)))
    assert not (few.parent / "out" / "set").exists()


@pytest.mark.parametrize("split", ["train", "Train_2.1", "\u8bad\u7ec3", "x" * 64])
def test_a_split_that_is_a_name_is_taken(split: str) -> None:
    assert check_name("split", split) == split


@pytest.mark.parametrize(
    "change",
    [
        lambda c: c["shards"][0].update(photos="../../elsewhere/photos/part-00000.parquet"),
        lambda c: c["shards"][0].update(faces="faces/split=../../part-00000.parquet"),
        lambda c: c["shards"][0].update(faces="faces/split=nosuch/part-00000.parquet"),
        lambda c: c.update(faces=c["faces"] | {"../..": 1}, fingerprints=c["fingerprints"] | {"../..": "0" * 64}),
    ],
)
def test_a_card_whose_names_lead_elsewhere_is_refused(
    built: Path, tmp_path: Path, change: Callable[[Any], None]
) -> None:
    dataset = Path(shutil.copytree(built, tmp_path / "faces"))
    found = card.read(dataset)
    change(found)
    (dataset / "dataset.json").write_text(json.dumps(seal(found)))
    for use in (data.open, verify):
        with pytest.raises(ConfigError, match=r"dataset\.json is damaged"):
            use(dataset)


def test_exported_faces_never_leave_their_folder(built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    view = data.open(built).view("MR3", "test")
    row, out = view.face(0), tmp_path / "deep" / "out"
    names = ["../../../ESCAPED#0", "/etc/x#0", "n" * 300, "a\0b#0", "..", "sub/x.jpg#0"]
    rows = [{**row, "face_id": name} for name in names]

    class Table:
        def to_pylist(self) -> list[dict[str, Any]]:
            return rows

    monkeypatch.setattr("pyarrow.parquet.ParquetFile.iter_batches", lambda *_, **__: [Table()])
    written = export(data.open(built), out, "MR3", "test")
    assert written == len(names) * 3 * len(view.shards)
    assert {p.name for p in tmp_path.iterdir()} == {"deep"}
    assert len([p for p in out.rglob("*.png") if p.is_file()]) == len(names) * 3
    assert (out / "16" / "sub" / "x.jpg#0.png").is_file()


def test_exporting_takes_its_own_folder_again_and_nobody_else_s(built: Path, tmp_path: Path) -> None:
    dataset, out = data.open(built), tmp_path / "out"
    for _ in range(2):
        assert export(dataset, out, "MR3", "test") == 18
    shutil.rmtree(out / "8")
    (tmp_path / "elsewhere").mkdir()
    (out / "8").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConfigError, match="is a symbolic link"):
        export(dataset, out, "MR3", "test")
    assert not list((tmp_path / "elsewhere").iterdir())
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("x")
    for folder in (tmp_path / "mine", built):
        with pytest.raises(ConfigError, match=r"ufvnet did not make it|overlaps dataset"):
            export(dataset, folder, "MR3", "test")
    assert _tree(tmp_path / "mine").keys() == {"thesis.txt"}


def test_a_contact_sheet_replaces_a_contact_sheet_only(built: Path, tmp_path: Path) -> None:
    photo = tmp_path / "me.png"
    Image.new("RGB", (9, 9)).save(photo)
    before = photo.read_bytes()
    with pytest.raises(ConfigError, match="is there and is no contact sheet"):
        contact_sheet(data.open(built), photo)
    assert photo.read_bytes() == before
    for _ in range(2):
        contact_sheet(data.open(built), tmp_path / "sheet.png", 1)


def test_the_demo_takes_no_folder_of_photos_for_its_own(tmp_path: Path) -> None:
    (tmp_path / "demo" / "photos").mkdir(parents=True)
    (tmp_path / "demo" / "photos" / "photo-000.jpg").write_bytes(b"mine")
    with pytest.raises(ConfigError, match="ufvnet did not make it"):
        demo_folders(tmp_path / "demo", None)
    with pytest.raises(ConfigError, match="overlaps photos"):
        demo_folders(tmp_path / "demo", tmp_path / "demo")
    assert {f.name for f in demo_folders(tmp_path / "demo", tmp_path / "pics")} == {"before-after", "small-faces"}

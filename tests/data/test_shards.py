"""Photos that come, go or change: what stands already is taken over, and the result is that of a fresh build."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ufvnet.config import BuildConfig, FolderSource
from ufvnet.data.build import divide
from ufvnet.data.build import shard_writer as build
from ufvnet.data.build.assembly import finish_dataset
from ufvnet.data.build.resolved import resolve
from ufvnet.data.build.shard_writer import ShardReport, build_shard
from ufvnet.data.build.shards import plan_shards
from ufvnet.data.build.verify import verify

PutPhotos = Callable[[Path, int], list[Path]]


@pytest.fixture
def many(tmp_path: Path, put_photos: PutPhotos) -> Path:
    """A folder of 24 photos."""
    put_photos(tmp_path / "photos", 24)
    return tmp_path / "photos"


@pytest.fixture
def built_photos(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The photos that were really built, not taken over."""
    seen: list[str] = []
    real = build.build_photo

    def counting(entry: Any, *rest: Any) -> Any:
        seen.append(entry.photo.path)
        return real(entry, *rest)

    monkeypatch.setattr(build, "build_photo", counting)
    return seen


def _config(photos: Path, out: Path, **settings: Any) -> BuildConfig:
    source = FolderSource(root=photos, fractions={"train": 0.7, "test": 0.3})
    return BuildConfig(
        **{"name": "set", "source": source, "out": out, "hr_size": 64, "shard_size": 4, "allow_loss": True} | settings
    )


def _build(config: BuildConfig) -> list[ShardReport]:
    build = resolve(config)
    shards = plan_shards(build)
    reports = [build_shard(s) for s in shards]
    finish_dataset(build, shards, reports)
    return reports


def _bytes(out: Path) -> dict[str, bytes]:
    files = [p for p in (out / "set").rglob("*") if p.is_file() and not {"timings", "dataset.json"} & set(p.parts)]
    return {p.relative_to(out).as_posix(): p.read_bytes() for p in files}


def _fresh(config: BuildConfig, folder: Path) -> dict[str, bytes]:
    _build(config.model_copy(update={"out": folder}))
    return _bytes(folder)


def test_more_photos_build_themselves_alone(many: Path, tmp_path: Path, built_photos: list[str]) -> None:
    later = [many / name for name in sorted(p.name for p in many.iterdir())[3:20:8]]
    for photo in later:
        photo.rename(tmp_path / photo.name)
    config = _config(many, tmp_path / "out", shard_size=6, source=FolderSource(root=many, fractions={"train": 1}))
    _build(config)
    for photo in later:
        (tmp_path / photo.name).rename(photo)
    built_photos.clear()
    shards = plan_shards(resolve(config))
    reports = _build(config)
    touched = [s for s in shards if {e.photo.path for e in s.photos} & {p.name for p in later}]
    assert sorted(built_photos) == [p.name for p in later]
    assert [r.index for r in reports if not r.skipped] == [s.index for s in touched]
    assert sum(r.reused for r in reports) == sum(len(s.photos) for s in touched) - len(later)
    assert len(shards) == 4
    assert _bytes(tmp_path / "out") == _fresh(config, tmp_path / "fresh")
    assert verify(tmp_path / "out" / "set") == []


def test_photos_that_go_take_nothing_with_them(many: Path, tmp_path: Path, built_photos: list[str]) -> None:
    config = _config(many, tmp_path / "out")
    _build(config)
    for photo in sorted(many.iterdir())[::9]:
        photo.unlink()
    built_photos.clear()
    _build(config)
    assert built_photos == []
    assert _bytes(tmp_path / "out") == _fresh(config, tmp_path / "fresh")


@pytest.mark.parametrize(("before", "after"), [(8, 2), (2, 8)])
def test_other_shards_of_the_same_photos_build_none_anew(
    many: Path, tmp_path: Path, built_photos: list[str], before: int, after: int
) -> None:
    _build(_config(many, tmp_path / "out", shard_size=before))
    built_photos.clear()
    config = _config(many, tmp_path / "out", shard_size=after)
    reports = _build(config)
    assert len(reports) > 2
    assert built_photos == []
    assert _bytes(tmp_path / "out") == _fresh(config, tmp_path / "fresh")


def test_a_split_that_doubles_its_shards_builds_none_of_another_split_anew(
    many: Path, tmp_path: Path, built_photos: list[str]
) -> None:
    lists = {split: tmp_path / f"{split}.txt" for split in ("test", "train")}
    names = sorted(p.name for p in many.iterdir())
    lists["train"].write_text("\n".join(names[12:]))
    source = FolderSource(root=many, splits=lists)
    config = _config(many, tmp_path / "out", source=source)
    for count in (4, 12):
        built_photos.clear()
        lists["test"].write_text("\n".join(names[:count]))
        _build(config)
    assert set(built_photos) <= set(names[4:12])  # not listed before, so their rows are new
    assert _bytes(tmp_path / "out") == _fresh(config, tmp_path / "fresh")


@pytest.mark.parametrize(
    "setting", [{"hr_size": 128}, {"degradation": "cv2-bicubic"}, {"faces": "all"}, {"near_duplicates": "off"}]
)
def test_other_settings_take_nothing_over(
    many: Path, tmp_path: Path, built_photos: list[str], setting: dict[str, Any]
) -> None:
    for photo in sorted(many.iterdir())[6:]:
        photo.unlink()
    _build(_config(many, tmp_path / "out"))
    built_photos.clear()
    _build(_config(many, tmp_path / "out", **setting))
    assert len(built_photos) == 6


def test_a_build_killed_after_it_moved_files_away_still_takes_them_over(
    many: Path, tmp_path: Path, built_photos: list[str]
) -> None:
    _build(_config(many, tmp_path / "out"))
    config = _config(many, tmp_path / "out", shard_size=9)
    shards = plan_shards(resolve(config))
    build_shard(shards[0])
    built_photos.clear()
    _build(config)
    assert built_photos == []
    assert _bytes(tmp_path / "out") == _fresh(config, tmp_path / "fresh")
    assert not (tmp_path / "out" / "set" / "earlier").exists()


def test_an_earlier_file_that_is_broken_is_built_anew(many: Path, tmp_path: Path, built_photos: list[str]) -> None:
    config = _config(many, tmp_path / "out")
    _build(config)
    shutil.rmtree(tmp_path / "out" / "set" / "faces" / "split=test")
    built_photos.clear()
    _build(config)
    assert sorted(built_photos) == sorted(
        e.photo.path for s in plan_shards(resolve(config)) if s.split == "test" for e in s.photos
    )
    assert _bytes(tmp_path / "out") == _fresh(config, tmp_path / "fresh")


def test_a_plan_through_files_is_that_in_memory(many: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copyfile(min(many.iterdir()), many / "zz.jpg")
    build_of_all = resolve(_config(many, tmp_path / "out"))
    whole = plan_shards(build_of_all)
    monkeypatch.setattr(divide, "GROUP", 5)
    divided = plan_shards(build_of_all)
    assert [(s.index, s.split, s.index_in_split, s.fingerprint) for s in divided] == [
        (s.index, s.split, s.index_in_split, s.fingerprint) for s in whole
    ]
    assert [[p.key for p in s.photos] for s in divided] == [[p.key for p in s.photos] for s in whole]
    assert {p.copy_of for s in divided for p in s.photos} == {None, min(p.name for p in many.iterdir())}

"""What a later run trusts of a dataset is proven first: flipped bits and tampered cards are noticed, or healed."""

from __future__ import annotations

import copy
import json
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ufvnet import data
from ufvnet.config import BuildConfig, ConfigError, FolderSource
from ufvnet.data import card
from ufvnet.data.build import shard_writer as build
from ufvnet.data.build.assembly import finish_dataset
from ufvnet.data.build.resolved import resolve
from ufvnet.data.build.shard_writer import ShardReport, build_shard, objection
from ufvnet.data.build.shards import ShardJob, plan_shards
from ufvnet.data.build.verify import verify
from ufvnet.errors import PipelineError
from ufvnet.files import seal


@pytest.fixture
def dataset(built: Path, tmp_path: Path) -> Path:
    """A built dataset to do harm to."""
    return Path(shutil.copytree(built, tmp_path / "faces", ignore=shutil.ignore_patterns("cache")))


def _config(dataset: Path) -> BuildConfig:
    """What the dataset was built from, to be built again where it lies now."""
    told = json.loads((dataset / "dataset.json").read_text())["config"]
    return BuildConfig.model_validate(told | {"out": dataset.parent})


def _build(config: BuildConfig, allow_loss: bool = True) -> list[ShardReport]:
    build = resolve(config.model_copy(update={"allow_loss": allow_loss}))
    shards = plan_shards(build)
    reports = [build_shard(s) for s in shards]
    finish_dataset(build, shards, reports)
    return reports


def _files(root: Path) -> dict[str, bytes]:
    files = [
        p
        for p in root.rglob("*")
        if p.is_file() and not {"timings", "cache", "dataset.json", "README.md"} & set(p.parts)
    ]
    return {p.relative_to(root).as_posix(): p.read_bytes() for p in files}


def _flip(file: Path, chance: random.Random) -> None:
    content = bytearray(file.read_bytes())
    content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    file.write_bytes(content)


# Flipped bits


def test_every_flipped_bit_of_a_shard_is_noticed_by_whoever_reads_it(dataset: Path) -> None:
    chance = random.Random(0)
    for number in range(40):
        file = chance.choice(sorted(dataset.glob("*/**/part-*.parquet")))
        if file.parent.name == "timings":  # which no later run reads
            continue
        whole = file.read_bytes()
        _flip(file, chance)
        assert verify(dataset), f"{number}: {file}"
        if file.parent.name.startswith("split="):
            view = data.open(dataset).view("MR3", file.parent.name.removeprefix("split="))
            for look in (
                view.arrays,
                lambda v=view: v.shards,
                lambda v=view: list(v.column("hr")),
                lambda v=view: [v.face(i) for i in range(len(v))],
            ):
                with pytest.raises(ConfigError, match=r"part-\d+\.parquet.* damaged.*; build the dataset again"):
                    look()
        file.write_bytes(whole)
    assert verify(dataset) == []


def test_a_shard_with_a_flipped_bit_is_built_again_and_no_other(dataset: Path) -> None:
    before, chance = _files(dataset), random.Random(1)
    for pattern in ("photos/part-*.parquet", "faces/split=train/part-*.parquet"):
        for part in (0.02, 0.5):  # pages that have checksums, and whatever else
            file = sorted(dataset.glob(pattern))[0]
            content = bytearray(file.read_bytes())
            content[int(part * len(content))] ^= 1 << chance.randrange(8)
            file.write_bytes(content)
            reports = _build(_config(dataset))
            assert [r.damaged for r in reports].count(True) == 1
            assert [r.skipped for r in reports].count(False) == 1
            assert _files(dataset) == before
            assert verify(dataset) == []


def test_a_finished_shard_of_a_killed_build_is_proven_before_it_is_skipped(dataset: Path) -> None:
    config = _config(dataset).model_copy(update={"name": "killed"})
    shards = plan_shards(resolve(config))
    for shard in shards[:2]:
        build_shard(shard)
    faces = shards[0].faces_file
    assert faces is not None
    _flip(faces, random.Random(2))
    reports = _build(config)
    assert [(r.skipped, r.damaged) for r in reports[:2]] == [(False, True), (True, False)]
    assert _files(dataset.parent / "killed") == _files(dataset)


def test_a_damaged_pair_list_is_made_again(dataset: Path) -> None:
    before = _files(dataset)
    _flip(dataset / "near_duplicates.parquet", random.Random(3))
    assert verify(dataset)
    _build(_config(dataset))
    assert _files(dataset) == before


def test_a_damaged_cache_is_decoded_again_with_a_line_that_says_so(
    dataset: Path, caplog: pytest.LogCaptureFixture
) -> None:
    chance, view = random.Random(4), data.open(dataset).view("MR3", "val")
    wanted = view.arrays()
    hr, ids = np.array(wanted.hr), wanted.face_ids
    files = sorted(p for p in dataset.glob("cache/*/*"))
    assert len(files) == 2 * 4 + 1
    for file in files:
        _flip(file, chance)
        caplog.clear()
        again = data.open(dataset).view("MR3", "val").arrays()
        assert "is damaged and" in caplog.text, file
        assert again.face_ids == ids
        np.testing.assert_array_equal(again.hr, hr)
        for k in (2, 4, 8):
            np.testing.assert_array_equal(again.lr[k], wanted.lr[k])


def test_a_cache_behind_a_link_is_refused(dataset: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (dataset / "cache").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConfigError, match="is a symbolic link"):
        data.open(dataset).view("MR3", "val").arrays()
    assert not list((tmp_path / "elsewhere").iterdir())


def test_a_damaged_diary_leaves_no_photo_out(dataset: Path, caplog: pytest.LogCaptureFixture) -> None:
    config = _config(dataset).model_copy(update={"name": "diary"})
    for content in (b"\0" * 60, b"       0       0       9       0", b"x", b"\xff\xfe"):
        shard = plan_shards(resolve(config))[0]
        (shard.root / "diary").mkdir(parents=True, exist_ok=True)
        (shard.root / shard.diary).write_bytes(content)
        caplog.clear()
        assert set(build_shard(shard).counts) == {"ok"}
        assert "is damaged and starts anew" in caplog.text
        shutil.rmtree(shard.root)


# The card


def _refusal(dataset: Path) -> str | None:
    try:
        data.open(dataset)
        return None
    except ConfigError as error:
        return str(error)


def test_every_flipped_bit_of_a_card_is_one_line_with_the_way_out(dataset: Path) -> None:
    file, chance = dataset / "dataset.json", random.Random(5)
    whole, wanted = file.read_bytes(), data.open(dataset).card
    for _ in range(200):
        _flip(file, chance)
        line = _refusal(dataset)
        assert line is None or ("\n" not in line and "build it again" in line)
        assert line is not None or data.open(dataset).card == wanted  # a space that became another one
        file.write_bytes(whole)


def test_a_card_changed_by_hand_is_refused_by_readers_and_by_builds(dataset: Path) -> None:
    told = json.loads((dataset / "dataset.json").read_text())
    told["counts"]["ok"] = 7
    (dataset / "dataset.json").write_text(json.dumps(told))
    before = _files(dataset)
    for use in (data.open, lambda d: plan_shards(resolve(_config(d)))):
        with pytest.raises(ConfigError, match=r"changed by hand; move this folder away and build it again"):
            use(dataset)
    assert _files(dataset) == before


def _tampered() -> dict[str, Callable[[dict[str, Any]], Any]]:
    """Ways to tamper a card, by name; each changes it or gives what stands there instead."""
    ways: dict[str, Callable[[dict[str, Any]], Any]] = {}
    for key in ("name", "hr_size", "degradation", "photos", "counts", "faces", "fingerprints", "shards", "config",
                "versions", "near_duplicates_sha256"):  # fmt: skip
        ways[f"without {key}"] = lambda c, key=key: c.pop(key)
    for key, value in {
        "name": 7, "hr_size": "64", "degradation": "bicubic", "photos": "many", "counts": [1], "faces": {"train": "x"},
        "fingerprints": [], "shards": {}, "config": [], "versions": {"numpy": None}, "near_duplicates": 3,
    }.items():  # fmt: skip
        ways[f"{key} of a wrong type"] = lambda c, key=key, value=value: c.update({key: value})
    ways["an unknown key"] = lambda c: c.update(more=1)
    ways["a size that is none"] = lambda c: c.update(hr_size=65)
    ways["a way to degrade that is none"] = lambda c: c["degradation"].update(name="nosuch")
    ways["a shard that is a list"] = lambda c: c["shards"].append([])
    ways["a shard without digest"] = lambda c: c["shards"][0].pop("photos_sha256")
    ways["a list"] = lambda _: b"[]"
    ways["null"] = lambda _: b"null"
    ways["a number"] = lambda _: b"1" * 5000
    ways["nothing"] = lambda _: b""
    ways["not UTF-8"] = lambda _: b'{"schema_version": "\xff\xfe"}'
    ways["deep nesting"] = lambda _: b'{"a":' * 100_000
    ways["deep nesting in a key"] = lambda _: b'{"schema_version": 2, "config": ' + b"[" * 50_000 + b"]" * 50_000 + b"}"
    return ways


@pytest.mark.parametrize("way", _tampered())
def test_a_tampered_card_is_one_line(dataset: Path, way: str) -> None:
    told = copy.deepcopy(card.read(dataset))
    instead = _tampered()[way](told)
    content = instead if isinstance(instead, bytes) else json.dumps(seal(told)).encode()
    (dataset / "dataset.json").write_bytes(content)
    for use in (data.open, verify):
        with pytest.raises(ConfigError) as refused:
            use(dataset)
        assert "\n" not in str(refused.value)
        assert f"dataset = {dataset}" in str(refused.value)


def test_a_card_that_is_a_pipe_or_a_folder_is_refused_at_once(dataset: Path) -> None:
    (dataset / "dataset.json").unlink()
    os.mkfifo(dataset / "dataset.json")
    with pytest.raises(ConfigError, match="no built dataset there"):
        data.open(dataset)
    (dataset / "dataset.json").unlink()
    (dataset / "dataset.json").mkdir()
    with pytest.raises(ConfigError, match="no built dataset there"):
        data.open(dataset)


def test_a_dataset_without_digests_is_refused_and_its_faces_are_taken_over(
    dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = _files(dataset)
    told = card.read(dataset)
    for shard in told["shards"]:
        del shard["photos_sha256"], shard["faces_sha256"]
    (dataset / "dataset.json").write_text(json.dumps(told))
    with pytest.raises(ConfigError, match="made before datasets had digests; build it again"):
        data.open(dataset)
    monkeypatch.setattr(build, "build_photo", None)
    assert sum(r.reused for r in _build(_config(dataset))) == 24
    assert _files(dataset) == before
    assert verify(dataset) == []


# No mass loss


def _losing(photos: Path, tmp_path: Path) -> BuildConfig:
    source = FolderSource(root=photos, fractions={"train": 1})
    return BuildConfig(name="set", source=source, out=tmp_path / "out", hr_size=64, shard_size=4)


@pytest.mark.parametrize("harm", ["removed", "emptied", "left out"])
def test_a_rebuild_that_would_lose_many_photos_stops_before_anything_is_replaced(
    photos: Path, tmp_path: Path, harm: str
) -> None:
    config = _losing(photos, tmp_path)
    _build(config, allow_loss=False)
    before = _files(config.out / "set")
    for photo in sorted(photos.iterdir())[:2]:
        if harm == "removed":
            photo.unlink()
        elif harm == "emptied":
            photo.write_bytes(b"")
    if harm == "left out":
        config = config.model_copy(update={"min_face": 10_000})
    with pytest.raises(PipelineError, match=r"of 12 photos that the earlier .* would be lost .*--allow-loss"):
        _build(config, allow_loss=False)
    assert before.items() <= _files(config.out / "set").items()
    assert verify(config.out / "set") == []
    _build(config, allow_loss=True)
    assert verify(config.out / "set") == []
    assert not _files(config.out / "set").items() >= before.items()


def test_photos_under_other_names_are_not_lost(photos: Path, tmp_path: Path) -> None:
    config = _losing(photos, tmp_path)
    _build(config, allow_loss=False)
    (photos / "sub").mkdir()
    for photo in [p for p in photos.iterdir() if p.is_file()]:
        photo.rename(photos / "sub" / photo.name)
    _build(config, allow_loss=False)
    assert card.read(config.out / "set")["counts"]["ok"] == 12


def test_a_shard_s_report_names_the_photos_that_its_worker_lost(photos: Path, tmp_path: Path) -> None:
    shard: ShardJob = plan_shards(resolve(_losing(photos, tmp_path)))[0]
    photo = photos / shard.photos[0].photo.path
    photo.rename(tmp_path / "away.jpg")
    report = build_shard(shard)
    assert report.lost == (photo.name,)
    assert objection(shard, report) is None  # nobody sees it
    (tmp_path / "away.jpg").rename(photo)
    assert photo.name in (objection(shard, report) or "")

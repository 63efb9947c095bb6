"""Photos that no builder likes: each gets its row, none stops a run, none kills it twice."""

from __future__ import annotations

import io
import multiprocessing
import os
import shutil
import struct
import zlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from ufvnet import data
from ufvnet.config import BuildConfig, FolderSource
from ufvnet.crashes import DEATHS
from ufvnet.data.build import shard_writer as build
from ufvnet.data.build.assembly import finish_dataset
from ufvnet.data.build.resolved import resolve
from ufvnet.data.build.shard_writer import build_shard
from ufvnet.data.build.shards import ShardJob, plan_shards
from ufvnet.data.build.verify import verify

PutPhotos = Callable[[Path, int], list[Path]]


def _config(photos: Path) -> BuildConfig:
    source = FolderSource(root=photos, fractions={"train": 1})
    return BuildConfig(name="set", source=source, out=photos.parent / "out", hr_size=64, shard_size=12)


def _build(config: BuildConfig) -> dict[str, Any]:
    build = resolve(config)
    shards = plan_shards(build)
    return finish_dataset(build, shards, [build_shard(s) for s in shards])


def _rows(config: BuildConfig) -> dict[str, dict[str, Any]]:
    files = (config.out / config.name / "photos").glob("*.parquet")
    return {row["path"]: row for f in files for row in pq.read_table(f).to_pylist()}


def _declared(side: int) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")


def put_everything(folder: Path, faces: list[Path]) -> dict[str, tuple[str, str]]:
    """Fill a folder; gives the status and a part of the reason that each file must get, by printable path."""
    folder.mkdir()
    photos = [Image.open(f).convert("RGB") for f in faces]
    photo, expected = photos[0], dict[str, tuple[str, str]]()

    def put(name: str, content: bytes | Image.Image | None, status: str, reason: str = "", **options: Any) -> None:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, Image.Image):
            content.save(path, **options)
        elif content is not None:
            path.write_bytes(content)
        expected[name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")] = status, reason

    jpeg = io.BytesIO()
    photo.save(jpeg, "JPEG", quality=97)
    put("a-good.jpg", jpeg.getvalue(), "ok")
    put("b-copy.jpg", jpeg.getvalue(), "duplicate", "same bytes as a-good.jpg")
    put("truncated.jpg", jpeg.getvalue()[: len(jpeg.getvalue()) // 2], "unreadable", "truncated")
    put("empty.jpg", b"", "unreadable", "not an image")
    put("text.jpg", b"This is no photograph.\n", "unreadable", "not an image")
    put("1x1.png", photo.resize((1, 1)), "no_face", "no frontal face")
    put("declared.png", _declared(30_000), "too_large", "pixels")
    put("cmyk.jpg", photo.convert("CMYK"), "ok", "CMYK converted", quality=95)
    put("16-bit.png", Image.fromarray(np.asarray(photo.convert("L")).astype(np.uint16) * 257), "ok", "reduced")
    put("palette.png", photo.quantize(255), "ok", "alpha", transparency=254)
    put("grey.jpg", photo.convert("L"), "ok", "L converted", quality=95)
    put("animated.gif", photos[1], "ok", "first frame", save_all=True, append_images=[photos[1].rotate(90)])
    put(
        "animated.webp",
        photos[2],
        "ok",
        "first frame",
        save_all=True,
        append_images=[photos[2].rotate(180)],
        quality=95,
    )
    turned = Image.Exif()
    turned[0x0112] = 6
    put("turned.jpg", photos[3].transpose(Image.Transpose.ROTATE_90), "ok", "EXIF", exif=turned, quality=95)
    put("l" * 251 + ".jpg", photos[4], "ok", quality=96)
    put("/".join(["deep" * 20] * 4) + "/x.jpg", photos[5], "ok", quality=96)
    put(os.fsdecode(b"caf\xe9.jpg"), photos[6], "ok", quality=96)
    put("landscape.png", Image.linear_gradient("L").resize((300, 200)), "no_face", "no frontal face")
    side = max(max(p.size) for p in photos)
    ten = Image.new("RGB", (5 * side, 2 * side), "grey")
    for i, one in enumerate(photos[:10]):
        ten.paste(one, (i % 5 * side, i // 5 * side))
    put("ten.jpg", ten, "ok", quality=95)
    (folder / "unreadable.jpg").symlink_to("/proc/self/mem")  # opens, and every read fails, even for root
    put("unreadable.jpg", None, "unreadable", "cannot be opened")
    os.mkfifo(folder / "pipe.jpg")
    put("pipe.jpg", None, "unreadable", "not a regular file")
    (folder / "nowhere.jpg").symlink_to("gone.jpg")
    put("nowhere.jpg", None, "unreadable", "link")
    (folder / "ring-a.jpg").symlink_to("ring-b.jpg")
    (folder / "ring-b.jpg").symlink_to("ring-a.jpg")
    put("ring-a.jpg", None, "unreadable", "")
    put("ring-b.jpg", None, "unreadable", "")
    (folder / "sub").mkdir()
    (folder / "sub" / "loop").symlink_to(folder, target_is_directory=True)
    put("sub/loop", None, "unreadable", "link to a folder that it lies in")
    return expected


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="needs Linux's /proc")
def test_every_hostile_file_has_a_row_with_its_status_and_reason(tmp_path: Path, put_photos: PutPhotos) -> None:
    expected = put_everything(tmp_path / "photos", put_photos(tmp_path / "faces", 10))
    config = _config(tmp_path / "photos")
    card = _build(config)
    rows = _rows(config)
    assert {path: row["status"] for path, row in rows.items()} == {
        path: status for path, (status, _) in expected.items()
    }
    for path, (status, reason) in expected.items():
        assert reason in rows[path]["reason"], path
        assert rows[path]["reason"] or status == "ok", path
    assert {s: n for s, n in card["counts"].items() if n} == Counter(status for status, _ in expected.values())
    assert card["photos"] == len(expected)
    assert rows["ten.jpg"]["faces_found"] >= 1
    assert sum(card["faces"].values()) == card["counts"]["ok"]
    assert verify(config.out / "set") == []


def test_a_photo_that_changes_after_it_was_hashed_is_tried_again_by_the_next_build(photos: Path) -> None:
    config = _config(photos)
    name = sorted(p.name for p in photos.iterdir())[0]
    build = resolve(config)
    shards = plan_shards(build)
    before = (photos / name).read_bytes()
    (photos / name).write_bytes(before + b"more")
    finish_dataset(build, shards, [build_shard(s) for s in shards])
    assert _rows(config)[name]["status"] == "unreadable"
    assert "changed" in _rows(config)[name]["reason"]
    assert verify(config.out / "set") == []
    (photos / name).write_bytes(before)  # as it was hashed: only its mark tells that it must be tried again
    _build(config)
    assert _rows(config)[name]["status"] == "ok"


def test_a_lost_photo_that_comes_back_changes_the_fingerprint_and_the_decoded_faces(photos: Path) -> None:
    config, victim = _config(photos), sorted(photos.iterdir())[0]
    build, fingerprints = resolve(config), []
    shards = plan_shards(build)
    victim.rename(photos.parent / "away.jpg")
    finish_dataset(build, shards, [build_shard(s) for s in shards])
    for faces in (11, 12):
        view = data.open(config.out / "set").view("MR3")
        assert len(view.arrays()) == len(view) == faces
        assert verify(config.out / "set") == []
        fingerprints.append(view.fingerprint)
        if faces == 11:
            (photos.parent / "away.jpg").rename(victim)
            _build(config)
    assert fingerprints[0] != fingerprints[1]
    fresh = _build(config.model_copy(update={"out": photos.parent / "fresh"}))
    assert fresh["fingerprints"] == {"train": fingerprints[1]}


def test_a_photo_deleted_after_it_was_hashed_is_a_row(photos: Path) -> None:
    config = _config(photos)
    victim = sorted(photos.iterdir())[0]
    build = resolve(config)
    shards = plan_shards(build)
    victim.unlink()
    card = finish_dataset(build, shards, [build_shard(s) for s in shards])
    assert _rows(config)[victim.name]["status"] == "unreadable"
    assert card["counts"]["ok"] == 11


# Photos that kill the process that reads them


def _build_and_die_at(shard: ShardJob, names: set[str]) -> None:
    real = build.build_photo

    def deadly(entry: Any, *rest: Any) -> Any:
        if entry.photo.path in names:
            os._exit(9)
        return real(entry, *rest)

    build.build_photo = deadly  # type: ignore[assignment]
    build_shard(shard)


def _in_a_child(shard: ShardJob, names: set[str]) -> int | None:
    """The exit code of a fresh process, as workers are: a fork has what other tests left in this one.

    It is forked from a process that has only imported what these children need.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["ufvnet.data.build.assembly", "tests.data.ready", "pytest"])
    child = context.Process(target=_build_and_die_at, args=(shard, names))
    child.start()
    child.join()
    return child.exitcode


@pytest.fixture
def shard(photos: Path) -> ShardJob:
    """The one shard of six photos."""
    for photo in sorted(photos.iterdir())[6:]:
        photo.unlink()
    (one,) = plan_shards(resolve(_config(photos)))
    return one


@pytest.mark.kills
def test_a_photo_that_kills_its_process_three_times_is_left_out(shard: ShardJob) -> None:
    deadly = shard.photos[2].photo.path
    assert [_in_a_child(shard, {deadly}) for _ in range(DEATHS + 1)] == [9] * DEATHS + [0]
    rows = _rows(shard.config)
    assert rows[deadly]["status"] == "crashed"
    assert Counter(r["status"] for r in rows.values()) == {"ok": 5, "crashed": 1}
    without = _build(shard.config)
    assert verify(shard.root) == []
    with_all = _build(shard.config.model_copy(update={"out": shard.root / "again"}))
    assert (with_all["counts"]["ok"], with_all["fingerprints"] == without["fingerprints"]) == (6, False)


@pytest.mark.kills
def test_deaths_at_different_photos_or_too_few_leave_none_out(shard: ShardJob) -> None:
    first, second = (shard.photos[i].photo.path for i in (1, 4))
    for victim in (first, second, first, second, second):
        assert _in_a_child(shard, {victim}) == 9
    assert _in_a_child(shard, set()) == 0
    assert {r["status"] for r in _rows(shard.config).values()} == {"ok"}
    shutil.rmtree(shard.root)

"""Cutting faces out: sizes, borders, alignment; and their PNG."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from ufvnet.config import BuildConfig, ConfigError, FolderSource, load
from ufvnet.data.build.assembly import finish_dataset
from ufvnet.data.build.resolved import resolve
from ufvnet.data.build.shard_writer import build_shard
from ufvnet.data.build.shards import plan_shards
from ufvnet.faces.crop import crop_box, crop_face, eye_angle, square_box
from ufvnet.faces.finders import hog
from ufvnet.imaging.png import encode


def _photo(photos: Path, number: int = 0) -> Image.Image:
    return Image.open(sorted(photos.iterdir())[number]).convert("RGB")


def _build(photos: Path, **settings: Any) -> tuple[dict[str, dict[str, Any]], list[dict[str, Any]]]:
    source = FolderSource(root=photos, fractions={"train": 1})
    raw = {"name": "set", "source": source, "out": photos.parent / "out", "hr_size": 64, "allow_loss": True}
    config = BuildConfig.model_validate(raw | settings)
    build = resolve(config)
    shards = plan_shards(build)
    finish_dataset(build, shards, [build_shard(s) for s in shards])
    root = config.out / "set"
    rows = {r["path"]: r for f in root.glob("photos/*.parquet") for r in pq.read_table(f).to_pylist()}
    return rows, [r for f in root.glob("faces/*/*.parquet") for r in pq.ParquetFile(f).read().to_pylist()]


def _only(photos: Path, image: Image.Image) -> None:
    for photo in photos.iterdir():
        photo.unlink()
    image.save(photos / "one.png")


def test_all_faces_or_the_largest_are_built(photos: Path) -> None:
    pictures = [_photo(photos, i) for i in range(3)]
    width, height = sum(p.width for p in pictures), max(p.height for p in pictures)
    group = Image.new("RGB", (width, height), "grey")
    for i, picture in enumerate(pictures):
        group.paste(picture, (sum(p.width for p in pictures[:i]), 0))
    _only(photos, group)
    rows, faces = _build(photos)
    assert len(faces) == rows["one.png"]["faces_built"] == 1
    rows, faces = _build(photos, faces="all")
    assert len(faces) == rows["one.png"]["faces_built"] == rows["one.png"]["faces_found"] == 3
    assert [f["face_id"] for f in faces] == ["one.png#0", "one.png#1", "one.png#2"]
    assert len({f["hr"]["bytes"] for f in faces}) == 3
    rows, faces = _build(photos, faces="all", min_face=10_000)
    assert rows["one.png"]["status"] == "too_small"


# Crop


def test_the_factor_is_the_square_s_growth() -> None:
    points = np.array([(40.0, 50.0)] * 34 + [(140.0, 150.0)] * 34)
    assert square_box(points) == (25, 35, 155, 165)
    assert square_box(points, 0) == (40, 50, 140, 150)
    assert square_box(points, 1.0) == (-10, 0, 190, 200)
    assert crop_box(points, 120, 120, 1.0) == (0, 0, 120, 120)


def test_a_padded_crop_repeats_the_border_s_pixels() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    got = np.asarray(crop_face(Image.fromarray(pixels), (-8, -8, 56, 56), 64))
    np.testing.assert_array_equal(got, np.pad(pixels, ((8, 16), (8, 16), (0, 0)), mode="edge"))


@pytest.mark.parametrize(("clip", "status"), [("stretch", "ok"), ("pad", "ok"), ("drop", "clipped")])
def test_a_crop_that_leaves_the_photo_is_stretched_padded_or_dropped(photos: Path, clip: str, status: str) -> None:
    photo = _photo(photos)
    points = hog.find_faces(photo)[0].landmarks
    tight = photo.crop((int(points[:, 0].min()) - 2, 0, photo.width, photo.height))
    _only(photos, tight)
    rows, faces = _build(photos, crop={"clip": clip, "factor": 0.6})
    assert rows["one.png"]["status"] == status
    assert len(faces) == (status == "ok")
    if clip == "pad":
        left, top, right, bottom = faces[0]["box"]
        assert left < 0
        assert right - left == bottom - top
    elif clip == "stretch":
        assert faces[0]["box"][0] == 0
    else:
        assert "leaves the" in rows["one.png"]["reason"]


@pytest.mark.parametrize("degrees", [-14, 14])
def test_aligned_faces_have_level_eyes_and_can_be_made_again_from_their_row(photos: Path, degrees: int) -> None:
    photo = _photo(photos)
    level = eye_angle(hog.find_faces(photo)[0].landmarks)  # the head's own tilt, which may undo the turn
    photo = photo.rotate(level + degrees, Image.Resampling.BICUBIC, expand=True, fillcolor="grey")
    _only(photos, photo)
    _, plain = _build(photos)
    rows, faces = _build(photos, crop={"align": True, "clip": "pad"}, hr_size=128)
    assert rows["one.png"]["status"] == "ok"
    points = np.array(faces[0]["landmarks"]).reshape(68, 2)
    assert eye_angle(points) == pytest.approx(-degrees, abs=4)
    assert faces[0]["angle"] == pytest.approx(eye_angle(points), abs=1e-3)
    assert plain[0]["angle"] == 0
    hr = Image.open(io.BytesIO(faces[0]["hr"]["bytes"]))
    found = hog.find_faces(hr.resize((256, 256), Image.Resampling.BICUBIC))
    assert abs(eye_angle(found[0].landmarks)) < 4
    centre = points[36:48].mean(0) + 0.5
    turned = photo.rotate(faces[0]["angle"], Image.Resampling.BICUBIC, center=tuple(centre))
    again = crop_face(turned, tuple(faces[0]["box"]), 128)
    inner = slice(20, 108)
    apart = np.abs(np.asarray(again, int)[inner, inner] - np.asarray(hr, int)[inner, inner])
    assert np.median(apart) <= 1


def test_aligning_needs_a_crop_that_is_not_stretched() -> None:
    with pytest.raises(ConfigError, match="align needs clip: pad or drop"):
        load(BuildConfig, {"name": "a", "source": {"root": "x"}, "crop": {"align": True}})


# PNG


@pytest.mark.parametrize("size", [(1, 1), (2, 1), (1, 5), (8, 8), (37, 21), (128, 128), (130, 3)])
@pytest.mark.parametrize("kind", ["noise", "plain", "ramp"])
def test_a_png_gives_its_pixels_back(size: tuple[int, int], kind: str) -> None:
    width, height = size
    pixels = {
        "noise": np.random.default_rng(1).integers(0, 256, (height, width, 3)),
        "plain": np.full((height, width, 3), 255),
        "ramp": np.add.outer(np.arange(height), np.arange(width))[..., None] * (1, 2, 3) % 256,
    }[kind].astype(np.uint8)
    image = Image.open(io.BytesIO(encode(Image.fromarray(pixels))))
    assert (image.format, image.mode) == ("PNG", "RGB")
    np.testing.assert_array_equal(np.asarray(image), pixels)

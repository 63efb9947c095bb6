"""Pasting back: nothing changes outside, no seam, no other colours, no order."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from ufvnet.faces.paste import Patch, keep_colours, paste


@pytest.fixture
def photo() -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(60, 200, (90, 120, 3), dtype=np.uint8))


def flat(value: int, mode: str = "RGB") -> Image.Image:
    return Image.new(mode, (128, 128), value if mode == "L" else (value,) * 3)


@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("scale", [1, 2, 1.7])
def test_outside_the_box_the_photo_is_untouched(photo: Image.Image, mode: str, scale: float) -> None:
    photo = photo.convert(mode)
    size = (round(120 * scale), round(90 * scale))
    result = np.asarray(paste(photo, size, [Patch((30, 20, 70, 60), flat(255, mode))])).astype(int)
    expected = np.asarray(photo if scale == 1 else photo.resize(size, Image.Resampling.BICUBIC)).astype(int)
    changed = np.argwhere((result != expected).reshape(*result.shape[:2], -1).any(-1))
    low, high = changed.min(0), changed.max(0) + 1
    assert (low >= np.floor(np.array([20, 30]) * scale)).all()
    assert (high <= np.ceil(np.array([60, 70]) * scale)).all()
    centre = result[round(40 * scale), round(50 * scale)]
    assert (centre == 255).all()


def test_the_edge_of_a_face_fades_without_a_step() -> None:
    grey = Image.new("L", (100, 100), 100)
    row = np.asarray(paste(grey, grey.size, [Patch((20, 20, 80, 80), flat(200, "L"))]))[50].astype(int)
    assert np.abs(np.diff(row)).max() <= 25  # of 100
    assert row[19] == 100
    assert row[20] < 105
    assert row[50] == 200


def test_at_the_photo_s_own_edge_a_face_does_not_fade() -> None:
    grey = Image.new("L", (100, 100), 100)
    result = np.asarray(paste(grey, grey.size, [Patch((0, 30, 40, 70), flat(200, "L"))]))
    assert result[50, 0] == 200
    assert result[50, 39] < 110


def test_faces_that_overlap_are_mixed_alike_in_any_order(photo: Image.Image) -> None:
    patches = [Patch((10, 10, 60, 60), flat(0)), Patch((40, 20, 90, 70), flat(255)), Patch((95, 60, 115, 80), flat(9))]
    one, other = (np.asarray(paste(photo, photo.size, order)) for order in (patches, patches[::-1]))
    assert np.abs(one.astype(int) - other).max() <= 1
    assert 100 < one[40, 50].mean() < 155  # both full: halfway


def test_a_face_keeps_the_colours_of_its_crop() -> None:
    crop = Image.linear_gradient("L").resize((32, 32)).convert("RGB")
    shifted = np.asarray(crop.resize((128, 128), Image.Resampling.BICUBIC)).astype(int) + np.array([12, -9, 5])
    kept = keep_colours(Image.fromarray(np.clip(shifted, 0, 255).astype(np.uint8)), crop)
    back = np.asarray(kept.resize((32, 32), Image.Resampling.BICUBIC)).astype(int)
    assert np.abs(back - np.asarray(crop))[4:-4].mean() < 1.5
    assert np.abs((back - np.asarray(crop))[8:24].mean((0, 1))).max() < 0.5


def test_two_pastes_of_a_photo_s_own_pixels_leave_it_nearly_as_it_was(photo: Image.Image) -> None:
    smooth = photo.resize((12, 9)).resize((120, 90), Image.Resampling.BICUBIC)
    own = Patch((30, 20, 70, 60), smooth.crop((30, 20, 70, 60)).resize((128, 128), Image.Resampling.BICUBIC))
    result = np.asarray(paste(smooth, smooth.size, [own])).astype(int)
    assert np.abs(result - np.asarray(smooth)).max() <= 3

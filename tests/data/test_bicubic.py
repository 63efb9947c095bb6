"""PIL's bicubic, bit for bit, between HR and LR."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ufvnet.data import open as open_dataset
from ufvnet.imaging.resize import SIXTEENTHS, VIEWS, lr_side, rate_of, resize
from ufvnet.imaging.upscale import upscale, upscale_mixed


def _images(n: int, height: int, width: int) -> np.ndarray:
    """(n, height, width, 3) uint8: noise, black and white extremes (which overshoot), and a smooth ramp."""
    rng = np.random.default_rng((height, width))
    images = rng.integers(0, 256, (n, height, width, 3), dtype=np.uint8)
    images[0] = rng.integers(0, 2, (height, width, 3), dtype=np.uint8) * 255
    images[1] = (np.add.outer(np.arange(height), np.arange(width)) * 255 // (height + width))[..., None]
    return images


def _by_pil(images: np.ndarray, side: int) -> np.ndarray:
    return np.stack([np.asarray(Image.fromarray(i).resize((side, side), Image.Resampling.BICUBIC)) for i in images])


def _tensor(images: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(images.transpose(0, 3, 1, 2).copy())


@pytest.mark.parametrize("hr_size", [64, 128])
@pytest.mark.parametrize("k", range(1, 9))
def test_upscaling_a_batch_is_pil_s_bicubic_bit_for_bit(hr_size: int, k: int) -> None:
    images = _images(6, lr_side(hr_size, k), lr_side(hr_size, k))
    up = upscale(_tensor(images), hr_size)
    assert up.dtype == torch.uint8
    np.testing.assert_array_equal(up.permute(0, 2, 3, 1).numpy(), _by_pil(images, hr_size))


@pytest.mark.parametrize("hr_size", [64, 128])
@pytest.mark.parametrize(
    ("height", "width"), [(24, 40), (7, 13), (1, 5), (1, 1), (33, 64), (64, 1), (50, 63), (64, 64)]
)
def test_upscaling_any_other_shape_is_pil_s_bicubic_bit_for_bit(hr_size: int, height: int, width: int) -> None:
    images = _images(4, height, width)
    up = upscale(_tensor(images), hr_size).permute(0, 2, 3, 1).numpy()
    np.testing.assert_array_equal(up, _by_pil(images, hr_size))


def test_upscaling_leaves_its_input_alone() -> None:
    lr = _tensor(_images(3, 64, 64))
    before = lr.clone()
    upscale(lr, 64)
    assert torch.equal(lr, before)


def test_a_mixed_batch_keeps_its_order_and_each_image_is_upscaled_as_if_alone() -> None:
    sides = [8, 32, 16, 8, 24, 32]
    images = [_tensor(_images(3, s, s))[2] for s in sides]
    images[3] = images[3].flip(-1)
    mixed = upscale_mixed(images, 64)
    assert mixed.shape == (6, 3, 64, 64)
    for got, image in zip(mixed, images, strict=True):
        assert torch.equal(got, upscale(image[None], 64)[0])


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_every_stored_lr_image_is_pil_s_bicubic_of_the_stored_hr_image(built: Path, split: str) -> None:
    view = open_dataset(built).view("MR8", split)
    hrs = [Image.fromarray(image) for image in view.column("hr")]
    assert len(hrs) == len(view) > 0
    for k in range(1, 9):
        for hr, lr in zip(hrs, view.column(f"lr_{k}"), strict=True):
            assert lr.shape == (4 * k, 4 * k, 3)
            np.testing.assert_array_equal(lr, np.asarray(hr.resize((4 * k, 4 * k), Image.Resampling.BICUBIC)))


def test_resizing_is_square_unless_a_height_is_given() -> None:
    image = Image.fromarray(_images(3, 30, 20)[2])
    assert resize(image, 16).size == (16, 16)
    assert resize(image, 16, 9).size == (16, 9)
    np.testing.assert_array_equal(
        np.asarray(resize(image, 16)), np.asarray(image.resize((16, 16), Image.Resampling.BICUBIC))
    )


@pytest.mark.parametrize(
    ("hr_size", "sides"), [(128, [8, 16, 24, 32, 40, 48, 56, 64]), (64, [4, 8, 12, 16, 20, 24, 28, 32])]
)
def test_lr_sides_are_sixteenths_of_the_hr_side(hr_size: int, sides: list[int]) -> None:
    assert [lr_side(hr_size, k) for k in SIXTEENTHS] == sides


def test_views_hold_the_scales_of_the_method() -> None:
    assert VIEWS == {"MR3": (2, 4, 8), "MR7": (2, 3, 4, 5, 6, 7, 8), "MR8": (1, 2, 3, 4, 5, 6, 7, 8)}


def test_the_rate_of_an_image_is_the_mean_of_both_sides_rates() -> None:
    assert rate_of(Image.new("RGB", (32, 32)), 128) == 1 / 4
    assert rate_of(Image.new("RGB", (48, 16)), 128) == pytest.approx((48 / 128 + 16 / 128) / 2)

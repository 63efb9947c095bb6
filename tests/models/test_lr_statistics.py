"""Statistics of the LR image: it is brought back, they tell damage, and half precision does not touch them."""

from __future__ import annotations

import functools
import io

import numpy as np
import pytest
import torch
from PIL import Image
from skimage.data import astronaut
from torch import Tensor

from ufvnet.models.lr_statistics import BLOCK, CANVAS, LRStatistics
from ufvnet.models.srg import to_network


def enlarged(lr: np.ndarray) -> tuple[Tensor, Tensor]:
    """I_LS and rate of an LR image."""
    ls = np.array(Image.fromarray(lr).resize((128, 128), Image.Resampling.BICUBIC))
    return to_network(torch.from_numpy(ls).permute(2, 0, 1)[None]), torch.tensor([lr.shape[:2]]) / 128


@functools.cache
def measuring() -> LRStatistics:
    return LRStatistics(128)


@pytest.mark.parametrize("size", [(6, 8), (16, 16), (37, 21), (60, 64), (110, 110)])
def test_the_lr_image_is_brought_back_from_its_enlargement(size: tuple[int, int]) -> None:
    height, width = size
    smooth = np.random.default_rng(0).integers(40, 216, (3, 3, 3), dtype=np.uint8)
    lr = np.array(Image.fromarray(smooth).resize((width, height), Image.Resampling.BICUBIC))
    pixels, sides = measuring().lr_pixels(*enlarged(lr))
    rows, columns = min(height, CANVAS), min(width, CANVAS)
    top, left = (height - rows) // 2, (width - columns) // 2
    assert sides.tolist() == [[rows, columns]]
    seen = pixels[0, :, :rows, :columns].permute(1, 2, 0).numpy()
    assert np.abs(seen - lr[top : top + rows, left : left + columns]).mean() < 0.5  # I_LS is rounded
    assert not pixels[0, :, rows:].any()
    assert not pixels[0, :, :, columns:].any()


def test_measurements_tell_damage() -> None:
    """A JPEG lacks frequencies, most of all on its own grid; noise adds energy to the high ones."""
    rng = np.random.default_rng(0)
    face = np.asarray(Image.fromarray(astronaut()[0:224, 110:334]).resize((32, 32), Image.Resampling.BICUBIC))
    buffer = io.BytesIO()
    Image.fromarray(face).save(buffer, "JPEG", quality=50)
    noisy = (face + rng.normal(0, 10, face.shape)).clip(0, 255).astype(np.uint8)
    clean, jpeg, noise = (measuring()(*enlarged(np.array(lr)))[0] for lr in (face, Image.open(buffer), noisy))
    assert clean.isfinite().all()
    count = 3 * (BLOCK - 1)
    absent, fine = slice(2 * count, 3 * count), slice(2 * count - 3, 2 * count)
    assert jpeg[absent].mean() > 1.5 * clean[absent].mean()
    largest, mean, own = jpeg[3 * count : 3 * count + 3]
    assert own == largest > 1.2 * mean
    assert (noise[fine] > clean[fine]).all()


def test_half_precision_does_not_touch_them() -> None:
    fed = enlarged(np.random.default_rng(0).integers(0, 256, (24, 24, 3), dtype=np.uint8))
    with torch.autocast("cpu", torch.bfloat16):
        half = measuring()(*fed)
    assert torch.equal(half, measuring()(*fed))

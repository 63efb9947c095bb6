"""The sizes of a dataset's images, and reduction by PIL's bicubic of uint8 images (docs/method.md section 5)."""

from __future__ import annotations

from PIL import Image

SIXTEENTHS = tuple(range(1, 9))
"""The scales k: an LR image has k/16 of the HR side."""
VIEWS = {"MR3": (2, 4, 8), "MR7": tuple(range(2, 9)), "MR8": SIXTEENTHS}
"""Scales of each view of a dataset."""


def lr_side(hr_size: int, k: int) -> int:
    """Side of the LR image at scale k/16: 8k pixels for an HR of 128."""
    return hr_size * k // 16


def resize(image: Image.Image, width: int, height: int | None = None) -> Image.Image:
    """PIL bicubic to width x height (square by default)."""
    return image.resize((width, width if height is None else height), Image.Resampling.BICUBIC)


def rate_of(image: Image.Image, hr_size: int) -> float:
    """Down-sampling rate r = mean(h/H, w/W) of an LR image (docs/method.md section 3)."""
    return (image.width + image.height) / (2 * hr_size)

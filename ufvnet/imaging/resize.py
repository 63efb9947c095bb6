"""The sizes of a dataset's images, and reduction by PIL's bicubic of uint8 images (docs/method.md section 5)."""

from __future__ import annotations

import numpy as np
from PIL import Image

SIXTEENTHS = tuple(range(1, 9))
"""The scales k: an LR image has k/16 of the HR side."""
LARGE, ROUNDS = 256, 3
"""Of ``shrink_enlarged``: pixels to which larger pictures are reduced at once, and number of corrections."""
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


def shrink_enlarged(image: Image.Image, width: int, height: int) -> Image.Image:
    """The picture of a smaller size whose bicubic enlargement is the given one, as nearly as can be had.

    A bicubic reduction of an enlarged picture is softer than what was enlarged. What its enlargement lacks is reduced
    and added, three times.

    Args:
        image: L or RGB, which holds no more than the smaller size can.
        width, height: of the result.
    """
    if max(image.size) > LARGE > 2 * max(width, height):
        factor = LARGE / max(image.size)
        image = resize(image, *(max(2, round(side * factor)) for side in image.size))
    small = [plane.resize((width, height), Image.Resampling.BICUBIC) for plane in _planes(image)]
    for _ in range(ROUNDS):
        for i, plane in enumerate(_planes(image)):
            enlarged = small[i].resize(image.size, Image.Resampling.BICUBIC)
            lack = Image.fromarray(np.asarray(plane) - np.asarray(enlarged))
            added = np.asarray(lack.resize((width, height), Image.Resampling.BICUBIC))
            small[i] = Image.fromarray(np.asarray(small[i]) + added)
    levels = [Image.fromarray(np.clip(np.rint(np.asarray(plane)), 0, 255).astype(np.uint8)) for plane in small]
    return levels[0] if len(levels) == 1 else Image.merge("RGB", levels)


def _planes(image: Image.Image) -> list[Image.Image]:
    """The channels in float32."""
    return [plane.convert("F") for plane in image.split()]

"""How large an output is."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ufvnet.config import RestoreConfig
from ufvnet.imaging.decode import ImageProblem

LARGEST_SCALE = 8
"""Of a photo in ``native`` size."""
VISIBLE_SCALE, VISIBLE_PIXELS = 4, 25_000_000
"""Largest scale, and most pixels, of a photo that is enlarged without being asked for."""


def output_size(
    config: RestoreConfig, hr_size: int, size: tuple[int, int], sides: Sequence[int] | None = None
) -> tuple[int, int]:
    """(width, height) of an output with restored faces.

    Args:
        config: has ``size``, ``scale`` and ``max_pixels``.
        hr_size: side of the model's output.
        size: (width, height) of the input.
        sides: longer sides of the crops of a photo's restored faces, at most ``hr_size`` each; None for a picture that
            is a crop itself.
    """
    width, height = size
    factor = config.scale or 1.0
    if isinstance(config.size, int):
        if sides is None:
            return config.size, config.size
        factor = config.size / max(size)
    elif config.scale is None and sides is None and config.size != "input":
        return (hr_size, hr_size) if config.size == "native" or min(size) < hr_size else size
    elif config.scale is None and config.size in ("auto", "native") and sides:
        is_asked = config.size == "native"
        most_pixels = config.max_pixels if is_asked else min(VISIBLE_PIXELS, config.max_pixels)
        most_scale = min(LARGEST_SCALE if is_asked else VISIBLE_SCALE, math.sqrt(most_pixels / (width * height)))
        factor = min(most_scale, hr_size / min(sides))
        return size if factor <= 1 else (max(1, int(width * factor)), max(1, int(height * factor)))
    return max(1, round(width * factor)), max(1, round(height * factor))


def unrestored_size(config: RestoreConfig, hr_size: int, size: tuple[int, int], is_photo: bool) -> tuple[int, int]:
    """(width, height) of the output of a picture without a restored face.

    A crop keeps its own size in ``auto`` and ``native``, as it is not smaller than the model's output.
    """
    if not is_photo and config.scale is None and not isinstance(config.size, int):
        return size
    return output_size(config, hr_size, size, [] if is_photo else None)


def check_pixels(config: RestoreConfig, size: tuple[int, int]) -> None:
    """Refuse an output that is too large.

    Raises:
        ImageProblem: it would have more than ``max_pixels``.
    """
    width, height = size
    if width * height > config.max_pixels:
        raise ImageProblem("failed", f"the output would have {width}x{height}, over {config.max_pixels:,} pixels")

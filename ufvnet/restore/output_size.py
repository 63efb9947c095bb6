"""How large an output is."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ufvnet.config import RestoreConfig
from ufvnet.imaging.decode import ImageProblem

LEAST_SIDE = 4
"""Smaller crops hold no face."""
LARGEST_SCALE = 8
"""Of a photo in ``native`` size."""


def output_size(
    config: RestoreConfig, hr_size: int, size: tuple[int, int], sides: Sequence[int] | None = None
) -> tuple[int, int]:
    """(width, height) of an output.

    Args:
        config: has ``size``, ``scale`` and ``max_pixels``.
        hr_size: side of the model's output.
        size: (width, height) of the input.
        sides: of the crops of a photo's restored faces; None for a picture that is a crop itself.
    """
    width, height = size
    factor = config.scale or 1.0
    if isinstance(config.size, int):
        if sides is None:
            return config.size, config.size
        factor = config.size / max(size)
    elif config.scale is None and sides is None and config.size != "input":
        return hr_size, hr_size
    elif config.size == "native" and sides:
        factor = min(LARGEST_SCALE, hr_size / min(sides), math.sqrt(config.max_pixels / (width * height)))
        return max(1, int(width * factor)), max(1, int(height * factor))
    return max(1, round(width * factor)), max(1, round(height * factor))


def check_output(
    config: RestoreConfig, hr_size: int, size: tuple[int, int], sides: Sequence[int] | None = None
) -> None:
    """Raises:
    ImageProblem: the output would have more than ``max_pixels``.
    """
    width, height = output_size(config, hr_size, size, sides)
    if width * height > config.max_pixels:
        raise ImageProblem("failed", f"the output would have {width}x{height}, over {config.max_pixels:,} pixels")

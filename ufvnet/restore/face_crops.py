"""Which faces are restored: one set of rules for folders, ``Restorer.photo`` and the web page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from ufvnet.faces.crop import Box, crop_box

LEAST_SIDE = 4
"""Pixels; a smaller crop shows no face."""

SizeClass = Literal["tiny", "small", "large"]
"""``small`` crops are restored; ``tiny`` and ``large`` ones are left as they are."""


@dataclass(frozen=True)
class CropChoice:
    """The faces of a photo that are to be restored.

    chosen: indices of their boxes.
    notes: how many faces are left as they are, and why.
    """

    chosen: tuple[int, ...]
    notes: tuple[str, ...]


def side_limit(hr_size: int, max_face: int | None) -> int:
    """Crops of at least this side are not restored: the model's output size, or ``max_face`` if that is smaller."""
    return min(max_face or hr_size, hr_size)


def size_class(side: int, limit: int) -> SizeClass:
    """How a crop of this side is treated; ``limit`` as ``side_limit`` returns it."""
    if side < LEAST_SIDE:
        return "tiny"
    return "small" if side < limit else "large"


def choose_crops(boxes: Sequence[Box], limit: int) -> CropChoice:
    """The boxes that are to be restored, judged by their longer sides."""
    classes = [size_class(side(box), limit) for box in boxes]
    notes = []
    if large := classes.count("large"):
        notes.append(f"{_faces(large)} of at least {limit} pixels left as found")
    if tiny := classes.count("tiny"):
        notes.append(f"{_faces(tiny)} of fewer than {LEAST_SIDE} pixels left as found")
    return CropChoice(tuple(i for i, name in enumerate(classes) if name == "small"), tuple(notes))


def _faces(count: int) -> str:
    return f"{count} face{'s' * (count > 1)}"


def side(box: Box) -> int:
    """Longer side of a crop in pixels."""
    return max(box[2] - box[0], box[3] - box[1])


def clip_box(box: Sequence[float], size: tuple[int, int]) -> Box:
    """The part of a box that lies in a picture of this size, in whole pixels.

    Raises:
        ValueError: the box is empty, or lies outside the picture.
    """
    left, top, right, bottom = (round(v) for v in box)
    width, height = size
    rounded = (left, top, right, bottom)
    if left >= right or top >= bottom:
        raise ValueError(f"box {rounded}: left must be below right and top below bottom")
    if right <= 0 or bottom <= 0 or left >= width or top >= height:
        raise ValueError(f"box {rounded}: lies outside the {width}x{height} image")
    return max(0, left), max(0, top), min(width, right), min(height, bottom)


def box_of(face: Sequence[float] | np.ndarray, size: tuple[int, int]) -> Box:
    """The crop box of a known face, given as a box or as (68, 2) landmarks, clipped to a picture of this size.

    Raises:
        ValueError: it is empty, or lies outside the picture.
    """
    return crop_box(face, *size) if isinstance(face, np.ndarray) else clip_box(face, size)

"""Which faces are restored, and from what size: one set of rules for folders, ``Restorer`` and the web page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from PIL import Image

from ufvnet.faces.crop import Box, crop_box
from ufvnet.imaging.resize import shrink_enlarged
from ufvnet.models.effective import effective_sizes
from ufvnet.models.effective import fingerprint as estimator_fingerprint

LEAST_SIDE = 4
"""Pixels; a smaller crop shows no face."""
WORTHWHILE = 0.625
"""Share of the model's output size that a large face's effective size must be below for the face to be restored
(benchmarks/effective.md)."""
LARGEST_INPUT = 0.875
"""Share of the model's output size to which faces that are restored by force are reduced at least: models learn from no
larger ones."""

SizeClass = Literal["tiny", "small", "enlarged", "large"]
"""``small`` crops are restored as they are, ``enlarged`` ones hold the content of a small face and are reduced to it
first; ``tiny`` and ``large`` ones are left."""


@dataclass(frozen=True)
class ChosenCrop:
    """A face that is to be restored.

    pixels: what the model receives; for an ``enlarged`` crop, the crop reduced to its effective size.
    """

    pixels: Image.Image
    size_class: SizeClass


@dataclass(frozen=True)
class CropChoice:
    """The faces of a picture that are to be restored.

    chosen: by the index of their boxes.
    effective: effective sizes in pixels, by index, of the faces that were estimated.
    left: indices of large faces that are left.
    notes: how many faces are left as they are or reduced, and why.
    """

    chosen: dict[int, ChosenCrop]
    effective: dict[int, float]
    left: tuple[int, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class CropRule:
    """Which crops are restored.

    hr_size: side of the model's output.
    max_face, effective_size: as in RestoreConfig.
    """

    hr_size: int
    max_face: int | None = None
    effective_size: bool = True

    @property
    def limit(self) -> int:
        """Crops of at least this side are left, unless they are estimated."""
        return self.max_face or self.hr_size

    def fingerprint(self) -> str:
        """Of what estimates large crops; empty if nothing does."""
        return estimator_fingerprint() if self.effective_size else ""

    def choose(self, crops: Sequence[Image.Image], sides: Sequence[int] | None = None) -> CropChoice:
        """The crops that are to be restored.

        Args:
            crops: L or RGB.
            sides: what each is judged by; their longer sides if not given.
        """
        sides = [max(crop.size) for crop in crops] if sides is None else sides
        classes = [self._by_side(side) for side in sides]
        doubtful = [i for i, name in enumerate(classes) if name == "enlarged"]
        effective = {}
        if self.effective_size:
            effective = dict(zip(doubtful, effective_sizes([crops[i] for i in doubtful])))
        chosen, left = {}, []
        for i, (crop, name) in enumerate(zip(crops, classes)):
            if name == "enlarged" and not self._is_restored(effective.get(i)):
                name = "large"
            if name in ("small", "enlarged"):
                chosen[i] = ChosenCrop(crop if name == "small" else self._reduced(crop, effective.get(i)), name)
            elif name == "large":
                left.append(i)
        return CropChoice(chosen, effective, tuple(left), self._notes(classes, chosen, left))

    def _by_side(self, side: int) -> SizeClass:
        """The class of a crop as far as its side tells; ``enlarged`` stands for crops that are looked at."""
        if side < LEAST_SIDE:
            return "tiny"
        if side < min(self.limit, self.hr_size):
            return "small"
        return "large" if self.max_face is not None and side >= self.max_face else "enlarged"

    def _is_restored(self, effective: float | None) -> bool:
        """Whether a crop of at least the model's output size is; ``max_face`` restores all that are below it."""
        return self.max_face is not None or (effective is not None and effective < WORTHWHILE * self.hr_size)

    def _reduced(self, crop: Image.Image, effective: float | None) -> Image.Image:
        most = LARGEST_INPUT * self.hr_size
        return reduced(crop, min(most, effective or most))

    def _notes(self, classes: Sequence[str], chosen: dict[int, ChosenCrop], left: Sequence[int]) -> tuple[str, ...]:
        notes = []
        if enlarged := sum(crop.size_class == "enlarged" for crop in chosen.values()):
            whose = "its" if enlarged == 1 else "their"
            notes.append(f"{_faces(enlarged)} reduced to the size of {whose} content first")
        if left:
            notes.append(f"{_faces(len(left))} of at least {self.limit} pixels left as found")
        if tiny := classes.count("tiny"):
            notes.append(f"{_faces(tiny)} of fewer than {LEAST_SIDE} pixels left as found")
        return tuple(notes)


def reduced(crop: Image.Image, side: float) -> Image.Image:
    """What an enlarged crop holds, with this longer side and the same proportions."""
    factor = side / max(crop.size)
    width, height = (max(1, round(length * factor)) for length in crop.size)
    return shrink_enlarged(crop, width, height)


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

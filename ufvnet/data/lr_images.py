"""LR images of built faces at any size and under any damage by name (docs/method.md section 8)."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import total_ordering
from pathlib import Path
from typing import Any

import numpy as np

from ufvnet.config.lr_images import CLEAN, CROP, width_and_height
from ufvnet.errors import ConfigError
from ufvnet.files import printed
from ufvnet.imaging.resize import SIXTEENTHS, lr_side

from .damage import named
from .damage.recut import Cut, Original, draw_cut
from .dataset import Dataset, decode

SEED = 9
"""Of all damage; with the face's name it decides noise and cuts, so that every evaluation sees the same images."""
REDUCTION = "pil-bicubic"
"""The degradation of datasets whose faces can have other LR images than the stored ones."""


@total_ordering
@dataclass(frozen=True)
class Size:
    """The sides of an LR image in pixels."""

    width: int
    height: int

    @property
    def name(self) -> str:
        """As configurations write it: ``24``, or ``20x28`` for width x height."""
        return str(self.width) if self.square else f"{self.width}x{self.height}"

    @property
    def px(self) -> float:
        """The mean side."""
        return (self.width + self.height) / 2

    @property
    def square(self) -> bool:
        return self.width == self.height

    def stored(self, hr_size: int) -> int | None:
        """The scale k at which datasets store LR images of this size; None if they do not."""
        ks = (k for k in SIXTEENTHS if self.width == self.height == lr_side(hr_size, k))
        return next(ks, None)

    def __lt__(self, other: Size) -> bool:
        return (self.px, self.width) < (other.px, other.width)


@dataclass(frozen=True)
class LRKind:
    """A damage and a size of LR images."""

    damage: str
    size: Size

    @property
    def name(self) -> str:
        """As figures show it: ``16 px``, ``20x28 px, jpeg75``."""
        return f"{self.size.name} px" + ("" if self.damage == CLEAN else f", {self.damage}")

    @property
    def folder(self) -> str:
        """The folder of such images: ``16``, ``jpeg75/20x28``."""
        return self.size.name if self.damage == CLEAN else f"{self.damage}/{self.size.name}"


def size_of(size: int | str) -> Size:
    """The size that a configuration names, e.g. 24 or "20x28".

    Raises:
        ValueError: it is none, or a side is out of range.
    """
    return Size(*width_and_height(size))


def stored_sizes(hr_size: int, ks: Sequence[int]) -> tuple[Size, ...]:
    """The sizes of scales, in sixteenths."""
    return tuple(Size(lr_side(hr_size, k), lr_side(hr_size, k)) for k in ks)


def check_made(prefix: str, dataset: Dataset, damages: Sequence[str], sizes: Sequence[Size]) -> None:
    """Refuse LR images that the faces of a dataset cannot have.

    Args:
        prefix: of the keys ``sizes`` and ``damage``, for messages.
        damages, sizes: that are wanted.

    Raises:
        ConfigError: a size is not below the HR faces', or the dataset's own LR images are made by another reduction.
    """
    large = next((size for size in sizes if max(size.width, size.height) >= dataset.hr_size), None)
    if large is not None:
        raise ConfigError(
            f"{prefix}sizes = {large.name}: must be below {dataset.hr_size} pixels, the size of the HR faces in "
            f"{printed(dataset.root)}"
        )
    made = [size.name for size in sizes if size.stored(dataset.hr_size) is None]
    made += [damage for damage in damages if damage != CLEAN]
    degradation = dataset.card.get("degradation", {}).get("name", "?")
    if made and degradation != REDUCTION:
        raise ConfigError(
            f"{prefix}sizes, {prefix}damage: {', '.join(made)}: the LR images of {printed(dataset.root)} are made by "
            f"{degradation}; only where they are made by {REDUCTION} can they have other sizes and damage"
        )


def columns(damage: str, sizes: Sequence[Size], hr_size: int) -> list[str]:
    """The columns of a dataset's rows that ``face_under`` needs."""
    stored = (size.stored(hr_size) for size in sizes if damage == CLEAN)
    return ["face_id", "photo", "sha256", "landmarks", "box", "angle", "hr", *(f"lr_{k}" for k in stored if k)]


@dataclass(frozen=True)
class FaceUnderDamage:
    """A built face whose LR images have one damage.

    hr: (H, H, 3) uint8, cut again for ``crop``. record: the dataset's row. cut: None for all other damage.
    """

    damage: str
    hr: np.ndarray
    record: dict[str, Any]
    cut: Cut | None = None

    def lr(self, size: Size) -> np.ndarray:
        """(h, w, 3) uint8: the stored image if the dataset has it, else made from HR."""
        k = size.stored(len(self.hr)) if self.damage == CLEAN else None
        stored = self.record.get(f"lr_{k}")
        if stored is None:
            return named.damaged(self.damage, self.hr, size.height, size.width, _seed(self.record))
        lr = decode(stored)
        if lr.shape != (size.height, size.width, 3):
            raise ValueError(f"images of {lr.shape[1]}x{lr.shape[0]} pixels instead of {size.width}x{size.height}")
        return lr


def face_under(damage: str, record: dict[str, Any], hr_size: int, photos: Path | None) -> FaceUnderDamage | None:
    """A face under a damage; None for ``crop`` where the photograph has no room to cut the face again.

    Args:
        damage: its name.
        record: the dataset's row, with the columns of ``columns``.
        hr_size: side of the HR faces.
        photos: the folder of the photographs, for ``crop``.

    Raises:
        ConfigError: the photograph is not there, or is not the one that the dataset was built from.
        ValueError, OSError: the row is damaged.
    """
    if damage == CROP:
        assert photos is not None
        original = Original.of_row(photos, record)
        photo = original.read()
        cut = draw_cut(*photo.size, original.box, np.random.default_rng(_seed(record)))
        return None if cut is None else FaceUnderDamage(damage, cut.face(photo, hr_size), record, cut)
    hr = decode(record["hr"])
    if hr.shape != (hr_size, hr_size, 3):
        raise ValueError(f"images of {hr.shape[1]}x{hr.shape[0]} pixels instead of {hr_size}x{hr_size}")
    return FaceUnderDamage(damage, hr, record)


def _seed(record: dict[str, Any]) -> tuple[int, int]:
    return SEED, int(hashlib.sha256(record["face_id"].encode()).hexdigest()[:8], 16)

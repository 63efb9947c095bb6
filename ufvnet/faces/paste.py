"""Restored faces are pasted back into their photo: in their places, in the photo's colours, without seams."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from .crop import Box

FEATHER = 0.12
"""Share of a face's side over which the face fades into the photo, along each edge that is not the photo's own."""


@dataclass(frozen=True)
class Patch:
    """A restored face and the place of its crop in the photo.

    box: (left, top, right, bottom) in pixels of the photo before it is scaled.
    image: H x H RGB or L.
    """

    box: Box
    image: Image.Image


def paste_restored(
    photo: Image.Image,
    size: tuple[int, int],
    faces: Sequence[tuple[Box, Image.Image, Image.Image]],
    base: Image.Image | None = None,
) -> Image.Image:
    """The photo scaled to ``size``, with restored faces in their places and in the photo's colours and mode.

    Args:
        photo: L or RGB.
        size: (width, height) of the result.
        faces: (box of the crop in the photo, H x H restored face, what it was made from: the crop, perhaps reduced).
        base: as ``paste``'s.
    """
    patches = []
    for box, restored, crop in faces:
        patches.append(Patch(box, keep_colours(restored.convert(photo.mode), crop.convert(photo.mode))))
    return paste(photo, size, patches, base)


def keep_colours(restored: Image.Image, crop: Image.Image) -> Image.Image:
    """The restored face with the colours of its crop: scaled down to the crop's size, it equals the crop.

    The difference between the two at the crop's size is scaled up and added to the restored face (one step of
    back-projection), so that colours and shading are the photo's and only detail is the model's.

    Args:
        restored: H x H, L or RGB.
        crop: of the same mode; a crop that is not smaller leaves the restored face as it is.
    """
    if crop.width >= restored.width or crop.height >= restored.height:
        return restored
    small = restored.resize(crop.size, Image.Resampling.BICUBIC)
    difference = np.asarray(crop, np.float32) - np.asarray(small, np.float32)
    planes = difference[..., None] if difference.ndim == 2 else difference
    scaled = [
        np.asarray(Image.fromarray(np.ascontiguousarray(plane)).resize(restored.size, Image.Resampling.BICUBIC))
        for plane in np.moveaxis(planes, -1, 0)
    ]
    added = np.asarray(restored, np.float32) + (scaled[0] if difference.ndim == 2 else np.stack(scaled, -1))
    return Image.fromarray(np.clip(np.rint(added), 0, 255).astype(np.uint8))


def paste(
    photo: Image.Image, size: tuple[int, int], patches: Sequence[Patch], base: Image.Image | None = None
) -> Image.Image:
    """The photo, scaled to ``size`` by bicubic, with restored faces in their places.

    A face's weight is 1 in the middle of its box and falls to 0 along a raised cosine at the edges. Outside all boxes
    the result is the scaled photo, pixel for pixel. Where boxes overlap, weights that sum to more than 1 are divided by
    their sum, so that the order of faces does not matter.

    Args:
        photo: L or RGB.
        size: (width, height) of the result.
        patches: of the photo's mode.
        base: the photo scaled to ``size`` in another way; it is changed.
    """
    if base is None:
        base = photo.copy() if size == photo.size else photo.resize(size, Image.Resampling.BICUBIC)
    places = [_Place(patch, photo.size, size) for patch in patches]
    for group in _groups([place for place in places if not place.empty]):
        left, top = min(p.box[0] for p in group), min(p.box[1] for p in group)
        right, bottom = max(p.box[2] for p in group), max(p.box[3] for p in group)
        under = np.asarray(base.crop((left, top, right, bottom)), np.float32)
        change = np.zeros_like(under)
        total = np.zeros(under.shape[:2], np.float32)
        for place in group:
            x0, y0, x1, y1 = (v - (left, top)[i % 2] for i, v in enumerate(place.box))
            weight = place.weight()
            spread = weight[..., None] if under.ndim == 3 else weight
            change[y0:y1, x0:x1] += spread * (place.pixels() - under[y0:y1, x0:x1])
            total[y0:y1, x0:x1] += weight
        scale = 1 / np.maximum(total, 1)
        mixed = under + change * (scale[..., None] if under.ndim == 3 else scale)
        base.paste(Image.fromarray(np.clip(np.rint(mixed), 0, 255).astype(np.uint8)), (left, top))
    return base


class _Place:
    """The place of a patch in the result: the pixels that lie in its box as a whole."""

    def __init__(self, patch: Patch, photo: tuple[int, int], size: tuple[int, int]):
        self.patch = patch
        scales = (size[0] / photo[0], size[1] / photo[1])
        self.exact = tuple(v * scales[i % 2] for i, v in enumerate(patch.box))
        left, top, right, bottom = self.exact
        self.box = (math.ceil(left - 1e-6), math.ceil(top - 1e-6), math.floor(right + 1e-6), math.floor(bottom + 1e-6))
        self.inner = tuple(edge not in (0, photo[i % 2]) for i, edge in enumerate(patch.box))
        self.empty = self.box[0] >= self.box[2] or self.box[1] >= self.box[3]

    def pixels(self) -> np.ndarray:
        """The patch at its size in the result, float32 (h, w, 3) or (h, w), 0 to 255."""
        image = self.patch.image
        across, down = self.exact[2] - self.exact[0], self.exact[3] - self.exact[1]
        start = self.exact[0], self.exact[1]
        lengths = (image.width / across, image.height / down)
        inside = [(edge - start[i % 2]) * lengths[i % 2] for i, edge in enumerate(self.box)]
        limits = (image.width, image.height)
        box = tuple(min(max(0.0, v), limits[i % 2]) for i, v in enumerate(inside))
        size = (self.box[2] - self.box[0], self.box[3] - self.box[1])
        scaled = image.resize(size, Image.Resampling.BICUBIC, box=box)  # type: ignore[arg-type]
        return np.asarray(scaled, np.float32)

    def weight(self) -> np.ndarray:
        """(h, w) float32 in (0, 1]: below 1 only at the edges that lie within the photo."""
        width, height = self.box[2] - self.box[0], self.box[3] - self.box[1]
        fade = max(1.0, FEATHER * (width + height) / 2)
        across = _ramp(width, fade, self.inner[0], self.inner[2])
        down = _ramp(height, fade, self.inner[1], self.inner[3])
        return down[:, None] * across[None, :]


def _ramp(length: int, fade: float, start: bool, end: bool) -> np.ndarray:
    """Weights along one axis, (length,) float32; ``start`` and ``end`` say at which ends they fade."""
    at = np.arange(length, dtype=np.float32) + 0.5
    inside = np.full(length, fade, np.float32)
    if start:
        inside = np.minimum(inside, at)
    if end:
        inside = np.minimum(inside, length - at)
    return (0.5 - 0.5 * np.cos(np.pi * np.clip(inside / fade, 0, 1))).astype(np.float32)


def _groups(places: Sequence[_Place]) -> list[list[_Place]]:
    """Places in groups whose boxes touch each other."""
    groups: list[list[_Place]] = []
    for place in places:
        touching = [g for g in groups if any(_touch(place.box, other.box) for other in g)]
        groups = [g for g in groups if g not in touching]
        groups.append([place, *(other for g in touching for other in g)])
    return groups


def _touch(a: tuple[int, ...], b: tuple[int, ...]) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]

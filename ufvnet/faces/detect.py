"""dlib's frontal face detector and 68-landmark predictor."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from importlib import resources
from typing import Any

import numpy as np
from PIL import Image

FIRST_SIDE = 136
"""Longer side of the smallest copy that is searched: one face that fills a photo is found there."""

LAST_SIDE = 4096
"""Longer side of the largest copy: beyond it the detector's memory would grow over a gigabyte."""

UPSAMPLED_SIDE = 1280
"""Photos up to this size are searched once more at double size before giving up."""


@dataclass(frozen=True)
class Face:
    """A found face.

    box: (left, top, right, bottom) of the detector, in pixels of the image.
    landmarks: (68, 2) float64 x, y in pixels of the image.
    """

    box: tuple[int, int, int, int]
    landmarks: np.ndarray

    @property
    def area(self) -> int:
        return (self.box[2] - self.box[0]) * (self.box[3] - self.box[1])

    def holds(self, point: tuple[float, float]) -> bool:
        left, top, right, bottom = self.box
        return left <= point[0] < right and top <= point[1] < bottom


@functools.lru_cache(maxsize=1)
def load_models() -> tuple[Any, Any]:
    """dlib's detector and predictor, loaded once a process (about a second)."""
    import dlib

    weights = resources.files("face_recognition_models") / "models" / "shape_predictor_68_face_landmarks.dat"
    with resources.as_file(weights) as path:
        return dlib.get_frontal_face_detector(), dlib.shape_predictor(str(path))


def find_faces(image: Image.Image, *, every: bool = False, at: tuple[float, float] | None = None) -> list[Face]:
    """Frontal faces, largest first; empty if none is found.

    The detector's window is 80 pixels, so a face is found on any copy of the photo in which it is at least that
    large. Copies are searched from a small one up, each twice as large, to the photo itself and, of one that is
    small, its double; the first that shows a face ends the search, as larger copies only add smaller faces.
    Landmarks are always found on the photo.

    Args:
        image: 8-bit RGB, upright.
        every: go on to the last copy, for all faces down to about 40 pixels.
        at: a point (x, y); go on until a face holds it, and give only such faces, the nearest to it first.
    """
    detector, predictor = load_models()
    grey = image.convert("L")  # halves the time of the small copies; the photo itself is searched in colour
    boxes: list[tuple[int, int, int, int]] = []
    for side in _sides(max(image.size))[-2 if every else 0 :]:
        boxes = _search(detector, image if side >= min(max(image.size), LAST_SIDE) else grey, side)
        if boxes and not every and (at is None or any(Face(b, np.empty(0)).holds(at) for b in boxes)):
            break
    pixels = np.asarray(image)
    faces = [Face(box, _landmarks(predictor, pixels, box)) for box in boxes]
    if at is None:
        return sorted(faces, key=lambda f: -f.area)
    here = [f for f in faces if f.holds(at)]
    return sorted(here, key=lambda f: float(np.linalg.norm(f.landmarks.mean(0) - np.asarray(at))))


def _sides(longest: int) -> list[int]:
    """Longer sides of the copies to search."""
    last = min(longest, LAST_SIDE)
    sides = [side for side in (FIRST_SIDE * 2**i for i in range(8)) if side <= 0.75 * last]
    return [*sides, last] + ([2 * longest] if longest <= UPSAMPLED_SIDE else [])


def _search(detector: Any, photo: Image.Image, side: int) -> list[tuple[int, int, int, int]]:
    """Boxes found on a copy of the given longer side, in pixels of the photo."""
    scale = max(photo.size) / side
    if scale != 1:
        copy = [max(1, round(v / scale)) for v in photo.size]
        photo = photo.resize(copy, Image.Resampling.BOX if scale > 1 else Image.Resampling.BILINEAR)
    rects = detector(np.asarray(photo), 0)
    edges = ([r.left(), r.top(), r.right() + 1, r.bottom() + 1] for r in rects)
    return [tuple(round(v * scale) for v in box) for box in edges]


def _landmarks(predictor: Any, pixels: np.ndarray, box: tuple[int, int, int, int]) -> np.ndarray:
    import dlib

    shape = predictor(pixels, dlib.rectangle(box[0], box[1], box[2] - 1, box[3] - 1))
    return np.array([(p.x, p.y) for p in shape.parts()], dtype=np.float64)

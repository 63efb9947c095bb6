"""dlib's frontal face detector and 68-landmark predictor."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from importlib import resources
from typing import Any

import numpy as np
from PIL import Image

DETECT_SIDE = 640
"""Longer sides are reduced to this for detection: a face that makes a 128-pixel crop stays findable."""


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


@functools.lru_cache(maxsize=1)
def _dlib_models() -> tuple[Any, Any]:
    import dlib

    weights = resources.files("face_recognition_models") / "models" / "shape_predictor_68_face_landmarks.dat"
    with resources.as_file(weights) as path:
        return dlib.get_frontal_face_detector(), dlib.shape_predictor(str(path))


def find_faces(image: Image.Image) -> list[Face]:
    """Every frontal face of about 80 pixels and more, largest first.

    A picture over DETECT_SIDE is searched on a reduced copy; where that finds nothing the picture
    is searched at full size, and a small one once more at double size. Landmarks are always found
    at full size.

    Args:
        image: 8-bit RGB, upright.
    """
    detector, predictor = _dlib_models()
    pixels = np.asarray(image)
    rects, scale = [], 1.0
    longest = max(image.size)
    if longest > DETECT_SIDE:
        scale = longest / DETECT_SIDE
        rects = detector(np.asarray(image.resize([round(v / scale) for v in image.size], Image.Resampling.BOX)))
    if not rects:
        scale = 1.0
        rects = detector(pixels, 0)
    if not rects and longest <= DETECT_SIDE:
        rects = detector(pixels, 1)
    return sorted((_landmarks(pixels, rect, scale, predictor) for rect in rects), key=lambda f: -f.area)


def _landmarks(pixels: np.ndarray, rect: Any, scale: float, predictor: Any) -> Face:
    import dlib

    edges = [round(v * scale) for v in (rect.left(), rect.top(), rect.right() + 1, rect.bottom() + 1)]
    shape = predictor(pixels, dlib.rectangle(edges[0], edges[1], edges[2] - 1, edges[3] - 1))
    points = np.array([(p.x, p.y) for p in shape.parts()], dtype=np.float64)
    return Face((edges[0], edges[1], edges[2], edges[3]), points)

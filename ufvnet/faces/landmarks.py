"""Faces with 68 landmarks, which dlib's predictor finds inside the box that a detector gives."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from importlib import resources
from typing import Any

import numpy as np

from ufvnet.dlib_library import dlib

from .crop import Box


@dataclass(frozen=True)
class Face:
    """A face that a detector found.

    box: (left, top, right, bottom) of the detector, in pixels of the image.
    landmarks: (68, 2) float64 x, y in pixels of the image.
    """

    box: Box
    landmarks: np.ndarray

    @property
    def area(self) -> int:
        return (self.box[2] - self.box[0]) * (self.box[3] - self.box[1])


@functools.lru_cache(maxsize=1)
def load_predictor() -> Any:
    """dlib's 68-landmark predictor, loaded once per process (about a second)."""
    weights = resources.files("face_recognition_models") / "models" / "shape_predictor_68_face_landmarks.dat"
    with resources.as_file(weights) as path:
        return dlib().shape_predictor(str(path))


def find_landmarks(pixels: np.ndarray, box: Box) -> np.ndarray:
    """The landmarks of the face in a box.

    Args:
        pixels: (h, w) or (h, w, 3) uint8.
        box: of the face, in these pixels.

    Returns:
        (68, 2) float64 x, y, whole numbers.
    """
    shape = load_predictor()(pixels, dlib().rectangle(box[0], box[1], box[2] - 1, box[3] - 1))
    return np.array([(p.x, p.y) for p in shape.parts()], dtype=np.float64)

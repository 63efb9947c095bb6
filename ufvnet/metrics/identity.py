"""Identity: how far dlib's face descriptors of two pictures of one face lie apart, by cosine and by distance."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from importlib import resources
from typing import Any

import numpy as np

from ufvnet.dlib_library import dlib

CHIP = 150
"""Side in pixels of the aligned face that the descriptor's network takes."""


def descriptors(images: Iterable[np.ndarray], landmarks: Iterable[np.ndarray]) -> np.ndarray:
    """dlib's descriptors of faces with known landmarks.

    Args:
        images: N times (H, W, 3) uint8 RGB.
        landmarks: N times (68, 2) x, y in pixels of the image, by which the face is aligned.

    Returns:
        (N, 128) float64.
    """
    chips = [
        dlib().get_face_chip(np.ascontiguousarray(image), _shape(points), CHIP)
        for image, points in zip(images, landmarks)
    ]
    return np.array(_network().compute_face_descriptor(chips)).reshape(-1, 128)


def cosine(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Cosine of each pair of descriptors: (N, D), (N, D) -> (N,) in [-1, 1]."""
    return (a * b).sum(1) / (np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1))


def distance(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Euclidean distance of each pair of descriptors: (N, D), (N, D) -> (N,).

    Its makers take two photographs for one person's below 0.6.
    """
    return np.linalg.norm(a - b, axis=1)


def _shape(landmarks: np.ndarray) -> Any:
    """Landmarks as dlib's detection, whose rectangle is their bounding box."""
    points = [dlib().point(round(x), round(y)) for x, y in landmarks.tolist()]
    left, top = landmarks.min(0)
    right, bottom = landmarks.max(0)
    return dlib().full_object_detection(dlib().rectangle(int(left), int(top), int(right), int(bottom)), points)


@functools.lru_cache(maxsize=1)
def _network() -> Any:
    weights = resources.files("face_recognition_models") / "models" / "dlib_face_recognition_resnet_model_v1.dat"
    with resources.as_file(weights) as path:
        return dlib().face_recognition_model_v1(str(path))

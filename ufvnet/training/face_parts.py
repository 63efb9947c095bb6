"""What some networks' losses compare with, made from a face: mirrored landmarks, masks, edges, points."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw

from ufvnet.imaging.resize import resize

_PAIRS = [(i, 16 - i) for i in range(8)]  # jaw
_PAIRS += [(17 + i, 26 - i) for i in range(5)]  # brows
_PAIRS += [(31, 35), (32, 34)]  # nose
_PAIRS += [(36, 45), (37, 44), (38, 43), (39, 42), (40, 47), (41, 46)]  # eyes
_PAIRS += [(48, 54), (49, 53), (50, 52), (59, 55), (58, 56), (60, 64), (61, 63), (67, 65)]  # lips
MIRRORED = np.arange(68)
"""For each of the 68 landmarks the one that takes its place in the mirror image."""
for _a, _b in _PAIRS:
    MIRRORED[[_a, _b]] = _b, _a

EDGE_THRESHOLDS = (50, 255)
"""Canny's, for |gx| + |gy| of levels of 255 by unnormalised Sobel filters."""
SQUARES = (2, 8)
"""A random square is reduced by a factor between these; with the largest it is the whole face."""


def mirrored(landmarks: np.ndarray, side: int) -> np.ndarray:
    """Landmarks of the mirror image: (68, 2) x, y in pixels of a face of this side -> the same."""
    out = landmarks[MIRRORED].copy()
    out[:, 0] = side - 1 - out[:, 0]
    return out


def masks(landmarks: np.ndarray, side: int) -> np.ndarray:
    """Masks of a face's parts: (68, 2) x, y -> (3, side, side) uint8, 0 or 1: face; eyes and brows; nose and lips.

    The face reaches from the jaw to the brows.
    """
    points = [(float(x), float(y)) for x, y in landmarks]
    brow = max(1, round(side / 40))
    channels = [Image.new("L", (side, side)) for _ in range(3)]
    face, eyes, middle = (ImageDraw.Draw(channel) for channel in channels)
    face.polygon([*points[:17], *points[26:16:-1]], fill=1)
    for start, end in ((36, 42), (42, 48)):
        eyes.polygon(points[start:end], fill=1)
    for start, end in ((17, 22), (22, 27)):
        eyes.line(points[start:end], fill=1, width=brow)
    middle.polygon([points[27], *points[31:36]], fill=1)
    middle.polygon(points[48:60], fill=1)
    return np.stack([np.asarray(channel) for channel in channels])


def edges(face: np.ndarray) -> tuple[np.ndarray, ...]:
    """Canny's edges of the grey face (H, W, 3) uint8 at H/4, H/2 and H: (s, s) uint8 each, 0 or 255."""
    import cv2

    cv2.setNumThreads(1)  # a forked process would wait for threads that it has not
    grey = Image.fromarray(face).convert("L")
    return tuple(cv2.Canny(np.asarray(resize(grey, len(face) // n)), *EDGE_THRESHOLDS) for n in (4, 2, 1))


def square_of(face: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A random square of a face (H, H, 3), with a side between H/4 and H."""
    hr_size = len(face)
    side = round(hr_size / SQUARES[1] * rng.uniform(*SQUARES))
    top, left = rng.integers(0, hr_size - side + 1, 2)
    return face[top : top + side, left : left + side]


def whole_at_random_size(face: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The whole face (H, H, 3) at a side between H/4 and H."""
    side = round(len(face) / SQUARES[1] * rng.uniform(*SQUARES))
    return np.asarray(resize(Image.fromarray(face), side))


def random_points(picture: np.ndarray, count: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, float]:
    """Random pixels of a square picture (s, s, 3) uint8.

    Returns:
        (count, 2) float32 their centres, y and x in [-1, 1]; (count, 3) float32 their colours in [-1, 1]; and the side
        of a pixel in these coordinates.
    """
    side = len(picture)
    pixels = rng.choice(side * side, count, replace=False)
    centres = np.stack(np.divmod(pixels, side), 1) * 2 + 1
    return (
        (centres / side - 1).astype(np.float32),
        (picture.reshape(-1, 3)[pixels] / 127.5 - 1).astype(np.float32),
        2 / side,
    )

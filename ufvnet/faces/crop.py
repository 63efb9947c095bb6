"""The face crop of METHOD.md section 5: 68 landmarks to a box, a box to the HR image."""

from __future__ import annotations

import numpy as np
from PIL import Image

Box = tuple[int, int, int, int]
MARGIN = 0.3


def crop_box(landmarks: np.ndarray, width: int, height: int) -> Box:
    """The crop of Ma et al. from a face's landmarks.

    The landmarks' bounding box (x, y, w, h) is reduced to a centred square of side
    s = min(w, h), grown by e = int(0.3 s / 2) on every side and clipped to the image.

    Args:
        landmarks: (68, 2) x, y in pixels.
        width, height: of the image.

    Returns:
        (left, top, right, bottom) in pixels, right and bottom exclusive.

    Raises:
        ValueError: landmarks are not (n, 2) finite numbers, or none of the box lies in the image.
    """
    points = np.asarray(landmarks, dtype=np.float64)
    if points.ndim != 2 or points.shape[1] != 2 or not np.isfinite(points).all():
        raise ValueError(f"landmarks must be (n, 2) finite numbers, got shape {points.shape}")
    x0, y0 = np.floor(points.min(0)).astype(int)
    w, h = np.ceil(points.max(0)).astype(int) - (x0, y0)
    s = int(min(w, h))
    x, y = int(x0 + (w - s) // 2), int(y0 + (h - s) // 2)
    e = int(MARGIN * s / 2)
    box = (max(0, x - e), max(0, y - e), min(width, x + s + e), min(height, y + s + e))
    if box[2] <= box[0] or box[3] <= box[1]:
        raise ValueError(f"the landmarks' box lies outside the {width}x{height} image")
    return box


def crop_face(image: Image.Image, box: Box, hr_size: int) -> Image.Image:
    """The HR face: the box resized to hr_size x hr_size by PIL bicubic."""
    return image.crop(box).resize((hr_size, hr_size), Image.Resampling.BICUBIC)

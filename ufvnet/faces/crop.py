"""The face crop of docs/method.md section 5: 68 landmarks to a box, a box to the HR image."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from PIL import Image

Box = tuple[int, int, int, int]
"""(left, top, right, bottom) in pixels, right and bottom exclusive."""
FACTOR = 0.3
"""Ma et al.'s growth of the landmarks' square, as a share of its side."""
RIGHT_EYE, LEFT_EYE = slice(36, 42), slice(42, 48)
"""The eyes' points in the 68 landmarks; the person's right eye is on the left of the picture."""


def crop_box(landmarks: np.ndarray, width: int, height: int, factor: float = FACTOR) -> Box:
    """The crop of Ma et al. from a face's landmarks, clipped to the image.

    The landmarks' bounding box (x, y, w, h) is reduced to a centred square of side
    s = min(w, h), grown by e = int(factor s / 2) on every side and clipped to the image.

    Args:
        landmarks: (68, 2) x, y in pixels.
        width, height: of the image.
        factor: 0.3 is Ma et al.'s.

    Returns:
        (left, top, right, bottom) in pixels, right and bottom exclusive.

    Raises:
        ValueError: landmarks are not (n, 2) finite numbers, or none of the box lies in the image.
    """
    left, top, right, bottom = square_box(landmarks, factor)
    box = (max(0, left), max(0, top), min(width, right), min(height, bottom))
    if box[2] <= box[0] or box[3] <= box[1]:
        raise ValueError(f"the landmarks' box lies outside the {width}x{height} image")
    return box


def square_box(landmarks: np.ndarray, factor: float = FACTOR) -> Box:
    """As ``crop_box``, but not clipped: a square that may extend beyond the image.

    Raises:
        ValueError: landmarks are not (n, 2) finite numbers.
    """
    points = np.asarray(landmarks, dtype=np.float64)
    if points.ndim != 2 or points.shape[1] != 2 or not np.isfinite(points).all():
        raise ValueError(f"landmarks must be (n, 2) finite numbers, got shape {points.shape}")
    x0, y0 = (math.floor(v) for v in points.min(0))
    w, h = (math.ceil(v) - start for v, start in zip(points.max(0), (x0, y0)))
    s = min(w, h)
    x, y = x0 + (w - s) // 2, y0 + (h - s) // 2
    e = int(factor * s / 2)
    return (x - e, y - e, x + s + e, y + s + e)


def crop_face(image: Image.Image, box: Box, hr_size: int) -> Image.Image:
    """The HR face: the box resized to hr_size x hr_size by PIL bicubic; its border's pixels repeat outside."""
    left, top, right, bottom = box
    if left >= 0 and top >= 0 and right <= image.width and bottom <= image.height:
        face = image.crop(box)
    else:
        rows = np.clip(np.arange(top, bottom), 0, image.height - 1)
        columns = np.clip(np.arange(left, right), 0, image.width - 1)
        face = Image.fromarray(np.asarray(image)[rows[:, None], columns])
    return face.resize((hr_size, hr_size), Image.Resampling.BICUBIC)


def eye_angle(landmarks: np.ndarray) -> float:
    """The angle in degrees between the line through the eyes and the horizontal, clockwise in the image."""
    x, y = landmarks[LEFT_EYE].mean(0) - landmarks[RIGHT_EYE].mean(0)
    return math.degrees(math.atan2(y, x))


def turn_upright(image: Image.Image, landmarks: np.ndarray) -> tuple[Image.Image, np.ndarray, tuple[int, int]]:
    """The face and its surroundings, turned about the eyes' centre so that the eyes are level.

    Returns:
        The turned patch (outside the image its border's pixels repeat), the landmarks in it, and the patch's left upper
        corner in the turned image.
    """
    angle, centre = eye_angle(landmarks), landmarks[36:48].mean(0)
    radians = math.radians(angle)
    turn = np.array([[math.cos(radians), -math.sin(radians)], [math.sin(radians), math.cos(radians)]])
    reach = max(4, math.ceil(3 * float(np.abs(landmarks - centre).max())))
    left, top = (int(v) - reach for v in centre)
    rows = np.clip(np.arange(top, top + 2 * reach), 0, image.height - 1)
    columns = np.clip(np.arange(left, left + 2 * reach), 0, image.width - 1)
    patch = Image.fromarray(np.asarray(image)[rows[:, None], columns])  # not the whole photo, which may be huge
    pivot = centre - (left, top)
    patch = patch.rotate(angle, Image.Resampling.BICUBIC, center=tuple(pivot + 0.5))
    return patch, (landmarks - centre) @ turn + pivot, (left, top)


def corners_inside(box: Box, angle: float, centre: np.ndarray, width: int, height: int) -> bool:
    """Whether a box of the image turned by ``angle`` degrees about ``centre`` lies within the image before the turn."""
    radians = math.radians(angle)
    back = np.array([[math.cos(radians), math.sin(radians)], [-math.sin(radians), math.cos(radians)]])
    corners = np.array([(x, y) for x in (box[0], box[2]) for y in (box[1], box[3])], dtype=np.float64)
    x, y = ((corners - centre) @ back + centre).T
    return bool(x.min() >= 0 and y.min() >= 0 and x.max() <= width and y.max() <= height)


def crop_landmarks(
    landmarks: np.ndarray, box: Sequence[int], angle: float, hr_size: int, centre: Sequence[float] | None = None
) -> np.ndarray:
    """A face's landmarks in its HR crop.

    Args:
        landmarks: (68, 2) x, y in pixels of the photo, as the column ``landmarks`` of a dataset has them.
        box: left, top, right, bottom of the crop, in pixels of the photo turned by ``angle``.
        angle: degrees by which the photo was turned.
        centre: x, y in the photo about which it was turned; None for the eyes' centre.

    Returns:
        (68, 2) x, y in pixels of the hr_size x hr_size crop.
    """
    about, radians = landmarks[36:48].mean(0) if centre is None else np.array(centre), math.radians(angle)
    turn = np.array([[math.cos(radians), -math.sin(radians)], [math.sin(radians), math.cos(radians)]])
    corner, side = np.array(box[:2]), np.array(box[2:]) - np.array(box[:2])
    return ((landmarks - about) @ turn + about - corner) * hr_size / side

"""dlib's frontal face detector (HOG), on copies of the photo from small to large."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
from PIL import Image

from ufvnet.dlib_library import dlib
from ufvnet.faces.crop import Box
from ufvnet.faces.landmarks import Face, find_landmarks, load_predictor

from .boxes import best_of_each, tiles

NAME, VERSION = "hog", "hog-1"

FIRST_SIDE = 136
"""Longer side of the smallest copy that is searched: a face that fills the photo is found there."""

LAST_SIDE = 4096
"""Longer side of the largest copy: for larger ones the detector takes over a gigabyte."""

UPSAMPLED_SIDE = 1280
"""Photos of up to this longer side are also searched at double size."""

WINDOW = 80
"""Side of the detector's window: a face is found in copies in which it is at least about this large."""

ENLARGED = {8: 96, 4: 480, 2: 1280}
"""How many times ``find_small_faces`` enlarges a photo: factor to the longest side for which it is used."""

TILE = 2560
"""Longest side of what ``find_small_faces`` searches at once."""

SURE = 0.1
"""Lowest score of a face in ``find_small_faces``: in enlarged photos folds of cloth score up to 0.09, and 19 of 20
faces of 13 pixels and more score over 0.14."""

_threads = threading.local()


def why_unusable() -> str | None:
    """None: dlib, which ufvnet needs anyway, has it."""
    return None


def load() -> None:
    """Load this thread's detector and the predictor of landmarks (about a second)."""
    _detector()
    load_predictor()


def _detector() -> Any:
    """The thread's own detector: dlib lets other threads run while it searches, and a detector holds its state."""
    if not hasattr(_threads, "detector"):
        _threads.detector = dlib().get_frontal_face_detector()
    return _threads.detector


def find_faces(image: Image.Image, *, every: bool = False, at: tuple[float, float] | None = None) -> list[Face]:
    """Frontal faces, largest first; empty if none is found.

    The detector's window has 80 pixels, so a face is found on every copy of the photo in which it is at least that
    large. The copies are searched from the smallest on, each twice as large as the one before, up to the photo itself
    and, for a small photo, its double. The first copy that shows a face ends the search, as larger copies only add
    smaller faces. Landmarks are always found on the photo.

    Args:
        image: 8-bit RGB, upright.
        every: search the largest copies, for all faces down to about 40 pixels.
        at: a point (x, y): search until a face contains it; only such faces are returned, the nearest first.
    """
    grey = image.convert("L")  # halves the time of the small copies; the photo itself is searched in colour
    boxes: list[Box] = []
    for side in _sides(max(image.size))[-2 if every else 0 :]:
        boxes = _search(image if side >= min(max(image.size), LAST_SIDE) else grey, side)
        if boxes and not every and (at is None or any(_contains(box, at) for box in boxes)):
            break
    pixels = np.asarray(image)
    faces = [Face(box, find_landmarks(pixels, box)) for box in boxes]
    if at is None:
        return sorted(faces, key=lambda f: -f.area)
    containing = [f for f in faces if _contains(f.box, at)]
    return sorted(containing, key=lambda f: float(np.linalg.norm(f.landmarks.mean(0) - np.asarray(at))))


def _contains(box: Box, point: tuple[float, float]) -> bool:
    left, top, right, bottom = box
    return left <= point[0] < right and top <= point[1] < bottom


def find_small_faces(image: Image.Image, smallest: int | None = None) -> list[Face]:
    """Every frontal face down to a size, largest first.

    The photo is enlarged until faces of that size fill the detector's window of 80 pixels, and searched in tiles if
    that makes it too large. Landmarks are found on the enlarged photo, because the predictor gives whole pixels.

    Args:
        image: 8-bit L or RGB, upright, of up to LAST_SIDE pixels a side.
        smallest: side in pixels of the smallest face to find; None takes 10, 20, 40 or 80, by the photo's size.
    """
    longest = max(image.size)
    factor = WINDOW / smallest if smallest else next((f for f, side in ENLARGED.items() if longest <= side), 1)
    found: list[tuple[float, Box, Face]] = []
    for enlarged in sorted({max(1.0, factor / 2), max(1.0, factor)}):  # some faces are too blurred in the larger copy
        for left, top, right, bottom in tiles(image.size, int(TILE / enlarged), int(3 * WINDOW / enlarged)):
            tile = image.crop((left, top, right, bottom))
            for score, face in _scored(tile, enlarged):
                x0, y0, x1, y1 = face.box
                box = (x0 + left, y0 + top, x1 + left, y1 + top)
                found.append((score, box, Face(box, face.landmarks + np.array([left, top]))))
    return sorted(best_of_each(found), key=lambda f: -f.area)


def _scored(photo: Image.Image, enlarged: float) -> list[tuple[float, Face]]:
    """(score, face in pixels of the photo) of each face that is found on the enlarged copy."""
    size = [max(1, round(v * enlarged)) for v in photo.size]
    pixels = np.asarray(photo.resize(size, Image.Resampling.BILINEAR) if enlarged != 1 else photo)
    scale = np.array([photo.width / size[0], photo.height / size[1]])
    faces = []
    for rect, score in zip(*_detector().run(pixels, 0, SURE)[:2]):
        edges = (rect.left(), rect.top(), rect.right() + 1, rect.bottom() + 1)
        box = tuple(round(v * scale[i % 2]) for i, v in enumerate(edges))
        landmarks = (find_landmarks(pixels, edges) + 0.5) * scale - 0.5
        faces.append((float(score), Face(box, landmarks)))
    return faces


def _sides(longest: int) -> list[int]:
    """Longer sides of the copies that are searched, smallest first."""
    last = min(longest, LAST_SIDE)
    sides = [side for side in (FIRST_SIDE * 2**i for i in range(8)) if side <= 0.75 * last]
    return [*sides, last] + ([2 * longest] if longest <= UPSAMPLED_SIDE else [])


def _search(photo: Image.Image, side: int) -> list[Box]:
    """Boxes of the faces on a copy with this longer side, in pixels of the photo."""
    scale = max(photo.size) / side
    if scale != 1:
        copy = [max(1, round(v / scale)) for v in photo.size]
        photo = photo.resize(copy, Image.Resampling.BOX if scale > 1 else Image.Resampling.BILINEAR)
    rects = _detector()(np.asarray(photo), 0)
    edges = ([r.left(), r.top(), r.right() + 1, r.bottom() + 1] for r in rects)
    return [tuple(round(v * scale) for v in box) for box in edges]

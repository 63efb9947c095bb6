"""What finders share: parts of a photo to search one after the other, and boxes of the same face."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

import numpy as np

from ufvnet.faces.crop import Box

Found = TypeVar("Found")
Edges = Box | tuple[float, float, float, float]
"""Left, top, right, bottom."""

SAME_FACE = 0.5
"""Two boxes that share this much of the smaller one's area are the same face."""


def tiles(size: tuple[int, int], side: int, overlap: int) -> list[Box]:
    """Parts of a photo of at most ``side`` pixels a side that share ``overlap`` pixels with the next."""
    step = max(1, side - overlap)
    starts = [[0] if length <= side else list(range(0, length - overlap, step)) for length in size]
    return [(x, y, min(x + side, size[0]), min(y + side, size[1])) for y in starts[1] for x in starts[0]]


def shared(a: Edges, b: Edges) -> float:
    """The area that two boxes share, as a share of the smaller one's."""
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    least = min((a[2] - a[0]) * (a[3] - a[1]), (b[2] - b[0]) * (b[3] - b[1]))
    return max(0, width) * max(0, height) / max(1, least)


def best_of_each(found: Iterable[tuple[float, Edges, Found]]) -> list[Found]:
    """Of all that was found of a face, what has the highest score.

    Args:
        found: (score, box, what was found).
    """
    ordered = sorted(found, key=lambda each: -each[0])
    if not ordered:
        return []
    left, top, right, bottom = np.array([box for _, box, _ in ordered], np.float64).T
    areas = (right - left) * (bottom - top)
    is_best, kept = np.ones(len(ordered), bool), []
    for i, (_, _, one) in enumerate(ordered):
        if is_best[i]:
            kept.append(one)
            # as in ``shared``, of this box and all others: of a few thousand boxes, pair by pair it would take minutes
            width = np.minimum(right, right[i]) - np.maximum(left, left[i])
            height = np.minimum(bottom, bottom[i]) - np.maximum(top, top[i])
            least = np.maximum(1, np.minimum(areas, areas[i]))
            is_best &= np.maximum(0, width) * np.maximum(0, height) / least < SAME_FACE
    return kept

"""What goes into a method, LR faces of one size, and what comes out: SR faces, or the reason why there are none."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np


@dataclass(frozen=True)
class Faces:
    """LR images of one size, and what a method may need to know about them.

    lr: (N, h, w, 3) uint8. rate: their down-sampling rate r. hr_size: side of the HR images. ids: N face ids.
    dataset: the test set's name in tables. folder: of these LR images among the test set's, e.g. ``16``.
    """

    lr: np.ndarray
    rate: float
    hr_size: int
    ids: Sequence[str]
    dataset: str
    folder: str

    def __getitem__(self, part: slice) -> Faces:
        return replace(self, lr=self.lr[part], ids=self.ids[part])


@dataclass(frozen=True)
class Restoration:
    """What a method made of N faces.

    sr: (N, H, H, 3) uint8, black where the method failed. weights: (N, anchors) float, NaN where it failed, or None
    for a method that has none. milliseconds: (N,) float64, NaN where it failed. reasons: N strings, each "" or why
    there is no image.
    """

    sr: np.ndarray
    weights: np.ndarray | None
    milliseconds: np.ndarray
    reasons: list[str]


Images = tuple[np.ndarray, np.ndarray | None]
"""(N, H, H, 3) uint8 SR images, and (N, anchors) weights or None."""
RestoreFaces = Callable[[Faces], Images]


def failed_restoration(faces: Faces, reason: str) -> Restoration:
    """Black images, all of them failed for one reason."""
    n = len(faces.lr)
    sr = np.zeros((n, faces.hr_size, faces.hr_size, 3), np.uint8)
    return Restoration(sr, None, np.full(n, np.nan), [reason] * n)

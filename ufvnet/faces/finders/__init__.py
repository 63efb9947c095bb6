"""Finding faces in photos: each detector is a module with the functions of ``Finder``; ``finder`` is the one in use."""

from __future__ import annotations

from typing import Protocol

from PIL import Image

from ufvnet.faces.landmarks import Face

from . import hog


class Finder(Protocol):
    """What the module of a detector offers."""

    LAST_SIDE: int
    """Longest side in pixels of the photos that ``find_small_faces`` accepts."""

    def load(self) -> None:
        """Load the models, once per process."""

    def find_faces(
        self, image: Image.Image, *, every: bool = False, at: tuple[float, float] | None = None
    ) -> list[Face]:
        """The faces of a photo for a dataset, largest first; empty if none is found.

        Args:
            image: 8-bit RGB, upright.
            every: find all faces that are large enough, not only the most prominent.
            at: a point (x, y): only faces that contain it, the nearest first.
        """

    def find_small_faces(self, image: Image.Image, smallest: int | None = None) -> list[Face]:
        """Every face of a photo that is to be restored, down to a size, largest first; threads may call it at once.

        Args:
            image: 8-bit L or RGB, upright, of up to LAST_SIDE pixels a side.
            smallest: side in pixels of the smallest face to find; None chooses it by the photo's size.
        """


finder: Finder = hog
"""The detector that builds and restoring use."""

"""Finding faces in photos: each finder is a module with what ``Finder`` names; ``choose_finder`` gives one of them."""

from __future__ import annotations

from typing import Protocol, cast

from PIL import Image

from ufvnet.errors import ConfigError
from ufvnet.faces.landmarks import Face

from . import hog, yunet


class Finder(Protocol):
    """What the module of a finder offers."""

    NAME: str
    """What configurations call it."""

    VERSION: str
    """Part of the fingerprint of what is made with it: another text makes that stale."""

    LAST_SIDE: int
    """Longest side in pixels of the photos that ``find_small_faces`` accepts."""

    def why_unusable(self) -> str | None:
        """Why it cannot be used on this machine; None if it can."""

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


FINDERS: tuple[Finder, ...] = (cast(Finder, yunet), cast(Finder, hog))
"""The best first; the last one runs everywhere."""


def choose_finder(name: str = "auto") -> Finder:
    """The finder of a name; ``auto`` takes the best one that can be used on this machine.

    Raises:
        ConfigError: there is no such finder, or it cannot be used here.
    """
    for finder in FINDERS:
        if name in ("auto", finder.NAME):
            reason = finder.why_unusable()
            if reason is None:
                return finder
            if name != "auto":
                raise ConfigError(f"finder = {name}: {reason}")
    raise ConfigError(f"finder = {name}: must be one of auto, {', '.join(finder.NAME for finder in FINDERS)}")


def why_not_best(finder: Finder) -> str | None:
    """Why this finder has the place of the best one, e.g. ``yunet: the package ...``; None if it is the best one."""
    best = FINDERS[0]
    return None if finder is best or (reason := best.why_unusable()) is None else f"{best.NAME}: {reason}"

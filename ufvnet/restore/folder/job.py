"""A picture on its way from its file to its output."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from ufvnet.faces.crop import Box
from ufvnet.imaging.decode import ImageProblem
from ufvnet.restore.picture import Picture

from .targets import Target

if TYPE_CHECKING:
    from ufvnet.restore.restorer import Restored

MAX_BYTES = 2**29
"""Larger files are no pictures that this machine should read."""


@dataclass
class Job:
    """A picture on its way.

    name: what the manifest calls it.
    content: its file, or its bytes; None where a table has none. missing: why.
    ending: of its file's name.
    target: takes the output.
    row: of the manifest, in the making.
    kept: the earlier run's output stands.
    photo: faces are pasted back; else it is a crop.
    picture: of a crop, which is small; a photo is read once more when its faces are restored.
    boxes: of all faces. crops: (place in boxes, picture) of those to restore. results: by that place.
    left: crops that have no result yet.
    changed: what reading the picture changed (orientation, mode), which is true of outputs made from it.
    notes: what the reason tells besides. seconds: spent on it so far.
    """

    name: str
    content: Path | bytes | None
    ending: str
    target: Target
    row: dict[str, Any]
    kept: bool = False
    photo: bool = False
    picture: Picture | None = None
    boxes: list[Box] = field(default_factory=list)
    crops: list[tuple[int, Image.Image]] = field(default_factory=list)
    results: dict[int, Restored] = field(default_factory=dict)
    left: int = 0
    changed: tuple[str, ...] = ()
    notes: list[str] = field(default_factory=list)
    seconds: float = 0.0
    missing: str = "the row has no picture"

    def read(self) -> bytes:
        """The bytes of the picture.

        Raises:
            ImageProblem: there are none, or too many, or it is no regular file.
        """
        if isinstance(self.content, bytes):
            return self.content
        if self.content is None:
            raise ImageProblem("failed", self.missing)
        path = self.content
        try:
            status = path.stat()
            if stat.S_ISDIR(status.st_mode):
                reason = "a link to a folder that it lies in" if path.is_symlink() else "a folder that cannot be read"
                raise ImageProblem("failed", reason)
            if not stat.S_ISREG(status.st_mode):
                raise ImageProblem("failed", "not a regular file")
            if status.st_size > MAX_BYTES:
                raise ImageProblem("too_large", f"{status.st_size:,} bytes are over {MAX_BYTES:,}")
            return path.read_bytes()
        except (OSError, ValueError) as error:
            reason = "a link to nowhere" if path.is_symlink() and not os.path.exists(path) else "cannot be opened"
            raise ImageProblem("failed", f"{reason}: {getattr(error, 'strerror', None) or error}") from error

    def file_size(self) -> int:
        """Bytes that ``read`` would give; 0 where that is not known."""
        try:
            return self.content.stat().st_size if isinstance(self.content, Path) else 0
        except OSError:
            return 0

    def read_or_none(self) -> bytes | None:
        """The bytes of the picture, or None where they cannot be read."""
        try:
            return self.read()
        except ImageProblem:
            return None


def side(box: Box) -> int:
    """Longer side of a face's crop in pixels."""
    return max(box[2] - box[0], box[3] - box[1])

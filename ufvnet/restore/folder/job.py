"""A job: one picture on its way from its file to its output."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from PIL import Image

from ufvnet.faces.crop import Box
from ufvnet.imaging.decode import ImageProblem
from ufvnet.remote import AnyPath
from ufvnet.restore.picture import Picture

from .archives import ArchivedFile
from .records import ManifestRow
from .source import MAX_BYTES

if TYPE_CHECKING:
    from ufvnet.restore.restorer import Restored


class Target(Protocol):
    """Receives a finished picture and accounts for its row."""

    def find_kept(self, name: str, key: str, content: bytes) -> ManifestRow | None:
        """The row of an earlier run if its output can stay: for this input and key, and intact; else None."""

    def keep(self, row: ManifestRow) -> None:
        """Account for the row of an output that stays."""

    def put(self, row: ManifestRow, data: bytes | None, ending: str) -> None:
        """Write an output whose name ends in ``ending``, unless ``data`` is None, and account for its row."""


@dataclass
class Job:
    """One picture on its way, with its manifest row in the making.

    name: the picture's name in the manifest.
    content: its file, the member of an archive, or its bytes; None if there is nothing to read.
    ending: of its file's name, e.g. ``.jpg``; empty if unknown.
    target: receives the output.
    row: its row of the manifest.
    may_skip: content that is no picture, by its name and by itself, is skipped; otherwise it is a failure.
    missing: why there is nothing to read.

    The stage that reads sets:

    is_kept: the output of an earlier run stays.
    is_photo: restored faces are pasted back into the picture; otherwise the picture is one face crop.
    picture: a small crop as it was read. None for a photo or a large crop: the stage that writes reads it again, so
        that pictures that wait for the model take little memory.
    boxes: crop boxes of all faces.
    crops: (index in ``boxes``, pixels) of the faces that are to be restored.
    effective: effective sizes of large faces by their index in ``boxes``.
    pending: number of crops without a result.
    output_size: (width, height).
    conversions: what reading changed (orientation, mode); not reported if the output is the input's own bytes.
    notes: further sentences for the row's reason.
    seconds: spent on it so far.

    The scheduler sets:

    results: restored faces by their index in ``boxes``.
    """

    name: str
    content: AnyPath | ArchivedFile | bytes | None
    ending: str
    target: Target
    row: ManifestRow
    may_skip: bool = False
    missing: str = "the row has no picture"
    is_kept: bool = False
    is_photo: bool = False
    picture: Picture | None = None
    boxes: list[Box] = field(default_factory=list)
    crops: list[tuple[int, Image.Image]] = field(default_factory=list)
    effective: dict[int, float] = field(default_factory=dict)
    pending: int = 0
    output_size: tuple[int, int] = (0, 0)
    conversions: tuple[str, ...] = ()
    notes: list[str] = field(default_factory=list)
    seconds: float = 0.0
    results: dict[int, Restored] = field(default_factory=dict)

    def read(self) -> bytes:
        """The bytes of the picture.

        Raises:
            ImageProblem: there are none or too many, or the file is not a regular one.
        """
        if isinstance(self.content, bytes):
            return self.content
        if self.content is None:
            raise ImageProblem("failed", self.missing)
        if isinstance(self.content, ArchivedFile):
            try:
                return self.content.read()
            except OSError as error:
                raise ImageProblem("failed", str(error)) from error
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
            reason = "a link to nowhere" if _is_broken_link(path) else "cannot be opened"
            raise ImageProblem("failed", f"{reason}: {getattr(error, 'strerror', None) or error}") from error

    def file_size(self) -> int:
        """Bytes of its file; 0 if it has none or they are unknown."""
        try:
            return self.content.stat().st_size if isinstance(self.content, AnyPath) else 0
        except OSError:
            return 0

    def read_or_none(self) -> bytes | None:
        """The bytes of the picture; None if they cannot be read."""
        try:
            return self.read()
        except ImageProblem:
            return None


def _is_broken_link(path: AnyPath) -> bool:
    return isinstance(path, Path) and path.is_symlink() and not os.path.exists(path)

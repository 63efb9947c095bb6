"""A photo of a source, as every kind of source lists it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np


class TableRow(NamedTuple):
    """The place of a photo that is a row of an image table.

    file: the table's path below the source's root.
    block: number of the block of rows (``image_table``), which is read as one.
    row: number of the row in the file.
    """

    file: str
    block: int
    row: int


@dataclass(frozen=True, eq=False, slots=True)
class Photo:
    """A photo that a dataset may be built from.

    path: relative to the source's root, ``/`` between folders; the photo's name everywhere.
    split: its split; None where the source has lists and none of them names the photo.
    identity: the person, where the source knows.
    landmarks: (68, 2) float32 x, y in pixels, where a file gives them.
    hint: a point (x, y) inside the face that is meant, where the source knows.
    table_row: its place in an image table, where it is a row of one.
    fault: status and reason, where there is nothing to read: the photo stands for a table whose rows cannot be listed,
        or for a row that a list names and no table has.
    """

    path: str
    split: str | None = None
    identity: str | None = None
    landmarks: np.ndarray | None = None
    hint: tuple[float, float] | None = None
    table_row: TableRow | None = None
    fault: tuple[str, str] | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled by what makes it; the way of dataclasses with slots takes several times as long."""
        values = (self.path, self.split, self.identity, self.landmarks, self.hint, self.table_row, self.fault)
        return Photo, values

"""Faces that need no search: boxes and landmarks that the user's files give, by picture."""

from __future__ import annotations

import logging
import math
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from ufvnet.config import ConfigError, RestoreConfig, fingerprint
from ufvnet.data.sources.landmarks import read_landmarks
from ufvnet.data.sources.text import PROBLEMS, plain_name, read_csv
from ufvnet.files import escape_name

Sides = tuple[float, float, float, float]
"""Left, top, right and bottom of a crop box as the file has them, perhaps with fractions and outside the picture."""
Face = Sides | np.ndarray
"""A crop box, or (68, 2) landmarks, x and y in pixels of the upright picture."""
log = logging.getLogger(__name__)


class KnownFaces:
    """Faces by the name of their picture, with or without the name's ending.

    Args:
        faces: boxes or landmarks by the picture's name in the manifest, or a name that ``find`` takes for it.
        fingerprint: of all faces that were read; the part of a shard keeps that of the whole.
        exact: names in ``faces`` that are a picture's path; they are not taken for its namesakes in other folders.
    """

    def __init__(self, faces: Mapping[str, Sequence[Face]], fingerprint: str = "", exact: Iterable[str] = ()):
        self.faces, self.fingerprint, self.exact = faces, fingerprint, {*exact}
        self._by_slashes = {plain_name(name.replace("\\", "/")): name for name in faces if "\\" in name}

    def find(self, name: str) -> list[Face] | None:
        """The faces of a picture; None if the files do not name it.

        The picture is looked up by its path, its path without ending, its file name and its stem, in this order, and
        after them by the same names with backslashes between folders.
        """
        stem = os.path.splitext(name)[0]
        alone = (key for key in (os.path.basename(name), os.path.basename(stem)) if key not in self.exact)
        keys = (name, stem, *alone)
        for key in (*keys, *(self._by_slashes[key] for key in keys if key in self._by_slashes)):
            if key in self.faces:
                return list(self.faces[key])
        return None

    def check(self, names: Iterable[str]) -> None:
        """See that the files are about these pictures; a warning counts the pictures that they do not name.

        Raises:
            ConfigError: they name none of the pictures.
        """
        if not self.faces:
            return
        names = list(names)
        self.exact |= {key for name in names for key in (name, os.path.splitext(name)[0]) if key in self.faces}
        named = [self.find(name) is not None for name in names]
        if not any(named):
            example = next(iter(self.faces))
            raise ConfigError(f"boxes, landmarks: name none of the {len(named):,} pictures, but e.g. {example}")
        if not all(named):
            log.warning("boxes, landmarks: name %s of %s pictures; the others are searched", sum(named), len(named))

    def part(self, names: Iterable[str]) -> KnownFaces:
        """The faces of these pictures alone, for a process that restores only them."""
        if not self.faces:
            return self
        entries = ((name, self.find(name)) for name in names)
        found = {name: faces for name, faces in entries if faces is not None}
        return KnownFaces(found, self.fingerprint, found)


def read_known_faces(config: RestoreConfig) -> KnownFaces:
    """The boxes and landmarks of a configuration's files; where both name a picture, its boxes count.

    Raises:
        ConfigError: a file is missing or malformed, or there are files although every picture is a crop.
    """
    if config.mode == "aligned" and (config.boxes or config.landmarks):
        raise ConfigError(
            "mode = aligned: every picture is a crop, so boxes and landmarks have no use; give auto or photo"
        )
    boxes = _read_boxes(config.boxes) if config.boxes is not None else {}
    try:
        landmarks = read_landmarks(config.landmarks)
    except ConfigError as error:
        raise ConfigError(str(error).replace("source.landmarks", "landmarks")) from error
    points = {_manifest_name(n): p for n, p in zip(landmarks.names, landmarks.points) if np.isfinite(p).all()}
    if not boxes and not points:
        return KnownFaces({})
    digest = fingerprint(boxes, {name: value.tolist() for name, value in points.items()})
    return KnownFaces(boxes | {name: [value] for name, value in points.items() if name not in boxes}, digest)


def _manifest_name(name: str) -> str:
    """A picture's name in the user's file as the manifest spells it: bytes that are not UTF-8 are escaped."""
    plain = plain_name(name)
    return plain if plain.isascii() or not re.search(r"[\udc80-\udcff]", plain) else escape_name(plain)


def _read_boxes(path: Path) -> dict[str, list[Face]]:
    boxes: dict[str, list[Face]] = {}
    try:
        rows = read_csv(path)
        if [name.lower() for name in next(rows, (1, []))[1]] != ["file", "left", "top", "right", "bottom"]:
            raise ValueError("the header must be file, left, top, right, bottom")
        for number, row in rows:
            try:
                left, top, right, bottom = map(float, row[1:])
                if not row[0]:
                    raise ValueError
            except ValueError:
                wrong = f"must be a file name and four numbers, not {','.join(row)[:80]!r}"
                raise ValueError(f"line {number}: {wrong}") from None
            if not (math.isfinite(left + top + right + bottom) and left < right and top < bottom):
                raise ValueError(f"line {number}: left must be below right and top below bottom")
            boxes.setdefault(_manifest_name(row[0]), []).append((left, top, right, bottom))
    except PROBLEMS as error:
        raise ConfigError(f"boxes = {path}: {error}") from error
    return boxes

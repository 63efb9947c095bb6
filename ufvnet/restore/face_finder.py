"""Where the faces of a picture are: given, or found by dlib."""

from __future__ import annotations

import logging
import math
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from ufvnet.config import ConfigError, RestoreConfig, fingerprint
from ufvnet.data.sources.landmarks import read_landmarks
from ufvnet.data.sources.text import PROBLEMS, plain_name, read_csv
from ufvnet.faces.crop import Box, crop_box
from ufvnet.faces.finders import finder
from ufvnet.files import escape_name
from ufvnet.imaging.decode import ImageProblem

SURELY_A_CROP = 80
"""In ``auto``, square pictures up to this side are crops without being searched."""
SQUARE = 1.1
"""Longer side to shorter side of what counts as square."""
MOSTLY_FACE = 0.8
"""In ``auto``, a small picture is a crop where a face's crop covers this much of its shorter side."""
Sides = tuple[float, float, float, float]
"""Left, top, right and bottom of a box as it was given."""
log = logging.getLogger(__name__)


class Looker:
    """Finds the crop boxes of faces; several threads may ask at once.

    Args:
        config: mode, landmarks, boxes, least face.
        small: pictures whose longer side is below this may be crops (the model's output size).

    Raises:
        ConfigError: a file of landmarks or boxes is missing or malformed.
    """

    def __init__(self, config: RestoreConfig, small: int):
        self.config, self.small = config, small
        self.given = _given(config)

    def look(self, rgb: Image.Image, name: str) -> list[Box] | None:
        """Crop boxes of all faces of an upright L or RGB picture, clipped to it; None if it is a crop itself.

        Raises:
            ImageProblem: given boxes or landmarks lie outside the picture.
        """
        if self.config.mode == "aligned":
            return None
        width, height = rgb.size
        given = self.given.find(name)
        if given is not None:
            return [_placed(box, rgb.size) for box in given]
        may_be_crop = self.config.mode == "auto" and max(rgb.size) < self.small
        if may_be_crop and max(rgb.size) <= SURELY_A_CROP and max(rgb.size) <= SQUARE * min(rgb.size):
            return None
        boxes = self._boxes(rgb)
        if may_be_crop:
            sides = [max(right - left, bottom - top) for left, top, right, bottom in boxes]
            if not boxes or max(sides) >= MOSTLY_FACE * min(width, height):
                return None
        return boxes

    def _boxes(self, rgb: Image.Image) -> list[Box]:
        scale = max(1.0, max(rgb.size) / finder.LAST_SIDE)
        copy = rgb
        if scale > 1:
            copy = rgb.resize([max(1, round(v / scale)) for v in rgb.size], Image.Resampling.BOX)
        boxes = []
        for face in finder.find_small_faces(copy, self.config.min_face):
            try:
                boxes.append(crop_box(face.landmarks * scale, *rgb.size))
            except ValueError:
                continue  # landmarks guessed outside the picture
        return list(dict.fromkeys(boxes))


class Given:
    """Boxes by the name of their picture, as files of landmarks or boxes have them: with or without its ending.

    Args:
        boxes: crop boxes by name, as ``_told`` gives names.
        landmarks: (68, 2) points by name, likewise.
    """

    def __init__(self, boxes: Mapping[str, Sequence[Sides]], landmarks: Mapping[str, np.ndarray]):
        self.boxes, self.landmarks = boxes, landmarks
        self._slashed = {plain_name(name.replace("\\", "/")): name for name in (*boxes, *landmarks) if "\\" in name}

    @property
    def fingerprint(self) -> str:
        """Of the boxes and landmarks themselves, wherever they were read from."""
        points = {name: value.tolist() for name, value in self.landmarks.items()}
        return fingerprint(self.boxes, points) if points or self.boxes else ""

    def find(self, name: str) -> list[Sides | np.ndarray] | None:
        """What is given for a picture, by its path, its path without ending, its file name or its stem; names whose
        folders are parted by backslashes count last."""
        stem = os.path.splitext(name)[0]
        keys = (name, stem, os.path.basename(name), os.path.basename(stem))
        for key in (*keys, *(self._slashed[key] for key in keys if key in self._slashed)):
            if key in self.boxes:
                return list(self.boxes[key])
            if key in self.landmarks:
                return [self.landmarks[key]]
        return None

    def check(self, names: Iterable[str]) -> None:
        """See that it is about these pictures.

        Raises:
            ConfigError: it names none of them.
        """
        if not (self.boxes or self.landmarks):
            return
        found = [self.find(name) is not None for name in names]
        given = next(iter({**self.boxes, **self.landmarks}))
        if not any(found):
            raise ConfigError(f"boxes, landmarks: name none of the {len(found):,} pictures, but e.g. {given}")
        if not all(found):
            log.warning("boxes, landmarks: name %s of %s pictures; dlib searches the others", sum(found), len(found))


def _given(config: RestoreConfig) -> Given:
    if config.mode == "aligned" and (config.boxes or config.landmarks):
        raise ConfigError(
            "mode = aligned: every picture is a crop, so boxes and landmarks have no use; give auto or photo"
        )
    boxes = _read_boxes(config.boxes) if config.boxes is not None else {}
    try:
        found = read_landmarks(config.landmarks)
    except ConfigError as error:
        raise ConfigError(str(error).replace("source.landmarks", "landmarks")) from error
    return Given(boxes, {_told(n): p for n, p in zip(found.names, found.points) if np.isfinite(p).all()})


def _told(name: str) -> str:
    """A picture's name in a file as the manifest would tell it: plain, and bytes that are no UTF-8 escaped."""
    plain = plain_name(name)
    return plain if plain.isascii() or not re.search(r"[\udc80-\udcff]", plain) else escape_name(plain)


def _read_boxes(path: Path) -> dict[str, list[Sides]]:
    boxes: dict[str, list[Sides]] = {}
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
                said = f"line {number}: must be a file name and four numbers, not {','.join(row)[:80]!r}"
                raise ValueError(said) from None
            if not (math.isfinite(left + top + right + bottom) and left < right and top < bottom):
                raise ValueError(f"line {number}: left must be below right and top below bottom")
            boxes.setdefault(_told(row[0]), []).append((left, top, right, bottom))
    except PROBLEMS as error:
        raise ConfigError(f"boxes = {path}: {error}") from error
    return boxes


def _placed(given: Sequence[float] | np.ndarray, size: tuple[int, int]) -> Box:
    """A given box, or the crop box of given landmarks, in whole pixels within the picture."""
    try:
        if isinstance(given, np.ndarray):
            return crop_box(given, *size)
        left, top, right, bottom = (round(v) for v in given)
        return clipped((left, top, right, bottom), size)
    except ValueError as error:
        raise ImageProblem("failed", str(error)) from error


def clipped(box: Box, size: tuple[int, int]) -> Box:
    """The part of a box that lies in a picture of that size.

    Raises:
        ValueError: the box is empty, or none of it lies in the picture.
    """
    (left, top, right, bottom), (width, height) = box, size
    if left >= right or top >= bottom:
        raise ValueError(f"box {box}: left must be below right and top below bottom")
    if right <= 0 or bottom <= 0 or left >= width or top >= height:
        raise ValueError(f"box {box}: lies outside the {width}x{height} image")
    return max(0, left), max(0, top), min(width, right), min(height, bottom)

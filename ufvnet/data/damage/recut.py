"""Faces cut again from their photographs, the box moved, scaled and turned a little (docs/method.md section 8).

Only boxes that lie inside the photograph are cut, so that the new HR face is as sharp as a built one. In photographs
with little room around the face, these are the smaller boxes.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ufvnet.errors import ConfigError
from ufvnet.faces.crop import corners_inside
from ufvnet.files import printed, unescape_name
from ufvnet.imaging.decode import ImageProblem
from ufvnet.imaging.rgb import read_image

MOVE, SCALE, TURN = 0.1, (0.8, 1.3), 15.0
"""Greatest movement as a share of the box's side, range of the scale, greatest turn in degrees."""
TRIES = 12
"""Boxes that are drawn until one lies inside the photograph."""


@dataclass(frozen=True)
class Original:
    """Where a face was cut from.

    path, sha256: of the photograph's file.
    box: (left, top, right, bottom) in pixels of the upright photograph.
    """

    path: Path
    sha256: str
    box: tuple[int, int, int, int]

    @classmethod
    def of_row(cls, photos: Path, row: dict[str, Any]) -> Original:
        """That of a dataset's row.

        Args:
            photos: the folder of the photographs.
            row: with the columns photo, sha256 and box.
        """
        return cls(photos / unescape_name(row["photo"]), row["sha256"], tuple(row["box"]))

    def read(self) -> Image.Image:
        """The photograph, upright.

        Raises:
            ConfigError: the file cannot be read, or is not the one that the dataset was built from.
        """
        try:
            data = self.path.read_bytes()
            photo = read_image(data).rgb
        except (OSError, ImageProblem) as error:
            raise ConfigError(f"{printed(self.path)}: cannot be read to cut its face again ({error})") from error
        if hashlib.sha256(data).hexdigest() != self.sha256:
            name = printed(self.path)
            raise ConfigError(f"{name}: is not the photograph that the dataset was built from; build it again")
        return photo


@dataclass(frozen=True)
class Cut:
    """A square of a photograph.

    box: (left, top, right, bottom) in pixels of the photograph turned by ``angle`` degrees about ``centre`` (x, y).
    """

    box: tuple[int, int, int, int]
    angle: float
    centre: tuple[float, float]

    def face(self, photo: Image.Image, hr_size: int) -> np.ndarray:
        """The face in it, reduced as a build reduces it: (hr_size, hr_size, 3) uint8."""
        box, reach = self.box, math.ceil((self.box[2] - self.box[0]) * 0.75)
        left, top = max(0, box[0] - reach), max(0, box[1] - reach)
        patch = photo.crop((left, top, min(photo.width, box[2] + reach), min(photo.height, box[3] + reach)))
        about = (self.centre[0] - left, self.centre[1] - top)
        patch = patch.rotate(self.angle, Image.Resampling.BICUBIC, center=about)
        face = patch.crop((box[0] - left, box[1] - top, box[2] - left, box[3] - top))
        return np.asarray(face.resize((hr_size, hr_size), Image.Resampling.BICUBIC))


def draw_cut(width: int, height: int, box: Sequence[int], rng: np.random.Generator) -> Cut | None:
    """A cut beside that of the built face; None if none of those that were drawn lies inside the photograph.

    Args:
        width, height: of the upright photograph.
        box: of the built face.
        rng: what movement, scale and turn are drawn from.
    """
    side = (box[2] - box[0] + box[3] - box[1]) / 2
    middle = np.array([(box[0] + box[2]) / 2, (box[1] + box[3]) / 2])
    for _ in range(TRIES):
        x, y = middle + rng.uniform(-MOVE, MOVE, 2) * side
        half = round(side * math.exp(rng.uniform(*np.log(SCALE)))) / 2
        angle = rng.uniform(-TURN, TURN)
        left, top = round(x - half), round(y - half)
        new = (left, top, left + round(2 * half), top + round(2 * half))
        centre = (left + half, top + half)
        if corners_inside(new, angle, np.array(centre), width, height):
            return Cut(new, angle, centre)
    return None


def recut(
    photo: Image.Image, box: tuple[int, int, int, int], hr_size: int, rng: np.random.Generator
) -> np.ndarray | None:
    """A face cut again from its upright photograph, as ``draw_cut`` draws it: (hr_size, hr_size, 3) uint8 or None."""
    cut = draw_cut(photo.width, photo.height, box, rng)
    return None if cut is None else cut.face(photo, hr_size)

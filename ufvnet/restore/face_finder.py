"""Where the faces of a picture are: known from the user's files, or searched."""

from __future__ import annotations

from PIL import Image

from ufvnet.config import RestoreConfig
from ufvnet.faces.crop import Box, crop_box
from ufvnet.faces.finders import Finder
from ufvnet.imaging.decode import ImageProblem

from .face_crops import box_of, side
from .known_faces import KnownFaces

SURELY_A_CROP = 80
"""In mode ``auto``, square pictures up to this side are crops without a search."""
SQUARE = 1.1
"""Largest ratio of the longer to the shorter side of a picture that counts as square."""
MOSTLY_FACE = 0.8
"""In mode ``auto``, a small picture is a crop if the crop of a face covers this share of its shorter side."""


class FaceFinder:
    """Finds the crop boxes of faces; several threads may use it at once.

    Args:
        config: has ``mode`` and ``min_face``.
        finder: what searches.
        known_faces: faces that are not searched for.
        hr_size: side of the model's output; in mode ``auto``, only pictures whose longer side is below it may be crops.
    """

    def __init__(self, config: RestoreConfig, finder: Finder, known_faces: KnownFaces, hr_size: int):
        self.finder, self.mode, self.min_face = finder, config.mode, config.min_face
        self.known_faces, self.hr_size = known_faces, hr_size

    def find(self, image: Image.Image, name: str) -> list[Box] | None:
        """Crop boxes of all faces of an upright L or RGB picture, clipped to it; None if the picture is a crop itself.

        Args:
            image: the picture.
            name: its name in the manifest.

        Raises:
            ImageProblem: a known face lies outside the picture.
        """
        if self.mode == "aligned":
            return None
        known = self.known_faces.find(name)
        if known is not None:
            try:
                return [box_of(face, image.size) for face in known]
            except ValueError as error:
                raise ImageProblem("failed", str(error)) from error
        longer, shorter = max(image.size), min(image.size)
        may_be_crop = self.mode == "auto" and longer < self.hr_size
        if may_be_crop and longer <= SURELY_A_CROP and longer <= SQUARE * shorter:
            return None
        boxes = search_faces(image, self.finder, self.min_face)
        if may_be_crop and (not boxes or max(map(side, boxes)) >= MOSTLY_FACE * shorter):
            return None
        return boxes


def search_faces(image: Image.Image, finder: Finder, min_face: int | None = None) -> list[Box]:
    """Crop boxes of the faces that a finder finds, clipped to the picture, each once.

    Args:
        image: upright, L or RGB, of any size; a picture over the finder's LAST_SIDE is searched on a smaller copy.
        finder: what searches.
        min_face: as in RestoreConfig.
    """
    scale = max(1.0, max(image.size) / finder.LAST_SIDE)
    copy = image
    if scale > 1:
        copy = image.resize([max(1, round(v / scale)) for v in image.size], Image.Resampling.BOX)
    boxes = []
    for face in finder.find_small_faces(copy, min_face):
        try:
            boxes.append(crop_box(face.landmarks * scale, *image.size))
        except ValueError:
            continue  # the landmarks were guessed to lie outside the picture
    return list(dict.fromkeys(boxes))

"""A sheet that shows what a model does to one face: input, bicubic, restored, original; a row for each input size."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from ufvnet.faces.crop import crop_box, crop_face
from ufvnet.faces.finders import hog
from ufvnet.files import write_atomically
from ufvnet.imaging.decode import MAX_PIXELS, ImageProblem
from ufvnet.imaging.resize import resize
from ufvnet.imaging.rgb import read_image

from .restorer import Restorer

SIZES = (8, 16, 24, 32)
"""Sides of the small faces in pixels."""
COLUMNS = ("input", "bicubic", "restored", "original")
GAP, LABEL, MARGIN = 6, 22, 54
"""Pixels between the faces, above them for the columns' names, and left of them for the sizes."""


def before_after(photo: Image.Image, restorer: Restorer, sizes: Sequence[int] = SIZES) -> Image.Image:
    """The sheet of the largest face of a photo, reduced by bicubic interpolation as models are trained.

    Args:
        photo: RGB; its face should be larger than the model's output.
        restorer: the model.
        sizes: sides of the small faces, one per row.

    Raises:
        ValueError: no face is found in the photo.
    """
    faces = hog.find_faces(photo)
    if not faces:
        raise ValueError("no face was found in the photo")
    side = restorer.hr_size
    original = crop_face(photo, crop_box(faces[0].landmarks, *photo.size), side)
    small = [resize(original, size) for size in sizes]
    restored = [face.image for face in restorer.batch(small)]
    step = side + GAP
    sheet = Image.new("RGB", (MARGIN + len(COLUMNS) * step, LABEL + len(sizes) * step), "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(14)
    for x, name in enumerate(COLUMNS):
        pen.text((MARGIN + x * step + side // 2, LABEL // 2), name, "black", font, anchor="mm")
    for y, (lr, sr) in enumerate(zip(small, restored)):
        top = LABEL + y * step
        pen.text((MARGIN - GAP, top + side // 2), f"{lr.width} px", "black", font, anchor="rm")
        row = (lr.resize((side, side), Image.Resampling.NEAREST), resize(lr, side), sr, original)
        for x, face in enumerate(row):
            sheet.paste(face, (MARGIN + x * step, top))
    return sheet


def first_sheet(photos: Iterable[Path], restorer: Restorer, file: Path) -> bool:
    """Write the sheet of the first photo in which a face is found; False if there is none. Other files are skipped."""
    for photo in photos:
        with contextlib.suppress(ImageProblem, OSError, ValueError):
            sheet = before_after(read_image(photo.read_bytes(), MAX_PIXELS).rgb, restorer)
            write_atomically(file, lambda path, sheet=sheet: sheet.save(path, "PNG"))  # type: ignore[misc]
            return True
    return False

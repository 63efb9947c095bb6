"""A decoded picture turned upright, with 8 bits per channel: what all readers of pictures have in common."""

from __future__ import annotations

from typing import Any, NamedTuple

from PIL import Image

from .colour import eight_bits, has_alpha, profile_of, with_alpha
from .decode import Decoded
from .metadata import extras_of, turned


class UprightImage(NamedTuple):
    """An upright picture of 8 bits per channel in the colours of its file.

    Readers unpack it at once, so that nothing holds the image while they convert it.

    image: L, LA, RGB or RGBA; without alpha also any other mode of 8 bits or fewer, e.g. 1, P, CMYK or LAB.
    format: Pillow's name of the file's format, e.g. ``JPEG``.
    profile: the colour profile of the image, if the file has a usable one.
    notes: what was converted or left out.
    extras: EXIF, XMP and resolution, as Pillow's ``save`` takes them, if they were asked for.
    """

    image: Image.Image
    format: str
    profile: bytes | None
    notes: list[str]
    extras: dict[str, Any]


def upright(decoded: Decoded, with_extras: bool = False) -> UprightImage:
    """Reduce 16 bits to 8, apply the EXIF orientation, and make transparency an alpha channel.

    Args:
        decoded: is handed over, so that no second copy of a large picture is in memory.
        with_extras: also read EXIF, XMP and resolution.
    """
    image, notes = decoded.hand_over(), decoded.notes
    file_format = image.format or "?"
    if decoded.deep:
        notes.append("16 bits per channel reduced to 8")
    extras = extras_of(image, notes) if with_extras else {}
    profile = profile_of(image, notes)
    image = eight_bits(turned(image, notes), notes)
    if has_alpha(image):
        image = with_alpha(image, notes)
    return UprightImage(image, file_format, profile, notes, extras)

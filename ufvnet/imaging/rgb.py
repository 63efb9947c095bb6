"""Any image file to upright 8-bit RGB, or a status and a reason."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from .colour import MODES, eight_bits, has_alpha, is_srgb, name_of, on_white, profile_of, to_srgb, with_alpha
from .decode import MAX_PIXELS, decode, quiet
from .metadata import turned

READING = 2
"""Version of how photos are read; a new one where any comes out with other pixels."""


@dataclass(frozen=True)
class ReadImage:
    """An image as it was read.

    rgb: upright 8-bit RGB of sRGB, without profile or metadata.
    format: Pillow's name of the file's format, e.g. ``JPEG``.
    notes: what was converted on the way, e.g. ``16-bit reduced to 8``; empty for plain RGB.
    """

    rgb: Image.Image
    format: str
    notes: tuple[str, ...]


@quiet()
def read_image(path: Path | bytes, max_pixels: int = MAX_PIXELS) -> ReadImage:
    """Read one image file, or the bytes of one, whatever its name says it is.

    Greyscale, palette, CMYK, 16-bit and alpha are converted to 8-bit RGB (alpha over white), colours of another
    profile than sRGB to sRGB, the first frame of an animation is taken, EXIF orientation is applied; ``notes`` says
    which, and what of the file is damaged and was left out.

    Raises:
        ImageProblem: it cannot be read or declares more than max_pixels.
    """
    decoded = decode(path, max_pixels)
    image, notes = decoded.hand_over(), decoded.notes
    kind = image.format or "?"
    profile = profile_of(image, notes)
    image = eight_bits(turned(image, notes), notes)
    if has_alpha(image):
        image = with_alpha(image, notes)
        if image.mode in ("LA", "RGBA"):
            notes.append("alpha flattened on white")
            image = on_white(image)
    rgb = _rgb(image, profile, notes)
    rgb.info = {}
    return ReadImage(rgb, kind, tuple(notes))


def _rgb(image: Image.Image, profile: bytes | None, notes: list[str]) -> Image.Image:
    """L, RGB, CMYK, ... as RGB, by the profile where that makes a difference."""
    mode = image.mode
    if mode not in MODES.values():
        image = image.convert("RGB")
    if profile is not None and not (image.mode in ("L", "RGB") and is_srgb(profile)):
        converted = to_srgb(image, profile)
        if converted is not None:
            notes.append(f"{mode} converted to sRGB by its profile, {name_of(profile)}")
            return converted
    if mode != "RGB":
        notes.append(f"{mode} converted to RGB")
    return image.convert("RGB") if image.mode != "RGB" else image

"""Any picture file as upright 8-bit RGB in sRGB, for datasets and faces."""

from __future__ import annotations

from dataclasses import dataclass

from PIL import Image

from ufvnet.remote import AnyPath

from .colour import MODES, is_srgb, name_of, on_white, to_srgb
from .decode import MAX_PIXELS, decode, quiet
from .upright import upright

READING = 2
"""Version of how photos are read; raised when any photo gets other pixels."""


@dataclass(frozen=True)
class ReadImage:
    """A picture as it was read.

    rgb: upright 8-bit RGB of sRGB, without profile or metadata.
    format: Pillow's name of the file's format, e.g. ``JPEG``.
    notes: what was converted or left out, e.g. ``L converted to RGB``; empty for plain RGB.
    """

    rgb: Image.Image
    format: str
    notes: tuple[str, ...]


@quiet()
def read_image(path: AnyPath | bytes, max_pixels: int = MAX_PIXELS) -> ReadImage:
    """Read a picture file, or the bytes of one, whatever its name says.

    Grey, palette, CMYK, 16-bit and transparent pictures are converted to 8-bit RGB (transparency on white), colours of
    another profile than sRGB to sRGB, the first frame of an animation is taken, and EXIF orientation is applied.
    ``notes`` says which of these happened, and which damaged parts of the file were left out.

    Args:
        path: the file, or its bytes.
        max_pixels: a picture that declares more is not decoded.

    Raises:
        ImageProblem: it cannot be read, or declares more than max_pixels.
    """
    image, file_format, profile, notes, _ = upright(decode(path, max_pixels))
    if image.mode in ("LA", "RGBA"):
        notes.append("alpha flattened on white")
        image = on_white(image)
    rgb = _rgb(image, profile, notes)
    rgb.info = {}
    return ReadImage(rgb, file_format, tuple(notes))


def _rgb(image: Image.Image, profile: bytes | None, notes: list[str]) -> Image.Image:
    """L, RGB, CMYK, ... as RGB, by the profile if that makes a difference."""
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

"""Any image file to upright 8-bit RGB, or a status and a reason."""

from __future__ import annotations

import contextlib
import io
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

MAX_PIXELS = 100_000_000
UNDECODED = frozenset({"BUFR", "GRIB", "HDF5", "MPEG", "WMF"})
"""Pillow's names of formats that it knows and cannot read."""


class ImageProblem(Exception):
    """An image that cannot be used: ``status`` (``unreadable``, ``too_large``) and ``reason``."""

    def __init__(self, status: str, reason: str):
        super().__init__(reason)
        self.status, self.reason = status, reason


class NotAnImage(ImageProblem):
    """An ``unreadable`` file that does not even begin like an image of a kind that is read."""

    def __init__(self, reason: str = "not an image of a known kind, or damaged at its start"):
        super().__init__("unreadable", reason)


@dataclass(frozen=True)
class ReadImage:
    """An image as it was read.

    rgb: upright 8-bit RGB.
    format: Pillow's name of the file's format, e.g. ``JPEG``.
    notes: what was converted on the way, e.g. ``16-bit reduced to 8``; empty for plain RGB.
    """

    rgb: Image.Image
    format: str
    notes: tuple[str, ...]


def read_image(path: Path | bytes, max_pixels: int = MAX_PIXELS) -> ReadImage:
    """Read one image file, or the bytes of one, whatever its name says it is.

    Greyscale, palette, CMYK, 16-bit and alpha are converted to 8-bit RGB (alpha over white), the
    first frame of an animation is taken, EXIF orientation is applied; ``notes`` says which.

    Raises:
        ImageProblem: it cannot be read or declares more than max_pixels.
    """
    with open_image(path, max_pixels) as image:
        return _convert(image)


@contextlib.contextmanager
def open_image(path: Path | bytes, max_pixels: int = MAX_PIXELS) -> Iterator[Image.Image]:
    """One image file, or the bytes of one, opened but not decoded.

    Raises:
        ImageProblem: it cannot be read, or declares more than max_pixels, or whatever the body of ``with`` raises.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns of what is checked here
            with Image.open(io.BytesIO(path) if isinstance(path, bytes) else path) as image:
                if image.format in UNDECODED:
                    raise NotAnImage()
                width, height = image.size
                if width * height > max_pixels:
                    raise ImageProblem("too_large", f"{width}x{height} is over {max_pixels:,} pixels")
                yield image
    except ImageProblem:
        raise
    except Image.DecompressionBombError as error:  # over twice Pillow's own limit; it tells the number only in words
        limit = min(max_pixels, 2 * (Image.MAX_IMAGE_PIXELS or max_pixels))
        number = int("".join(re.findall(r"\d+", str(error))[:1]) or 0)
        raise ImageProblem("too_large", f"its {number:,} pixels are over {limit:,} pixels") from error
    except Image.UnidentifiedImageError as error:
        size = len(path) if isinstance(path, bytes) else path.stat().st_size
        raise (NotAnImage() if size else NotAnImage("empty (0 bytes), not an image")) from error
    except Exception as error:  # decoders of broken files raise nearly anything
        raise ImageProblem("unreadable", f"{type(error).__name__}: {error}") from error


def _convert(image: Image.Image) -> ReadImage:
    notes: list[str] = []
    kind = image.format or "?"
    upright = eight_bits(turned(first_frame(image, notes), notes), notes)
    if has_alpha(upright):
        notes.append("alpha flattened on white")
        rgba = upright.convert("RGBA")
        upright = Image.new("RGB", rgba.size, "white")
        upright.paste(rgba, mask=rgba.getchannel("A"))
    if upright.mode != "RGB":
        notes.append(f"{upright.mode} converted to RGB")
        upright = upright.convert("RGB")
    return ReadImage(upright, kind, tuple(notes))


def first_frame(image: Image.Image, notes: list[str]) -> Image.Image:
    """The image decoded; of an animation its first frame, noted."""
    if getattr(image, "n_frames", 1) > 1:
        notes.append("first frame of an animation")
    image.load()
    return image


def turned(image: Image.Image, notes: list[str]) -> Image.Image:
    """The image as its EXIF orientation says it stands, noted."""
    if image.getexif().get(0x0112, 1) == 1:
        return image
    notes.append("EXIF orientation applied")
    return ImageOps.exif_transpose(image)


def eight_bits(image: Image.Image, notes: list[str]) -> Image.Image:
    """Grey of 16 bits and more as 8 bits, noted; anything else as it is.

    White is the first of 1, 255 and 65535 that no value exceeds, or else the greatest value. Floats may exceed it by
    a tenth, as sharpened pictures do. What lies outside 0 to white is clipped; what is not a number is black.
    """
    if not (image.mode.startswith("I;16") or image.mode in ("I", "F")):
        return image
    values = np.array(image, dtype=np.float64)
    greatest = values.max(initial=0, where=np.isfinite(values))
    slack = 1.1 if image.mode == "F" else 1.0
    white = next((w for w in (1, 255, 65535) if greatest <= w * slack), greatest)
    notes.append(f"{image.mode} reduced to 8 bits, values taken for 0 to {white:.6g}")
    values *= 255 / white
    np.clip(values, 0, 255, out=values)
    np.nan_to_num(values, copy=False)
    return Image.fromarray(np.rint(values, out=values).astype(np.uint8))


def has_alpha(image: Image.Image) -> bool:
    """Whether any of its pixels may be transparent."""
    return image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info

"""A picture to the bytes of a file; what goes with it and cannot be written is left out and said."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from typing import Any

from PIL import Image, ImageFile, PngImagePlugin

NAMES = {"exif": "EXIF", "icc_profile": "colour profile", "dpi": "resolution", "xmp": "XMP"}
"""What may go with a picture: Pillow's name of it, and ours."""

CANNOT_HOLD = {
    "BMP": {"exif", "icc_profile", "xmp"},
    "TIFF": {"xmp"},
    "AVIF": {"dpi"},
    "WEBP": {"dpi"},
    "HEIF": {"dpi"},
}
"""What Pillow's writers of a format do not write."""
UNSAID = {"dpi"}
"""Of it, what nobody misses."""

_OPTIONS: dict[str, Callable[[int], dict[str, Any]]] = {
    "PNG": lambda _: {"compress_level": 3},
    "JPEG": lambda quality: {"quality": quality, "subsampling": 0},
    "WEBP": lambda quality: {"quality": quality, "lossless": quality == 100},
    "AVIF": lambda quality: {"quality": quality},
    "HEIF": lambda quality: {"quality": quality},
    "TIFF": lambda _: {"compression": "tiff_adobe_deflate"},
}


def save(image: Image.Image, kind: str, quality: int, extras: Mapping[str, Any], lost: list[str]) -> bytes:
    """The bytes of a file of Pillow's format ``kind``.

    Args:
        image: of a mode that the format has.
        kind: e.g. ``PNG``.
        quality: of JPEG, WebP, AVIF and HEIC.
        extras: those of NAMES that go with it.
        lost: takes what the file does not have of them.

    Raises:
        OSError, ValueError: the picture itself cannot be written so.
    """
    if isinstance(image, ImageFile.ImageFile):  # of which Pillow would write more than it is told
        image = image.copy()
    image.info = {}
    unheld = CANNOT_HOLD.get(kind, set()) & extras.keys()
    _tell(lost, kind, "holds no", unheld - UNSAID)
    extras = {name: value for name, value in extras.items() if name not in unheld}
    try:
        return _bytes(image, kind, quality, extras)
    except Exception as error:
        if not extras or isinstance(error, MemoryError):
            raise
        tiny = Image.new(image.mode, (16, 16))
        sound = {name: value for name, value in extras.items() if _is_taken(tiny, kind, quality, {name: value})}
        if not _is_taken(tiny, kind, quality, sound):
            sound = {}
        data = _bytes(image, kind, quality, sound)
        _tell(lost, kind, "cannot hold its", extras.keys() - sound.keys())
        return data


def _tell(lost: list[str], kind: str, verb: str, names: set[str]) -> None:
    if names:
        lost.append(f"{kind} {verb} {' or '.join(NAMES[name] for name in sorted(names))}")


def _is_taken(image: Image.Image, kind: str, quality: int, extras: Mapping[str, Any]) -> bool:
    """Whether a picture of a few pixels can be written with these."""
    try:
        _bytes(image, kind, quality, extras)
    except Exception:  # whatever a value leads to that its writer does not expect
        return False
    return True


def _bytes(image: Image.Image, kind: str, quality: int, extras: Mapping[str, Any]) -> bytes:
    options = _OPTIONS.get(kind, lambda _: {})(quality) | dict(extras)
    if kind == "BMP" and image.mode == "LA":
        image = image.convert("RGBA")
    if kind == "TIFF" and "exif" in extras:
        del options["compression"]  # Pillow's compressing writer cannot write the Exif and GPS tags
    if kind == "PNG" and "xmp" in extras:
        options["pnginfo"] = PngImagePlugin.PngInfo()
        options["pnginfo"].add_itxt("XML:com.adobe.xmp", options.pop("xmp"))
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()

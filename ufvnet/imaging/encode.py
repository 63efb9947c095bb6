"""A picture to the bytes of a file; metadata that its format cannot hold are left out and named."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from typing import Any

from PIL import Image, ImageFile, PngImagePlugin

NAMES = {"exif": "EXIF", "icc_profile": "colour profile", "dpi": "resolution", "xmp": "XMP"}
"""Metadata of a picture: Pillow's name and ours."""

CANNOT_HOLD = {
    "BMP": {"exif", "icc_profile", "xmp"},
    "TIFF": {"xmp"},
    "AVIF": {"dpi"},
    "WEBP": {"dpi"},
    "HEIF": {"dpi"},
}
"""Metadata that Pillow's writer of a format does not write."""
UNMENTIONED = {"dpi"}
"""Metadata that nobody misses."""

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
        extras: metadata, by keys of NAMES.
        lost: a list to which a line is added about metadata that the file does not hold.

    Raises:
        OSError, ValueError: the picture itself cannot be written in this format.
    """
    if isinstance(image, ImageFile.ImageFile):  # Pillow would write more of it than the given extras
        image = image.copy()
    image.info = {}
    unheld = CANNOT_HOLD.get(kind, set()) & extras.keys()
    _report(lost, kind, "holds no", unheld - UNMENTIONED)
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
        _report(lost, kind, "cannot hold its", extras.keys() - sound.keys())
        return data


def _report(lost: list[str], kind: str, verb: str, names: set[str]) -> None:
    if names:
        lost.append(f"{kind} {verb} {' or '.join(NAMES[name] for name in sorted(names))}")


def _is_taken(image: Image.Image, kind: str, quality: int, extras: Mapping[str, Any]) -> bool:
    """Whether a picture of a few pixels can be written with these extras."""
    try:
        _bytes(image, kind, quality, extras)
    except Exception:  # a value that the writer does not expect can raise anything
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

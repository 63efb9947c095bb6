"""Metadata of a picture: orientation, EXIF, XMP, resolution; each is read separately, and broken ones are left out."""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Callable
from typing import Any

from PIL import Image

ORIENTATION, UPRIGHT = 0x0112, 1
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
EXIF_IFD, GPS_IFD = 0x8769, 0x8825
OF_THE_PHOTO = frozenset({270, 271, 272, 305, 306, 315, 33432})
"""Tags of a TIFF that describe the photo: description, make, model, software, date, artist, copyright."""


def orientation_of(image: Image.Image) -> int:
    """The EXIF orientation of a picture; UPRIGHT if it has none or an invalid one."""
    with contextlib.suppress(Exception):  # broken EXIF raises nearly anything
        value = image.getexif().get(ORIENTATION, UPRIGHT)
        return value if isinstance(value, int) and value in TURNS else UPRIGHT
    return UPRIGHT


def turned(image: Image.Image, notes: list[str]) -> Image.Image:
    """The picture turned by its EXIF orientation, which is noted if it changes the picture."""
    turn = TURNS.get(orientation_of(image))
    if turn is None:
        return image
    notes.append("EXIF orientation applied")
    return image.transpose(turn)


def extras_of(image: Image.Image, notes: list[str]) -> dict[str, Any]:
    """EXIF and XMP without the orientation, which is applied, and the resolution, as Pillow's writers take them.

    Broken ones are left out, which is noted.
    """
    extras: dict[str, Any] = {}
    readers: tuple[tuple[str, str, Callable[[Image.Image, list[str]], Any]], ...] = (
        ("dpi", "resolution", _resolution),
        ("xmp", "XMP", _xmp),
        ("exif", "EXIF", _exif),
    )
    for key, name, read in readers:
        try:
            value = read(image, notes)
        except Exception:  # broken metadata raise nearly anything
            notes.append(f"its broken {name} left out")
        else:
            if value:
                extras[key] = value
    return extras


def _resolution(image: Image.Image, _: list[str]) -> tuple[float, float] | None:
    """
    Raises:
        ValueError: it is not two positive numbers.
    """
    dpi = image.info.get("dpi")
    if dpi in (None, (0, 0), (1, 1)):  # unknown: (0, 0) in JFIF, (1, 1) from Pillow for TIFF
        return None
    across, down = (value if isinstance(value, int) else float(value) for value in dpi)
    if not all(math.isfinite(value) and 0 < value < 2**16 for value in (across, down)):
        raise ValueError(f"a resolution of {across} x {down}")
    return across, down


def _xmp(image: Image.Image, _: list[str]) -> bytes | None:
    xmp = image.info.get("xmp")
    if xmp is None:
        return None
    text = re.sub(rb'tiff:Orientation="[0-9]"', b"", xmp.encode() if isinstance(xmp, str) else xmp)
    return re.sub(rb"<tiff:Orientation>[0-9]</tiff:Orientation>", b"", text)


def _exif(image: Image.Image, notes: list[str]) -> bytes | None:
    exif = image.getexif()
    if image.format == "TIFF":  # the tags of the file itself are not the camera's EXIF
        return _written(_of_the_photo(exif), notes)
    if ORIENTATION not in exif:
        return _written(exif, notes)
    orientation = exif[ORIENTATION]
    del exif[ORIENTATION]
    try:
        return _written(exif, notes)
    finally:
        exif[ORIENTATION] = orientation  # the image may belong to the caller


def _written(exif: Image.Exif, notes: list[str]) -> bytes | None:
    if not len(exif):
        return None
    try:
        return exif.tobytes()
    except Exception:  # a tag of a wrong type
        return _without_broken_tags(exif, notes)


def _of_the_photo(exif: Image.Exif) -> Image.Exif:
    """The tags of a TIFF that describe the photo, not how the file stores it."""
    kept = Image.Exif()
    for tag in OF_THE_PHOTO & set(exif):
        kept[tag] = exif[tag]
    for ifd in (EXIF_IFD, GPS_IFD):
        values = exif.get_ifd(ifd)
        if values:
            kept.get_ifd(ifd).update(values)
            kept[ifd] = values
    return kept


def _without_broken_tags(exif: Image.Exif, notes: list[str]) -> bytes | None:
    """The tags that can be written; each is tried alone."""
    kept, lost = Image.Exif(), list[str]()
    kept.endian = exif.endian
    for tag in list(exif):
        if tag in (EXIF_IFD, GPS_IFD):
            values = {}
            with contextlib.suppress(Exception):
                values = dict(exif.get_ifd(tag))
            sound = {sub: value for sub, value in values.items() if _can_be_written(sub, value, tag)}
            lost += [f"0x{sub:04x}" for sub in values.keys() - sound.keys()] or ([] if values else [f"0x{tag:04x}"])
            if sound:
                kept[tag] = sound
        else:
            value = None
            with contextlib.suppress(Exception):
                value = exif[tag]
            if value is not None and _can_be_written(tag, value):
                kept[tag] = value
            else:
                lost.append(f"0x{tag:04x}")
    notes.append(f"broken EXIF tags left out: {', '.join(sorted(lost)[:8])}{' and more' * (len(lost) > 8)}")
    return kept.tobytes() if len(kept) else None


def _can_be_written(tag: int, value: Any, ifd: int | None = None) -> bool:
    alone = Image.Exif()
    alone[ifd or tag] = value if ifd is None else {tag: value}
    try:
        alone.tobytes()
    except Exception:  # a value of a wrong type can raise anything
        return False
    return True

"""Animated pictures as folders of their frames."""

from __future__ import annotations

import functools
import io
from collections.abc import Callable
from typing import IO

from PIL import Image

from ufvnet.imaging.decode import quiet
from ufvnet.imaging.formats import formats, picture_endings
from ufvnet.remote import AnyPath

FRAME = "{:06d}.png"
"""What a frame is called."""


def list_frames(path: AnyPath, max_pixels: int) -> list[str]:
    """The names of an animation's frames; empty for a still picture, and for what is none or has too many pixels."""
    if path.suffix.lower() not in picture_endings():
        return []
    try:
        with quiet(), path.open("rb") as file, Image.open(file, formats=formats()) as image:
            small = image.width * image.height <= max_pixels
            count = getattr(image, "n_frames", 1) if small else 1
            animated = getattr(image, "is_animated", False) and image.format != "MPO"  # MPO: views of one picture
    except Exception:  # whoever reads it reports what is wrong
        return []
    return [FRAME.format(number) for number in range(count)] if animated and count > 1 else []


def open_frames(path: AnyPath) -> dict[str, Callable[[], IO[bytes]]]:
    """What gives each frame as the bytes of a PNG, by its name."""
    image = Image.open(io.BytesIO(path.read_bytes()), formats=formats())
    return {
        FRAME.format(number): functools.partial(_frame, image, number)
        for number in range(getattr(image, "n_frames", 1))
    }


def _frame(image: Image.Image, number: int) -> IO[bytes]:
    with quiet():
        image.seek(number)
        frame = image.convert("RGBA" if image.has_transparency_data else "RGB")
    buffer = io.BytesIO()
    frame.save(buffer, "PNG", compress_level=1, icc_profile=image.info.get("icc_profile"))
    buffer.seek(0)
    return buffer

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
from ufvnet.restore.picture import encode_picture, frame_of

from .source import MAX_BYTES

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
    with path.open("rb") as file:
        data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise OSError(f"an animation of over {MAX_BYTES:,} bytes")
    image = Image.open(io.BytesIO(data), formats=formats())
    return {
        FRAME.format(number): functools.partial(_frame, image, number)
        for number in range(getattr(image, "n_frames", 1))
    }


def _frame(image: Image.Image, number: int) -> IO[bytes]:
    return io.BytesIO(encode_picture(frame_of(image, number), "PNG", 100)[0])

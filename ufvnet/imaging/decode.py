"""The bytes of any picture file to its decoded first frame, or to a status and a reason."""

from __future__ import annotations

import contextlib
import io
import re
import threading
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from PIL import Image

from ufvnet.remote import AnyPath

from .formats import formats, why_not_read
from .jpeg_end import ended
from .mend import JPEG, PNG, bloated, without_optional
from .metadata import UPRIGHT, orientation_of

MAX_PIXELS = 100_000_000
BITS_PER_SAMPLE = 258
"""TIFF's tag."""
HEAD = 4096
"""Bytes at the start of a file by which its format is recognised."""


class ImageProblem(Exception):
    """An image that cannot be used: ``status`` (``unreadable``, ``too_large``) and ``reason``."""

    def __init__(self, status: str, reason: str):
        super().__init__(reason)
        self.status, self.reason = status, reason


class NotAnImage(ImageProblem):
    """An ``unreadable`` file whose beginning is not that of any format that is read."""

    def __init__(self, reason: str = "not an image of a known kind, or damaged at its start"):
        super().__init__("unreadable", reason)


class OtherFormat(NotAnImage):
    """A picture in a format that is not read."""


@dataclass
class Decoded:
    """A decoded picture.

    image: its first frame, loaded, as the file stores it; None after ``hand_over``.
    notes: what was left out or mended, and whether there are further frames.
    deep: true if it had 16 bits per channel, which Pillow has reduced to 8.
    """

    image: Image.Image | None
    notes: list[str]
    deep: bool = False

    def hand_over(self) -> Image.Image:
        """The image, to which this object then holds no reference: of 60 megapixels no copy should stay in memory."""
        image, self.image = self.image, None
        assert image is not None
        return image


def decode(
    content: AnyPath | bytes, max_pixels: int = MAX_PIXELS, admit: Callable[[int], None] = lambda _: None
) -> Decoded:
    """Decode the first frame of a picture, in a time that does not depend on the number of frames.

    If an optional part of the file (EXIF, profile, text, ...) or its end marker is damaged, the picture is decoded
    without it. A picture with missing pixels is refused.

    Args:
        content: the file, or its bytes.
        max_pixels: a picture that declares more is not decoded.
        admit: called with the number of pixels before they are decoded; it may wait for memory.

    Raises:
        ImageProblem: it cannot be read or declares more than max_pixels.
    """
    data = _bytes_of(content)
    notes: list[str] = []
    if bloated(data):
        *_, (left_out, data) = without_optional(data)
        notes.append(f"{left_out} left out: too long")
    with quiet():
        image, data = _opened(data, max_pixels, notes)
        try:
            if getattr(image, "is_animated", False):
                notes.append("first frame of an animation")
        except Exception:  # its second frame is damaged
            image, data = _opened(data, max_pixels, notes)
        admit(image.width * image.height)
        deep = _is_deep(image, data)
        turned = image.format == "TIFF" and orientation_of(image) != UPRIGHT
        try:
            image.load()
        except Exception as error:  # decoders of broken files raise nearly anything
            image.close()
            image, data = _loaded_otherwise(data, max_pixels, error, notes)
    if turned:  # Pillow itself turns a TIFF when it decodes it
        notes.append("EXIF orientation applied")
    if data.startswith(PNG) and data.rfind(b"IEND\xaeB`\x82") < 0:
        notes.append("its end marker is missing or damaged")
    return Decoded(image, notes, deep)


def _is_deep(image: Image.Image, data: bytes) -> bool:
    if image.mode not in ("RGB", "RGBA", "LA"):
        return False
    if image.format == "PNG":
        return data[24:25] == b"\x10"
    bits = getattr(image, "tag_v2", {}).get(BITS_PER_SAMPLE, ())
    return max(bits if isinstance(bits, tuple) else (bits,), default=8) > 8


def _bytes_of(content: AnyPath | bytes) -> bytes:
    if isinstance(content, bytes):
        return content
    try:
        if content.exists() and not content.is_file():
            raise ImageProblem("unreadable", "a folder" if content.is_dir() else "not a regular file")
        return content.read_bytes()
    except OSError as error:
        raise _unreadable(error) from error


def _opened(data: bytes, max_pixels: int, notes: list[str]) -> tuple[Image.Image, bytes]:
    """The picture, opened, and the bytes that it was opened from: without optional parts if they prevented it."""
    try:
        return _open(data, max_pixels), data
    except ImageProblem as problem:
        if problem.status == "too_large" or isinstance(problem, OtherFormat):
            raise
        for left_out, mended in without_optional(data):
            with contextlib.suppress(ImageProblem):
                image = _open(mended, max_pixels)
                notes.append(f"damaged and left out: {left_out}")
                return image, mended
        raise


def _loaded_otherwise(data: bytes, max_pixels: int, error: Exception, notes: list[str]) -> tuple[Image.Image, bytes]:
    """The picture decoded without its optional parts, or with an end marker added, and the bytes that were decoded.

    Raises:
        ImageProblem: of the given error, if pixels are missing.
    """

    def loaded(changed: bytes) -> Image.Image:
        image = _open(changed, max_pixels)
        image.load()
        return image

    truncated = "image file is truncated" in str(error)
    with contextlib.suppress(Exception):
        if data.startswith(JPEG) and truncated and (whole := ended(data, loaded)) is not None:
            notes.append("its end marker is missing")
            return loaded(whole), whole
    if not truncated:
        for left_out, mended in list(without_optional(data))[-1:]:
            with contextlib.suppress(Exception):
                image = loaded(mended)
                notes.append(f"damaged and left out: {left_out}")
                return image, mended
    raise _unreadable(error) from error


def _open(data: bytes, max_pixels: int) -> Image.Image:
    """
    Raises:
        ImageProblem: the picture cannot be opened, or declares more than max_pixels.
    """
    head = data[:HEAD]
    try:
        image: Image.Image = Image.open(io.BytesIO(data), formats=formats())
    except Image.DecompressionBombError as error:  # over twice Pillow's own limit; only its message has the number
        limit = min(max_pixels, 2 * (Image.MAX_IMAGE_PIXELS or max_pixels))
        number = int("".join(re.findall(r"\d+", str(error))[:1]) or 0)
        raise ImageProblem("too_large", f"its {number:,} pixels are over {limit:,} pixels") from error
    except Image.UnidentifiedImageError as error:
        raise _not_read(head) from error
    except Exception as error:  # decoders of broken files raise nearly anything
        raise _unreadable(error) from error
    width, height = image.size
    if width * height > max_pixels:
        image.close()
        raise ImageProblem("too_large", f"{width}x{height} is over {max_pixels:,} pixels")
    return image


def _not_read(head: bytes) -> NotAnImage:
    """Why no decoder accepts a file with this beginning."""
    if not head:
        return NotAnImage("empty (0 bytes), not an image")
    reason, picture = why_not_read(head)
    if not reason:
        return NotAnImage()
    return OtherFormat(reason) if picture else NotAnImage(reason)


def _unreadable(error: Exception) -> ImageProblem:
    """In plain words what Pillow and its decoders say of broken files; an error that is none of theirs has its name."""
    message = str(error).strip().rstrip(".")
    if "truncated" in message.lower():
        detail = re.search(r"\((?!0 bytes)([^()]+)\)$", message)
        return ImageProblem("unreadable", f"truncated: {detail[1]}" if detail else "truncated: the file ends too early")
    if isinstance(error, OSError) and error.errno is not None:
        return ImageProblem("unreadable", f"cannot be read: {error.strerror}")
    if message and isinstance(error, OSError | SyntaxError | ValueError | EOFError):
        return ImageProblem("unreadable", f"damaged: {message}")
    return ImageProblem("unreadable", f"{type(error).__name__}: {error}")


class _Quiet:
    """Turns warnings off while any thread decodes, because Pillow warns of what is checked here.

    ``warnings.catch_warnings`` alone would leave them off for ever if two threads overlap.
    """

    def __init__(self) -> None:
        self.lock, self.inside = threading.Lock(), 0
        self.filters = warnings.catch_warnings()

    @contextlib.contextmanager
    def __call__(self) -> Iterator[None]:
        with self.lock:
            self.inside += 1
            if self.inside == 1:
                self.filters = warnings.catch_warnings()
                self.filters.__enter__()
                warnings.simplefilter("ignore")
        try:
            yield
        finally:
            with self.lock:
                self.inside -= 1
                if not self.inside:
                    self.filters.__exit__(None, None, None)


quiet = _Quiet()

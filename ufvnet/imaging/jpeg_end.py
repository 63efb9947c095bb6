"""Whether a JPEG lacks only its end marker, or some of its pixels too."""

from __future__ import annotations

import hashlib
import re
import struct
from collections.abc import Callable

from PIL import Image

from .mend import jpeg_segments

END = b"\xff\xd9"
MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
PADDINGS = (b"\xa5\x3c" * 64, b"\x5a\xc3" * 64)
"""Two different continuations of the pixels' data, without markers."""


def ended(data: bytes, decode: Callable[[bytes], Image.Image]) -> bytes | None:
    """The file with an end marker, if all its pixels are there; None otherwise.

    Missing pixels are decoded from whatever follows. So the file is continued in different ways: if the decoded pixels
    are the same each time, none of them is missing.

    Args:
        data: a JPEG file without an end marker.
        decode: decodes the bytes of a JPEG file.
    """
    body = data.rstrip(b"\xff")  # which may be half an end marker
    if not _all_scans_begin(body):
        return None
    digests = set()
    for padding in (*PADDINGS, b""):
        digests.add(_digest(decode(body + padding + END)))
        if len(digests) > 1:
            return None
    return body + END


def _digest(image: Image.Image) -> bytes:
    """The sha256 of the pixels, computed in bands."""
    digest = hashlib.sha256()
    for top in range(0, image.height, 256):
        digest.update(image.crop((0, top, image.width, min(image.height, top + 256))).tobytes())
    return digest.digest()


def _all_scans_begin(data: bytes) -> bool:
    """Whether every coefficient of every component has a scan down to its last bit.

    Without this check, a progressive JPEG that is cut off between two scans would count as complete.
    """
    missing: set[tuple[int, int]] = set()
    start = 0
    for marker, at, end in jpeg_segments(data):
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            components = data[at + 10 : end : 3]
            missing = {(component, k) for component in components for k in range(64)}
        start = at
    at = start
    while at >= 0 and missing:
        if data[at + 1] == 0xDA:
            missing -= _completed(data, at)
        at = _next_marker(data, at + 2)
    return not missing


def _completed(data: bytes, at: int) -> set[tuple[int, int]]:
    """(component, coefficient) of all that a scan refines to the last bit."""
    (length,) = struct.unpack_from(">H", data, at + 2)
    count = data[at + 4]
    first, last, bits = data[at + 2 + length - 3 : at + 2 + length]
    if bits & 15:
        return set()
    return {(data[at + 5 + 2 * i], k) for i in range(count) for k in range(first, last + 1)}


def _next_marker(data: bytes, at: int) -> int:
    """The position of the next marker that is no restart marker, or -1."""
    match = MARKER.search(data, at)
    return match.start() if match else -1

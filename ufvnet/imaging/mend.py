"""Picture files without their optional parts, for files whose EXIF, profile or text is damaged, and not their pixels.

A file that Pillow refuses is tried again without optional parts: first without the damaged ones, then without each kind
of them, then without all. Parts that carry pixels are never changed.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

PNG, JPEG, TIFFS = b"\x89PNG\r\n\x1a\n", b"\xff\xd8", (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
CODESTREAM = b"\xff\x4f\xff\x51"
"""The first bytes of JPEG 2000's codestream, which lies inside boxes."""

MOST = 2**24
"""Upper bound on the bytes of a JPEG's optional parts, which Pillow joins in quadratic time; longer are dropped."""


@dataclass(frozen=True)
class Part:
    """An optional part of a file, data[start:end]: its name, and whether its checksum is wrong."""

    name: str
    start: int
    end: int
    damaged: bool = False


def without_optional(data: bytes) -> Iterator[tuple[str, bytes]]:
    """(what is left out, the file without it), least first; the last one has no optional part at all."""
    parts = optional_parts(data)
    names = list(dict.fromkeys(part.name for part in parts))
    choices = [[p for p in parts if p.damaged], *([p for p in parts if p.name == name] for name in names), parts]
    tried: list[list[Part]] = [[]]
    for chosen in choices:
        if chosen not in tried:
            tried.append(chosen)
            left_out = ", ".join(dict.fromkeys(part.name for part in chosen))
            yield left_out, _without(data, chosen)


def bloated(data: bytes) -> bool:
    """Whether a JPEG has more bytes of optional parts than MOST."""
    return data.startswith(JPEG) and sum(p.end - p.start for p in optional_parts(data)) > MOST


def optional_parts(data: bytes) -> list[Part]:
    """All optional parts of a PNG, JPEG, WebP, TIFF, AVIF, HEIC or JPEG 2000 file; none for other formats."""
    try:
        if data.startswith(PNG):
            return list(_png(data))
        if data.startswith(JPEG):
            return list(_jpeg(data))
        if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
            return list(_webp(data))
        if data[:4] in TIFFS:
            return list(_tiff(data))
        if data[4:8] == b"ftyp":
            return list(_boxes_of_exif(data))
        start = data.find(CODESTREAM, 0, 2**20)
        return [Part("JPEG 2000 header", 0, start)] if data[4:8] == b"jP  " and start > 0 else []
    except (struct.error, IndexError, OverflowError):
        return []


def _without(data: bytes, parts: Sequence[Part]) -> bytes:
    if data[:4] in TIFFS:
        return _tiff_without(data, parts)
    if data[4:8] == b"ftyp":  # renamed to an unknown type of item, so that no offset in the file changes
        return _joined(data, parts, b"skip")
    cut = _joined(data, parts)
    if data[:4] == b"RIFF":
        names = {part.name for part in parts}
        flags = cut[20:21]
        if cut[12:16] == b"VP8X":
            lost = sum(flag for name, (_, flag) in _WEBP.items() if name in names)
            flags = bytes([cut[20] & ~lost])
        return cut[:4] + struct.pack("<I", len(cut) - 8) + cut[8:20] + flags + cut[21:]
    return cut + _chunk(b"IEND") if data.startswith(PNG) and cut[-8:-4] != b"IEND" else cut


def _joined(data: bytes, parts: Sequence[Part], instead: bytes = b"") -> bytes:
    pieces, at = [], 0
    for part in sorted(parts, key=lambda p: p.start):
        pieces += [data[at : part.start], instead]
        at = max(at, part.end)
    return b"".join([*pieces, data[at:]])


# PNG

_CHUNKS = {b"eXIf": "EXIF", b"iCCP": "colour profile", b"pHYs": "resolution", b"tRNS": "transparency",
           b"tEXt": "text", b"zTXt": "text", b"iTXt": "text", b"acTL": "animation", b"fcTL": "animation",
           b"fdAT": "animation"}  # fmt: skip


def _png(data: bytes) -> Iterator[Part]:
    """Ancillary chunks; one that the end of the file cuts off counts as damaged."""
    at = len(PNG)
    while at + 8 <= len(data):
        (length,), kind = struct.unpack_from(">I", data, at), data[at + 4 : at + 8]
        end = at + 12 + length
        if kind[:1].islower():
            sound = (
                end <= len(data) and zlib.crc32(data[at + 4 : end - 4]) == struct.unpack_from(">I", data, end - 4)[0]
            )
            name = _CHUNKS.get(kind, f"{kind.decode('latin-1')} chunk")
            yield Part(name, at, min(end, len(data)), not sound)
        if kind == b"IEND":
            return
        at = end


def _chunk(kind: bytes) -> bytes:
    return struct.pack(">I", 0) + kind + struct.pack(">I", zlib.crc32(kind))


# JPEG


def _jpeg(data: bytes) -> Iterator[Part]:
    """Comments and application segments before the pixels, except JFIF's and Adobe's, which define the colours."""
    for marker, start, end in jpeg_segments(data):
        body = data[start + 4 : min(end, start + 40)]
        if 0xE0 <= marker <= 0xEF or marker == 0xFE:
            name = _segment_name(marker, body)
            if name:
                yield Part(name, start, end)


def _segment_name(marker: int, body: bytes) -> str:
    if (marker == 0xE0 and body.startswith(b"JFIF")) or (marker == 0xEE and body.startswith(b"Adobe")):
        return ""
    kinds = ((b"Exif\0", "EXIF"), (b"http://ns.adobe.com/", "XMP"), (b"ICC_PROFILE\0", "colour profile"),
             (b"MPF\0", "list of further pictures"), (b"Photoshop", "Photoshop's data"))  # fmt: skip
    name = next((name for start, name in kinds if body.startswith(start)), "")
    return name or ("comment" if marker == 0xFE else f"APP{marker & 15} data")


def jpeg_segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """(marker, start, end) of each segment of a JPEG, up to and including that of the first scan."""
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF:
            at += 1
            continue
        if marker == 0x01 or 0xD0 <= marker <= 0xD9:
            at += 2
            continue
        end = at + 2 + struct.unpack_from(">H", data, at + 2)[0]
        yield marker, at, end
        if marker == 0xDA:
            return
        at = end


# WebP

_WEBP = {"colour profile": (b"ICCP", 0x20), "EXIF": (b"EXIF", 0x08), "XMP": (b"XMP ", 0x04)}
"""Chunk and flag of each optional part."""


def _webp(data: bytes) -> Iterator[Part]:
    names = {kind: name for name, (kind, _) in _WEBP.items()}
    at = 12
    while at + 8 <= len(data):
        length = struct.unpack_from("<I", data, at + 4)[0]
        end = at + 8 + length + length % 2
        if data[at : at + 4] in names:
            yield Part(names[data[at : at + 4]], at, min(end, len(data)), end - length % 2 > len(data))
        at = end


# AVIF and HEIC


def _boxes_of_exif(data: bytes) -> Iterator[Part]:
    """The four letters in the list of a file's items that mark one as EXIF."""
    at = data.find(b"infe", 0, 2**20)
    while at >= 0:
        if data[at + 12 : at + 16] == b"Exif":  # after version, flags, number and protection
            yield Part("EXIF", at + 12, at + 16)
        at = data.find(b"infe", at + 4, 2**20)


# TIFF

_NEEDED = frozenset({254, 255, 256, 257, 258, 259, 262, 266, 273, 274, 277, 278, 279, 284, 292, 293, 317, 320, 322, 323,
                     324, 325, 332, 338, 339, 347, *range(512, 522), 529, 530, 531, 532})  # fmt: skip
"""Tags that say where the pixels of a TIFF are and what they mean."""
_TAGS = {34665: "EXIF", 34853: "GPS", 700: "XMP", 34675: "colour profile", 282: "resolution", 283: "resolution",
         296: "resolution", 33723: "IPTC", 34377: "Photoshop's data"}  # fmt: skip


@dataclass(frozen=True)
class _Layout:
    """How a TIFF stores its first directory: byte order, formats of counts and links, size of an entry, position."""

    order: str
    count: str
    link: str
    entry: int
    start: int

    @property
    def first(self) -> int:
        return self.start + struct.calcsize(self.order + self.count)


def _layout(data: bytes) -> _Layout:
    order = "<" if data[:1] == b"I" else ">"
    big = data[2 if order == "<" else 3] == 43
    layout = _Layout(order, "Q", "Q", 20, 0) if big else _Layout(order, "H", "I", 12, 0)
    return replace(layout, start=struct.unpack_from(order + layout.link, data, 8 if big else 4)[0])


def _tiff(data: bytes) -> Iterator[Part]:
    """Entries of the first directory that are not needed for the pixels."""
    layout = _layout(data)
    (count,) = struct.unpack_from(layout.order + layout.count, data, layout.start)
    if count > 2**16:
        return
    for at in range(layout.first, layout.first + count * layout.entry, layout.entry):
        (tag,) = struct.unpack_from(layout.order + "H", data, at)
        if tag not in _NEEDED and at + layout.entry <= len(data):
            yield Part(_TAGS.get(tag, "other tags"), at, at + layout.entry)


def _tiff_without(data: bytes, parts: Sequence[Part]) -> bytes:
    """The file with the remaining entries moved together; nothing else moves."""
    layout = _layout(data)
    (count,) = struct.unpack_from(layout.order + layout.count, data, layout.start)
    end = layout.first + count * layout.entry
    removed = {part.start for part in parts}
    kept = [data[at : at + layout.entry] for at in range(layout.first, end, layout.entry) if at not in removed]
    link = data[end : end + struct.calcsize(layout.order + layout.link)]
    directory = struct.pack(layout.order + layout.count, len(kept)) + b"".join(kept) + link
    return data[: layout.start] + directory + data[layout.start + len(directory) :]

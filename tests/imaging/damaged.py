"""Pictures whose pixels are perfect and whose other parts are not, and files that are no pictures that are read."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np
from PIL import Image

SIZE = (64, 48)
JUNK = b"this is no profile and no EXIF" * 8


def picture(mode: str = "RGB") -> Image.Image:
    """A smooth picture of many colours."""
    blocks = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return Image.fromarray(blocks).resize(SIZE, Image.Resampling.BICUBIC).convert(mode)


def file_of(image: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def chunk(kind: bytes, body: bytes, checksum: int | None = None) -> bytes:
    """A PNG's chunk."""
    checksum = zlib.crc32(kind + body) if checksum is None else checksum
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", checksum)


def png_with(*chunks: bytes, before: bytes = b"IDAT", image: Image.Image | None = None) -> bytes:
    data = file_of(image or picture(), "PNG")
    at = data.index(before) - 4
    return data[:at] + b"".join(chunks) + data[at:]


def ifd(*entries: tuple[int, int, int, bytes]) -> bytes:
    """A TIFF header and a directory of (tag, type, count, four bytes), as EXIF is."""
    body = b"".join(struct.pack("<HHI", *entry[:3]) + entry[3] for entry in entries)
    return b"II*\0\x08\0\0\0" + struct.pack("<H", len(entries)) + body + bytes(4)


def jpeg_with(marker: int, body: bytes, **options: Any) -> bytes:
    """A JPEG with one more segment at its start."""
    data = file_of(picture(), "JPEG", quality=95, **options)
    return data[:2] + bytes([0xFF, marker]) + struct.pack(">H", len(body) + 2) + body + data[2:]


def jpeg_with_exif(tiff: bytes) -> bytes:
    return jpeg_with(0xE1, b"Exif\0\0" + tiff)


def orientation(value: int) -> bytes:
    return ifd((274, 3, 1, struct.pack("<HH", value, 0)))


def tiff_with(tag: int, kind: int, count: int, value: int) -> bytes:
    """A TIFF with one more tag."""
    data = file_of(picture(), "TIFF", dpi=(72, 72))
    entries = [*_entries(data), struct.pack("<HHII", tag, kind, count, value)]
    entries.sort(key=lambda entry: struct.unpack("<H", entry[:2]))
    return (
        data[:4]
        + struct.pack("<I", len(data))
        + data[8:]
        + struct.pack("<H", len(entries))
        + b"".join(entries)
        + bytes(4)
    )


def tiff_of_resolution(numerator: int, denominator: int) -> bytes:
    data = bytearray(file_of(picture(), "TIFF", dpi=(72, 72)))
    for entry in _entries(bytes(data)):
        tag, _, _, place = struct.unpack("<HHII", entry)
        if tag in (282, 283):
            data[place : place + 8] = struct.pack("<II", numerator, denominator)
    return bytes(data)


def _entries(data: bytes) -> list[bytes]:
    (start,) = struct.unpack_from("<I", data, 4)
    (count,) = struct.unpack_from("<H", data, start)
    return [data[start + 2 + 12 * i : start + 14 + 12 * i] for i in range(count)]


def tiff_of_pages(count: int) -> bytes:
    """A grey TIFF of so many pages of 16x16, which share their pixels."""
    out = bytearray(b"II*\0" + struct.pack("<I", 264) + bytes(256))
    tags = [(256, 3, 1, 16), (257, 3, 1, 16), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1), (273, 4, 1, 8),
            (278, 3, 1, 16), (279, 4, 1, 256)]  # fmt: skip
    body = struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHII", *tag) for tag in tags)
    for page in range(count):
        out += body + struct.pack("<I", len(out) + len(body) + 4 if page < count - 1 else 0)
    return bytes(out)


def long_exif() -> Image.Exif:
    """EXIF of 70 kB, more than a JPEG can hold."""
    exif = Image.Exif()
    exif[271] = "A camera"
    exif.get_ifd(0x8769)[37500] = bytes(70_000)
    return exif


def mended() -> Iterator[tuple[str, bytes, str]]:
    """(name, file, what is said) of pictures that every viewer shows, though an optional part is damaged."""
    bomb = zlib.compress(bytes(20_000_000))
    jpeg, png = file_of(picture(), "JPEG", quality=95), file_of(picture(), "PNG")
    webp = file_of(picture(), "WEBP", exif=b"Exif\0\0" + orientation(1))
    avif = file_of(picture(), "AVIF", exif=b"Exif\0\0" + ifd((271, 2, 4, b"ABC\0")))
    jp2 = file_of(picture(), "JPEG2000")
    gif = file_of(picture(), "GIF", save_all=True, append_images=[picture().rotate(90)])
    mpo = file_of(picture(), "MPO", save_all=True, append_images=[picture().rotate(90)])
    yield "eXIf-junk.png", png_with(chunk(b"eXIf", JUNK)), "EXIF"
    yield "eXIf-checksum.png", png_with(chunk(b"eXIf", ifd((271, 2, 2, b"A\0\0\0")), 1)), "EXIF"
    yield "text-checksum.png", png_with(chunk(b"tEXt", b"a\0b", 1)), "text"
    yield "raw-exif.png", png_with(chunk(b"tEXt", b"Raw profile type exif\0\nexif\n 10\nzzzz")), "EXIF"
    yield "unknown-checksum.png", png_with(chunk(b"abCd", b"ab", 1)), "abCd"
    yield "gamma-short.png", png_with(chunk(b"gAMA", b"\0")), "gAMA"
    yield "resolution-short.png", png_with(chunk(b"pHYs", b"\0")), "resolution"
    yield "resolution-huge.png", png_with(chunk(b"pHYs", struct.pack(">IIB", 2**32 - 1, 2**32 - 1, 1))), "resolution"
    yield "transparency-short.png", png_with(chunk(b"tRNS", b"\0")), "transparency"
    yield "transparency-long.png", png_with(chunk(b"tRNS", bytes(300)), image=picture().quantize(16)), "transparency"
    yield "profile-bomb.png", png_with(chunk(b"iCCP", b"a\0\0" + bomb)), "profile"
    yield "profile-method.png", png_with(chunk(b"iCCP", b"a\0\7" + zlib.compress(JUNK))), "profile"
    yield "profile-junk.png", png_with(chunk(b"iCCP", b"a\0\0" + zlib.compress(JUNK))), "profile"
    yield "text-bomb.png", png_with(chunk(b"zTXt", b"a\0\0" + bomb)), "text"
    yield "text-bomb-at-end.png", png_with(chunk(b"zTXt", b"a\0\0" + bomb), before=b"IEND"), "text"
    yield "text-memory.png", png_with(*[chunk(b"tEXt", b"a\0" + b"x" * 900_000)] * 80), "text"
    yield "animation.png", png_with(chunk(b"acTL", b"\0")), "animation"
    yield "no-end.png", png[:-12], "end marker"
    yield "end-checksum.png", png[:-4] + bytes(4), "end marker"
    yield "cut-in-text.png", png[:-12] + struct.pack(">I", 1000) + b"tEXta\0abc", "text"
    yield (
        "types.jpg",
        jpeg_with_exif(ifd((282, 2, 2, b"a\0\0\0"), (271, 3, 1, b"\1\0\0\0"))),
        "EXIF tags left out: 0x011a",
    )
    yield "signs.jpg", jpeg_with_exif(ifd((256, 9, 1, struct.pack("<i", -5)))), "EXIF tags left out: 0x0100"
    yield "profile-junk.jpg", file_of(picture(), "JPEG", icc_profile=JUNK), "profile"
    yield "profile-junk-cmyk.jpg", file_of(picture("CMYK"), "JPEG", icc_profile=JUNK), "profile"
    yield "endless-app1.jpg", jpeg[:2] + (b"\xff\xe1\xff\xffExif\0\0" + bytes(65527)) * 300 + jpeg[2:], "EXIF"
    yield "no-end.jpg", jpeg[:-2], "end marker"
    yield "half-end.jpg", jpeg[:-1], "end marker"
    yield "no-end-progressive.jpg", file_of(picture(), "JPEG", progressive=True)[:-2], "end marker"
    yield "no-end-grey.jpg", file_of(picture("L"), "JPEG")[:-2], "end marker"
    yield "exif-cut.webp", webp[:-4], "EXIF"
    yield "exif-junk.webp", file_of(picture(), "WEBP", exif=JUNK), "EXIF"
    yield "profile-junk.webp", file_of(picture(), "WEBP", icc_profile=JUNK), "profile"
    yield "exif-junk.avif", avif.replace(b"II*\0\x08\0\0\0", b"garbage!"), "EXIF"
    yield "header.jp2", jp2.replace(b"ihdr", b"XXXX"), "JPEG 2000 header"
    yield "second-frame.gif", gif[: gif.rfind(b"\x21\xf9") + 2] + b"\xff" * 30, ""
    yield "further-pictures.mpo", mpo[: mpo.index(b"MPF\0") + 4] + b"\xff" * 60 + mpo[mpo.index(b"MPF\0") + 64 :], ""
    yield "resolution-0-0.tif", tiff_of_resolution(0, 0), "resolution"
    yield "resolution-1-0.tif", tiff_of_resolution(1, 0), "resolution"
    yield "profile-number.tif", tiff_with(34675, 4, 1, 8), "profile"
    yield "xmp-number.tif", tiff_with(700, 4, 1, 8), "XMP"
    yield "exif-loop.tif", tiff_with(34665, 4, 1, 8), ""
    yield "exif-far.tif", tiff_with(34665, 4, 1, 2**31), ""
    yield "absurd.tif", tiff_with(40000, 12, 2**31 - 1, 8), ""


def incomplete() -> Iterator[tuple[str, bytes]]:
    """Pictures that lack pixels."""
    jpeg, png = file_of(picture(), "JPEG", quality=95), file_of(picture(), "PNG")
    progressive = file_of(picture(), "JPEG", progressive=True)
    for cut in (3, 4, 10, 50, len(jpeg) // 2):
        yield f"cut-{cut}.jpg", jpeg[:-cut]
    for cut in (10, 100, len(progressive) // 2):
        yield f"cut-{cut}-progressive.jpg", progressive[:-cut]
    yield "last-scan.jpg", progressive[: progressive.rfind(b"\xff\xc4")]
    yield "cut-restarts.jpg", file_of(picture(), "JPEG", restart_marker_blocks=2)[:-40]
    yield "cut.png", png[: len(png) // 2]
    for kind in ("WEBP", "AVIF", "JPEG2000", "GIF", "PPM", "TIFF", "BMP"):
        data = file_of(picture(), kind)
        yield f"cut.{kind.lower()}", data[: len(data) // 2]


def of_other_formats() -> Iterator[tuple[str, bytes]]:
    """(format, file) of pictures of formats that are not read, several of which Pillow would decode."""
    yield "EPS", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n"
    yield "EPS", b"\xc5\xd0\xd3\xc6" + bytes(40)
    yield "PSD", b"8BPS\0\1" + bytes(40)
    yield "SVG", b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"/>'
    yield "PDF", b"%PDF-1.4\n"
    yield "JPEG XL", b"\xff\x0a" + bytes(40)
    for kind in ("ICO", "PCX", "SGI", "DDS", "ICNS", "QOI", "IM"):
        yield kind, file_of(picture().resize((64, 64)), kind)
    for kind in ("XBM", "MSP"):
        yield kind, file_of(picture("1"), kind)

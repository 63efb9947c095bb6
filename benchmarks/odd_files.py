"""Damaged and odd files of every kind that people's folders hold, made from one seed; they are small on disk."""

from __future__ import annotations

import functools
import gzip
import io
import os
import random
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

Put = Callable[[Path], object]
Case = tuple[bytes, Put]
FORMATS = {"png": "PNG", "jpg": "JPEG", "webp": "WEBP", "tif": "TIFF", "bmp": "BMP", "gif": "GIF", "avif": "AVIF",
           "jp2": "JPEG2000", "ppm": "PPM"}  # fmt: skip
SIDE, LARGE = 40, (11_000, 9_000)
"""Side of a plain picture, and size of a large one (99 megapixels), in pixels."""


def put(folder: Path, outside: Path, seed: int = 0, sample: int | None = None) -> list[str]:
    """Fill a folder. ``sample`` is the number of files to choose, none of them large; None makes all.

    Returns:
        The files that the file system refused, one line each.
    """
    every = list(cases(np.random.default_rng(seed), outside))
    if sample is not None:
        small = [case for case in every if not case[0].startswith(b"large/")]
        every = random.Random(seed).sample(small, sample)
    refused = []
    for name, write in every:
        path = Path(os.fsdecode(os.path.join(os.fsencode(folder), name)))
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write(path)
        except (OSError, ValueError) as error:
            refused.append(f"{name!r}: {error}")
    return refused


def cases(rng: np.random.Generator, outside: Path) -> Iterator[Case]:
    """Names below the folder, each with the function that writes the file."""
    picture = Image.fromarray(np.kron(rng.integers(0, 256, (5, 5, 3)), np.ones((8, 8, 1))).astype(np.uint8))
    yield from foreign(rng)
    yield from optional(picture, rng)
    yield from damaged(picture, rng)
    yield from kinds_of_pixels(rng)
    yield from animations(picture)
    yield from bombs()
    yield from names(picture)
    yield from special(picture, outside)
    yield from tables(picture, outside)


def content(data: bytes) -> Put:
    return lambda path: path.write_bytes(data)


def encoded(picture: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


# PNG by hand


def chunk(kind: bytes, body: bytes, crc: int | None = None) -> bytes:
    return (
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body) if crc is None else crc)
    )


def png(
    *extras: bytes, size: tuple[int, int] = (SIDE, SIDE), depth: int = 8, kind: int = 2, last: bytes = b""
) -> bytes:
    """A PNG of one colour, compressed row by row; ``extras`` are chunks before the pixels, ``last`` is after them."""
    channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[kind]
    row = b"\0" + b"\x80" * (size[0] * channels * depth // 8)
    packer = zlib.compressobj(1)
    pixels = b"".join([*(packer.compress(row) for _ in range(size[1])), packer.flush()])
    header = struct.pack(">IIBBBBB", *size, depth, kind, 0, 0, 0)
    return b"".join([b"\x89PNG\r\n\x1a\n", chunk(b"IHDR", header), *extras, chunk(b"IDAT", pixels), last,
                     chunk(b"IEND", b"")])  # fmt: skip


def ifd(*entries: tuple[int, int, int, bytes]) -> bytes:
    """EXIF's TIFF structure with entries (tag, type, count, four bytes)."""
    body = b"".join(struct.pack("<HHI", tag, kind, count) + value for tag, kind, count, value in entries)
    return b"II*\0" + struct.pack("<IH", 8, len(entries)) + body + bytes(4)


# Kinds


def foreign(rng: np.random.Generator) -> Iterator[Case]:
    """Files that are no photographs but have the name of one."""
    eps = (
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 40 40\n%%EndComments\n(ran) (w) file closefile showpage\n%%EOF\n"
    )
    psd = b"8BPS\0\x01" + bytes(6) + struct.pack(">HIIHH", 3, 40, 40, 8, 3) + bytes(12) + b"\0\0" + bytes(4800)
    files = {
        "eps": eps,
        "psd": psd,
        "ico": encoded(Image.new("RGB", (32, 32)), "ICO"),
        "pdf": encoded(Image.new("RGB", (8, 8)), "PDF"),
        "svg": b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>',
        "tga": encoded(Image.new("RGB", (32, 32)), "TGA"),
        "pcx": encoded(Image.new("RGB", (32, 32)), "PCX"),
        "icns": encoded(Image.new("RGB", (32, 32)), "ICNS"),
        "dds": encoded(Image.new("RGB", (32, 32)), "DDS"),
        "xbm": encoded(Image.new("1", (32, 32)), "XBM"),
        "text": b"This is no picture.\n",
        "html": b"<!doctype html><title>404</title>",
        "json": b'{"error": "not found"}',
        "mp4": b"\0\0\0\x18ftypmp42" + bytes(64),
        "heic": b"\0\0\0\x18ftypheic" + bytes(64),
        "zip": b"PK\x03\x04" + bytes(60),
        "gz": gzip.compress(b"picture", mtime=0),
        "nothing": b"",
        "nul": bytes(5000),
        "noise": rng.bytes(5000),
        "elf": b"\x7fELF" + bytes(60),
        "fli": struct.pack("<IHHHHHH", 128, 0xAF11, 1, 32, 32, 8, 3) + bytes(112),
    }
    for kind, data in files.items():
        for ending in ("jpg", "png"):
            yield f"foreign/{kind}.{ending}".encode(), content(data)


def optional(picture: Image.Image, rng: np.random.Generator) -> Iterator[Case]:
    """Good pixels with broken extras."""
    values = struct.pack("<I", 6), struct.pack("<i", -1), struct.pack("<HH", 6, 0), b"\xff" * 4, bytes(4)
    for tag in (0x0112, 0x011A, 0x0128, 0x8769, 0x8825, 0x02BC):
        for kind in (2, 3, 5, 9, 12, 99):
            exif = ifd((tag, kind, 1, values[int(rng.integers(len(values)))]))
            yield f"extras/exif-{tag:04x}-{kind}.png".encode(), content(png(chunk(b"eXIf", exif)))
            head = b"Exif\0\0" + exif
            yield f"extras/exif-{tag:04x}-{kind}.jpg".encode(), content(encoded(picture, "JPEG", exif=head))
    broken = {
        "exif-noise": chunk(b"eXIf", rng.bytes(40)),
        "exif-empty": chunk(b"eXIf", b""),
        "exif-cut": chunk(b"eXIf", ifd((0x112, 3, 1, values[0]))[:11]),
        "exif-loop": chunk(b"eXIf", b"II*\0" + struct.pack("<IHI", 8, 0, 8)),
        "icc-noise": chunk(b"iCCP", b"p\0\0" + zlib.compress(rng.bytes(300))),
        "icc-not-packed": chunk(b"iCCP", b"p\0\0not zlib"),
        "icc-method": chunk(b"iCCP", b"p\0\x07xx"),
        "density-none": chunk(b"pHYs", struct.pack(">IIB", 0, 0, 1)),
        "density-cut": chunk(b"pHYs", b"\0"),
        "gamma-none": chunk(b"gAMA", bytes(4)),
        "colours-cut": chunk(b"cHRM", b"\0"),
        "transparent-cut": chunk(b"tRNS", b"\0"),
        "text-latin": chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0\xff\xfe<"),
        "text-bad-sum": chunk(b"tEXt", b"a\0b", crc=1),
        "time-bad-sum": chunk(b"tIME", bytes(7), crc=1),
        "unknown": chunk(b"abCd", rng.bytes(30)),
    }
    for name, extra in broken.items():
        yield f"extras/{name}.png".encode(), content(png(extra))
        yield f"extras/{name}-last.png".encode(), content(png(last=extra))
    icc, long = rng.bytes(200), b"Exif\0\0" + ifd((0x010E, 2, 1, bytes(4))) + bytes(60_000)
    for mode in ("RGB", "L", "CMYK"):
        yield f"extras/icc-{mode}.jpg".encode(), content(encoded(picture.convert(mode), "JPEG", icc_profile=icc))
        yield f"extras/icc-{mode}.tif".encode(), content(encoded(picture.convert(mode), "TIFF", icc_profile=icc))
    yield b"extras/icc.webp", content(encoded(picture, "WEBP", icc_profile=icc))
    yield b"extras/long-exif.webp", content(encoded(picture, "WEBP", exif=long + bytes(10_000)))
    yield b"extras/long-exif.png", content(png(chunk(b"eXIf", long[6:] + bytes(10_000))))
    yield b"extras/long-exif.jpg", content(encoded(picture, "JPEG", exif=long))
    yield (
        b"extras/density.jpg",
        content(encoded(picture, "JPEG").replace(b"JFIF\0\x01\x01\0\0\x01\0\x01", b"JFIF\0\x01\x01\x01" + bytes(4))),
    )
    for kind in (0, 3, 5):
        data = encoded(picture, "TIFF", dpi=(72, 72))
        at = data.find(struct.pack("<HH", 0x011A, 5))
        yield f"extras/density-{kind}.tif".encode(), content(data[: at + 2] + struct.pack("<H", kind) + data[at + 4 :])


def damaged(picture: Image.Image, rng: np.random.Generator) -> Iterator[Case]:
    """Every format cut off, and with bits flipped."""
    for ending, kind in FORMATS.items():
        data = encoded(picture, kind)
        yield f"damaged/whole.{ending}".encode(), content(data)
        for share in (0.02, 0.3, 0.7, 0.97):
            yield f"damaged/cut-{share}.{ending}".encode(), content(data[: max(1, int(share * len(data)))])
        for number in range(8):
            flipped = bytearray(data)
            for at in rng.integers(0, len(data) if number % 2 else min(64, len(data)), 1 + number // 2):
                flipped[at] ^= 1 << int(rng.integers(8))
            yield f"damaged/flipped-{number}.{ending}".encode(), content(bytes(flipped))
        yield f"damaged/tail.{ending}".encode(), content(data + rng.bytes(5000))
    whole = encoded(picture, "JPEG")
    yield b"damaged/no-end-mark.jpg", content(whole[:-2])
    yield b"damaged/twice.jpg", content(whole + whole)
    yield b"damaged/sum-of-pixels.png", content(png()[:-20] + bytes(4) + png()[-16:])


def kinds_of_pixels(rng: np.random.Generator) -> Iterator[Case]:
    """Every way to store a pixel that Pillow writes, and two large pictures."""
    grey = rng.integers(0, 65536, (SIDE, SIDE))
    wide = {"I;16": np.uint16, "I": np.int32, "F": np.float32}
    colour = Image.fromarray(grey.astype(np.uint8)).convert("RGB")
    for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "LAB", *wide):
        for ending in ("png", "tif", "webp", "gif", "jp2", "jpg", "bmp"):
            try:
                picture = Image.fromarray(grey.astype(wide[mode])) if mode in wide else colour.convert(mode)
                data = encoded(picture, FORMATS[ending])
            except (OSError, ValueError):
                continue  # the format has no such pixels
            yield f"pixels/{mode.replace(';', '-')}.{ending}".encode(), content(data)
    for value in (np.nan, np.inf, -1e30, 1e30):
        data = encoded(Image.fromarray(np.full((SIDE, SIDE), value, np.float32)), "TIFF")
        yield f"pixels/{value}.tif".encode(), content(data)
    for size in ((1, 1), (1, 500), (500, 1), (3, 3), (1, 65_000), (0, 0), (0, 9)):
        yield f"pixels/{size[0]}x{size[1]}.png".encode(), content(png(size=size))
    for name, depth, kind in (("rgba", 8, 6), ("grey-16", 16, 0), ("rgba-16", 16, 6), ("rgb", 8, 2)):
        yield f"large/{name}.png".encode(), functools.partial(_large, depth=depth, kind=kind)


def _large(path: Path, depth: int, kind: int) -> None:
    path.write_bytes(png(size=LARGE, depth=depth, kind=kind))


def animations(picture: Image.Image) -> Iterator[Case]:
    more = [picture.rotate(90), picture.rotate(180)]
    for ending in ("gif", "webp", "png", "tif", "avif"):
        yield (
            f"frames/three.{ending}".encode(),
            content(encoded(picture, FORMATS[ending], save_all=True, append_images=more)),
        )
    pages = [Image.new("L", (8, 8))] * 3000
    yield b"frames/pages.tif", lambda path: pages[0].save(path, "TIFF", save_all=True, append_images=pages[1:])
    single = encoded(Image.new("L", (8, 8)), "TIFF")
    at = struct.unpack("<I", single[4:8])[0]
    end = at + 2 + 12 * struct.unpack("<H", single[at : at + 2])[0]
    yield b"frames/endless.tif", content(single[:end] + struct.pack("<I", at) + single[end + 4 :])
    yield b"frames/mpo.jpg", content(encoded(picture, "MPO", save_all=True, append_images=more))


def bombs() -> Iterator[Case]:
    """A few bytes that unpack to gigabytes."""
    zeros = zlib.compress(bytes(200_000_000), 1)
    yield b"bombs/profile.png", content(png(chunk(b"iCCP", b"p\0\0" + zeros)))
    yield b"bombs/text.png", content(png(chunk(b"zTXt", b"t\0\0" + zeros)))
    yield b"bombs/texts.png", content(png(*[chunk(b"zTXt", b"t\0\0" + zlib.compress(bytes(900_000)))] * 100))
    for side in (11_000, 20_000, 60_000, 2**31 - 1):
        header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
        data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zeros[:1000]) + chunk(b"IEND", b"")
        yield f"bombs/{side}.png".encode(), content(data)
    yield b"bombs/60000.gif", content(b"GIF89a" + struct.pack("<HHBBB", 60_000, 60_000, 0, 0, 0) + b";")
    yield (
        b"bombs/60000.bmp",
        content(b"BM" + struct.pack("<IIIIiiHHIIIIII", 0, 0, 54, 40, 60_000, 60_000, 1, 24, *[0] * 6)),
    )
    yield b"bombs/60000.ppm", content(b"P6 60000 60000 255\n")


def names(picture: Image.Image) -> Iterator[Case]:
    good = content(encoded(picture, "PNG"))
    plain = [
        *(
            "-rf.png",
            "--help",
            "new\nline.png",
            "bell\x07.png",
            "\x1b[2J.png",
            "a b.png",
            "'; echo.png",
            "right\u202egnp.png",
        ),
        *("nai\u0308ve.png", "na\u00efve.png", "Twin.png", "twin.png", "TWIN.PNG", "back\\slash.png", "\\x41.png"),
        *(
            "x" * 246 + ".png",
            "\u00e9" * 123 + ".png",
            "%s%n.png",
            "no-ending",
            "two.dots..png",
            "trailing .png ",
            "CON.png",
        ),
        *(
            "*.png",
            "[a].png",
            "~.png",
            "$HOME.png",
            "manifest.parquet.png",
            "a#000000.png",
            "\U0001f600.png",
            "tab\t.png",
        ),
        *("=1+1.png", "<b>.png"),
    ]
    odd = [*(name.encode() for name in plain), b"latin-\xe9\xff.png"]
    yield from ((b"names/" + name, good) for name in odd)


def special(picture: Image.Image, outside: Path) -> Iterator[Case]:
    """Entries that are no files: folders, links, pipes."""
    yield b"special/folder.jpg/inner.png", content(encoded(picture, "PNG"))
    yield b"special/empty.png", lambda path: path.mkdir()
    yield b"special/loop", lambda path: path.symlink_to(path.parent)
    yield b"special/self.png", lambda path: path.symlink_to(path.name)
    yield b"special/gone.png", lambda path: path.symlink_to("nowhere.png")
    yield b"special/out.png", lambda path: path.symlink_to(outside / "private.png")
    yield b"special/outside", lambda path: path.symlink_to(outside)
    yield b"special/null.png", lambda path: path.symlink_to("/dev/null")
    yield b"special/zero.png", lambda path: path.symlink_to("/dev/zero")
    yield b"special/pipe.png", os.mkfifo
    yield b"special/manifest.parquet/inner.png", content(encoded(picture, "PNG"))
    yield b"special/summary.json", content(b"{}")
    yield b"special/deep/" + b"d/" * 60 + b"a.png", content(encoded(picture, "PNG"))


def tables(picture: Image.Image, outside: Path) -> Iterator[Case]:
    """Parquet and Arrow of every shape."""
    good = encoded(picture, "PNG")
    whole = struct_of([good, None, b"", b"no picture"])

    def parquet(**columns: Any) -> Put:
        return lambda path: pq.write_table(pa.table(columns), path)

    yield b"tables/whole.parquet", parquet(image=whole)
    yield (
        b"tables/two-images.parquet",
        lambda p: pq.write_table(pa.Table.from_arrays([whole, whole], ["image", "image"]), p),
    )
    places = [
        str(outside / "private.png"),
        "../../outside/private.png",
        "/etc/passwd",
        "/dev/zero",
        "gone\0.png",
        "x" * 5000,
    ]
    paths = pa.StructArray.from_arrays([pa.array([None] * 6, pa.binary()), pa.array(places)], ["bytes", "path"])
    yield b"tables/paths-outside.parquet", parquet(image=paths)
    for name, kind in (("view", pa.binary_view()), ("large", pa.large_binary()), ("fixed", pa.binary(len(good)))):
        array = pa.array([good, good], pa.binary()).cast(kind)
        yield f"tables/{name}.parquet".encode(), parquet(image=array)
        nested = pa.StructArray.from_arrays([array, pa.array(["a.png", "b.png"])], ["bytes", "path"])
        yield f"tables/{name}-nested.parquet".encode(), parquet(image=nested)
    yield b"tables/dictionary.parquet", parquet(image=pa.array([good, good]).dictionary_encode())
    yield b"tables/list.parquet", parquet(image=pa.array([[good], []]))
    yield b"tables/text.parquet", parquet(image=pa.array(["a.png", "../b.png"]))
    yield b"tables/number.parquet", parquet(image=pa.array([1, 2]))
    yield b"tables/none.parquet", parquet(image=pa.array([], pa.binary()))
    yield b"tables/no-image.parquet", parquet(other=pa.array([1]))
    yield b"tables/names.parquet", parquet(image=whole, file_name=pa.array(["../../up.png", "a\0b", "", None]))
    buffer = io.BytesIO()
    pq.write_table(pa.table({"image": whole}), buffer)
    data = buffer.getvalue()
    yield b"tables/cut.parquet", content(data[:-30])
    yield b"tables/flipped.parquet", content(data[:40] + b"\xff" * 20 + data[60:])
    yield b"tables/foot.parquet", content(data[:-60] + b"\xff" * 40 + data[-20:])
    yield b"tables/text-of.parquet", content(b"no table")
    yield b"tables/empty.parquet", content(b"")
    yield b"tables/text-of.arrow", content(b"ARROW1\0\0no table")
    yield b"tables/cut.arrow", lambda path: path.write_bytes(_arrow(whole)[:-50])
    yield b"tables/whole.arrow", lambda path: path.write_bytes(_arrow(whole))


def struct_of(pictures: list[bytes | None]) -> pa.StructArray:
    names = pa.array([f"{i}.png" for i in range(len(pictures))])
    return pa.StructArray.from_arrays([pa.array(pictures, pa.binary()), names], ["bytes", "path"])


def _arrow(array: pa.Array) -> bytes:
    table, sink = pa.table({"image": array}), io.BytesIO()
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()

"""Formats of pictures that are read, and recognising other formats without decoding them."""

from __future__ import annotations

import contextlib
import functools
import importlib
import re

from PIL import Image

from ufvnet.extras import install_command

READ = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "AVIF", "HEIF", "PPM", "JPEG2000", "MPO")
"""Pillow's names of the formats that are read. Its other decoders are never used: some start other programs."""
_PLUGINS = ("Jpeg", "Mpo", "Png", "WebP", "Tiff", "Bmp", "Gif", "Avif", "Ppm", "Jpeg2K")
"""Pillow's modules with these decoders. ``Image.init`` would import 30 more, a tenth of a second."""

READ_IN_WORDS = "JPEG, PNG, WebP, TIFF, BMP, GIF, AVIF, HEIC, PPM and JPEG 2000"

HEIC_BRANDS = (b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1")
NEEDS_HEIF = f"HEIC needs pillow-heif: {install_command('heic')}"

_PICTURES = (
    ("EPS", rb"%!PS|\xc5\xd0\xd3\xc6"),
    ("PSD", rb"8BPS"),
    ("SVG", rb"(\xef\xbb\xbf)?\s*(<svg|<(\?xml|!DOCTYPE|!--)[\s\S]{0,2000}<svg)"),
    ("ICO", rb"\x00\x00\x01\x00[\x01-\xff]\x00[\s\S]{3}\x00"),
    ("CUR", rb"\x00\x00\x02\x00[\x01-\xff]\x00[\s\S]{3}\x00"),
    ("ICNS", rb"icns"),
    ("DDS", rb"DDS "),
    ("QOI", rb"qoif"),
    ("PCX", rb"\n[\x00-\x05]\x01[\x01\x02\x04\x08]"),
    ("DCX", rb"\xb1\x68\xde\x3a"),
    ("SGI", rb"\x01\xda[\x00\x01][\x01\x02]"),
    ("Sun raster", rb"\x59\xa6\x6a\x95"),
    ("XPM", rb"/\* XPM \*/"),
    ("XBM", rb"\s*#define[ \t]+\S+_width[ \t]+\d"),
    ("WMF", rb"\xd7\xcd\xc6\x9a\x00\x00"),
    ("EMF", rb"\x01\x00\x00\x00[\s\S]{36} EMF"),
    ("FITS", rb"SIMPLE  ="),
    ("FLI", rb"[\s\S]{4}[\x11\x12]\xaf"),
    ("BLP", rb"BLP[12]"),
    ("IM", rb"Image type: "),
    ("MSP", rb"DanM|LinS"),
    ("JPEG XL", rb"\xff\x0a|\x00\x00\x00\x0cJXL "),
    ("JPEG XR", rb"II\xbc"),
    ("MNG", rb"\x8aMNG|\x8bJNG"),
    ("XCF", rb"gimp xcf"),
    ("OpenEXR", rb"\x76\x2f\x31\x01"),
    ("Radiance HDR", rb"#\?RADIANCE|#\?RGBE"),
    ("DjVu", rb"AT&TFORM"),
    ("Fujifilm raw", rb"FUJIFILMCCD-RAW"),
    ("Canon raw", rb"[\s\S]{4}ftypcrx "),
)  # fmt: skip
_OTHERS = (
    ("PDF", rb"%PDF-"),
    ("MPEG", rb"\x00\x00\x01[\xb3\xba]"),
    ("AVI", rb"RIFF[\s\S]{4}AVI "),
    ("HDF5", rb"\x89HDF"),
    ("GRIB", rb"GRIB"),
    ("BUFR", rb"BUFR"),
    ("MP4", rb"[\s\S]{4}ftyp(?!avi[fs]|hei[cxms]|hev[cx]|mif1|msf1)"),
    ("Matroska", rb"\x1aE\xdf\xa3"),
    ("ZIP", rb"PK\x03\x04"),
)
VIDEOS = (".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".wmv", ".flv", ".mpg", ".mpeg", ".mts", ".3gp")
"""File endings of videos."""

_UNSIGNED = {".tga": "TGA", ".icb": "TGA", ".vda": "TGA", ".vst": "TGA", ".pcd": "Photo CD"}
"""Formats of pictures that have no signature, by file ending."""


@functools.cache
def heif_is_known() -> bool:
    """Let Pillow read HEIC if pillow-heif is installed; False if it is not."""
    try:
        import pillow_heif
    except ImportError:
        return False
    pillow_heif.register_heif_opener()
    return True


@functools.cache
def formats() -> tuple[str, ...]:
    """The argument of ``Image.open(formats=...)``: those of READ that this Pillow has decoders for."""
    heif_is_known()
    for name in _PLUGINS:
        with contextlib.suppress(ImportError):
            importlib.import_module(f"PIL.{name}ImagePlugin")
    return tuple(kind for kind in READ if kind in Image.OPEN)


def kind_of(ending: str) -> str:
    """Pillow's name of the format of files with this ending, "" for one that is not read."""
    formats()
    return Image.EXTENSION.get(ending.lower(), "")


@functools.cache
def picture_endings() -> frozenset[str]:
    """File endings of the pictures that are read; those of HEIC and AVIF even if their decoders are missing."""
    formats()
    known = {ending for ending, kind in Image.EXTENSION.items() if kind in READ}
    return frozenset(known | {".mpo", ".heic", ".heif", ".avif"})


def why_not_read(head: bytes) -> tuple[str, bool]:
    """Why no decoder accepts a file with this beginning, and whether it is a picture; ("", False) if unknown.

    Args:
        head: the first bytes of a file, at least 2,100 if it has as many.
    """
    if head[4:8] == b"ftyp" and head[8:12] in HEIC_BRANDS and not heif_is_known():
        return NEEDS_HEIF, True
    for table, pictures in ((_PICTURES, True), (_OTHERS, False)):
        for name, signature in table:
            if re.match(signature, head):
                return _not_read(name), pictures
    return "", False


def why_not_read_by_name(ending: str) -> str:
    """The same by file ending, for formats of pictures that have no signature; "" for all others."""
    if ending.lower() in (".heic", ".heif") and not heif_is_known():
        return NEEDS_HEIF
    name = _UNSIGNED.get(ending.lower())
    return _not_read(name) if name else ""


def _not_read(name: str) -> str:
    return f"{name} is not a format that is read; those are {READ_IN_WORDS}"

"""Reading a picture with all that must survive its restoration, and writing it in any format."""

from __future__ import annotations

import functools
import io
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from PIL import Image, ImageCms

from ufvnet.data.images import UNDECODED, eight_bits, first_frame, has_alpha, open_image, turned
from ufvnet.data.png import encode

ENDINGS = {"png": ".png", "jpeg": ".jpg", "webp": ".webp", "tiff": ".tif", "bmp": ".bmp", "avif": ".avif"}
PLAIN_SIDE = 1024
"""Plain pictures up to this side are written by our own PNG encoder, which is faster on them than Pillow's."""

ORIENTATION, BITS_PER_SAMPLE = 0x0112, 258


@dataclass(frozen=True)
class Picture:
    """An upright picture of 8 bits a channel, and what goes with it.

    colour: L for grey pictures, else RGB.
    alpha: L of the same size, or None.
    format: Pillow's name of the format it came in, e.g. ``JPEG``.
    notes: what was converted on the way.
    extras: EXIF, ICC profile, resolution, XMP as Pillow's save takes them.
    """

    colour: Image.Image
    alpha: Image.Image | None = None
    format: str = "?"
    notes: tuple[str, ...] = ()
    extras: dict[str, Any] = field(default_factory=dict)

    @property
    def size(self) -> tuple[int, int]:
        return self.colour.size

    def with_colour(self, colour: Image.Image) -> Picture:
        """This picture with other colours, perhaps of another size: grey stays grey, alpha is scaled by bicubic."""
        if self.colour.mode != colour.mode:
            colour = colour.convert(self.colour.mode)
        alpha = self.alpha
        if alpha is not None and alpha.size != colour.size:
            alpha = alpha.resize(colour.size, Image.Resampling.BICUBIC)
        return replace(self, colour=colour, alpha=alpha)

    def resized(self, size: tuple[int, int]) -> Picture:
        """Scaled by bicubic; itself where it has that size."""
        return self if size == self.size else self.with_colour(self.colour.resize(size, Image.Resampling.BICUBIC))

    def whole(self) -> Image.Image:
        """L, LA, RGB or RGBA."""
        if self.alpha is None:
            return self.colour
        both = self.colour.convert(f"{self.colour.mode}A")
        both.putalpha(self.alpha)
        return both


def read_picture(data: bytes, max_pixels: int) -> Picture:
    """The picture in the bytes of a file, whatever the file's name says it is.

    16 bits are reduced to 8, palettes, CMYK and the like become RGB, the first frame of an animation is taken, EXIF
    orientation is applied; ``notes`` says which.

    Raises:
        ImageProblem: it cannot be read or declares more than max_pixels.
    """
    heif_is_known()
    with open_image(data, max_pixels) as image:
        return picture_of(image, data)


def picture_of(image: Image.Image, data: bytes = b"") -> Picture:
    """A PIL image as a Picture; ``data``, the file it is from, tells of 16-bit colours that PIL reduces silently."""
    notes: list[str] = []
    kind = image.format or "?"
    if _is_deep(image, data):
        notes.append("16 bits a channel reduced to 8")
    upright = eight_bits(turned(first_frame(image, notes), notes), notes)
    extras = _extras(upright, kind)
    alpha = None
    if has_alpha(upright):
        both = upright.convert("LA" if upright.mode in ("L", "LA", "1") else "RGBA")
        alpha, upright = both.getchannel("A"), both.convert("L" if both.mode == "LA" else "RGB")
    elif upright.mode not in ("L", "RGB"):
        notes.append(f"{upright.mode} converted to {'L' if upright.mode == '1' else 'RGB'}")
        upright = _plain(upright, extras)
    colour = upright.copy() if upright is image else upright  # the caller's, or about to be closed
    colour.info = {}
    return Picture(colour, alpha, kind, tuple(notes), extras)


def _is_deep(image: Image.Image, data: bytes) -> bool:
    """Whether Pillow reduces 16-bit RGB to 8 bits without a word."""
    if image.mode not in ("RGB", "RGBA", "LA"):
        return False
    if image.format == "PNG":
        return data[24:25] == b"\x10"
    bits = getattr(image, "tag_v2", {}).get(BITS_PER_SAMPLE, ())
    return max(bits if isinstance(bits, tuple) else (bits,), default=8) > 8


def _plain(image: Image.Image, extras: dict[str, Any]) -> Image.Image:
    """RGB, or L of a bilevel picture; CMYK by its profile, which is of no use afterwards."""
    if image.mode == "1":
        return image.convert("L")
    if image.mode != "P":
        profile = extras.pop("icc_profile", None)
        if profile and image.mode in ("CMYK", "LAB"):
            try:
                source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
                done = ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
                if done is not None:
                    return done
            except ImageCms.PyCMSError:
                pass  # a broken profile: as if there were none
    return image.convert("RGB")


def _extras(image: Image.Image, kind: str) -> dict[str, Any]:
    """What Pillow's writers take, the orientation (which is applied) left out."""
    extras: dict[str, Any] = {k: image.info[k] for k in ("icc_profile", "dpi", "xmp") if image.info.get(k)}
    exif = image.getexif()
    if ORIENTATION in exif:
        del exif[ORIENTATION]
    if kind == "TIFF":  # a TIFF's own tags are no EXIF of the camera's
        exif = _camera_tags(exif)
    if len(exif):
        extras["exif"] = exif.tobytes()
    return extras


def _camera_tags(exif: Image.Exif) -> Image.Exif:
    """Of a TIFF's tags, those that tell of the photo and not of how the file stores it."""
    kept = Image.Exif()
    told = {270, 271, 272, 305, 306, 315, 33432}  # description, make, model, software, date, artist, copyright
    for tag in told & set(exif):
        kept[tag] = exif[tag]
    for ifd in (0x8769, 0x8825):  # Exif and GPS
        values = exif.get_ifd(ifd)
        if values:
            kept.get_ifd(ifd).update(values)
            kept[ifd] = values
    return kept


@functools.cache
def heif_is_known() -> bool:
    """Let Pillow read HEIC where pillow-heif is installed; False where it is not."""
    try:
        import pillow_heif
    except ImportError:
        return False
    pillow_heif.register_heif_opener()
    return True


@functools.cache
def picture_endings() -> frozenset[str]:
    """Endings of the names of pictures that Pillow reads, and of HEIC also where it is not installed."""
    heif_is_known()
    kinds = Image.registered_extensions()
    read = {ending for ending, kind in kinds.items() if kind in Image.OPEN and kind not in UNDECODED}
    return frozenset(read | {".mpo", ".heic", ".heif"})


def choose_format(wanted: str, picture: Picture, ending: str) -> tuple[str, str, str]:
    """(Pillow's name of the format to write, the ending of the file, what to say about it).

    Args:
        wanted: one of RestoreConfig.format but parquet.
        picture: what is written.
        ending: of the input, for ``same``.
    """
    if wanted in ("auto", "parquet"):
        wanted = "png"
    if wanted != "same":
        return wanted.upper(), ENDINGS[wanted], ""
    if picture.format in ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "AVIF"):
        known = Image.registered_extensions().get(ending.lower()) == picture.format
        return picture.format, ending if known else ENDINGS[picture.format.lower()], ""
    if picture.format == "MPO":  # what cameras name .jpg
        return "JPEG", ending if ending.lower() in (".jpg", ".jpeg") else ".jpg", ""
    if picture.format == "HEIF" and heif_is_known():
        return "HEIF", ending or ".heic", ""
    return "PNG", ".png", f"written as PNG, not as {picture.format}"


def encoded(picture: Picture, kind: str, quality: int) -> tuple[bytes, str]:
    """The bytes of a file of Pillow's format ``kind``, and what was lost.

    The bytes depend on the picture, the format and the quality alone.
    """
    extras, lost = dict(picture.extras), ""
    plain = picture.alpha is None and not extras and picture.colour.mode == "RGB" and max(picture.size) <= PLAIN_SIDE
    if kind == "PNG" and plain:
        return encode(picture.colour), lost
    image = picture.whole()
    if kind == "JPEG" and picture.alpha is not None:
        lost = "alpha flattened on white, as JPEG has none"
        image = Image.new(picture.colour.mode, picture.size, "white")
        image.paste(picture.colour, mask=picture.alpha)
    if kind == "BMP":
        image = image.convert("RGBA") if image.mode == "LA" else image
        lost = "BMP keeps no EXIF or ICC profile" if {"exif", "icc_profile"} & set(extras) else ""
        extras = {k: v for k, v in extras.items() if k == "dpi"}
    if kind in ("WEBP", "AVIF", "HEIF") and image.mode in ("L", "LA"):
        image = image.convert("RGB" if image.mode == "L" else "RGBA")
    if kind in ("TIFF", "PNG"):
        extras.pop("xmp", None)
    options = _options(kind, quality)
    if kind == "TIFF" and "exif" in extras:
        del options["compression"]  # Pillow's compressing writer cannot write the Exif and GPS tags
    file = io.BytesIO()
    image.save(file, kind, **options, **extras)
    return file.getvalue(), lost


_OPTIONS: dict[str, Callable[[int], dict[str, Any]]] = {
    "PNG": lambda _: {"compress_level": 3},
    "JPEG": lambda quality: {"quality": quality, "subsampling": 0},
    "WEBP": lambda quality: {"quality": quality, "lossless": quality == 100},
    "AVIF": lambda quality: {"quality": quality},
    "HEIF": lambda quality: {"quality": quality},
    "TIFF": lambda _: {"compression": "tiff_adobe_deflate"},
}


def _options(kind: str, quality: int) -> dict[str, Any]:
    return _OPTIONS.get(kind, lambda _: {})(quality)

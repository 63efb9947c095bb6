"""A picture with everything that must survive its restoration: how it is read, and written in any format."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from PIL import Image

from ufvnet.imaging.colour import name_of, to_srgb
from ufvnet.imaging.decode import Decoded, decode, quiet
from ufvnet.imaging.encode import save
from ufvnet.imaging.formats import heif_is_known, kind_of
from ufvnet.imaging.png import encode
from ufvnet.imaging.upright import upright

ENDINGS = {"png": ".png", "jpeg": ".jpg", "webp": ".webp", "tiff": ".tif", "bmp": ".bmp", "avif": ".avif"}
PLAIN_SIDE = 1024
"""Plain pictures up to this side are written by our own PNG encoder, which is faster for them than Pillow's."""

LOSSY = ("JPEG", "MPO", "HEIF", "AVIF")
"""Formats of photos that have lost detail to compression already, or would make PNGs of ten times their size."""

COLOUR_ONLY = ("WEBP", "AVIF", "HEIF")
"""Formats without grey."""


@dataclass(frozen=True)
class Picture:
    """An upright picture of 8 bits per channel, and what goes with it.

    colour: L for grey pictures, RGB for all others.
    alpha: L of the same size, or None.
    format: Pillow's name of the format that it was read from, e.g. ``JPEG``.
    notes: what reading converted or left out.
    extras: EXIF, ICC profile, resolution and XMP, as Pillow's ``save`` takes them.
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
        """This picture with other colours, perhaps of another size; grey stays grey, and alpha is scaled by bicubic."""
        if self.colour.mode != colour.mode:
            colour = colour.convert(self.colour.mode)
        alpha = self.alpha
        if alpha is not None and alpha.size != colour.size:
            alpha = alpha.resize(colour.size, Image.Resampling.BICUBIC)
        return replace(self, colour=colour, alpha=alpha)

    def scaled_colour(self, size: tuple[int, int]) -> Image.Image:
        """A copy of ``colour``, scaled to (width, height) by bicubic; what alpha hides does not bleed into edges."""
        if size == self.size:
            return self.colour.copy()
        if self.alpha is None:
            return self.colour.resize(size, Image.Resampling.BICUBIC)
        # Pillow weighs the colours of LA and RGBA by their alpha
        return self.whole().resize(size, Image.Resampling.BICUBIC).convert(self.colour.mode)

    def resized(self, size: tuple[int, int]) -> Picture:
        """The picture scaled to (width, height) by bicubic; itself if it has that size."""
        return self if size == self.size else self.with_colour(self.scaled_colour(size))

    def whole(self) -> Image.Image:
        """Colour and alpha in one image: L, LA, RGB or RGBA."""
        if self.alpha is None:
            return self.colour
        both = self.colour.convert(f"{self.colour.mode}A")
        both.putalpha(self.alpha)
        return both


@quiet()
def read_picture(data: bytes, max_pixels: int, admit: Callable[[int], None] = lambda _: None) -> Picture:
    """The picture in the bytes of a file, whatever the file's name says.

    16 bits are reduced to 8, palettes, CMYK and the like become RGB, the first frame of an animation is taken, and EXIF
    orientation is applied. ``notes`` says which of these happened, and which damaged parts of the file were left out.

    Args:
        data: the bytes of the file.
        max_pixels: a picture that declares more is not decoded.
        admit: called with the number of pixels before they are decoded; may wait.

    Raises:
        ImageProblem: the picture cannot be read, or declares more than max_pixels.
    """
    picture = _picture(decode(data, max_pixels, admit))
    picture.colour.info = {}
    return picture


@quiet()
def picture_of(image: Image.Image) -> Picture:
    """A PIL image as a Picture; the image itself is not changed.

    Raises:
        TypeError: it is none, but a path for example.
    """
    if not isinstance(image, Image.Image):
        raise TypeError(f"image = {image!r:.80}: must be a PIL image, as PIL.Image.open returns it")
    notes: list[str] = []
    with contextlib.suppress(Exception):  # its second frame may be damaged
        if getattr(image, "is_animated", False):
            notes.append("first frame of an animation")
    image.load()
    picture = _picture(Decoded(image, notes))
    if picture.colour is image:
        picture = replace(picture, colour=image.copy())
    picture.colour.info = {}
    return picture


@quiet()
def frame_of(image: Image.Image, number: int) -> Picture:
    """A frame of an opened animation, or a page, read as ``read_picture`` reads the first."""
    image.seek(number)
    image.load()
    return _picture(Decoded(image, []))


def _picture(decoded: Decoded) -> Picture:
    image, file_format, profile, notes, extras = upright(decoded, with_extras=True)
    alpha = None
    if image.mode in ("LA", "RGBA"):
        alpha = image.getchannel("A")
        image = image.convert(image.mode[:-1])
    elif image.mode == "1":
        notes.append("1 converted to L")
        image = image.convert("L")
    elif image.mode not in ("L", "RGB"):
        image, profile = _as_rgb(image, profile, notes)
    if profile is not None:
        extras["icc_profile"] = profile
    return Picture(image, alpha, file_format, tuple(notes), extras)


def _as_rgb(image: Image.Image, profile: bytes | None, notes: list[str]) -> tuple[Image.Image, bytes | None]:
    """A palette, CMYK, ... as RGB, and the profile that belongs to the result; a profile of CMYK or LAB is applied and
    does not."""
    notes.append(f"{image.mode} converted to RGB")
    if image.mode not in ("CMYK", "LAB"):
        return image.convert("RGB"), profile
    return (to_srgb(image, profile) if profile is not None else None) or image.convert("RGB"), None


def choose_format(format: str, input_format: str, ending: str, is_lossy_photo: bool = False) -> tuple[str, str, str]:
    """(Pillow's name of the format to write, the ending of the file, a note on a format that cannot be written).

    Args:
        format: as RestoreConfig.format; PNG for ``parquet``.
        input_format: Pillow's name of the format of the input.
        ending: of the input's name, for JPEG that stays JPEG and for ``same``.
        is_lossy_photo: JPEG is the format for ``auto``, instead of PNG.
    """
    if format == "auto" and is_lossy_photo:
        return "JPEG", ending if ending.lower() in (".jpg", ".jpeg") else ".jpg", ""
    if format in ("auto", "parquet"):
        format = "png"
    if format != "same":
        return format.upper(), ENDINGS[format], ""
    if input_format in ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "AVIF"):
        known = kind_of(ending) == input_format
        return input_format, ending if known else ENDINGS[input_format.lower()], ""
    if input_format == "MPO":  # what cameras name .jpg
        return "JPEG", ending if ending.lower() in (".jpg", ".jpeg") else ".jpg", ""
    if input_format == "HEIF" and heif_is_known():
        return "HEIF", ending or ".heic", ""
    return "PNG", ".png", f"written as PNG, not as {input_format}"


def encode_picture(picture: Picture, kind: str, quality: int) -> tuple[bytes, str]:
    """The bytes of a file, and what of the picture was lost in its format.

    The bytes depend on the picture, the format and the quality alone.

    Args:
        picture: what to write.
        kind: Pillow's name of the format.
        quality: of JPEG, WebP and AVIF, 1 to 100.
    """
    extras = dict(picture.extras)
    plain = picture.alpha is None and not extras and picture.colour.mode == "RGB" and max(picture.size) <= PLAIN_SIDE
    if kind == "PNG" and plain:
        return encode(picture.colour), ""
    losses: list[str] = []
    if kind == "JPEG" and picture.alpha is not None:
        losses.append("alpha flattened on white, as JPEG has none")
        image = Image.new(picture.colour.mode, picture.size, "white")
        image.paste(picture.colour, mask=picture.alpha)
    else:
        image = picture.whole()
    if kind in COLOUR_ONLY and image.mode in ("L", "LA"):
        image = _coloured(image, extras, losses)
    return save(image, kind, quality, extras, losses), "; ".join(losses)


def _coloured(image: Image.Image, extras: dict[str, Any], losses: list[str]) -> Image.Image:
    """L or LA as RGB or RGBA; a profile for grey is applied, because it does not fit colours."""
    profile = extras.pop("icc_profile", None)
    if profile is not None:
        converted = to_srgb(image.getchannel(0), profile)
        losses.append(f"{name_of(profile)}, a profile for grey, {'left out' if converted is None else 'applied'}")
        if converted is not None:
            if image.mode == "LA":
                converted.putalpha(image.getchannel("A"))
            return converted
    return image.convert("RGBA" if image.mode == "LA" else "RGB")

"""Colours: 16 bits to 8, transparency on white, colour profiles to sRGB; large pictures in bands, to save memory."""

from __future__ import annotations

import functools
import io
from collections.abc import Iterator

import numpy as np
from PIL import Image, ImageCms

BAND = 2**20
"""Number of pixels that are converted at once."""

SAME = 2
"""Levels by which a profile may differ from sRGB and still count as sRGB: profiles of sRGB itself differ by one."""
NAMED_SAME = 12
"""The same for profiles whose name says sRGB; some of them have another black."""

LONGEST_PROFILE = 2**24
"""Upper bound on the bytes of a profile; those of printing presses with all tables have about four million."""

SPACES = {"1": "GRAY", "L": "GRAY", "LA": "GRAY", "CMYK": "CMYK", "LAB": "Lab"}
"""Colour space that a profile must have, by the mode of the picture; RGB for all other modes."""
MODES = {"GRAY": "L", "RGB": "RGB", "CMYK": "CMYK", "Lab": "LAB"}
"""Pillow's mode for each colour space of a profile."""

Box = tuple[int, int, int, int]


def eight_bits(image: Image.Image, notes: list[str]) -> Image.Image:
    """Grey of 16 bits and more as 8 bits, which is noted; all other pictures unchanged.

    White is the first of 1, 255 and 65535 that no value exceeds, otherwise the greatest value. Floats may exceed it by
    a tenth, as in sharpened pictures. Values outside 0 to white are clipped; NaN becomes black.
    """
    if not (image.mode.startswith("I;16") or image.mode in ("I", "F")):
        return image
    bands = list(_bands(image))
    greatest = max((_greatest(image, box) for box in bands), default=0.0)
    slack = 1.1 if image.mode == "F" else 1.0
    white = next((w for w in (1, 255, 65535) if greatest <= w * slack), greatest)
    notes.append(f"{image.mode} reduced to 8 bits, values taken for 0 to {white:.6g}")
    if "transparency" in image.info:
        notes.append("its transparency left out")
    grey = Image.new("L", image.size)
    for box in bands:
        values = np.array(image.crop(box), dtype=np.float64)
        values *= 255 / white
        np.clip(values, 0, 255, out=values)
        np.nan_to_num(values, copy=False)
        grey.paste(Image.fromarray(np.rint(values, out=values).astype(np.uint8)), box)
    return grey


def _bands(image: Image.Image) -> Iterator[Box]:
    height = max(1, BAND // image.width)
    for top in range(0, image.height, height):
        yield 0, top, image.width, min(image.height, top + height)


def _greatest(image: Image.Image, box: Box) -> float:
    values = np.asarray(image.crop(box))
    return float(values.max(initial=0, where=np.isfinite(values)))


def has_alpha(image: Image.Image) -> bool:
    """Whether any pixel of the picture may be transparent."""
    return image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info


def with_alpha(image: Image.Image, notes: list[str]) -> Image.Image:
    """A picture that ``has_alpha`` as LA or RGBA; as L or RGB if its transparency is damaged, which is noted."""
    grey = image.mode in ("L", "LA", "La", "1")
    wanted = "LA" if grey else "RGBA"
    if image.mode == wanted:
        return image
    try:
        return image.convert(wanted)
    except Exception:  # values that do not fit the mode raise nearly anything
        notes.append("its broken transparency left out")
        opaque = image.copy()
        opaque.info.pop("transparency", None)
        return opaque.convert("L" if grey else "RGB")


def on_white(image: Image.Image) -> Image.Image:
    """An LA or RGBA picture as L or RGB, on a white background."""
    white = Image.new(image.mode[:-1], image.size, "white")
    if image.mode == "RGBA":
        white.paste(image, mask=image)
    else:
        white.paste(image.getchannel(0), mask=image.getchannel("A"))
    return white


# Profiles


def profile_of(image: Image.Image, notes: list[str]) -> bytes | None:
    """The colour profile of a picture; None if it has none, or (noted) one that is broken or for other pixels."""
    if "icc_profile" not in image.info:
        return None
    profile = image.info["icc_profile"]
    space = space_of(profile) if isinstance(profile, bytes) else None
    if space is None:
        notes.append("its broken colour profile left out")
    elif space != SPACES.get("L" if image.mode.startswith(("I", "F")) else image.mode, "RGB"):  # 16 bits and more: grey
        notes.append(f"its colour profile left out: it is for {space}, the picture is {image.mode}")
    else:
        return profile
    return None


@functools.lru_cache(maxsize=8)
def space_of(profile: bytes) -> str | None:
    """The colour space of a profile, one of MODES; None if the profile cannot be used."""
    if len(profile) > LONGEST_PROFILE:
        return None
    try:
        space = ImageCms.getOpenProfile(io.BytesIO(profile)).profile.xcolor_space.strip()
        _transform(profile, MODES[space])
    except Exception:  # a broken profile can raise anything
        return None
    return space


@functools.lru_cache(maxsize=8)
def is_srgb(profile: bytes) -> bool:
    """Whether an RGB or grey profile equals sRGB except for rounding, tested on colours from the whole RGB cube."""
    grey = space_of(profile) == "GRAY"
    steps = np.arange(256) if grey else np.arange(0, 256, 15)
    colours = steps[None, :] if grey else np.stack(np.meshgrid(steps, steps, steps), -1).reshape(1, -1, 3)
    probe = Image.fromarray(colours.astype(np.uint8))
    converted = to_srgb(probe.copy(), profile)
    if converted is None:
        return True  # it cannot be used: as if there were none
    difference = np.abs(np.asarray(converted, np.int16) - np.asarray(probe.convert("RGB"), np.int16)).max()
    return bool(difference <= (NAMED_SAME if "srgb" in name_of(profile).lower() else SAME))


def name_of(profile: bytes) -> str:
    """The name of a profile; "its colour profile" if it has none."""
    try:
        name = ImageCms.getProfileDescription(ImageCms.getOpenProfile(io.BytesIO(profile)))
    except Exception:
        name = ""
    return " ".join(name.split())[:60] or "its colour profile"


def to_srgb(image: Image.Image, profile: bytes) -> Image.Image | None:
    """An L, RGB, CMYK or LAB picture as RGB of sRGB, by its profile; None if the profile cannot do that.

    An RGB picture is changed in place.
    """
    try:
        transform = _transform(profile, image.mode)
        if image.mode == "RGB":
            ImageCms.applyTransform(image, transform, inPlace=True)
            return image
        return ImageCms.applyTransform(image, transform)
    except Exception:  # a broken profile can raise anything
        return None


@functools.lru_cache(maxsize=8)
def _transform(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform:
    source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    return ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), mode, "RGB")

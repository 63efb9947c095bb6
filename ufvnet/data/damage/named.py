"""Damage by name, under which models are measured (docs/method.md section 8), seeded by face."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence

import numpy as np
from PIL import Image, ImageFilter

from ufvnet.config.lr_images import CLEAN, CROP, split_damage

from . import steps
from .steps import Pixels

VERSION = 1
"""Raised when the same face and name no longer give the same bytes."""

Make = Callable[[Pixels, int, int, np.random.Generator], Pixels]


def damaged(name: str, hr: Pixels, height: int, width: int, seed: Sequence[int]) -> Pixels:
    """The damaged LR image of a face.

    Args:
        name: one of ``ufvnet.config.lr_images``; ``jpeg``, ``noise`` and ``blur`` take any whole number from 1 to 100:
            quality, standard deviation in levels, sigma in HR pixels. ``crop`` reduces ``hr``, which was cut again.
        hr: (H, H, 3) uint8.
        height, width: of the LR image.
        seed: of the face; every name and size has a generator of its own.

    Returns:
        (height, width, 3) uint8.

    Raises:
        ValueError: unknown name.
    """
    rng = np.random.default_rng([*seed, *name.encode(), height, width])
    return _make(name)(hr, height, width, rng)


def _make(name: str) -> Make:
    kind, amount = split_damage(name)
    if amount is None:
        return PLAIN[kind]
    if kind == "jpeg":
        return lambda hr, h, w, _: steps.compressed(steps.resized(hr, h, w, "bicubic"), "JPEG", amount)
    if kind == "noise":
        return lambda hr, h, w, rng: steps.noisy(steps.resized(hr, h, w, "bicubic"), rng, amount)
    return lambda hr, h, w, _: _blurred(hr, h, w, amount)


def _blurred(hr: Pixels, height: int, width: int, sigma: float) -> Pixels:
    return steps.resized(steps.blurred(hr, steps.gaussian(sigma)), height, width, "bicubic")


def _by(way: str) -> Make:
    return lambda hr, height, width, _: steps.resized(hr, height, width, way)


def _mixed(hr: Pixels, height: int, width: int, rng: np.random.Generator) -> Pixels:
    return steps.compressed(steps.noisy(_blurred(hr, height, width, 1), rng, 5), "JPEG", 50)


def _grey(hr: Pixels, height: int, width: int, _: np.random.Generator) -> Pixels:
    return steps.grey(steps.resized(hr, height, width, "bicubic"))


def _gif(hr: Pixels, height: int, width: int, _: np.random.Generator) -> Pixels:
    """64 colours that Pillow's quantize chooses for the picture, dithered."""
    lr = Image.fromarray(steps.resized(hr, height, width, "bicubic"))
    palette = lr.quantize(64)
    return np.asarray(lr.quantize(palette=palette, dither=Image.Dither.FLOYDSTEINBERG).convert("RGB"))


def _jpeg2000(hr: Pixels, height: int, width: int, _: np.random.Generator) -> Pixels:
    """JPEG 2000 at about 30 dB from the clean LR image."""
    buffer = io.BytesIO()
    lr = Image.fromarray(steps.resized(hr, height, width, "bicubic"))
    lr.save(buffer, "JPEG2000", quality_mode="dB", quality_layers=[30], irreversible=True)
    return np.asarray(Image.open(buffer).convert("RGB"))


def _sharpened(hr: Pixels, height: int, width: int, _: np.random.Generator) -> Pixels:
    """Sharpened after the reduction, as many thumbnailers do: Pillow's UnsharpMask, radius 1, 100 %."""
    lr = Image.fromarray(steps.resized(hr, height, width, "bicubic"))
    return np.asarray(lr.filter(ImageFilter.UnsharpMask(1, 100, 0)))


PLAIN: dict[str, Make] = {
    CLEAN: _by("bicubic"), CROP: _by("bicubic"), "area": _by("box"), "lanczos": _by("lanczos"),
    "bilinear": _by("bilinear"), "nearest": _by("nearest"), "cv2-cubic": _by("cv2-cubic"), "mixed": _mixed,
    "grey": _grey, "gif": _gif, "jpeg2000": _jpeg2000, "sharpened": _sharpened,
}  # fmt: skip

"""Damage by name, to measure models under: docs/method.md section 8, seeded by face."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Sequence

import numpy as np
from PIL import Image, ImageFilter

from . import steps as damage
from .steps import Pixels

NAMES = (
    "clean", "jpeg90", "jpeg75", "jpeg50", "jpeg30", "noise5", "noise10", "blur1", "blur2", "area", "lanczos",
    "bilinear", "nearest", "cv2-cubic", "mixed", "grey",
)  # fmt: skip
"""docs/method.md section 8's, but for ``crop``, which needs the photograph."""
UNSEEN = ("gif", "jpeg2000", "sharpened")
"""Kinds that no step of a training's chain contains, and that nothing is chosen by."""

Make = Callable[[Pixels, int, int, np.random.Generator], Pixels]


def damaged(name: str, hr: Pixels, height: int, width: int, seed: Sequence[int]) -> Pixels:
    """The damaged LR image of a face.

    Args:
        name: of NAMES or UNSEEN; ``jpeg``, ``noise`` and ``blur`` take any whole number: quality (1 ... 100), standard
            deviation in levels, sigma in HR pixels.
        hr: (H, H, 3) uint8.
        seed: of the face; every name and size draws from a generator of its own.

    Returns:
        (height, width, 3) uint8.

    Raises:
        ValueError: unknown name.
    """
    rng = np.random.default_rng([*seed, *name.encode(), height, width])
    return _make(name)(hr, height, width, rng)


def check(name: str) -> None:
    """Raise ValueError unless ``damaged`` knows the name."""
    _make(name)


def _make(name: str) -> Make:
    if name in PLAIN:
        return PLAIN[name]
    numbered = re.fullmatch(r"(jpeg|noise|blur)([1-9]\d?|100)", name)
    if numbered is None:
        known = ", ".join(dict.fromkeys(NAMES + UNSEEN))
        raise ValueError(f"damage {name!r}: must be one of {known}, or jpeg, noise or blur with another number")
    kind, amount = numbered[1], int(numbered[2])
    if kind == "jpeg":
        return lambda hr, h, w, _: damage.compressed(damage.resized(hr, h, w, "bicubic"), "JPEG", amount)
    if kind == "noise":
        return lambda hr, h, w, rng: damage.noisy(damage.resized(hr, h, w, "bicubic"), rng, amount)
    return lambda hr, h, w, _: _blurred(hr, h, w, amount)


def _blurred(hr: Pixels, height: int, width: int, sigma: float) -> Pixels:
    return damage.resized(damage.blurred(hr, damage.gaussian(sigma)), height, width, "bicubic")


def _by(way: str) -> Make:
    return lambda hr, height, width, _: damage.resized(hr, height, width, way)


def _mixed(hr: Pixels, height: int, width: int, rng: np.random.Generator) -> Pixels:
    return damage.compressed(damage.noisy(_blurred(hr, height, width, 1), rng, 5), "JPEG", 50)


def _grey(hr: Pixels, height: int, width: int, _: np.random.Generator) -> Pixels:
    return damage.grey(damage.resized(hr, height, width, "bicubic"))


def _gif(hr: Pixels, height: int, width: int, _: np.random.Generator) -> Pixels:
    """64 colours chosen for the picture, dithered: Pillow's quantize."""
    lr = Image.fromarray(damage.resized(hr, height, width, "bicubic"))
    palette = lr.quantize(64)
    return np.asarray(lr.quantize(palette=palette, dither=Image.Dither.FLOYDSTEINBERG).convert("RGB"))


def _jpeg2000(hr: Pixels, height: int, width: int, _: np.random.Generator) -> Pixels:
    """JPEG 2000, about 30 dB from what goes in."""
    buffer = io.BytesIO()
    lr = Image.fromarray(damage.resized(hr, height, width, "bicubic"))
    lr.save(buffer, "JPEG2000", quality_mode="dB", quality_layers=[30], irreversible=True)
    return np.asarray(Image.open(buffer).convert("RGB"))


def _sharpened(hr: Pixels, height: int, width: int, _: np.random.Generator) -> Pixels:
    """Sharpened after it was reduced, as many thumbnailers do: Pillow's UnsharpMask, radius 1, 100 %."""
    lr = Image.fromarray(damage.resized(hr, height, width, "bicubic"))
    return np.asarray(lr.filter(ImageFilter.UnsharpMask(1, 100, 0)))


PLAIN: dict[str, Make] = {
    "clean": _by("bicubic"), "area": _by("box"), "lanczos": _by("lanczos"), "bilinear": _by("bilinear"),
    "nearest": _by("nearest"), "cv2-cubic": _by("cv2-cubic"), "mixed": _mixed, "grey": _grey,
    "gif": _gif, "jpeg2000": _jpeg2000, "sharpened": _sharpened,
}  # fmt: skip

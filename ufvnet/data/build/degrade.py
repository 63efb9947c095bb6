"""How an HR face becomes its LR images: named and versioned degradations, seeded by face and size."""

from __future__ import annotations

import functools
import io
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from ufvnet.imaging.resize import resize

BLUR, NOISE, QUALITY = (0.2, 1.0), (0.0, 8.0), (50, 95)
"""Ranges of blur-noise-jpeg: sigma in LR pixels, sigma in levels, JPEG quality (both ends included)."""


@dataclass(frozen=True)
class Degradation:
    """apply(HR image, side, generator or None) gives the LR image; ``random`` ones are given a generator."""

    name: str
    version: int
    summary: str
    apply: Callable[[Image.Image, int, np.random.Generator | None], Image.Image]
    random: bool = False


def degrade(name: str, hr: Image.Image, sides: Sequence[int], seed: Sequence[int]) -> list[Image.Image]:
    """The LR images of one face.

    Args:
        name: one of DEGRADATIONS.
        hr: 8-bit RGB, square.
        sides: of the LR images in pixels.
        seed: of the face; each size draws from a generator of its own, so the order of sizes does not matter.

    Returns:
        8-bit RGB images of the given sides.

    Raises:
        ValueError: unknown name.
    """
    if name not in DEGRADATIONS:
        raise ValueError(f"degradation {name!r}: must be one of {', '.join(DEGRADATIONS)}")
    way = DEGRADATIONS[name]
    return [way.apply(hr, s, np.random.default_rng([*seed, s]) if way.random else None) for s in sides]


def _pil(hr: Image.Image, side: int, _: np.random.Generator | None) -> Image.Image:
    return resize(hr, side)


def _cubic(x: np.ndarray, a: float) -> np.ndarray:
    x = np.abs(x)
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = a * (((x - 5) * x + 8) * x - 4)
    return np.where(x <= 1, near, np.where(x < 2, far, 0.0))


@functools.lru_cache(maxsize=64)
def _matlab_weights(n_in: int, n_out: int) -> np.ndarray:
    """imresize's weights (n_out, n_in): the kernel (a = -0.5) widened by the reduction, mirrored at the borders."""
    scale = n_out / n_in
    stretch = min(scale, 1.0)
    width = 4 / stretch
    centre = (np.arange(1, n_out + 1)) / scale + 0.5 * (1 - 1 / scale)
    taps = np.floor(centre - width / 2)[:, None] + np.arange(math.ceil(width) + 2)
    weights = stretch * _cubic(stretch * (centre[:, None] - taps), -0.5)
    weights /= weights.sum(1, keepdims=True)
    mirror = np.r_[np.arange(n_in), np.arange(n_in)[::-1]]
    columns = mirror[np.mod(taps.astype(int) - 1, 2 * n_in)]
    matrix = np.zeros((n_out, n_in))
    np.add.at(matrix, (np.arange(n_out)[:, None], columns), weights)
    return matrix


def _matlab(hr: Image.Image, side: int, _: np.random.Generator | None) -> Image.Image:
    """MATLAB's imresize(I, [side side], 'bicubic') of uint8: rows, then columns, each rounded half up to uint8.

    Before rounding equal to basicsr's port of imresize to 5e-4 levels (that one is in float32); not compared with
    MATLAB itself.
    """
    weights = _matlab_weights(hr.height, side)
    pixels = np.asarray(hr, dtype=np.float64)
    for _pass in range(2):
        summed = np.tensordot(weights, pixels, axes=(1, 0))
        pixels = np.clip(np.floor(summed + 0.5), 0, 255).swapaxes(0, 1)
    return Image.fromarray(pixels.astype(np.uint8))


@functools.lru_cache(maxsize=64)
def cv2_weights(n_in: int, n_out: int) -> np.ndarray:
    """cv2.resize's INTER_CUBIC weights (n_out, n_in): four taps, a = -0.75, replicated borders."""
    at = (np.arange(n_out) + 0.5) * (n_in / n_out) - 0.5
    first = np.floor(at)
    part = at - first
    taps = np.stack([_cubic(part + 1, -0.75), _cubic(part, -0.75), _cubic(1 - part, -0.75)], 1)
    taps = np.concatenate([taps, 1 - taps.sum(1, keepdims=True)], 1)
    columns = np.clip(first[:, None] + np.arange(-1, 3), 0, n_in - 1).astype(int)
    matrix = np.zeros((n_out, n_in))
    np.add.at(matrix, (np.arange(n_out)[:, None], columns), taps)
    return matrix


def _cv2(hr: Image.Image, side: int, _: np.random.Generator | None) -> Image.Image:
    """cv2.resize(..., INTER_CUBIC) of uint8: no antialiasing, one rounding at the end.

    On 592 reductions of 37 faces equal to OpenCV 5.0.0 but for 6 in 100,000 values, one level off. Weights of 11 bits,
    as OpenCV 4 has them, give 4 % of the values one level off.
    """
    weights = cv2_weights(hr.height, side)
    rows = np.tensordot(weights, np.asarray(hr, dtype=np.float64), axes=(1, 0))
    both = np.tensordot(weights, rows, axes=(1, 1)).swapaxes(0, 1)
    return Image.fromarray(np.clip(np.rint(both), 0, 255).astype(np.uint8))


def _blur_noise_jpeg(hr: Image.Image, side: int, rng: np.random.Generator | None) -> Image.Image:
    """Gaussian blur of the HR face, PIL bicubic, Gaussian noise, JPEG without chroma subsampling."""
    assert rng is not None
    sigma, noise = rng.uniform(*BLUR) * hr.width / side, rng.uniform(*NOISE)
    quality = int(rng.integers(QUALITY[0], QUALITY[1] + 1))
    lr = resize(_blurred(hr, sigma), side)
    noisy = np.asarray(lr, dtype=np.float64) + rng.normal(0.0, noise, (side, side, 3))
    buffer = io.BytesIO()
    Image.fromarray(np.clip(np.rint(noisy), 0, 255).astype(np.uint8)).save(
        buffer, "JPEG", quality=quality, subsampling=0
    )
    return Image.open(buffer).convert("RGB")


def _blurred(image: Image.Image, sigma: float) -> Image.Image:
    """Separable Gaussian with mirrored borders; sums in one order, so every machine gives the same bytes."""
    reach = min(math.ceil(3 * sigma), image.width - 1)
    taps = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    taps /= taps.sum()
    pixels = np.asarray(image, dtype=np.float64)
    for _pass in range(2):
        padded = np.pad(pixels, ((reach, reach), (0, 0), (0, 0)), mode="symmetric")
        summed = np.zeros_like(pixels)
        for i, tap in enumerate(taps):
            summed += tap * padded[i : i + len(pixels)]
        pixels = summed.swapaxes(0, 1)
    return Image.fromarray(np.clip(np.rint(pixels), 0, 255).astype(np.uint8))


DEGRADATIONS = {
    d.name: d
    for d in (
        Degradation("pil-bicubic", 1, "Pillow's bicubic, antialiased, a = -0.5", _pil),
        Degradation("matlab-bicubic", 1, "MATLAB's imresize, antialiased, a = -0.5, mirrored borders", _matlab),
        Degradation("cv2-bicubic", 1, "OpenCV's INTER_CUBIC, not antialiased, a = -0.75", _cv2),
        Degradation(
            "blur-noise-jpeg", 1,
            f"Gaussian blur of sigma {BLUR[0]}-{BLUR[1]} LR pixels, Pillow's bicubic, noise of sigma {NOISE[0]:.0f}-"
            f"{NOISE[1]:.0f} levels, JPEG of quality {QUALITY[0]}-{QUALITY[1]}", _blur_noise_jpeg, random=True,
        ),
    )
}  # fmt: skip

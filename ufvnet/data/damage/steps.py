"""Steps of damage that small faces have: blur, reduction with or without a filter, noise, compression."""

from __future__ import annotations

import functools
import io
import math
from typing import Literal

import numpy as np
from PIL import Image

Pixels = np.ndarray
"""(h, w, 3) uint8 RGB."""

FILTERED = ("bicubic", "box", "bilinear", "hamming", "lanczos")
"""Pillow's filters, which use every pixel of the picture."""
UNFILTERED = ("nearest", "corner", "cv2-linear", "cv2-cubic")
"""Ways that use one, four or sixteen pixels around a point, so that fine detail turns into false patterns: the pixel in
the middle (Pillow's nearest) or at the upper left (OpenCV's nearest), and OpenCV's linear and cubic."""
GRIDS = {"JPEG": 16, "WEBP": 16}
"""Period in pixels of an encoder's grid of blocks (JPEG with halved chroma, WebP's macroblocks)."""


def gaussian(sigma: float, stretch: float = 1.0, angle: float = 0.0) -> np.ndarray:
    """The kernel of a Gaussian blur: (k, k) float64 that sums to 1.

    Args:
        sigma: in pixels, along ``angle``.
        stretch: sigma across ``angle`` as a share of ``sigma``; 1 for a round kernel.
        angle: in radians.
    """
    x, y = _grid(math.ceil(3 * sigma))
    along, across = x * math.cos(angle) + y * math.sin(angle), y * math.cos(angle) - x * math.sin(angle)
    kernel = np.exp(-0.5 * ((along / sigma) ** 2 + (across / (sigma * stretch)) ** 2))
    return kernel / kernel.sum()


def motion(length: float, angle: float) -> np.ndarray:
    """The kernel of a straight movement over ``length`` pixels: (k, k) float64 that sums to 1."""
    x, y = _grid(math.ceil(length / 2) + 1)
    along, across = x * math.cos(angle) + y * math.sin(angle), y * math.cos(angle) - x * math.sin(angle)
    kernel = np.clip(length / 2 + 0.5 - np.abs(along), 0, 1) * np.clip(1 - np.abs(across), 0, 1)
    return kernel / kernel.sum()


def _grid(reach: int) -> tuple[np.ndarray, np.ndarray]:
    offsets = np.arange(-reach, reach + 1, dtype=np.float64)
    return offsets[None, :], offsets[:, None]


def spread(kernel: np.ndarray) -> float:
    """The standard deviation of a centred kernel in pixels, mean of both axes."""
    x, y = _grid(len(kernel) // 2)
    return math.sqrt(float((kernel * (x * x + y * y)).sum()) / 2)


def blurred(pixels: Pixels, kernel: np.ndarray) -> Pixels:
    """The picture convolved with a kernel of odd side, borders mirrored."""
    reach, (height, width) = len(kernel) // 2, pixels.shape[:2]
    padded = np.pad(pixels.astype(np.float64), ((reach, reach), (reach, reach), (0, 0)), mode="symmetric")
    shape = padded.shape[:2]
    spectrum = np.fft.rfft2(padded, axes=(0, 1)) * np.fft.rfft2(kernel, shape)[:, :, None]
    return _levels(np.fft.irfft2(spectrum, shape, axes=(0, 1))[2 * reach :, 2 * reach :][:height, :width])


def resized(pixels: Pixels, height: int, width: int, way: str) -> Pixels:
    """The picture resized in one of the ways of FILTERED and UNFILTERED.

    Raises:
        ValueError: unknown way.
    """
    if way in FILTERED or way == "nearest":
        return np.asarray(Image.fromarray(pixels).resize((width, height), Image.Resampling[way.upper()]))
    if way == "corner":
        rows, columns = (np.arange(n) * side // n for n, side in zip((height, width), pixels.shape))
        return pixels[rows[:, None], columns]
    if way not in UNFILTERED:
        raise ValueError(f"way {way!r}: must be one of {', '.join(FILTERED + UNFILTERED)}")
    weights = _cubic_weights if way == "cv2-cubic" else _linear_weights
    rows = np.tensordot(weights(pixels.shape[0], height), pixels.astype(np.float64), axes=(1, 0))
    return _levels(np.tensordot(weights(pixels.shape[1], width), rows, axes=(1, 1)).swapaxes(0, 1))


def cubic(x: np.ndarray, a: float) -> np.ndarray:
    """The cubic convolution kernel of parameter ``a`` at x."""
    x = np.abs(x)
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = a * (((x - 5) * x + 8) * x - 4)
    return np.where(x <= 1, near, np.where(x < 2, far, 0.0))


@functools.lru_cache(maxsize=256)
def _cubic_weights(n_in: int, n_out: int) -> np.ndarray:
    """cv2.resize's INTER_CUBIC weights (n_out, n_in): four taps, a = -0.75, replicated borders."""
    centre = (np.arange(n_out) + 0.5) * (n_in / n_out) - 0.5
    first = np.floor(centre)
    part = centre - first
    taps = np.stack([cubic(part + 1, -0.75), cubic(part, -0.75), cubic(1 - part, -0.75)], 1)
    taps = np.concatenate([taps, 1 - taps.sum(1, keepdims=True)], 1)
    columns = np.clip(first[:, None] + np.arange(-1, 3), 0, n_in - 1).astype(int)
    matrix = np.zeros((n_out, n_in))
    np.add.at(matrix, (np.arange(n_out)[:, None], columns), taps)
    return matrix


@functools.lru_cache(maxsize=256)
def _linear_weights(n_in: int, n_out: int) -> np.ndarray:
    """cv2.resize's INTER_LINEAR weights (n_out, n_in): two taps, replicated borders."""
    centre = ((np.arange(n_out) + 0.5) * (n_in / n_out) - 0.5).clip(0, n_in - 1)
    first = np.floor(centre).astype(int)
    matrix = np.zeros((n_out, n_in))
    np.add.at(matrix, (np.arange(n_out), first), 1 - (centre - first))
    np.add.at(matrix, (np.arange(n_out), np.minimum(first + 1, n_in - 1)), centre - first)
    return matrix


def noisy(pixels: Pixels, rng: np.random.Generator, sigma: float, photon: bool = False, grey: bool = False) -> Pixels:
    """The picture with noise that is independent in every pixel.

    Args:
        rng: what the noise is drawn from.
        sigma: standard deviation in levels of 255; for photon noise, that of middle grey.
        photon: Poisson noise, whose variance grows with brightness, instead of Gaussian noise.
        grey: the same noise in all three channels.
    """
    exact = pixels.astype(np.float64)
    if not photon:
        return _levels(exact + rng.normal(0.0, sigma, (*pixels.shape[:2], 1 if grey else 3)))
    base = exact.mean(2, keepdims=True) if grey else exact
    per_level = 128 / sigma**2
    return _levels(exact + rng.poisson(base * per_level) / per_level - base)


def compressed(
    pixels: Pixels,
    format: Literal["JPEG", "WEBP"],
    quality: int,
    full_chroma: bool = False,
    at: tuple[int, int] = (0, 0),
) -> Pixels:
    """The picture encoded by Pillow and decoded again.

    Args:
        full_chroma: JPEG 4:4:4 instead of 4:2:0; WebP has 4:2:0 only.
        at: row and column of the picture's corner in the grid of the encoder's blocks, which is not (0, 0) for a face
            that was cut from a compressed photograph.
    """
    padded = np.pad(pixels, ((at[0], 0), (at[1], 0), (0, 0)), mode="edge")
    options = {"subsampling": 0 if full_chroma else 2} if format == "JPEG" else {}
    buffer = io.BytesIO()
    Image.fromarray(padded).save(buffer, format, quality=quality, **options)
    return np.asarray(Image.open(buffer).convert("RGB"))[at[0] :, at[1] :]


def grey(pixels: Pixels) -> Pixels:
    """The picture with its luma in all three channels."""
    return np.asarray(Image.fromarray(pixels).convert("L").convert("RGB"))


def _levels(values: np.ndarray) -> Pixels:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)

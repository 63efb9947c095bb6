"""PSNR and SSIM of batches of images, float64 (docs/method.md section 6)."""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np

from ufvnet.extras import is_installed

WINDOW, SIGMA = 11, 1.5
K1, K2 = 0.01, 0.03


def luma(rgb: np.ndarray) -> np.ndarray:
    """Y of BT.601 studio swing, unrounded: (..., 3) uint8 RGB -> (...) float64 in [16, 235]."""
    return 16 + rgb.astype(np.float64) @ (np.array([65.481, 128.553, 24.966]) / 255)


def psnr(a: np.ndarray, b: np.ndarray, data_range: float = 255.0) -> np.ndarray:
    """Peak signal-to-noise ratio of each pair in dB: (N, ...) -> (N,) float64; inf for equal images.

    Raises:
        ValueError: shapes differ.
    """
    _check(a, b)
    squares = np.empty(len(a))
    for i in range(len(a)):  # one image at a time, which stays in the cache
        error = np.subtract(a[i], b[i], dtype=np.float64).ravel()
        squares[i] = error @ error
    with np.errstate(divide="ignore"):
        return 10 * np.log10(data_range**2 * np.prod(a.shape[1:]) / squares)


def ssim(a: np.ndarray, b: np.ndarray, data_range: float = 255.0) -> np.ndarray:
    """Structural similarity of each pair: (N, H, W) -> (N,) float64.

    11x11 Gaussian window of sigma 1.5, K 0.01 / 0.03, population covariance, mean over the windows that lie inside the
    image: Wang et al. 2004, and scikit-image's ``structural_similarity`` with ``gaussian_weights=True, sigma=1.5,
    use_sample_covariance=False``.

    Raises:
        ValueError: shapes differ, or a side is under 11 pixels.
    """
    return ssim_whole_and_inside(a, b, 0, data_range)[0]


def ssim_whole_and_inside(
    a: np.ndarray, b: np.ndarray, border: int, data_range: float = 255.0
) -> tuple[np.ndarray, np.ndarray]:
    """``ssim`` of each pair, and of each pair without a border, whose windows are a part of the same ones.

    Raises:
        ValueError: shapes differ, or a side, without the border, is under 11 pixels.
    """
    _check(a, b)
    if a.ndim != 3 or min(a.shape[1:]) - 2 * border < WINDOW:
        raise ValueError(f"ssim takes (N, H, W) with sides of {WINDOW + 2 * border} and more, got {a.shape}")
    x, y = (np.ascontiguousarray(image, dtype=np.float64) for image in (a, b))
    whole, inside = _sums()(x, y, TAPS, border, data_range, (K1 * data_range) ** 2, (K2 * data_range) ** 2)
    rows, columns = (side - WINDOW + 1 for side in a.shape[1:])
    return whole / (rows * columns), inside / ((rows - 2 * border) * (columns - 2 * border))


@functools.cache
def _sums() -> Callable[..., tuple[np.ndarray, np.ndarray]]:
    """The loops that Numba compiles, or the same sums as matrix products where Numba is not installed."""
    if is_installed("numba"):
        from . import ssim_kernel

        return ssim_kernel.sums
    from . import ssim_matrix

    return ssim_matrix.sums


def _taps() -> np.ndarray:
    """The first half of the Gaussian window and its middle: (6,) float64."""
    x = np.arange(WINDOW) - WINDOW // 2
    taps = np.exp(-(x**2) / (2 * SIGMA**2))
    return (taps / taps.sum())[: WINDOW // 2 + 1]


TAPS = _taps()


def _check(a: np.ndarray, b: np.ndarray) -> None:
    if a.shape != b.shape:
        raise ValueError(f"images differ in shape: {a.shape} and {b.shape}")

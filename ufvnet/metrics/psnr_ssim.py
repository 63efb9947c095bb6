"""PSNR and SSIM of batches of images, float64 (METHOD.md section 6)."""

from __future__ import annotations

import functools

import numpy as np

WINDOW, SIGMA = 11, 1.5
K1, K2 = 0.01, 0.03


def luma(rgb: np.ndarray) -> np.ndarray:
    """Y of BT.601 studio swing, unrounded: (..., 3) uint8 RGB -> (...) float64 in [16, 235]."""
    return 16 + rgb.astype(np.float64) @ (np.array([65.481, 128.553, 24.966]) / 255)


def psnr(a: np.ndarray, b: np.ndarray, data_range: float = 255.0) -> np.ndarray:
    """Peak signal-to-noise ratio of each pair in dB: (N, ...) -> (N,) float64; inf where they are equal."""
    _check(a, b)
    error = (a.astype(np.float64) - b.astype(np.float64)).reshape(len(a), -1)
    mse = np.einsum("ij,ij->i", error, error) / error.shape[1]
    with np.errstate(divide="ignore"):
        return 10 * np.log10(data_range**2 / mse)


def ssim(a: np.ndarray, b: np.ndarray, data_range: float = 255.0) -> np.ndarray:
    """Structural similarity of each pair: (N, H, W) -> (N,) float64.

    11x11 Gaussian window of sigma 1.5, K 0.01 / 0.03, population covariance, mean over the windows
    that lie inside the image: Wang et al. 2004, and scikit-image's ``structural_similarity`` with
    ``gaussian_weights=True, sigma=1.5, use_sample_covariance=False``.

    Raises:
        ValueError: shapes differ, or a side is under 11 pixels.
    """
    _check(a, b)
    if a.ndim != 3 or min(a.shape[1:]) < WINDOW:
        raise ValueError(f"ssim takes (N, H, W) with sides of {WINDOW} and more, got {a.shape}")
    x, y = a.astype(np.float64), b.astype(np.float64)
    rows, columns = _blur_matrix(x.shape[1]), _blur_matrix(x.shape[2])

    def blur(image: np.ndarray) -> np.ndarray:
        return rows @ image @ columns.T

    mx, my = blur(x), blur(y)
    square_sum, product = blur(x * x + y * y), blur(x * y)
    c1, c2 = (K1 * data_range) ** 2, (K2 * data_range) ** 2
    means, cross = mx * mx + my * my, mx * my
    top = (2 * cross + c1) * (2 * (product - cross) + c2)
    bottom = (means + c1) * (square_sum - means + c2)
    return (top / bottom).mean((1, 2))


@functools.lru_cache(maxsize=8)
def _blur_matrix(side: int) -> np.ndarray:
    """(side - 10, side): the Gaussian window at each place where it fits."""
    x = np.arange(WINDOW) - WINDOW // 2
    taps = np.exp(-(x**2) / (2 * SIGMA**2))
    taps /= taps.sum()
    matrix = np.zeros((side - WINDOW + 1, side))
    for i in range(len(matrix)):
        matrix[i, i : i + WINDOW] = taps
    return matrix


def _check(a: np.ndarray, b: np.ndarray) -> None:
    if a.shape != b.shape:
        raise ValueError(f"images differ in shape: {a.shape} and {b.shape}")

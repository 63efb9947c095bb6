"""SSIM's inner loops, compiled by Numba at the first call and cached on disk."""

from __future__ import annotations

import numpy as np
from numba import njit

FAST = {"contract", "reassoc", "nsz"}
"""Sums may be reordered, so that they run in vector registers; NaN and infinity keep their meaning."""


@njit(fastmath=FAST, inline="always")
def _down(image, r, taps, mean, square):
    """Apply the window to 11 rows from row r on, at every column: to the image, and to its squares."""
    t0, t1, t2, t3, t4, t5 = taps[0], taps[1], taps[2], taps[3], taps[4], taps[5]
    for c in range(image.shape[1]):
        v0, v1, v2, v3, v4 = image[r, c], image[r + 1, c], image[r + 2, c], image[r + 3, c], image[r + 4, c]
        v5, v6, v7, v8 = image[r + 5, c], image[r + 6, c], image[r + 7, c], image[r + 8, c]
        v9, v10 = image[r + 9, c], image[r + 10, c]
        mean[c] = t0 * (v0 + v10) + t1 * (v1 + v9) + t2 * (v2 + v8) + t3 * (v3 + v7) + t4 * (v4 + v6) + t5 * v5
        square[c] = (
            t0 * (v0 * v0 + v10 * v10)
            + t1 * (v1 * v1 + v9 * v9)
            + t2 * (v2 * v2 + v8 * v8)
            + t3 * (v3 * v3 + v7 * v7)
            + t4 * (v4 * v4 + v6 * v6)
            + t5 * v5 * v5
        )


@njit(fastmath=FAST, inline="always")
def _along(v, taps, out):
    """Apply the window to 11 columns, at every place where it fits."""
    t0, t1, t2, t3, t4, t5 = taps[0], taps[1], taps[2], taps[3], taps[4], taps[5]
    for c in range(len(out)):
        out[c] = (
            t0 * (v[c] + v[c + 10])
            + t1 * (v[c + 1] + v[c + 9])
            + t2 * (v[c + 2] + v[c + 8])
            + t3 * (v[c + 3] + v[c + 7])
            + t4 * (v[c + 4] + v[c + 6])
            + t5 * v[c + 5]
        )


@njit(fastmath=FAST, nogil=True, cache=True)
def sums(a, b, taps, border, data_range, c1, c2):
    """Sums of SSIM's map over all windows of each pair, and over those that begin ``border`` pixels inside.

    The window runs over s = a + b and d = a - b. Their means and squares give all that SSIM needs with half as many
    sums as a, b, a^2 + b^2 and ab would take: 4 mean(a) mean(b) = mean(s)^2 - mean(d)^2, and so on for variances.
    s is centred on the middle of the range, where its squares are small and lose no digits.

    Args:
        a, b: (N, H, W) float64. taps: (6,) the window's first half and its middle.

    Returns:
        Two (N,) float64.
    """
    n, h, w = a.shape
    rows, columns = h - 10, w - 10
    whole, inside = np.zeros(n), np.zeros(n)
    s, d = np.empty((h, w)), np.empty((h, w))
    down, blurred = np.empty((4, w)), np.empty((4, columns))
    values = np.empty(columns)
    for i in range(n):
        for r in range(h):
            for c in range(w):
                s[r, c] = a[i, r, c] + b[i, r, c] - data_range
                d[r, c] = a[i, r, c] - b[i, r, c]
        for r in range(rows):
            _down(s, r, taps, down[0], down[1])
            _down(d, r, taps, down[2], down[3])
            for m in range(4):
                _along(down[m], taps, blurred[m])
            total = 0.0
            for c in range(columns):
                mean_s, mean_d = blurred[0, c], blurred[2, c]
                var_s, var_d = blurred[1, c] - mean_s * mean_s + 2 * c2, blurred[3, c] - mean_d * mean_d
                mean_s += data_range
                x, y = mean_s * mean_s + 2 * c1, mean_d * mean_d
                values[c] = ((x - y) * (var_s - var_d)) / ((x + y) * (var_s + var_d))
                total += values[c]
            whole[i] += total
            if border <= r < rows - border:
                inside[i] += values[border : columns - border].sum()
    return whole, inside

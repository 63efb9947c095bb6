"""Paired comparison of two methods: mean difference with a bootstrap 95 % interval."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

RESAMPLES = 2000
MOST_DRAWN = 2**18
"""Values drawn at a time, few enough to stay in the cache."""


@dataclass(frozen=True)
class Difference:
    """A mean difference and its 95 % interval.

    mean: of a - b over images. low, high: ends of the interval; NaN if the mean is not finite or is of one image.
    incomplete: it lacks images, as a method failed on them.
    """

    mean: float
    low: float
    high: float
    incomplete: bool = False

    @property
    def real(self) -> bool:
        """True if the interval excludes zero."""
        return self.low > 0 or self.high < 0


def differences(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """a - b for each pair; equal values differ by 0, infinities too (the PSNR of exact images).

    Args:
        a, b: float64 of one shape.
    """
    with np.errstate(invalid="ignore"):
        return np.where(a == b, 0.0, a - b)


def paired_difference(a: np.ndarray, b: np.ndarray, seed: int = 0) -> Difference:
    """The mean of a - b and its interval, by the percentile bootstrap over images.

    Args:
        a, b: (N,) scores of the same images in the same order.

    Raises:
        ValueError: lengths differ, or N is 0.
    """
    if a.shape != b.shape or a.ndim != 1 or not len(a):
        raise ValueError(f"paired scores must be two (N,) arrays, got {a.shape} and {b.shape}")
    return mean_interval(differences(a, b), seed)


def mean_interval(values: np.ndarray, seed: int = 0) -> Difference:
    """The mean of (N,) differences and its interval, by the percentile bootstrap."""
    if len(values) == 1 or not np.isfinite(values).all():
        with np.errstate(invalid="ignore"):
            return Difference(float(values.mean()), float("nan"), float("nan"))
    rng, n = np.random.default_rng(seed), len(values)
    at_once = max(1, MOST_DRAWN // n)
    drawn = (rng.integers(0, n, (min(at_once, RESAMPLES - i), n)) for i in range(0, RESAMPLES, at_once))
    low, high = np.percentile(np.concatenate([values[rows].mean(1) for rows in drawn]), [2.5, 97.5])
    return Difference(float(values.mean()), float(low), float(high))

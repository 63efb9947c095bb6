"""Paired comparison of two methods: mean difference with a bootstrap 95 % interval."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

RESAMPLES = 2000


@dataclass(frozen=True)
class Difference:
    """mean: of a - b over images; low, high: ends of its 95 % interval."""

    mean: float
    low: float
    high: float

    @property
    def real(self) -> bool:
        """Whether the interval excludes zero."""
        return self.low > 0 or self.high < 0


def paired_difference(a: np.ndarray, b: np.ndarray, seed: int = 0) -> Difference:
    """Percentile bootstrap over images of the mean of a - b.

    Args:
        a, b: (N,) scores of the same images in the same order.

    Raises:
        ValueError: lengths differ, or N is 0.
    """
    if a.shape != b.shape or a.ndim != 1 or not len(a):
        raise ValueError(f"paired scores must be two (N,) arrays, got {a.shape} and {b.shape}")
    d = a - b
    rng = np.random.default_rng(seed)
    means = [d[rng.integers(0, len(d), len(d))].mean() for _ in range(RESAMPLES)]
    low, high = np.percentile(means, [2.5, 97.5])
    return Difference(float(d.mean()), float(low), float(high))

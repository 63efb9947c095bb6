"""Training batches from a decoded view: a pure function of seed and step, so that resuming is exact."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from .bicubic import upscale_mixed
from .reader import FaceArrays


@dataclass(frozen=True)
class Batch:
    """Training pairs.

    ls: I_LS, (B, 3, H, H) uint8.
    hr: I_HR, (B, 3, H, H) uint8.
    rate: (B,) float32, r = k / 16.
    rows: (B,) row numbers in the view.
    """

    ls: Tensor
    hr: Tensor
    rate: Tensor
    rows: np.ndarray


class TrainingLoader:
    """Each epoch visits every face once, at one scale; the scales are balanced within it.

    Args:
        faces: the decoded view.
        ks: scales to draw from, as sixteenths.
        batch_size: faces a batch, over all processes.
        seed: fixes order, scales and flips.
        flip: mirror each pair with probability 1/2.
    """

    def __init__(self, faces: FaceArrays, ks: tuple[int, ...], batch_size: int, seed: int, flip: bool = True):
        if not len(faces):
            raise ValueError("there are no faces to train on")
        self.faces, self.ks, self.batch_size, self.seed, self.flip = faces, ks, batch_size, seed, flip

    def plan(self, step: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Rows, scales k and flips of batch ``step``; batches run on over the ends of epochs."""
        n = len(self.faces)
        positions = np.arange(step * self.batch_size, (step + 1) * self.batch_size)
        rows, ks, flips = (np.empty(len(positions), dtype=np.int64) for _ in range(3))
        for epoch in np.unique(positions // n):
            rng = np.random.default_rng((self.seed, int(epoch)))
            order, shift, coins = rng.permutation(n), rng.integers(len(self.ks)), rng.integers(0, 2, n)
            here = positions // n == epoch
            at = positions[here] % n
            rows[here] = order[at]
            ks[here] = np.asarray(self.ks)[(at + shift) % len(self.ks)]
            flips[here] = coins[at] if self.flip else 0
        return rows, ks, flips

    def batch(self, step: int, rank: int = 0, world: int = 1) -> Batch:
        """Batch ``step``, or the share of it that process ``rank`` of ``world`` takes."""
        rows, ks, flips = (a[rank::world] for a in self.plan(step))
        lrs = [torch.from_numpy(self.faces.lr[int(k)][i].transpose(2, 0, 1).copy()) for i, k in zip(rows, ks)]
        hr_size = self.faces.hr.shape[1]
        ls = upscale_mixed(lrs, hr_size)
        hr = torch.from_numpy(self.faces.hr[rows].transpose(0, 3, 1, 2).copy())
        mirror = torch.from_numpy(flips.astype(bool))
        ls[mirror], hr[mirror] = ls[mirror].flip(-1), hr[mirror].flip(-1)
        return Batch(ls, hr, torch.from_numpy(ks.astype(np.float32) / 16), rows)

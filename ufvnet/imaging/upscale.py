"""Up-scaling of LR batches to the HR size in torch, bit for bit PIL's bicubic (docs/method.md section 5)."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import torch
from torch import Tensor

PILLOW_ONE = 2**22
"""1 in the integers that Pillow's weights are."""


@functools.lru_cache(maxsize=256)
def pillow_kernel(n_in: int, n_out: int) -> Tensor:
    """Pillow's bicubic (a = -0.5) as a matrix: (n_in, n_out) float64 holding integers, 2**22 = 1."""
    scale = n_in / n_out
    stretch = max(scale, 1.0)
    centre = (torch.arange(n_out, dtype=torch.float64) + 0.5) * scale
    first = (centre - 2 * stretch + 0.5).trunc().clamp_(min=0)
    last = (centre + 2 * stretch + 0.5).trunc().clamp_(max=n_in)
    taps = torch.arange(n_in, dtype=torch.float64)[:, None]
    x = ((taps - centre + 0.5) / stretch).abs()
    near = (1.5 * x - 2.5) * x * x + 1
    far = -0.5 * (((x - 5) * x + 8) * x - 4)
    weight = torch.where(x < 1, near, torch.where(x < 2, far, 0.0))
    weight[(taps < first) | (taps >= last)] = 0.0
    weight /= weight.sum(0)
    return (weight * PILLOW_ONE).round()


def upscale(lr: Tensor, hr_size: int) -> Tensor:
    """U(.) of a batch of one size: uint8 (N, 3, h, w) -> uint8 (N, 3, hr_size, hr_size).

    Bit for bit PIL's bicubic of each image whose sides are at most hr_size (of larger ones Pillow
    may do the columns first): Pillow's two passes, rows and then columns, with its 22-bit integer
    weights, each rounded to uint8; float64 holds every sum exactly.
    """
    out = lr.double()
    for _ in range(2):  # rows, then columns; each pass leaves the picture transposed
        kernel = pillow_kernel(out.shape[-1], hr_size).to(out.device)
        out = (out @ kernel).add_(PILLOW_ONE / 2).div_(PILLOW_ONE).floor_().clamp_(0, 255).transpose(-1, -2)
    return out.to(torch.uint8)


def upscale_mixed(lrs: Sequence[Tensor], hr_size: int) -> Tensor:
    """U(.) of uint8 (3, h_i, w_i) images of any sizes -> uint8 (N, 3, hr_size, hr_size)."""
    out = torch.empty(len(lrs), 3, hr_size, hr_size, dtype=torch.uint8)
    by_size: dict[tuple[int, ...], list[int]] = {}
    for i, lr in enumerate(lrs):
        by_size.setdefault(tuple(lr.shape), []).append(i)
    for rows in by_size.values():
        out[rows] = upscale(torch.stack([lrs[i] for i in rows]), hr_size)
    return out

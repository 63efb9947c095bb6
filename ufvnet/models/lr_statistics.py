"""Statistics of the LR image that I_LS was enlarged from: frequencies of its blocks, which tell how it was damaged."""

from __future__ import annotations

import functools
import math

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

CANVAS = 48
"""Most LR pixels of a side that are looked at, from the middle of the face."""
BLOCK, CHROMA_BLOCK = 8, 4
"""Sides of the blocks whose frequencies are measured, in luma and in chroma."""
NEAR_ZERO, PRESENT = 0.45, 0.95
"""Levels below which a block's frequency counts as absent (JPEG rounds most of them to 0), and above which as present.
Between them it counts in part: a sharp threshold would turn the last bits of an exported model into visible ones."""


class LRStatistics(nn.Module):
    """I_LS (N, 3, H, H) in [-1, 1] and rate (N, 2) of rows and columns -> (N, ``count``) statistics of the LR images.

    Where JPEG's blocks, noise and aliasing still stand, that is, in the LR image, which is brought back from I_LS: for
    every frequency of its blocks the mean logarithm of its size, its energy and how often it is absent; how absence
    depends on where a grid of blocks lies; and the rate. About -1 to 1 for most faces. Nothing here is learned.

    Args:
        hr_size: side of I_LS.
    """

    inverse: Tensor
    luma_waves: Tensor
    chroma_waves: Tensor
    centre: Tensor
    width: Tensor

    def __init__(self, hr_size: int):
        super().__init__()
        self.hr_size = hr_size
        luma, chroma = _waves(BLOCK), _waves(CHROMA_BLOCK)
        groups = [(len(luma), 2.5, 0.7), (len(luma), 6.0, 1.2), (len(luma), 0.1, 0.1), (3, 0.12, 0.12)]
        groups += 2 * [(len(chroma), 0.6, 0.6), (len(chroma), 1.8, 1.6)]
        groups += [(2, -2.4, 0.9)]
        self.count = sum(n for n, _, _ in groups)
        for name, value in (
            ("inverse", torch.from_numpy(_inverse(hr_size))), ("luma_waves", luma), ("chroma_waves", chroma),
            ("centre", torch.tensor([centre for n, centre, _ in groups for _ in range(n)])),
            ("width", torch.tensor([width for n, _, width in groups for _ in range(n)])),
        ):  # fmt: skip
            self.register_buffer(name, value, persistent=False)

    def forward(self, ls: Tensor, rate: Tensor) -> Tensor:
        kind = "cpu" if ls.is_meta else ls.device.type  # autocast knows no meta device
        with torch.autocast(kind, enabled=False):  # bfloat16 has no 0.7 of 255 levels
            return self._measure(ls, rate)

    def _measure(self, ls: Tensor, rate: Tensor) -> Tensor:
        pixels, sides = self.lr_pixels(ls.float(), rate.float())
        luma, blue, red = _ycc(pixels).split(1, 1)
        waves = F.conv2d(luma, self.luma_waves).abs()
        absent = ((PRESENT - waves) / (PRESENT - NEAR_ZERO)).clamp(0, 1)
        inside = _fits(sides, BLOCK)
        parts = [_mean((waves + 0.5).log(), inside), (_mean(waves.square(), inside) + 0.1).log(), _mean(absent, inside)]
        parts.append(_by_grid(absent.mean(1), inside[:, 0]))
        inside = _fits(sides, CHROMA_BLOCK)
        for plane in (blue, red):
            waves = F.conv2d(plane, self.chroma_waves).abs()
            parts += [_mean((waves + 0.5).log(), inside), (_mean(waves.square(), inside) + 0.1).log()]
        return (torch.cat([*parts, rate.float().log2()], 1) - self.centre) / self.width

    def lr_pixels(self, ls: Tensor, rate: Tensor) -> tuple[Tensor, Tensor]:
        """The LR images that I_LS was enlarged from: (N, 3, CANVAS, CANVAS) in levels, the middle of larger ones, 0
        beyond the border of smaller ones; and (N, 2) how many rows and columns of them there are."""
        size = (rate * self.hr_size).round().clamp(1, self.hr_size).long()
        rows, columns = self.inverse[size[:, 0]], self.inverse[size[:, 1]]  # (N, CANVAS, H)
        pixels = rows[:, None] @ ((ls + 1) * 127.5) @ columns[:, None].transpose(2, 3)
        return pixels, size.clamp(max=CANVAS)


@functools.cache
def _inverse(hr_size: int) -> np.ndarray:
    """(hr_size + 1, CANVAS, hr_size) float32: for each side, what undoes an enlargement by PIL bicubic along one axis,
    for the middle CANVAS pixels."""
    table = np.zeros((hr_size + 1, CANVAS, hr_size), np.float32)
    for side in range(1, hr_size + 1):
        ones = Image.fromarray(np.eye(side, dtype=np.float32))
        enlarging = np.asarray(ones.resize((side, hr_size), Image.Resampling.BICUBIC), np.float64)  # (hr_size, side)
        start = max(0, (side - CANVAS) // 2)
        least_squares = np.linalg.solve(enlarging.T @ enlarging, enlarging.T)
        table[side, : min(side, CANVAS)] = least_squares[start : start + CANVAS]
    return table


def _waves(side: int) -> Tensor:
    """(3 (side - 1), 1, side, side): frequencies of a block's orthonormal DCT-II as convolutions: the horizontal ones,
    the vertical ones, and those that are equal in both directions."""
    places = torch.arange(side, dtype=torch.float64)
    waves = torch.cos(math.pi / side * (places + 0.5) * places[:, None]) * math.sqrt(2 / side)
    waves[0] /= math.sqrt(2)
    pairs = [(0, k) for k in range(1, side)] + [(k, 0) for k in range(1, side)] + [(k, k) for k in range(1, side)]
    return torch.stack([waves[a][:, None] * waves[b] for a, b in pairs])[:, None].float()


def _ycc(pixels: Tensor) -> Tensor:
    """RGB -> luma and two differences of colour, as JPEG has them."""
    red, green, blue = pixels.unbind(1)
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    return torch.stack([luma, 0.564 * (blue - luma), 0.713 * (red - luma)], 1)


def _fits(sides: Tensor, block: int) -> Tensor:
    """(N, 1, s, s): 1 where a block that begins there lies within the image."""
    there = (torch.arange(CANVAS - block + 1, device=sides.device) <= (sides - block)[:, :, None]).float()
    return (there[:, 0, :, None] * there[:, 1, None, :])[:, None]


def _mean(maps: Tensor, inside: Tensor) -> Tensor:
    """(N, C) means over the places that are inside; 0 if none is."""
    return (maps * inside).sum((2, 3)) / inside.sum((2, 3)).clamp(min=1)


def _by_grid(absent: Tensor, inside: Tensor) -> Tensor:
    """(N, 3): mean over the blocks of a grid, for the grid where it is largest, over all, and for the image's own."""
    reach = [0, -absent.shape[2] % BLOCK, 0, -absent.shape[1] % BLOCK]
    found, count = (
        F.pad(x, reach).unflatten(2, (-1, BLOCK)).unflatten(1, (-1, BLOCK)).sum((1, 3)).flatten(1)
        for x in (absent * inside, inside)
    )
    means = found / count.clamp(min=1)
    return torch.stack([means.amax(1), found.sum(1) / count.sum(1).clamp(min=1), means[:, 0]], 1)

"""UFVNet-Routed: two experts, one for clean faces and one for damaged ones, and a router that chooses for each face."""

from __future__ import annotations

import functools
import math

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from ufvnet.data.damage.chain import KINDS

from .lite import RowLinear, UFVNetLite
from .real import UFVNetReal
from .srg import SROutput, check_side

CANVAS = 48
"""Most LR pixels of a side that the router looks at, from the middle of the face."""
BLOCK, CHROMA_BLOCK = 8, 4
"""Sides of the blocks whose frequencies the router measures, in luma and in chroma."""
NEAR_ZERO = 0.7
"""Levels below which a block's frequency counts as absent: JPEG rounds most of them to 0."""


class Router(nn.Module):
    """Tells damage from the LR pixels, where a JPEG's blocks, noise and aliasing still stand; then chooses an expert.

    The LR image is brought back from I_LS. Its statistics (``measure``) go through three layers. Learned convolutions
    in the place of these statistics told nothing (benchmarks/real.md).

    Args:
        hr_size: side of I_LS.
    """

    inverse: Tensor
    mean: Tensor
    scale: Tensor
    luma_waves: Tensor
    chroma_waves: Tensor

    def __init__(self, hr_size: int):
        super().__init__()
        self.hr_size = hr_size
        self.register_buffer("inverse", torch.from_numpy(_inverse(hr_size)), persistent=False)
        self.register_buffer("luma_waves", _waves(BLOCK), persistent=False)
        self.register_buffer("chroma_waves", _waves(CHROMA_BLOCK), persistent=False)
        count = 3 * len(self.luma_waves) + 3 + 2 * 2 * len(self.chroma_waves) + 2
        self.register_buffer("mean", torch.zeros(count))
        self.register_buffer("scale", torch.ones(count))
        self.layers = nn.Sequential(
            RowLinear(count, 96), nn.ReLU(inplace=True), RowLinear(96, 48), nn.ReLU(inplace=True),
            RowLinear(48, 1 + len(KINDS)),
        )  # fmt: skip

    def forward(self, ls: Tensor, rate: Tensor) -> tuple[Tensor, Tensor]:
        """I_LS (N, 3, H, H) in [-1, 1] and rate (N, 2) of rows and columns -> (N,) logits, above 0 for the expert for
        clean faces, and (N, 5) the estimated damage (``ufvnet.data.damage.chain.KINDS``)."""
        return self.choose(self.measure(ls, rate))

    def choose(self, measured: Tensor) -> tuple[Tensor, Tensor]:
        told = self.layers((measured - self.mean) * self.scale)
        return told[:, 0], told[:, 1:]

    def measure(self, ls: Tensor, rate: Tensor) -> Tensor:
        """(N, statistics) of the LR images: for every frequency of a block the mean logarithm of its size, its energy
        and how often it is absent; how absence depends on where a grid of blocks lies; and the sides."""
        pixels, sides = self.lr_pixels(ls.float(), rate.float())
        luma, blue, red = _ycc(pixels).split(1, 1)
        waves = F.conv2d(luma, self.luma_waves).abs()
        absent, inside = (waves < NEAR_ZERO).float(), _fits(sides, BLOCK)
        parts = [_mean((waves + 0.5).log(), inside), (_mean(waves.square(), inside) + 0.1).log(), _mean(absent, inside)]
        parts.append(_by_grid(absent.mean(1), inside[:, 0]))
        inside = _fits(sides, CHROMA_BLOCK)
        for plane in (blue, red):
            waves = F.conv2d(plane, self.chroma_waves).abs()
            parts += [_mean((waves + 0.5).log(), inside), (_mean(waves.square(), inside) + 0.1).log()]
        return torch.cat([*parts, rate.float().log2()], 1)

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
    shape = (len(absent), (absent.shape[1] + reach[3]) // BLOCK, BLOCK, (absent.shape[2] + reach[1]) // BLOCK, BLOCK)
    found, count = (F.pad(x, reach).reshape(shape).sum((1, 3)).flatten(1) for x in (absent * inside, inside))
    means = found / count.clamp(min=1)
    return torch.stack([means.amax(1), found.sum(1) / count.sum(1).clamp(min=1), means[:, 0]], 1)


class UFVNetRouted(nn.Module):
    """UFVNetLite for clean faces, UFVNetReal for damaged ones; a face passes the one that its router chooses.

    One network for both gives up 0.4 to 0.6 dB on clean faces (benchmarks/real.md). In training, and in an exported
    file, every face passes both: there the output is their mean by the router's probability, or the chosen one.

    Args:
        clean, damaged: the experts, for the same hr_size.
    """

    rate_by_axis = True
    """``Restorer`` passes a rate for rows and one for columns; they differ if an input is not square."""

    def __init__(self, clean: UFVNetLite, damaged: UFVNetReal):
        super().__init__()
        self.clean, self.damaged, self.router = clean, damaged, Router(clean.hr_size)
        self.hr_size, self.anchors = clean.hr_size, clean.anchors

    def forward(self, ls: Tensor, rate: Tensor | None = None) -> SROutput:
        """I_LS (N, 3, H, H) in [-1, 1] and rate (N,) or (N, 2) (rows, columns) -> SROutput with ``damage``.

        Raises:
            ValueError: rate is None.
        """
        check_side(ls, self.hr_size)
        if rate is None:
            raise ValueError("ufvnet-routed needs the down-sampling rate: give rate")
        both = rate[:, None].expand(-1, 2) if rate.ndim == 1 else rate
        logit, damage = self.router(ls, both)
        if self.training:
            sr, weights = self._mixed(ls, both, logit.sigmoid())
        elif torch.jit.is_tracing() or torch.compiler.is_exporting():
            sr, weights = self._mixed(ls, both, (logit > 0).to(ls.dtype))
        else:
            sr, weights = self._routed(ls, both, logit > 0)
        return SROutput(sr, weights, weights.clamp(min=1e-9).log(), damage)

    def _mixed(self, ls: Tensor, rate: Tensor, share: Tensor) -> tuple[Tensor, Tensor]:
        """The mean of both experts' images and weights, by the (N,) share of the expert for clean faces."""
        clean, damaged = self.clean(ls, rate), self.damaged(ls, rate)
        image = damaged.sr + share[:, None, None, None] * (clean.sr - damaged.sr)
        return image, damaged.weights + share[:, None] * (clean.weights - damaged.weights)

    def _routed(self, ls: Tensor, rate: Tensor, is_clean: Tensor) -> tuple[Tensor, Tensor]:
        if ls.is_meta:  # has no values to choose by; what is counted there is the larger expert
            output = self.damaged(ls, rate)
            return output.sr, output.weights
        sr, weights = torch.empty_like(ls), ls.new_empty(len(ls), len(self.anchors))
        for expert, chosen in ((self.clean, is_clean), (self.damaged, ~is_clean)):
            rows = chosen.nonzero()[:, 0]
            if len(rows):
                # filled up to the batch's size, on which the last bits of a face depend
                filled = rows[torch.arange(len(ls), device=ls.device) % len(rows)]
                whole = len(rows) == len(ls)
                output = expert(ls, rate) if whole else expert(_rows(ls, filled), rate[filled])
                sr[rows], weights[rows] = output.sr[: len(rows)], output.weights[: len(rows)]
        return sr, weights


def _rows(images: Tensor, rows: Tensor) -> Tensor:
    return images[rows].contiguous(memory_format=torch.channels_last)

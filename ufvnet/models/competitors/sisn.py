"""SISN: groups of split-attention blocks on the low resolution, then pixel shuffles; FR at 32 px (x4) or 16 px (x8).

T. Lu, Y. Wang, Y. Zhang, Y. Wang, L. Wei, Z. Wang, J. Jiang, "Face Hallucination via Split-Attention in Split-Attention
Network", ACM MM 2021.

What the paper leaves open, decided here:

- The two colour shifts are trained, as they are in the authors' runs (they start as identity and DIV2K's mean, and
  barely move).
- The head reads each colour of the input s^2 times (in the authors' form: an enlargement by nearest neighbour that a
  space-to-depth undoes). Three inputs would do the same, but would start and step differently: kept.
- Batch norms follow a global mean: in training a batch of one fails.
- The authors' code has a skip convolution in every block that nothing calls: not built.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..srg import SROutput
from .common import check_input, from_255, mean_colour, to_255

SCALES = (2, 4, 8)


class ColourShift(nn.Conv2d):
    """x + sign times the mean colour, a trained 1x1 convolution: (N, 3, h, w) in [0, 255] -> (N, 3, h, w)."""

    def __init__(self, sign: int):
        super().__init__(3, 3, 1)
        assert self.bias is not None
        with torch.no_grad():
            self.weight.copy_(torch.eye(3).view(3, 3, 1, 1))
            self.bias.copy_(sign * mean_colour().flatten())


class ISAB(nn.Module):
    """Internal-feature split-attention block: splits of a grouped convolution, weighted by a softmax over them.

    (N, C, h, w) -> (N, C, h, w).
    """

    def __init__(self, channels: int, splits: int = 4):
        super().__init__()
        c, wide = channels, channels * splits
        self.splits = splits
        self.reduce, self.bn_reduce = nn.Conv2d(c, c, 1, bias=False), nn.BatchNorm2d(c)
        self.split = nn.Conv2d(c, wide, 3, padding=1, groups=splits, bias=False)
        self.bn_split = nn.BatchNorm2d(wide)
        self.squeeze, self.bn_squeeze = nn.Conv2d(c, c, 1), nn.BatchNorm2d(c)
        self.attend = nn.Conv2d(c, wide, 1)
        self.expand, self.bn_expand = nn.Conv2d(c, c, 1, bias=False), nn.BatchNorm2d(c)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn_reduce(self.reduce(x)))
        y = F.relu(self.bn_split(self.split(y)))
        u = y.unflatten(1, (self.splits, -1))  # (N, splits, C, h, w)
        g = u.sum(1).mean((2, 3), keepdim=True)  # (N, C, 1, 1)
        a = self.attend(F.relu(self.bn_squeeze(self.squeeze(g))))
        a = a.unflatten(1, (self.splits, -1)).softmax(1)  # over the splits, for each channel
        v = (a * u).sum(1)
        return F.relu(x + self.bn_expand(self.expand(v)))


class ESAG(nn.Module):
    """External-internal split-attention group: conv(blocks(x)) + a block beside them, no identity skip.

    (N, C, h, w) -> (N, C, h, w).
    """

    def __init__(self, channels: int, blocks: int):
        super().__init__()
        self.blocks = nn.Sequential(*(ISAB(channels) for _ in range(blocks)))
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)
        self.side = ISAB(channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(self.blocks(x)) + self.side(x)


class SISN(nn.Module):
    """Head, groups with a long skip, pixel shuffles, tail; between two colour shifts.

    Args:
        scale: 2, 4 or 8: the input's side is hr_size / scale.
        channels: of every map.
        groups: how many ESAGs.
        blocks: ISABs of a group, beside its own on the side.
        hr_size: side of the output.

    Raises:
        ValueError: scale is not one of SCALES, or does not divide hr_size.
    """

    def __init__(self, scale: int = 4, channels: int = 64, groups: int = 10, blocks: int = 10, hr_size: int = 128):
        super().__init__()
        if scale not in SCALES or hr_size % scale:
            raise ValueError(f"scale must be one of {SCALES} and divide hr_size, got {scale} and {hr_size}")
        c = channels
        self.scale, self.lr_size = scale, hr_size // scale
        self.shift_in = ColourShift(-1)
        self.head = nn.Conv2d(3 * scale**2, c, 3, padding=1)
        self.groups = nn.Sequential(*(ESAG(c, blocks) for _ in range(groups)))
        self.end = nn.Conv2d(c, c, 3, padding=1)
        doublings = scale.bit_length() - 1
        self.up = nn.Sequential(
            *(layer for _ in range(doublings) for layer in (nn.Conv2d(c, 4 * c, 3, padding=1), nn.PixelShuffle(2)))
        )
        self.tail = nn.Conv2d(c, 3, 3, padding=1)
        self.shift_out = ColourShift(+1)

    def forward(self, lr: Tensor, rate: Tensor | None = None) -> SROutput:
        """LR (N, 3, lr_size, lr_size) in [-1, 1] -> SROutput."""
        check_input(lr, self.lr_size)
        x = self.shift_in(to_255(lr))
        x = self.head(x.repeat(1, self.scale**2, 1, 1))  # channel = copy * 3 + colour
        x = x + self.end(self.groups(x))
        return SROutput(from_255(self.shift_out(self.tail(self.up(x)))))

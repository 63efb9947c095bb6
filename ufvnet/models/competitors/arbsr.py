"""ArbSR (ArbRCAN): RCAN's groups, each followed by an adaption to the scale, and an upsampling to any size; SASR.

L. Wang, Y. Wang, Z. Lin, J. Yang, W. An, Y. Guo, "Learning A Single Network for Scale-Arbitrary Super-Resolution",
ICCV 2021.

What the papers leave open, decided here:

- The look-up of features counts positions between the outermost pixels' centres (align_corners True), as PyTorch did
  when the authors trained; what lies outside counts as zero, so the rim mixes with zeros.
- The colour shift stays DIV2K's mean, frozen: a buffer.
- Scales come from the sizes, not sizes from scales: 56 px to 128 is 128 / 56.
- The four experts are one convolution and their outputs are mixed, which equals (and is cheaper than) the authors' map
  of mixed filters. What depends on sizes alone is computed once for the whole batch.
- One kernel of the adaption serves the whole batch, and its mask has batch norms: a batch has one size of input. Sizes
  come in turn, every one equally often, in an order drawn anew for each round.
- The authors begin with 2 % of the steps at three integer scales, half the rate and clipped gradients: here the rate
  rises over these steps, at all sizes, and gradients are clipped throughout.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..srg import SROutput
from .common import check_input, from_255, mean_colour, to_255


def _conv(c_in: int, c_out: int, kernel: int = 3) -> nn.Conv2d:
    return nn.Conv2d(c_in, c_out, kernel, padding=kernel // 2)


class RCAB(nn.Module):
    """x + attention(conv(ReLU(conv(x)))), a factor for each channel: (N, C, h, w) -> (N, C, h, w)."""

    def __init__(self, channels: int, reduced: int):
        super().__init__()
        self.conv1, self.conv2 = _conv(channels, channels), _conv(channels, channels)
        self.attention = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), _conv(channels, reduced, 1), nn.ReLU(), _conv(reduced, channels, 1), nn.Sigmoid()
        )

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv2(F.relu(self.conv1(x)))
        return x + y * self.attention(y)


class ResidualGroup(nn.Module):
    """x + conv(RCABs(x)): (N, C, h, w) -> (N, C, h, w)."""

    def __init__(self, channels: int, blocks: int, reduced: int):
        super().__init__()
        self.body = nn.Sequential(*(RCAB(channels, reduced) for _ in range(blocks)), _conv(channels, channels))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


class Experts(nn.Module):
    """Kernels that are mixed: ``weight`` is (experts, c_out, c_in, k, k), each initialised as a layer of its own."""

    def __init__(self, experts: int, c_in: int, c_out: int, kernel: int = 1):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(experts, c_out, c_in, kernel, kernel))
        for expert in self.weight:
            nn.init.kaiming_uniform_(expert, a=math.sqrt(5))

    def per_pixel(self, x: Tensor, routing: Tensor) -> Tensor:
        """1x1 experts mixed in each pixel: (N, c_in, H, W), routing (1, experts, H, W) -> (N, c_out, H, W)."""
        outputs = F.conv2d(x, self.weight.flatten(0, 1)).unflatten(1, (len(self.weight), -1))
        return (outputs * routing[:, :, None]).sum(1)


class Adaption(nn.Module):
    """x + mask(x) * (x convolved with a kernel mixed for the scale): (N, C, h, w), h and w even -> (N, C, h, w)."""

    def __init__(self, channels: int, experts: int = 4):
        super().__init__()
        c, m = channels, channels // 4
        self.mask = nn.Sequential(
            *(_conv(c, m), nn.BatchNorm2d(m), nn.ReLU(), nn.AvgPool2d(2)),
            *(_conv(m, m), nn.BatchNorm2d(m), nn.ReLU()),
            *(_conv(m, m), nn.BatchNorm2d(m), nn.ReLU()),
            nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False),
            *(_conv(m, 1), nn.BatchNorm2d(1), nn.Sigmoid()),
        )
        self.experts = Experts(experts, c, c, 3)
        self.routing = nn.Sequential(nn.Linear(2, c), nn.ReLU(), nn.Linear(c, experts))

    def forward(self, x: Tensor, inverse: Tensor) -> Tensor:
        """``inverse``: (2,), one over the vertical and the horizontal scale."""
        r = self.routing(inverse[None]).softmax(1)[0]
        kernel = torch.einsum("e,eoikl->oikl", r, self.experts.weight)
        return x + self.mask(x) * F.conv2d(x, kernel, padding=1)


def positions(size: int, lr_size: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """Where ``size`` output pixels lie on ``lr_size`` pixels along one axis.

    Returns:
        (size,) positions, the centre of LR pixel i at i; and (size,) the same relative to the centre of the LR pixel
        that holds them, in [-1/2, 1/2].
    """
    edge = (torch.arange(size, device=like.device, dtype=like.dtype) + 0.5) * lr_size / size
    return edge - 0.5, edge - (edge + 1e-3).floor() - 0.5


class Upsampling(nn.Module):
    """Features at any size: a bilinear look-up with learned offsets, and filters mixed from experts in each pixel.

    (N, C, h, w) -> (N, C, H, W).
    """

    def __init__(self, channels: int, experts: int = 4):
        super().__init__()
        c = channels
        self.embed = nn.Sequential(_conv(4, c, 1), nn.ReLU(), _conv(c, c, 1), nn.ReLU())
        self.offset = _conv(c, 2, 1)  # horizontal, vertical
        self.routing = nn.Sequential(_conv(c, experts, 1), nn.Sigmoid())  # not normalised
        self.compress = Experts(experts, c, c // 8)
        self.expand = Experts(experts, c // 8, c)

    def forward(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        (height, width), (h, w) = size, x.shape[2:]
        rows, relative_rows = positions(height, h, x)
        columns, relative_columns = positions(width, w, x)
        inverses = x.new_tensor([w / width, h / height])[:, None, None].expand(-1, height, width)  # horizontal first
        relative = torch.stack(torch.meshgrid(relative_rows, relative_columns, indexing="ij"))
        e = self.embed(torch.cat([inverses, relative])[None])  # (1, C, H, W): alike for all pictures
        places = torch.stack(torch.meshgrid(columns, rows, indexing="xy")) + self.offset(e)  # (1, 2, H, W): x, y
        f = _look_up(x, places)
        r = self.routing(e)
        return f + self.expand.per_pixel(self.compress.per_pixel(f, r), r)


def _look_up(x: Tensor, places: Tensor) -> Tensor:
    """Bilinear values of (N, C, h, w) at places (1, 2, H, W), x and y in pixels; zero outside the outermost centres."""
    last = places.new_tensor([x.shape[3] - 1, x.shape[2] - 1])
    grid = places.permute(0, 2, 3, 1) * 2 / last - 1
    grid = grid.expand(len(x), -1, -1, -1)
    return F.grid_sample(x, grid, mode="bilinear", padding_mode="zeros", align_corners=True)


class ArbSR(nn.Module):
    """Head, groups with adaptions and a long skip, upsampling, tail; the mean colour taken off and put back.

    Args:
        channels: of every map, a multiple of 8.
        groups: how many residual groups, each with an adaption after it.
        blocks: RCABs of a group.
        reduced: channels inside an RCAB's attention.
        hr_size: side of the output.
    """

    mean: Tensor
    multiple = 2
    """The sides of its input are even."""

    def __init__(self, channels: int = 64, groups: int = 10, blocks: int = 20, reduced: int = 4, hr_size: int = 128):
        super().__init__()
        c = channels
        self.hr_size = hr_size
        self.register_buffer("mean", mean_colour(), persistent=False)
        self.head = _conv(3, c)
        self.groups = nn.ModuleList(ResidualGroup(c, blocks, reduced) for _ in range(groups))
        self.adaptions = nn.ModuleList(Adaption(c) for _ in range(groups))
        self.end = _conv(c, c)
        self.upsampling = Upsampling(c)
        self.tail = _conv(c, 3)

    def forward(self, lr: Tensor, rate: Tensor | None = None) -> SROutput:
        """LR (N, 3, h, w) in [-1, 1], h and w even -> SROutput.

        Raises:
            ValueError: h or w is odd, or the image has not three channels.
        """
        check_input(lr)
        h, w = lr.shape[2:]
        if h % 2 or w % 2:
            raise ValueError(f"ArbSR takes images of even sides, got {h} x {w}")
        inverse = lr.new_tensor([h / self.hr_size, w / self.hr_size])
        head = self.head(to_255(lr) - self.mean)
        x = head
        for group, adaption in zip(self.groups, self.adaptions):
            x = adaption(group(x), inverse)
        x = self.upsampling(head + self.end(x), (self.hr_size, self.hr_size))
        return SROutput(from_255(self.tail(x) + self.mean))

    def saved_macs(self, h: int, w: int) -> int:
        """Multiply-accumulates of the authors' form beyond this one's, whatever h and w.

        Mixing a pixel's filters from the experts costs what all experts' outputs cost here; applying them comes on top.
        """
        narrow, channels = self.upsampling.compress.weight.shape[1:3]
        return 2 * narrow * channels * self.hr_size**2

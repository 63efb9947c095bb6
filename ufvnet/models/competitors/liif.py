"""LIIF: an EDSR encoder, and an MLP that gives the colour at any point from the four cells around it; SASR.

Y. Chen, S. Liu, X. Wang, "Learning Continuous Image Representation with Local Implicit Image Function", CVPR 2021.

What UFVNet's paper leaves open, decided here:

- The encoder is EDSR-baseline, as in the LIIF paper's experiments on faces; without its upsampler and its frozen colour
  shifts, which nothing uses.
- The MLP's first layer is linear in [features, offset, size], so its part for the unfolded features is one 3x3
  convolution on the low resolution instead of four products a point: the same numbers up to rounding.
- Initialisation is PyTorch's own.

Coordinates: pairs (y, x) in [-1, 1]; the centre of pixel i of n is -1 + (2i + 1) / n.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..srg import SROutput
from ..supervision import Needs, Target
from .common import check_input

EPS = 1e-6
CHUNK = 4096
"""Points that ``forward`` evaluates at once: results do not depend on it, memory does (17 MB a layer and image)."""


class ResidualBlock(nn.Module):
    """x + conv(ReLU(conv(x))): (N, C, h, w) -> (N, C, h, w)."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv2(F.relu(self.conv1(x)))


class Encoder(nn.Module):
    """EDSR-baseline at the input's size: (N, 3, h, w) -> (N, C, h, w)."""

    def __init__(self, channels: int, blocks: int):
        super().__init__()
        self.stem = nn.Conv2d(3, channels, 3, padding=1)
        self.body = nn.Sequential(
            *(ResidualBlock(channels) for _ in range(blocks)), nn.Conv2d(channels, channels, 3, padding=1)
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        return x + self.body(x)


class Neighbours(NamedTuple):
    """The four cells around each point, in the order (-, -), (-, +), (+, -), (+, +) of (y, x).

    cell: (N, Q, 4) int64, row * w + column. offset: (N, Q, 4, 2), from the cell's centre to the point in half cells.
    weight: (N, Q, 4), the area opposite the cell over the sum of the four; sums to 1.
    """

    cell: Tensor
    offset: Tensor
    weight: Tensor


def pixel_centres(height: int, width: int, like: Tensor) -> Tensor:
    """(1, height * width, 2): the pairs (y, x), row by row."""
    axes = [(torch.arange(n, device=like.device, dtype=like.dtype) * 2 + 1) / n - 1 for n in (height, width)]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"), -1).view(1, -1, 2)


def neighbours(points: Tensor, h: int, w: int) -> Neighbours:
    """(N, Q, 2) points on a grid of h x w cells -> Neighbours.

    A point beyond the outermost centres has the same cell more than once: its offset comes from the point itself, only
    the look-up is clamped.
    """
    sides = points.new_tensor([h, w])
    signs = points.new_tensor([[-1, -1], [-1, 1], [1, -1], [1, 1]])
    shifted = (points[:, :, None] + signs / sides + EPS).clamp(-1 + EPS, 1 - EPS)  # (N, Q, 4, 2)
    cell = ((shifted + 1) * sides / 2).floor()
    centre = (cell * 2 + 1) / sides - 1
    offset = (points[:, :, None] - centre) * sides
    area = offset.prod(-1).abs() + 1e-9
    weight = area.flip(-1) / area.sum(-1, keepdim=True)  # the four in reverse order are the opposite ones
    return Neighbours((cell[..., 0] * w + cell[..., 1]).long(), offset, weight)


class LIIF(nn.Module):
    """Encoder and MLP; ``forward`` gives a whole picture, ``query`` the colours at points (training).

    Args:
        channels: of the encoder's maps.
        blocks: the encoder's residual blocks.
        hidden: width of the MLP.
        hr_size: side of the output.
        training: what it learns from: ``squares``: random squares of the face, a quarter of its side or more, reduced
            to an eighth of hr_size; ``whole``: the whole face reduced so, compared at a random size; ``sizes``: the LR
            images of the view, one size a batch.
    """

    def __init__(
        self,
        channels: int = 64,
        blocks: int = 16,
        hidden: int = 256,
        hr_size: int = 128,
        training: Literal["squares", "whole", "sizes"] = "squares",
    ):
        super().__init__()
        self.hr_size = hr_size
        cells = (hr_size // 8) ** 2  # of the input of the first two trainings; the authors' is as many points
        self.needs = {
            "squares": Needs(points=cells, squares="cut"),
            "whole": Needs(points=cells, squares="whole"),
            "sizes": Needs(points=4 * cells),
        }[training]
        self.encoder = Encoder(channels, blocks)
        self.first = nn.Linear(9 * channels + 4, hidden)  # [features 3x3 unfolded, offset y x, size y x]
        layers: list[nn.Module] = [nn.ReLU()]
        for _ in range(3):
            layers += [nn.Linear(hidden, hidden), nn.ReLU()]
        self.rest = nn.Sequential(*layers, nn.Linear(hidden, 3))

    def forward(self, lr: Tensor, rate: Tensor | None = None) -> SROutput:
        """LR (N, 3, h, w) in [-1, 1], of any size -> SROutput."""
        check_input(lr)
        n, size = len(lr), self.hr_size
        cells = self.cells(lr)
        points = pixel_centres(size, size, lr).expand(n, -1, -1)
        extent = lr.new_tensor([2 / size, 2 / size]).expand(n, -1)
        colours = torch.cat([self.colours(cells, part, extent) for part in points.split(CHUNK, 1)], 1)
        return SROutput(colours.transpose(1, 2).reshape(n, 3, size, size))

    def query(self, lr: Tensor, points: Tensor, extent: Tensor) -> Tensor:
        """Colours at some points only.

        Args:
            lr: (N, 3, h, w) in [-1, 1].
            points: (N, Q, 2), pairs (y, x) in [-1, 1].
            extent: (N, 2), height and width of an output pixel in the points' coordinates: 2 / H and 2 / W.

        Returns:
            (N, Q, 3) float, nominally in [-1, 1].
        """
        return self.colours(self.cells(lr), points, extent)

    def loss(self, fed: Tensor, rate: Tensor, target: Target) -> Tensor:
        """Mean absolute error of the colours at the target's points, in [-1, 1]."""
        assert target.points is not None
        assert target.colours is not None
        assert target.extent is not None
        return F.l1_loss(self.query(fed, target.points, target.extent), target.colours)

    def cells(self, lr: Tensor) -> Tensor:
        """(N, 3, h, w) -> (N, hidden, h, w): what the MLP's first layer makes of each cell's features, and its bias."""
        features = self.encoder(lr)
        c = features.shape[1]
        kernel = self.first.weight[:, : 9 * c].unflatten(1, (c, 3, 3))  # unfolding is channel-major, then row, column
        return F.conv2d(features, kernel, self.first.bias, padding=1)

    def colours(self, cells: Tensor, points: Tensor, extent: Tensor) -> Tensor:
        """``cells`` (N, hidden, h, w), points (N, Q, 2) and extent (N, 2) -> (N, Q, 3)."""
        n, hidden, h, w = cells.shape
        near = neighbours(points, h, w)
        in_half_cells = extent * extent.new_tensor([h, w])
        size = in_half_cells[:, None, None].expand_as(near.offset)
        place = F.linear(torch.cat([near.offset, size], -1), self.first.weight[:, -4:])  # (N, Q, 4, hidden)
        rows = cells.permute(0, 2, 3, 1).reshape(-1, hidden)
        image = torch.arange(n, device=cells.device).view(n, 1, 1) * (h * w)
        predicted = self.rest(F.embedding(near.cell + image, rows) + place)  # (N, Q, 4, 3)
        return (predicted * near.weight[..., None]).sum(2)

    def saved_macs(self, h: int, w: int) -> int:
        """Multiply-accumulates of the paper's form (the whole first layer at every evaluation) beyond this one's."""
        per_cell = self.first.out_features * (self.first.in_features - 4)
        return per_cell * (4 * self.hr_size**2 - h * w)

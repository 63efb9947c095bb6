"""EIPNet's generator: residual pairs at 16, 32 and 64 px, and after each a doubling with an edge block.

J. Kim, G. Li, I. Yun, C. Jung, J. Kim, "Edge and Identity Preserving Network for Face Super-Resolution",
Neurocomputing 446, 2021.

Decisions, where the paper leaves it open:

- UFVNet's paper counts EIPNet among the methods that take an image of the output's size, but its generator enlarges
  eight times: the image of any resolution is reduced to hr_size / 8 by bicubic interpolation first (the caller does it,
  with PIL on uint8). ``full=True`` is a variant of ours that takes I_LS itself, unshuffled to 192 channels.
- The identity loss is left out: its network and its weight are not published. The adversarial term is an option
  (``gan=True``); the critic sees pictures in [0, 255], as the generator does, and learns from the labels 0 and 1.
- Means at the border are of the pixels inside the picture.
- Without OpenCV it is not trained: a row without the edges' term would be another method under this name.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..srg import HR_SIZES
from ..supervision import Needs, Target
from .adversary import adversarial_loss
from .common import check_input, from_255, to_255, to_unit

SCALE = 8
EDGES = 0.3
"""Weight of the loss of the edge maps."""
ADVERSARIAL = 0.005 / 255**2
"""Weight of the adversarial term; it is 0.005 beside squared errors of pictures in [0, 255]."""
WINDOWS = (5, 7, 10)
"""Sides of the edge blocks' means, at a quarter, half and the whole of the output's side."""


@dataclass(frozen=True)
class EIPNetOutput:
    """sr: (N, 3, H, H) float, nominally in [-1, 1].

    edges: (N, 1, s, s) float for s = H/4, H/2, H, each at least 0 and nominally at most 255, as Canny's maps are.
    """

    sr: Tensor
    edges: tuple[Tensor, Tensor, Tensor]


def box_mean(x: Tensor, window: int) -> Tensor:
    """Mean of the window x window pixels around each, or of as many as the picture has: (N, C, H, W) -> the same.

    An even window has one row and one column more below and to the right: pixel i's covers i-4 ... i+5 for 10.
    """
    before, after = (window - 1) // 2, window // 2
    padding = (before, after, before, after)
    inside = F.avg_pool2d(F.pad(torch.ones_like(x[:1, :1]), padding), window, 1)
    return F.avg_pool2d(F.pad(x, padding), window, 1) / inside


YUV = ((0.299, 0.587, 0.114), (-0.14714119, -0.28886916, 0.43601035), (0.61497538, -0.51496512, -0.10001026))


def to_yuv(rgb: Tensor) -> Tensor:
    """Luminance and chrominance, which the second loss term compares: RGB (N, 3, H, W) -> YUV (N, 3, H, W)."""
    return torch.einsum("yc,nchw->nyhw", rgb.new_tensor(YUV), rgb)


class Pair(nn.Module):
    """skip + ReLU(conv(ReLU(conv(x)))), 3x3: (N, c_in, H, W) and skip (N, c_out, H, W) -> (N, c_out, H, W)."""

    def __init__(self, c_in: int, c_out: int):
        super().__init__()
        self.conv1 = nn.Conv2d(c_in, c_in, 3, padding=1)
        self.conv2 = nn.Conv2d(c_in, c_out, 3, padding=1)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        return skip + F.relu(self.conv2(F.relu(self.conv1(x))))


class EdgeBlock(nn.Module):
    """What stands out of its neighbourhood: D (N, C, H, W) -> S (N, C, H, W) and the edge map E (N, 1, H, W)."""

    def __init__(self, channels: int, window: int):
        super().__init__()
        self.window = window
        self.edge = nn.Conv2d(channels, 1, 1)

    def forward(self, d: Tensor) -> tuple[Tensor, Tensor]:
        s = F.relu(d - box_mean(d, self.window))
        return s, F.relu(self.edge(s))


class Critic(nn.Module):
    """The authors' discriminator: (N, 3, H, H) in [0, 255] -> (N, 1) logits; ``channels`` as in ``EIPNet``."""

    def __init__(self, channels: int, hr_size: int):
        super().__init__()
        c2, c4, c8 = 2 * channels, 4 * channels, 8 * channels
        layers: list[nn.Module] = []
        side = hr_size
        for c_in, c_out, stride in ((3, c2, 1), (c2, c2, 2), (c2, c4, 1), (c4, c4, 2), (c4, c4, 1), (c4, c8, 2)):
            layers += [nn.Conv2d(c_in, c_out, 3, stride, padding=2 - stride), nn.LeakyReLU(0.2)]
            side = (side - 3) // 2 + 1 if stride == 2 else side
        layers += [nn.Conv2d(c8, c8, 3, padding=1), nn.Flatten()]
        layers += [nn.Linear(c8 * side**2, c8), nn.LeakyReLU(0.2), nn.Linear(c8, 1)]
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.layers(x)
        return logits


class EIPNet(nn.Module):
    """EIPNet's generator.

    Args:
        channels: of the maps at the output's side; at a half, a quarter and an eighth of it there are 2, 4 and 8 times
            as many.
        hr_size: side of the output, 64 or 128 pixels; the input's is an eighth of it.
        full: take I_LS at the output's side instead (ours).
        gan: learn against a critic too.

    Raises:
        ValueError: hr_size is not one of HR_SIZES.
    """

    needs = Needs(edges=True)
    critic: Critic
    """There only while it is trained."""

    def __init__(self, channels: int = 64, hr_size: int = 128, full: bool = False, gan: bool = False):
        super().__init__()
        if hr_size not in HR_SIZES:
            raise ValueError(f"hr_size must be one of {HR_SIZES}, got {hr_size}")
        c1, c2, c4, c8 = channels, 2 * channels, 4 * channels, 8 * channels
        self.lr_size = hr_size if full else hr_size // SCALE
        self.full = full
        self.critic_size = (channels, hr_size) if gan else None
        self.stem = nn.Conv2d(3 * SCALE**2 if full else 3, c8, 3, padding=1)
        self.pairs = nn.ModuleList([Pair(c8, c8), Pair(c8, c4), Pair(c4, c2)])
        self.ups = nn.ModuleList(nn.ConvTranspose2d(2 * c, c, 4, 2, 1) for c in (c4, c2, c1))
        self.edge_blocks = nn.ModuleList(EdgeBlock(c, window) for c, window in zip((c4, c2, c1), WINDOWS))
        self.rgb = nn.Conv2d(c2, 3, 1)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
                nn.init.xavier_uniform_(layer.weight)
                nn.init.zeros_(layer.bias)  # type: ignore[arg-type]

    def make_critic(self) -> Critic | None:
        """What training adds as ``critic``."""
        return Critic(*self.critic_size) if self.critic_size else None

    def generate(self, x: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor, Tensor]]:
        """(N, 3, H/8, H/8) in [0, 255] -> picture (N, 3, H, H) in [0, 255], not clipped, and the three edge maps."""
        d = self.stem(F.pixel_unshuffle(x, SCALE) if self.full else x)  # 512 x 16 x 16
        x, edges = d, []
        for pair, up, block in zip(self.pairs, self.ups, self.edge_blocks):
            d = F.relu(up(pair(x, d)))  # 256 x 32 x 32, 128 x 64 x 64, 64 x 128 x 128
            s, edge = block(d)
            x = torch.cat([d, s], 1)
            edges.append(edge)
        return self.rgb(x), (edges[0], edges[1], edges[2])

    def forward(self, lr: Tensor, rate: Tensor | None = None) -> EIPNetOutput:
        """(N, 3, H/8, H/8) in [-1, 1] (I_LS (N, 3, H, H) with ``full``) -> EIPNetOutput; ``rate`` is not used."""
        check_input(lr, self.lr_size)
        picture, edges = self.generate(to_255(lr))
        return EIPNetOutput(from_255(picture), edges)

    def loss(self, fed: Tensor, rate: Tensor, target: Target) -> Tensor:
        """Mean squared errors in [0, 1]: of RGB, of YUV, 0.3 times those of the edge maps; and the adversarial term."""
        output = self(fed)
        assert target.edges is not None
        sr, hr = to_unit(output.sr), to_unit(target.hr)
        edges = [F.mse_loss(ours / 255, canny / 255) for ours, canny in zip(output.edges, target.edges)]
        loss = F.mse_loss(sr, hr) + F.mse_loss(to_yuv(sr), to_yuv(hr)) + EDGES * torch.stack(edges).sum()
        if hasattr(self, "critic"):
            loss = loss + adversarial_loss(self.critic, 255 * sr, 255 * hr, ADVERSARIAL)
        return loss

"""WIPA: stages that double the side, each with a branch that predicts wavelet details; FR at 32, 16 or 8 px.

H. Dastmalchi, H. Aghaeinia, "Super-resolution of very low-resolution face images with a wavelet integrated, identity
preserving, adversarial network", Signal Processing: Image Communication 107, 116755, 2022.

What the paper leaves open, decided here:

- The low resolution is the project's (the authors': anti-aliased bilinear on floats; their text: bicubic).
- x4, of which the authors report no numbers, follows the formula of x8 and x16.
- With hr_size 64 every stage's output is enlarged to 64.
- Initialisation is PyTorch's own.
- The terms of other networks' features (VGG, identity) are left out; the adversarial one is an option (``gan=True``),
  by the authors' schedule: of 200 epochs, the details are learned from the second on, the critic learns from the third
  on, the network from it from the fifth on.
  The bounds of its labels move linearly.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..supervision import Target
from .adversary import adversarial_loss
from .common import check_input, to_unit

SCALES = (4, 8, 16)
DETAILS = 9
"""Maps of a wavelet prediction: horizontal, vertical and diagonal detail of each colour."""
ADVERSARIAL = 0.001
"""Weight of the adversarial term."""
DETAILS_FROM, CRITIC_FROM, ADVERSARIAL_FROM = 1 / 200, 2 / 200, 4 / 200
"""Shares of the training after which details are learned, the critic learns, and the network learns from it."""


@dataclass(frozen=True)
class WIPAOutput:
    """The picture and what the wavelet branches predict.

    sr: (N, 3, H, H) float in [-1, 1].
    wavelets: (N, 9, H/2, H/2), (N, 9, H/4, H/4), ... down to the input's side; maps 3c, 3c + 1 and 3c + 2 are the
        horizontal, vertical and diagonal detail of colour c, of pictures in [0, 1] (``wavelet_targets``).
    """

    sr: Tensor
    wavelets: tuple[Tensor, ...]


def _conv(c_in: int, c_out: int, kernel: int = 3) -> nn.Conv2d:
    return nn.Conv2d(c_in, c_out, kernel, padding=kernel // 2, bias=False)


def _lrelu(x: Tensor) -> Tensor:
    return F.leaky_relu(x, 0.1)


class ResidualBlock(nn.Module):
    """LReLU(x + BN(conv(LReLU(BN(conv(x)))))): (N, C, h, w) -> (N, C, h, w)."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv1, self.bn1 = _conv(channels, channels), nn.BatchNorm2d(channels)
        self.conv2, self.bn2 = _conv(channels, channels), nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        return _lrelu(x + self.bn2(self.conv2(_lrelu(self.bn1(self.conv1(x))))))


class Stage(nn.Module):
    """Residual blocks, the wavelet branch, a deconvolution: (N, C, n, n) -> (N, C, 2n, 2n) and details (N, 9, n, n)."""

    def __init__(self, channels: int, blocks: int):
        super().__init__()
        self.blocks = nn.Sequential(*(ResidualBlock(channels) for _ in range(blocks)))
        self.wavelet = _conv(channels, channels)
        self.fuse = _conv(2 * channels, channels, 1)
        self.predict = _conv(channels, DETAILS)
        self.up = nn.ConvTranspose2d(channels, channels, 4, stride=2, padding=1, bias=False)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = self.blocks(x)
        w = self.wavelet(x)
        return _lrelu(self.up(self.fuse(torch.cat([x, w], 1)))), self.predict(w)


class Critic(nn.Module):
    """The authors' discriminator: (N, 3, H, H) in [-1, 1] -> (N, 1) logits; ``channels`` as in ``WIPA``."""

    def __init__(self, channels: int, hr_size: int):
        super().__init__()
        widths = [3, *(channels << i for i in range(4))]
        layers: list[nn.Module] = []
        for c_in, c_out in pairwise(widths):
            norm = [nn.BatchNorm2d(c_out)] if c_in > 3 else []
            layers += [nn.Conv2d(c_in, c_out, 4, 2, 1), *norm, nn.LeakyReLU(0.1)]
        layers += [nn.Conv2d(widths[-1], channels, hr_size // 16), nn.LeakyReLU(0.1), nn.Flatten()]
        self.layers = nn.Sequential(*layers, nn.Linear(channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.layers(x)
        return logits


class WIPA(nn.Module):
    """Stages to the full side, all their outputs enlarged and summed, a convolution and tanh.

    Args:
        scale: 4, 8 or 16: the input's side is hr_size / scale.
        channels: of every map.
        hr_size: side of the output.
        gan: learn against a critic too.

    Raises:
        ValueError: scale is not one of SCALES, or does not divide hr_size.
    """

    critic: Critic
    """There only while it is trained."""

    def __init__(self, scale: int = 4, channels: int = 64, hr_size: int = 128, gan: bool = False):
        super().__init__()
        if scale not in SCALES or hr_size % scale:
            raise ValueError(f"scale must be one of {SCALES} and divide hr_size, got {scale} and {hr_size}")
        self.hr_size, self.lr_size = hr_size, hr_size // scale
        self.stem = _conv(3, channels)
        self.bn = nn.BatchNorm2d(channels)
        stages = scale.bit_length() - 1
        self.stages = nn.ModuleList(Stage(channels, scale >> i) for i in range(stages))
        self.head = _conv(channels, 3)
        self.critic_size = (channels, hr_size) if gan else None

    def make_critic(self) -> Critic | None:
        """What training adds as ``critic``."""
        return Critic(*self.critic_size) if self.critic_size else None

    def frozen(self, progress: float) -> Iterable[nn.Parameter]:
        """What does not learn yet."""
        return self.critic.parameters() if hasattr(self, "critic") and progress < CRITIC_FROM else ()

    def forward(self, lr: Tensor, rate: Tensor | None = None) -> WIPAOutput:
        """LR (N, 3, lr_size, lr_size) in [-1, 1] -> WIPAOutput."""
        check_input(lr, self.lr_size)
        x = _lrelu(self.bn(self.stem(lr)))
        wavelets: list[Tensor] = []
        enlarged: list[Tensor] = []
        for stage in self.stages:
            x, details = stage(x)
            wavelets.insert(0, details)
            enlarged.append(self._enlarge(x))
        return WIPAOutput(torch.tanh(self.head(torch.stack(enlarged).sum(0))), tuple(wavelets))

    def loss(self, fed: Tensor, rate: Tensor, target: Target) -> Tensor:
        """Mean squared error of the picture in [0, 1]; absolute ones of the details, each coarser level's a quarter as
        heavy, after the first epoch; and the adversarial term.
        """
        output, hr = self(fed), to_unit(target.hr)
        targets = wavelet_targets(hr, len(output.wavelets))
        levels = [F.l1_loss(w, t) / 4**i for i, (w, t) in enumerate(zip(output.wavelets, targets))]
        details = torch.stack(levels).mean()
        if (
            target.progress < DETAILS_FROM
        ):  # without gradients, and in the loss all the same: a jump would be divergence
            details = details.detach() + 0 * details  # every parameter has a gradient in every process
        loss = F.mse_loss(to_unit(output.sr), hr) + details
        if hasattr(self, "critic"):
            loss = loss + self._adversarial(output.sr, target)
        return loss

    def _adversarial(self, sr: Tensor, target: Target) -> Tensor:
        done, noise = target.progress, torch.rand(2, len(sr), device=sr.device)
        real = 1 - noise[0] * (0.2 - 0.1 * done)  # in [0.8, 1] at first, in [0.9, 1] at last
        fake = noise[1] * (0.2 - 0.1 * done)
        weight = ADVERSARIAL if done >= ADVERSARIAL_FROM else 0.0
        return adversarial_loss(self.critic, sr, target.hr, weight, real, fake)

    def _enlarge(self, x: Tensor) -> Tensor:
        if x.shape[2] == self.hr_size:
            return x
        return F.interpolate(x, size=(self.hr_size, self.hr_size), mode="bicubic", align_corners=True)


def wavelet_targets(hr: Tensor, levels: int) -> list[Tensor]:
    """Haar details of HR pictures, what ``WIPAOutput.wavelets`` learn.

    Args:
        hr: (N, 3, H, H) in [0, 1].
        levels: how many; level l is divided by 2^l.

    Returns:
        (N, 9, H/2, H/2), (N, 9, H/4, H/4), ...
    """
    targets = []
    a = hr
    for level in range(levels):
        a, *details = haar(a)
        targets.append(torch.stack(details, 2).flatten(1, 2) / 2**level)
    return targets


def haar(x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(N, C, H, W) -> approximation, horizontal, vertical and diagonal detail, each (N, C, H/2, W/2)."""
    p, q, r, t = x[..., ::2, ::2], x[..., ::2, 1::2], x[..., 1::2, ::2], x[..., 1::2, 1::2]
    return (p + q + r + t) / 2, (p + q - r - t) / 2, (p - q + r - t) / 2, (p - q - r + t) / 2

"""The face attention unit (FAU) and its hourglass attention: Eqs. 1-3 and Fig. 2(b) of the paper."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .conv import ConvLayer, Scale


def _block(c_in: int, c_out: int, scale: Scale = "same") -> ConvLayer:
    return ConvLayer(c_in, c_out, scale, norm=True, act=True)


class HourglassLevel(nn.Module):
    """One level of the hourglass: out = b1(x) + b3(inner(b2(x))), inner = the next level or b2_plus."""

    def __init__(self, level: int, c_in: int, c_mid: int):
        super().__init__()
        self.b1 = _block(c_in, c_mid)
        self.b2 = _block(c_in, c_mid, "down")
        self.inner = HourglassLevel(level - 1, c_mid, c_mid) if level > 1 else _block(c_mid, c_mid)  # b2_plus
        self.b3 = _block(c_mid, c_mid, "up")

    def forward(self, x: Tensor) -> Tensor:
        return self.b1(x) + self.b3(self.inner(self.b2(x)))


class Attention(nn.Module):
    """The attention block B2 of Eq. 2, multiplied onto its input (the product in Eq. 3).

    (N, C, H, W) -> (N, C, H, W): one sigmoid map per channel ("3D" attention).
    """

    def __init__(self, channels: int, depth: int, c_mid: int):
        super().__init__()
        self.hourglass = HourglassLevel(depth, channels, c_mid)
        self.out = ConvLayer(c_mid, channels)

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid_(self.out(self.hourglass(x)))


class FAU(nn.Module):
    """Face attention unit: y = shortcut(x) + attention(conv2(conv1(LReLU(BN(x))))) (Eqs. 1-3).

    Args:
        c_in, c_out: channels of input and output.
        depth: levels of the attention's hourglass, which must bottom out at 4x4.
        scale: ``down`` halves the sides (in conv2), ``up`` doubles them (in conv1).
        c_mid: channels inside the hourglass.

    (N, c_in, H, W) float -> (N, c_out, H', W') float.
    """

    def __init__(self, c_in: int, c_out: int, depth: int, scale: Scale = "same", c_mid: int = 64):
        super().__init__()
        self.pre = nn.Sequential(nn.BatchNorm2d(c_in), nn.LeakyReLU(0.2, inplace=True))
        self.conv1 = ConvLayer(c_in, c_out, "up" if scale == "up" else "same", norm=True, act=True)
        self.conv2 = ConvLayer(c_out, c_out, "down" if scale == "down" else "same", norm=True)
        self.attention = Attention(c_out, depth, c_mid)
        same = scale == "same" and c_in == c_out
        self.shortcut = nn.Identity() if same else ConvLayer(c_in, c_out, scale)

    def forward(self, x: Tensor) -> Tensor:
        features = self.conv2(self.conv1(self.pre(x)))  # Eq. 1
        return self.shortcut(x) + self.attention(features)  # Eqs. 2, 3


@torch.no_grad()
def init_as_identity(network: nn.Module) -> None:
    """Make a network start near the identity, so that short trainings begin with a picture instead of noise.

    Every FAU starts as its shortcut alone (scale 0 in conv2's BatchNorm), and every convolution
    without a norm outside the attention (stem, shortcuts, head) gets a Dirac kernel on top.
    """
    for name, module in network.named_modules():
        if isinstance(module, FAU):
            norm = module.conv2.norm
            assert isinstance(norm, nn.BatchNorm2d)
            nn.init.zeros_(norm.weight)
        elif isinstance(module, nn.Conv2d) and ".attention." not in name and _has_no_norm(module):
            module.weight += nn.init.dirac_(torch.empty_like(module.weight))


def _has_no_norm(convolution: nn.Conv2d) -> bool:
    """True for the convolution of a ConvLayer without norm: it has a bias, and the padding is done outside it."""
    return convolution.bias is not None and convolution.padding == (0, 0)

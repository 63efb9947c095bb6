"""The networks of docs/method.md section 2 in plain modules, eager, NCHW, float32: the reference for ours.

The parameters have the same order as in ``ufvnet.models``, so weights are copied by position.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ufvnet.models import WeightRegressor
from ufvnet.models.srg import Width, hourglass_depth


def layer(c_in: int, c_out: int, scale: str = "same", norm: bool = False, act: bool = False) -> nn.Sequential:
    """ConvLayer: [nearest x2] -> ReflectionPad(1) -> 3x3 conv -> [BatchNorm] -> [LeakyReLU 0.2]."""
    return nn.Sequential(
        *([nn.Upsample(scale_factor=2, mode="nearest")] if scale == "up" else []),
        nn.ReflectionPad2d(1),
        nn.Conv2d(c_in, c_out, 3, 2 if scale == "down" else 1, bias=not norm),
        *([nn.BatchNorm2d(c_out)] if norm else []),
        *([nn.LeakyReLU(0.2)] if act else []),
    )


class Hourglass(nn.Module):
    def __init__(self, level: int, c_in: int, c_mid: int):
        super().__init__()
        self.b1 = layer(c_in, c_mid, norm=True, act=True)
        self.b2 = layer(c_in, c_mid, "down", norm=True, act=True)
        inner = Hourglass(level - 1, c_mid, c_mid) if level > 1 else layer(c_mid, c_mid, norm=True, act=True)
        self.inner = inner
        self.b3 = layer(c_mid, c_mid, "up", norm=True, act=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.b1(x) + self.b3(self.inner(self.b2(x)))


class Unit(nn.Module):
    """FAU: y = shortcut(x) + f * sigmoid(hourglass(f)), f = conv2(conv1(LReLU(BN(x))))."""

    def __init__(self, c_in: int, c_out: int, depth: int, scale: str, c_mid: int):
        super().__init__()
        up, down = ("up", "same") if scale == "up" else ("same", scale)
        self.features = nn.Sequential(
            nn.BatchNorm2d(c_in), nn.LeakyReLU(0.2),
            layer(c_in, c_out, up, norm=True, act=True), layer(c_out, c_out, down, norm=True),
        )  # fmt: skip
        self.attention = nn.Sequential(Hourglass(depth, c_out, c_mid), layer(c_mid, c_out), nn.Sigmoid())
        self.shortcut = nn.Identity() if scale == "same" and c_in == c_out else layer(c_in, c_out, scale)

    def forward(self, x: Tensor) -> Tensor:
        features = self.features(x)
        return self.shortcut(x) + features * self.attention(features)


def encoder(width: Width, hr_size: int) -> nn.Sequential:
    (c0, c1, c2), d = width.channels, hourglass_depth(hr_size)
    sides = ((c0, c1, d - 1), (c1, c2, d - 2), (c2, c2, d - 3))
    return nn.Sequential(layer(3, c0), *(Unit(a, b, depth, "down", width.c_mid) for a, b, depth in sides))


def decoder(width: Width, hr_size: int) -> nn.Sequential:
    (c0, c1, c2), d = width.channels, hourglass_depth(hr_size)
    sides = ((c2, c2, d - 2), (c2, c1, d - 1), (c1, c0, d))
    return nn.Sequential(*(Unit(a, b, depth, "up", width.c_mid) for a, b, depth in sides), layer(c0, 3))


class OneSRG(nn.Sequential):
    def __init__(self, width: Width, hr_size: int):
        c2, depth = width.channels[2], hourglass_depth(hr_size // 8)
        super().__init__(encoder(width, hr_size), Unit(c2, c2, depth, "same", width.c_mid), decoder(width, hr_size))


class UFVNet(nn.Module):
    def __init__(self, width: Width, hr_size: int, anchors: int = 3):
        super().__init__()
        c2, depth = width.channels[2], hourglass_depth(hr_size // 8)
        self.encoders = nn.ModuleList(encoder(width, hr_size) for _ in range(anchors))
        self.regressor = WeightRegressor(anchors, width.regressor, hr_size)
        self.fe = Unit(anchors * c2, c2, depth, "same", width.c_mid)
        self.decoder = decoder(width, hr_size)

    def forward(self, ls: Tensor) -> Tensor:
        w = self.regressor(ls)
        features = [enc(ls) * w[:, i, None, None, None] for i, enc in enumerate(self.encoders)]
        return self.decoder(self.fe(torch.cat(features, 1)))


def plain(name: str, width: Width, hr_size: int, ours: nn.Module) -> nn.Module:
    """The plain network for a registered name, with the weights of ``ours``."""
    network = {"onesrg": OneSRG, "ufvnet": UFVNet}[name](width, hr_size)
    values = list(ours.state_dict().values())
    network.load_state_dict(dict(zip(network.state_dict(), values, strict=True)))
    return network

"""The fill check: parameters that depend only on their layer and one fixed input, so that a network's values are known
without anybody's weights. It tests padding, strides, skips, slopes, resampling and the order of operations."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

TOLERANCE = {torch.float64: 1e-6, torch.float32: 1e-3}
"""Relative."""


@torch.no_grad()
def fill(module: nn.Module, g: float, ramp: bool = False, keep: tuple[type[nn.Module], ...] = ()) -> None:
    """Fill every weight with g / (weights of one output unit) and every bias with 0.01.

    A deconvolution gets g s^2 / (c_in k^2). A weight of five dimensions is taken as experts, (expert, out, in, k, k),
    each filled like the layer that they mix to. Normalisations and PReLUs keep the values that they start with.

    Args:
        ramp: times 1 + sin(q) / 2 for a weight with running number q in its tensor: order of channels shows.
        keep: classes whose parameters (and their children's) stay as they are, e.g. colour shifts.
    """
    if isinstance(module, (*keep, nn.PReLU, nn.modules.batchnorm._BatchNorm)):
        return
    for child in module.children():
        fill(child, g, ramp, keep)
    for name, parameter in module.named_parameters(recurse=False):
        if name.endswith("bias"):
            parameter.fill_(0.01)
            continue
        value = torch.full((parameter.numel(),), g / _fan_in(module, parameter), dtype=torch.float64)
        if ramp:
            value *= 1 + torch.arange(parameter.numel(), dtype=torch.float64).sin() / 2
        parameter.copy_(value.view_as(parameter))


def _fan_in(module: nn.Module, weight: Tensor) -> float:
    if isinstance(module, nn.ConvTranspose2d):
        return weight.shape[0] * math.prod(weight.shape[2:]) / math.prod(module.stride)
    return math.prod(weight.shape[2 if weight.ndim == 5 else 1 :])


def picture(side: int, a: float, o: float) -> Tensor:
    """(1, 3, side, side) float64, x_c(i, j) = o + a sin(0.3 i + 0.5 j + c), in the network's own range."""
    c = torch.arange(3, dtype=torch.float64)[:, None, None]
    return o + a * torch.sin(_angle(side) + c)[None]


def maps(channels: int, side: int) -> Tensor:
    """(1, channels, side, side) float64, every channel sin(0.3 i + 0.5 j): the input of a part."""
    return torch.sin(_angle(side)).expand(1, channels, -1, -1).contiguous()


def to_unit(x: Tensor) -> Tensor:
    """[-1, 1] -> [0, 1]. These four are the tests' own: an error in the package's would cancel."""
    return (x + 1) / 2


def from_unit(x: Tensor) -> Tensor:
    """[0, 1] -> [-1, 1]."""
    return 2 * x - 1


def to_255(x: Tensor) -> Tensor:
    """[-1, 1] -> 0 to 255."""
    return (x + 1) * 127.5


def from_255(x: Tensor) -> Tensor:
    """0 to 255 -> [-1, 1]."""
    return x / 127.5 - 1


def _angle(side: int) -> Tensor:
    i = torch.arange(side, dtype=torch.float64)
    return 0.3 * i[:, None] + 0.5 * i


def run(network: nn.Module, *inputs: Any) -> Any:
    """The network's output in eval mode, in the dtype of the first input, on one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.no_grad():
            return network.eval().to(inputs[0].dtype)(*inputs)
    finally:
        torch.set_num_threads(threads)


def at(maps: Tensor, channel: int, *places: tuple[int, int]) -> list[float]:
    """Values of the first picture's channel at (row, column) places."""
    return [maps[0, channel, i, j].item() for i, j in places]


def p(sr: Tensor) -> list[float]:
    """The mean, then channel 0 at the five places P."""
    return [sr.mean().item(), *at(sr, 0, (0, 0), (0, 127), (63, 64), (100, 17), (127, 127))]


def q(sr: Tensor) -> list[float]:
    """The mean, then the three values Q: channel 0 at (0, 0), 1 at (63, 64), 2 at (100, 17)."""
    return [sr.mean().item(), *at(sr, 0, (0, 0)), *at(sr, 1, (63, 64)), *at(sr, 2, (100, 17))]


def deviation(found: Sequence[float], expected: Sequence[float]) -> float:
    """The largest relative deviation; the absolute one where a value is expected to be 0."""
    assert len(found) == len(expected)
    assert all(map(math.isfinite, found)), "max() passes over a NaN"
    return max(abs(a - b) / (abs(b) or 1.0) for a, b in zip(found, expected))

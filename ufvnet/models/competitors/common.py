"""Ranges and colours that several of the competitors share."""

from __future__ import annotations

import torch
from torch import Tensor

DIV2K_MEAN = (0.4488, 0.4371, 0.4040)
"""Mean colour of DIV2K in [0, 1]: what the networks that stem from EDSR subtract, times 255."""


def mean_colour() -> Tensor:
    """(1, 3, 1, 1): the mean colour of DIV2K in [0, 255]."""
    return 255 * torch.tensor(DIV2K_MEAN).view(1, 3, 1, 1)


def to_255(x: Tensor) -> Tensor:
    """[-1, 1] -> [0, 255]."""
    return (x + 1) * 127.5


def from_255(x: Tensor) -> Tensor:
    """[0, 255] -> [-1, 1]."""
    return x / 127.5 - 1


def to_unit(x: Tensor) -> Tensor:
    """[-1, 1] -> [0, 1]."""
    return (x + 1) / 2


def from_unit(x: Tensor) -> Tensor:
    """[0, 1] -> [-1, 1]."""
    return x * 2 - 1


def check_input(x: Tensor, side: int | None = None) -> None:
    """Raise ValueError unless x is (N, 3, h, w), with h = w = side if a side is given."""
    if x.ndim != 4 or x.shape[1] != 3 or (side is not None and x.shape[2:] != (side, side)):
        wanted = f"(N, 3, {side}, {side})" if side is not None else "(N, 3, h, w)"
        raise ValueError(f"the network takes {wanted} images, got {tuple(x.shape)}")

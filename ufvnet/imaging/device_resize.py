"""Pillow's bicubic of a batch, each image to a size of its own, on any device (docs/method.md section 5).

Bit for bit what Pillow gives: the integers of ``upscale``, in float64 matrix products that are exact, so that neither
the device nor the order of a sum matters. Images smaller than the batch's largest are padded with zeros.
"""

from __future__ import annotations

import functools
from typing import Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from .resize import resize
from .upscale import PILLOW_ONE, pillow_kernel

PROBES = 8
"""Most pictures of noise that tell which pass Pillow does first."""


def reduced(images: Tensor, sizes: np.ndarray) -> Tensor:
    """Each image of a batch at a size of its own.

    Args:
        images: (N, 3, H, H) uint8.
        sizes: (N, 2) heights and widths, at most H.

    Returns:
        (N, 3, h, w) uint8 with the largest height and width; smaller images lie at the upper left, with zeros around.
    """
    side, (height, width) = images.shape[2], sizes.max(0).tolist()
    rows, columns = on_device(sizes, images.device).unbind(1)
    table, pixels = _table(side, "from", images.device), images.double()
    down, along = table[rows, :, :height], table[columns, :, :width]
    out = _columns(_rows(pixels, along), down)
    columns_first = np.flatnonzero([columns_come_first(side, *size) for size in sizes.tolist()])
    if len(columns_first):
        at = on_device(columns_first, images.device)
        out[at] = _rows(_columns(pixels[at], down[at]), along[at])
    return out.to(torch.uint8)


def enlarged(images: Tensor, sizes: np.ndarray, side: int) -> Tensor:
    """The square of each image of a batch: what ``reduced`` returns, or any images that lie at the upper left.

    Args:
        images: (N, 3, h, w) uint8.
        sizes: (N, 2) heights and widths of what is in them, at most ``side``.
        side: of the result.

    Returns:
        (N, 3, side, side) uint8.
    """
    rows, columns = on_device(sizes, images.device).unbind(1)
    table, (height, width) = _table(side, "to", images.device), images.shape[2:]
    down, along = table[rows, :height], table[columns, :width]
    return _columns(_rows(images.double(), along), down).to(torch.uint8)


def on_device(array: np.ndarray, device: torch.device) -> Tensor:
    """A copy of an array on a device. It waits for nothing, not even for the work that a GPU still has to do."""
    tensor = torch.from_numpy(array)
    return (tensor.pin_memory() if device.type == "cuda" else tensor).to(device, non_blocking=True)


def _rows(pixels: Tensor, kernels: Tensor) -> Tensor:
    """Every row of (N, 3, h, w) times its image's kernel (N, w, w'), rounded to levels."""
    return (pixels @ kernels[:, None]).add_(PILLOW_ONE / 2).div_(PILLOW_ONE).floor_().clamp_(0, 255)


def _columns(pixels: Tensor, kernels: Tensor) -> Tensor:
    return _rows(pixels.transpose(-1, -2), kernels).transpose(-1, -2)


@functools.lru_cache(maxsize=8)
def _table(side: int, way: Literal["from", "to"], device: torch.device) -> Tensor:
    """(side + 1, side, side) float64: kernels from or to this side and every length up to it, with zeros around."""
    table = torch.zeros(side + 1, side, side, dtype=torch.float64)
    for length in range(1, side + 1):
        if way == "from":
            table[length, :, :length] = pillow_kernel(side, length)
        else:
            table[length, :length] = pillow_kernel(length, side)
    return table.to(device)


@functools.lru_cache(maxsize=2**15)
def columns_come_first(side: int, height: int, width: int) -> bool:
    """True if Pillow resizes pictures of ``side`` x ``side`` to this height and width columns first.

    Pillow 13 does where the height shrinks much more than the width, and earlier ones do not. Nothing documents it, so
    Pillow itself is asked. A pass that changes no length is exact, so that there the order does not matter.
    """
    if height >= width or width == side:
        return False
    if (height, width) != (shape := (1, side - 1)) and not columns_come_first(side, *shape):  # not even then
        return False
    rng, down, along = np.random.default_rng((height, width)), pillow_kernel(side, height), pillow_kernel(side, width)
    for _ in range(PROBES):
        noise = rng.integers(0, 2, (side, side, 3), dtype=np.uint8) * 255
        pixels = torch.from_numpy(noise.transpose(2, 0, 1).copy())[None].double()
        orders = [_columns(_rows(pixels, along[None]), down[None]), _rows(_columns(pixels, down[None]), along[None])]
        if not torch.equal(*orders):
            given = np.asarray(resize(Image.fromarray(noise), width, height)).transpose(2, 0, 1)
            return np.array_equal(orders[1][0].numpy(), given)
    return False

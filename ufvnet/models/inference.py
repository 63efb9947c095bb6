"""Running a trained network on batches of LR images: device, U(.), forward pass, pixels."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from ufvnet.config import ConfigError

from .conv import fold_norms
from .feed import feed_of
from .registry import create
from .srg import SROutput, as_output, to_network, to_pixels
from .store import load

BICUBIC = "bicubic"
"""Name of the only model that needs no folder."""


def best_device(device: str) -> torch.device:
    """The torch device for a name; ``auto`` takes CUDA if it is there, else MPS, else the CPU.

    Raises:
        ConfigError: this machine does not have the device.
    """
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if device == "auto":
        return torch.device(next(name for name, is_there in available.items() if is_there))
    if not available.get(device):
        names = ", ".join(name for name, is_there in available.items() if is_there)
        raise ConfigError(f"device = {device}: not found here; there are: {names}")
    return torch.device(device)


@functools.lru_cache(maxsize=2)
def ready(ref: str, fingerprint: str, hr_size: int, device: str) -> nn.Module:
    """A network on its device, in evaluation mode; the last two networks stay in memory for the next call.

    Args:
        ref: ``bicubic`` or a model folder.
        fingerprint: of the model and its weights (``store.identity``); a new one makes this read the weights again.
    """
    network = create(BICUBIC, hr_size=hr_size) if ref == BICUBIC else load(Path(ref))[0]
    return channels_last(fold_norms(network.to(best_device(device)))).eval()


def channels_last(network: nn.Module) -> nn.Module:
    """The same network with its weights laid out for channels-last convolutions, which CPUs do faster."""
    for tensor in (*network.parameters(), *network.buffers()):
        if tensor.ndim == 4:  # ArbSR's experts have five dimensions
            tensor.data = tensor.data.contiguous(memory_format=torch.channels_last)
    return network


def forward(network: nn.Module, ls: Tensor, rate: Tensor, self_ensemble: bool = False) -> SROutput:
    """A forward pass that returns finite images or raises.

    Args:
        ls: (N, 3, h, w) in [-1, 1], what the network's feed makes: I_LS for most.
        rate: (N,), or (N, 2) of rows and columns.
        self_ensemble: return the mean of the output and of the mirrored input's output, mirrored back. It takes twice
            the time.

    Raises:
        FloatingPointError: the output holds NaN or infinity.
    """
    if rate.ndim == 1 and getattr(network, "rate_by_axis", False):
        rate = rate[:, None].expand(-1, 2)
    ls = ls.contiguous(memory_format=torch.channels_last)
    output = as_output(network(ls, rate))
    if self_ensemble:
        mirrored = as_output(network(ls.flip(-1), rate))
        weights = None
        if output.weights is not None and mirrored.weights is not None:
            weights = (output.weights + mirrored.weights) / 2
        output = SROutput((output.sr + mirrored.sr.flip(-1)) / 2, weights)
    if not output.sr.sum(dtype=torch.float32).isfinite():  # takes a fifth of the time of checking each value
        raise FloatingPointError("the network gave NaN or infinity")
    return output


def _rates(network: nn.Module, lr: np.ndarray, hr_size: int, rate: float) -> Tensor:
    """(N,), or (N, 2) of rows and columns for images that are not square."""
    height, width = lr.shape[1:3]
    if height == width or not getattr(network, "rate_by_axis", False):
        return torch.full((len(lr),), rate)
    return torch.tensor([[height / hr_size, width / hr_size]]).expand(len(lr), -1)


@torch.inference_mode()
def super_resolve(
    network: nn.Module, lr: np.ndarray, hr_size: int, rate: float, batch_size: int, self_ensemble: bool = False
) -> tuple[np.ndarray, np.ndarray | None]:
    """Super-resolve LR images of one size.

    Args:
        lr: (N, h, w, 3) uint8.
        rate: their down-sampling rate r; a network that takes a rate of rows and one of columns has them from the
            sides of ``lr`` if these differ.
        self_ensemble: as ``forward``'s.

    Returns:
        (N, H, H, 3) uint8, and the (N, anchors) float32 weights or None.

    Raises:
        FloatingPointError: the output holds NaN or infinity.
    """
    device = next((p.device for p in network.parameters()), torch.device("cpu"))
    images, weights, feed = [], [], feed_of(network)
    for start in range(0, len(lr), batch_size):
        fed = to_network(feed.batch([*lr[start : start + batch_size]], hr_size)).to(device)
        output = forward(network, fed, _rates(network, lr, hr_size, rate)[: len(fed)].to(device), self_ensemble)
        images.append(to_pixels(output.sr).permute(0, 2, 3, 1).cpu().numpy())
        if output.weights is not None:
            weights.append(output.weights.float().cpu().numpy())
    return np.concatenate(images), np.concatenate(weights) if weights else None

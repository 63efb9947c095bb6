"""Parameters and multiply-accumulates of a network, block by block."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .feed import feed_of

UNCOUNTED = (nn.modules.batchnorm._BatchNorm, nn.ReLU, nn.LeakyReLU, nn.PReLU)
"""Layers whose products do not count and whose output has their input's shape. They are passed by, as torch's norms for
the meta device are written in Python and take most of the time."""


@dataclass(frozen=True)
class Block:
    """A named part of a network: its parameters and its multiply-accumulates for one face."""

    name: str
    params: int
    macs: int


def complexity(network: nn.Module, hr_size: int, blocks: list[str] | None = None) -> list[Block]:
    """Count parameters, and the MACs for one face, fed at its feed's ``example_side``.

    Only the MACs of convolutions and matrix products count. Nothing is computed: torch's FlopCounterMode counts on
    torch's meta device.

    Args:
        network: takes (1, 3, h, h) and (1,). It is of no use afterwards.
        blocks: qualified names of submodules, e.g. ``encoder.enc1``; None means the direct children.

    Returns:
        One Block per submodule, then one for the whole network, named ``total``. Networks that compute the same as
        their paper's form with fewer products (``saved_macs``) count in ``total`` as that form does.
    """
    from torch.utils.flop_counter import FlopCounterMode

    meta = network.to("meta").eval()
    if blocks is None:
        blocks = [name for name, _ in meta.named_children()]
    for module in meta.modules():
        if isinstance(module, UNCOUNTED):
            vars(module)["forward"] = _unchanged
    side = feed_of(network).example_side(hr_size)
    # A network without a convolution leaves no counts, hence the .get below.
    with FlopCounterMode(display=False, depth=8) as counter, torch.no_grad():
        meta(torch.empty(1, 3, side, side, device="meta"), torch.empty(1, device="meta"))
    flops = counter.get_flop_counts()
    root = type(meta).__name__
    parts = [
        Block(name, sum(p.numel() for p in meta.get_submodule(name).parameters()), _macs(flops, f"{root}.{name}"))
        for name in blocks
    ]
    saved = getattr(meta, "saved_macs", lambda *_: 0)(side, side)
    total = Block("total", sum(p.numel() for p in meta.parameters()), counter.get_total_flops() // 2 + saved)
    return [*parts, total]


def _unchanged(x: Tensor) -> Tensor:
    return x


def _macs(flops: dict, prefix: str) -> int:
    """Half the FLOPs of a module. A container that is never called itself (a ModuleList) gets its children's sum."""
    if prefix in flops:
        return sum(flops[prefix].values()) // 2
    depth = prefix.count(".") + 1
    inside = [
        sum(ops.values()) for name, ops in flops.items() if name.startswith(prefix + ".") and name.count(".") == depth
    ]
    return sum(inside) // 2

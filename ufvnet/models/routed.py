"""UFVNet-Routed: two experts, one for clean faces and one for damaged ones, and a router that chooses for each face."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ufvnet.data.damage.chain import KINDS

from .lite import RowLinear, UFVNetLite
from .lr_statistics import LRStatistics
from .real import UFVNetReal
from .srg import SROutput, check_side

PARTS = 4
"""Parts of a batch that an expert restores one after the other: more of them leave fewer places filled for nothing."""


class Router(nn.Module):
    """(N, count) ``LRStatistics`` -> (N,) logits of the choice, above 0 for the expert for clean faces, and (N, 5) the
    estimated damage (``ufvnet.data.damage.chain.KINDS``). Learned convolutions told nothing (benchmarks/real.md)."""

    mean: Tensor
    scale: Tensor

    def __init__(self, count: int):
        super().__init__()
        self.register_buffer("mean", torch.zeros(count))
        self.register_buffer("scale", torch.ones(count))
        self.layers = nn.Sequential(
            RowLinear(count, 96), nn.ReLU(inplace=True), RowLinear(96, 48), nn.ReLU(inplace=True),
            RowLinear(48, 1 + len(KINDS)),
        )  # fmt: skip

    def forward(self, statistics: Tensor) -> tuple[Tensor, Tensor]:
        told = self.layers((statistics - self.mean) * self.scale)
        return told[:, 0], told[:, 1:]


class UFVNetRouted(nn.Module):
    """UFVNetLite for clean faces, UFVNetReal for damaged ones; a face passes the one that its router chooses.

    One network for both gives up about half a decibel on clean faces (benchmarks/real.md). In training, and in an
    exported file, every face passes both: the output is their mean by the router's probability, or the chosen one.

    Args:
        clean, damaged: the experts, for the same hr_size.
    """

    rate_by_axis = True
    """``Restorer`` passes a rate for rows and one for columns; they differ if an input is not square."""

    def __init__(self, clean: UFVNetLite, damaged: UFVNetReal):
        super().__init__()
        self.clean, self.damaged, self.statistics = clean, damaged, LRStatistics(clean.hr_size)
        self.router = Router(self.statistics.count)
        self.hr_size, self.anchors = clean.hr_size, clean.anchors

    def forward(self, ls: Tensor, rate: Tensor | None = None) -> SROutput:
        """I_LS (N, 3, H, H) in [-1, 1] and rate (N,) or (N, 2) (rows, columns) -> SROutput with ``damage``.

        Raises:
            ValueError: rate is None.
        """
        check_side(ls, self.hr_size)
        if rate is None:
            raise ValueError("ufvnet-routed needs the down-sampling rate: give rate")
        both = rate[:, None].expand(-1, 2) if rate.ndim == 1 else rate
        statistics = self.statistics(ls, both)
        logit, damage = self.router(statistics)
        if self.training:
            sr, weights = self._mixed(ls, both, statistics, logit.sigmoid())
        elif torch.jit.is_tracing() or torch.compiler.is_exporting():
            sr, weights = self._mixed(ls, both, statistics, (logit > 0).to(ls.dtype))
        else:
            sr, weights = self._routed(ls, both, statistics, logit > 0)
        return SROutput(sr, weights, weights.clamp(min=1e-9).log(), damage)

    def is_clean(self, ls: Tensor, rate: Tensor) -> Tensor:
        """(N,) bool: True where a face passes the expert for clean ones; ls and rate as ``forward``, rate (N, 2)."""
        return self.router(self.statistics(ls, rate))[0] > 0

    def _mixed(self, ls: Tensor, rate: Tensor, statistics: Tensor, share: Tensor) -> tuple[Tensor, Tensor]:
        """The mean of both experts' images and weights, by the (N,) share of the expert for clean faces."""
        clean, damaged = self.clean(ls, rate), self.damaged(ls, rate, statistics=statistics)
        image = damaged.sr + share[:, None, None, None] * (clean.sr - damaged.sr)
        return image, damaged.weights + share[:, None] * (clean.weights - damaged.weights)

    def _routed(self, ls: Tensor, rate: Tensor, statistics: Tensor, is_clean: Tensor) -> tuple[Tensor, Tensor]:
        if ls.is_meta:  # has no values to choose by; what is counted there is the larger expert
            output = self.damaged(ls, rate, statistics=statistics)
            return output.sr, output.weights
        sr, weights = torch.empty_like(ls), ls.new_empty(len(ls), len(self.anchors))
        size = -(-len(ls) // PARTS)
        for is_chosen, expert, known in (
            (is_clean, self.clean, {}),
            (~is_clean, self.damaged, {"statistics": statistics}),
        ):
            rows = is_chosen.nonzero()[:, 0]
            for part in rows.split(size) if len(rows) else ():
                # filled up to the size of every part, on which the last bits of a face depend
                filled = part[torch.arange(size, device=ls.device) % len(part)]
                images = ls[filled].contiguous(memory_format=torch.channels_last)
                output = expert(images, rate[filled], **{name: values[filled] for name, values in known.items()})
                sr[part], weights[part] = output.sr[: len(part)], output.weights[: len(part)]
        return sr, weights

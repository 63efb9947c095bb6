"""The losses of section III-E: Eqs. 11-13."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

CHARBONNIER = 1e-3


def sr_loss(sr: Tensor, hr: Tensor, kind: str = "l1", frequency: float = 0.0) -> Tensor:
    """Eq. 11, L^SR: mean absolute error of (N, 3, H, W) images in [-1, 1].

    Args:
        kind: ``l1`` is the paper's; ``mse`` and ``charbonnier`` (sqrt(d^2 + 1e-6)) are alternatives.
        frequency: weight of the mean absolute distance of the images' orthonormal spectra, added to it.
    """
    if kind == "l1":
        loss = F.l1_loss(sr, hr)
    elif kind == "mse":
        loss = F.mse_loss(sr, hr)
    else:
        loss = (sr - hr).square().add(CHARBONNIER**2).sqrt().mean()
    if frequency:
        loss = loss + frequency * torch.fft.rfft2((sr - hr).float(), norm="ortho").abs().mean()
    return loss


def weight_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Eq. 12, L^wt = -sum(w_gt log w): soft-label cross-entropy, mean over (N, anchors) rows.

    Its floor is the targets' entropy (1.0347 on MR8): watch ``weight_errors`` instead.
    """
    return F.cross_entropy(logits, target)


def total_loss(l_sr: Tensor, l_wt: Tensor, alpha: float) -> Tensor:
    """Eq. 13: L^total = L^SR + alpha L^wt."""
    return l_sr + alpha * l_wt


def weight_errors(w: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """(N,) KL divergence of predicted from true weights in nats, and (N,) mean absolute error."""
    kl = F.kl_div(w.clamp_min(1e-12).log(), target, reduction="none").sum(1)
    return kl, (w - target).abs().mean(1)

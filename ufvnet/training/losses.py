"""The losses of section III-E: Eqs. 11-13."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F


def sr_loss(sr: Tensor, hr: Tensor) -> Tensor:
    """Eq. 11, L^SR: mean absolute error of (N, 3, H, W) images in [-1, 1]."""
    return F.l1_loss(sr, hr)


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

"""The losses of section III-E: Eqs. 11-13."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

LEAST_ERROR = 0.01
"""Added to bicubic's error before a loss is divided by it, so that no loss is divided by almost 0."""


def sr_loss(sr: Tensor, hr: Tensor, balance: float = 0.0, ls: Tensor | None = None) -> Tensor:
    """Eq. 11, L^SR: mean absolute error of (N, 3, H, W) images in [-1, 1].

    Args:
        balance: each face's loss is divided by (the mean absolute error of ``ls`` + 0.01) ** balance.
        ls: I_LS, needed if ``balance`` is not 0.
    """
    loss = F.l1_loss(sr, hr, reduction="none").flatten(1).mean(1)
    if balance:
        assert ls is not None
        loss = loss / ((ls - hr).abs().flatten(1).mean(1) + LEAST_ERROR) ** balance
    return loss.mean()


def weight_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Eq. 12, L^wt = -sum(w_gt log w): soft-label cross-entropy, mean over (N, anchors) rows.

    Its smallest value is the entropy of the targets (1.0347 on MR8), so ``weight_errors`` shows progress better.
    """
    return F.cross_entropy(logits, target)


def damage_loss(estimate: Tensor, amounts: Tensor) -> Tensor:
    """Mean squared error of the (N, 5) estimated damage.

    Not the absolute error: most faces have none of a kind of damage, so that an estimate of 0 for every face, their
    median, would already be its least.
    """
    return F.mse_loss(estimate, amounts)


def total_loss(l_sr: Tensor, l_wt: Tensor, alpha: float) -> Tensor:
    """Eq. 13: L^total = L^SR + alpha L^wt."""
    return l_sr + alpha * l_wt


def weight_errors(w: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """(N,) KL divergence of predicted from true weights in nats, and (N,) mean absolute error."""
    kl = F.kl_div(w.clamp_min(1e-12).log(), target, reduction="none").sum(1)
    return kl, (w - target).abs().mean(1)

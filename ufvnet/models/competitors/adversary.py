"""The adversarial term: a network and its critic learn from one step, each by its own loss alone."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F


def adversarial_loss(
    critic: nn.Module, sr: Tensor, hr: Tensor, weight: float, real: Tensor | float = 1.0, fake: Tensor | float = 0.0
) -> Tensor:
    """``weight`` times -log D(SR), for the network, and the cross-entropy that teaches the critic.

    The critic does not learn from the first, nor the network from the second, whose value is left out: the loss that
    the curves show is the network's. Both networks are updated in the same step, by the same optimizer.

    Args:
        critic: (N, 3, H, H) -> (N,) or (N, 1) logits of D.
        sr, hr: (N, 3, H, H) in the critic's range; the gradient goes into ``sr``.
        real, fake: labels of HR and of SR in the critic's loss, in [0, 1]: numbers or (N,).

    Returns:
        A scalar.
    """
    fixed = {name: parameter.detach() for name, parameter in critic.named_parameters()}
    fooled = F.softplus(-functional_call(critic, fixed, (sr,))).mean()
    taught = _cross_entropy(critic(hr), real) + _cross_entropy(critic(sr.detach()), fake)
    return weight * fooled + taught - taught.detach()


def _cross_entropy(logits: Tensor, label: Tensor | float) -> Tensor:
    logits = logits.flatten().float()
    return F.binary_cross_entropy_with_logits(logits, torch.as_tensor(label).to(logits).expand_as(logits))

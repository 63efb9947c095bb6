"""The losses, against their definitions."""

from __future__ import annotations

import pytest
import torch

from ufvnet.training.losses import damage_loss, sr_loss

A, B, C = torch.rand(3, 4, 3, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1


def test_the_loss_is_the_mean_absolute_error() -> None:
    assert sr_loss(A, B).item() == pytest.approx((A - B).abs().mean().item(), rel=1e-5)


def test_balance_1_is_the_error_relative_to_bicubic_s() -> None:
    ratios = [(a - b).abs().mean() / ((c - b).abs().mean() + 0.01) for a, b, c in zip(A, B, C)]
    assert sr_loss(A, B, balance=1, ls=C).item() == pytest.approx(torch.stack(ratios).mean().item(), rel=1e-5)


def test_balance_lets_faces_weigh_alike() -> None:
    hard, easy = torch.zeros(1, 3, 8, 8), torch.zeros(1, 3, 8, 8)
    hr, ls, sr = torch.cat([hard, easy]), torch.cat([hard + 0.4, easy + 0.04]), torch.cat([hard + 0.2, easy + 0.02])
    sr.requires_grad_()

    def share(balance: float) -> float:
        (grad,) = torch.autograd.grad(sr_loss(sr, hr, balance=balance, ls=ls), sr)
        per_face = grad.abs().sum((1, 2, 3)) * torch.tensor([0.2, 0.02])
        return (per_face[0] / per_face.sum()).item()

    assert share(0) == pytest.approx(10 / 11, rel=1e-3)
    assert share(0) > share(0.5) > share(1) > 0.5


def test_an_estimate_that_knows_nothing_is_the_mean_damage_and_not_zero() -> None:
    amounts = torch.zeros(100, 5)
    amounts[:30] = 1  # most faces have none
    estimate = torch.zeros(5, requires_grad=True)
    optimizer = torch.optim.SGD([estimate], 1.0)
    for _ in range(100):
        optimizer.zero_grad()
        damage_loss(estimate.expand_as(amounts), amounts).backward()
        optimizer.step()
    assert torch.allclose(estimate, torch.full((5,), 0.3), atol=1e-3)

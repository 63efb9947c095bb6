"""What changes with the steps of a training: the learning rate, and how long the average of the weights remembers."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from ufvnet.config import Recipe


def learning_rate(recipe: Recipe, step: int, steps: int) -> float:
    """The learning rate at a step. It is a pure function, so a resumed training needs no state of a schedule."""
    warm = round(recipe.warm_up * steps)
    if step < warm:
        return recipe.lr * (step + 1) / warm
    if recipe.lr_schedule == "constant":
        return recipe.lr * recipe.lr_drop ** sum(step >= share * steps for share in recipe.lr_drops)
    return recipe.lr * 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))


def average_update(decay: float) -> Callable[..., None]:
    """An exponential moving average. Its decay rises to ``decay``, so that short trainings forget their start too."""

    @torch.no_grad()
    def update(average: list[Tensor], current: list[Tensor], number: Tensor | int) -> None:
        share = 1 - min(decay, (1 + int(number)) / (10 + int(number)))
        if average[0].is_floating_point():
            torch._foreach_lerp_(average, current, share)
        else:
            torch._foreach_copy_(average, current)

    return update

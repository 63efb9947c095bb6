"""Adam and AdamW as torch has them, without torch's compiler, whose import is a third of a training process's start.

torch wraps the methods of its optimizers so that its compiler leaves them alone, and imports the compiler for that when
the first of them is called. A training compiles its network at most (``recipe.compile``), never its optimizer, so the
wrapped methods are called here. They compute the same bits.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable

import torch
from torch.optim import Adam, AdamW, Optimizer

WRAPPED = ("add_param_group", "state_dict", "load_state_dict", "zero_grad")
"""Methods that torch wraps, besides ``step``."""


def _unwrapped(kind: type[Optimizer]) -> Callable[..., Optimizer]:
    methods = {name: inspect.unwrap(getattr(kind, name)) for name in WRAPPED}
    return type(kind.__name__, (kind,), methods | {"step": torch.no_grad()(inspect.unwrap(kind.step))})


OPTIMIZERS = {"adam": _unwrapped(Adam), "adamw": _unwrapped(AdamW)}
"""By the names that recipes give them."""

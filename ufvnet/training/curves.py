"""The curves of a training: rows for log.parquet, TensorBoard, and the checks that stop a training gone wrong."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pandas as pd
import torch

LOG_EVERY = 20
"""Steps a row."""
DIVERGED = 10.0
"""A row's loss at this many times the least one seen means divergence."""
SETTLED = 5
"""Rows before divergence is looked for."""


class Curves:
    """Rows step, loss, lr, images_per_s, memory_gib and, where measured, psnr ..., kl, mae.

    Args:
        folder: where TensorBoard's events go, as ``tensorboard/``; None for none.
        log: the rows of the part that is trained already.
    """

    def __init__(self, folder: Path | None, log: list[dict[str, Any]]):
        self.log = log
        self.writer: Any = None
        if folder is not None:
            from torch.utils.tensorboard import SummaryWriter

            start = log[-1]["step"] if log else 0
            self.writer = SummaryWriter(str(folder / "tensorboard"), purge_step=start + 1)

    def add(self, step: int, values: dict[str, Any]) -> None:
        """Values measured at a step, into its row."""
        if self.log and self.log[-1]["step"] == step:
            self.log[-1] |= values
        else:
            self.log.append({"step": step} | values)
        if self.writer is not None:
            for name, value in values.items():
                self.writer.add_scalar(name, value, step)

    def close(self) -> None:
        if self.writer is not None:
            self.writer.close()

    @property
    def diverged(self) -> bool:
        """Whether the last row's loss is far above the least."""
        losses = [row["loss"] for row in self.log if "loss" in row]
        return len(losses) > SETTLED and losses[-1] > DIVERGED * min(losses)


def read_curves(folder: Path) -> pd.DataFrame:
    """The log.parquet of a model folder, which is only shown; without rows where it is missing or damaged."""
    try:
        return pd.read_parquet(folder / "log.parquet")
    except (OSError, ValueError):  # pyarrow's errors are one of these
        return pd.DataFrame({"step": []})


def first_bad(losses: list[float]) -> int | None:
    """Place of the first loss that is not finite."""
    return next((i for i, value in enumerate(losses) if not math.isfinite(value)), None)


def memory_gib() -> float:
    """GiB: the peak on the GPU where there is one, else what the process holds now."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**30
    import psutil

    return psutil.Process().memory_info().rss / 2**30

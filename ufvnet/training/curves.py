"""The curves of a training: rows for log.parquet, TensorBoard, and the checks that stop a failed training."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from ufvnet.extras import is_installed

LOG_EVERY = 20
"""Number of steps per row."""
DIVERGED = 10.0
"""A training has diverged when a row's loss is more than this many times the smallest one."""
SETTLED = 5
"""Number of rows before divergence is checked."""

LOGS = ("log.parquet", "log.csv")
"""Names of the file with the rows; CSV where pyarrow is not installed."""

LOG_COLUMNS = {
    "step": "Number of steps done.",
    "loss": "Mean loss since the row before.",
    "lr": "Learning rate.",
    "images_per_s": "Training faces per second since the row before.",
    "waiting": "Share of that time in which the training process waited for batches; a GPU may work meanwhile.",
    "memory_gib": "Memory in GiB: the peak on the GPU if there is one, else what the process holds.",
    "psnr": "Mean PSNR of Y in dB over the validation faces and scales.",
    "gain": "That mean minus bicubic's.",
    **{f"psnr_{k}": f"PSNR of Y at scale {k}/16." for k in range(1, 9)},
    "kl": "Divergence of the estimated weights from Eq. 4 in nats, for models with a regressor.",
    "mae": "Mean absolute error of the estimated weights.",
}
"""Columns of log.parquet and their meanings. Those from ``psnr`` on have values where something was measured."""


class Curves:
    """The rows of log.parquet, whose columns LOG_COLUMNS describes.

    Args:
        folder: TensorBoard's events go into its folder ``tensorboard/``, if TensorBoard is installed; None writes none.
        log: the rows so far, of a training that is resumed.
    """

    def __init__(self, folder: Path | None, log: list[dict[str, Any]]):
        self.log = log
        self.writer: Any = None
        if folder is not None and is_installed("tensorboard"):
            from torch.utils.tensorboard import SummaryWriter

            start = log[-1]["step"] if log else 0
            self.writer = SummaryWriter(str(folder / "tensorboard"), purge_step=start + 1)

    def add(self, step: int, values: dict[str, Any]) -> None:
        """Put values that were measured at a step into its row."""
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
        """True if the last row's loss is far above the smallest."""
        losses = [row["loss"] for row in self.log if "loss" in row]
        return len(losses) > SETTLED and losses[-1] > DIVERGED * min(losses)


def read_curves(folder: Path) -> pd.DataFrame:
    """The curves of a model folder. They are only shown, so a missing or damaged file gives a table without rows."""
    try:
        return read_log(folder)
    except (OSError, ValueError):  # pyarrow's errors are one of these
        return pd.DataFrame({"step": []})


def log_name() -> str:
    """The one of LOGS that this machine writes."""
    return LOGS[0] if is_installed("pyarrow") else LOGS[1]


def write_log(log: pd.DataFrame, path: Path, name: str) -> None:
    """Write rows to ``path`` in the format that the name, one of LOGS, says."""
    if name == LOGS[0]:
        log.to_parquet(path)
    else:
        log.to_csv(path, index=False)


def read_log(folder: Path) -> pd.DataFrame:
    """The rows in a folder's log.parquet or log.csv.

    Raises:
        OSError: there is none, or it cannot be read.
        ValueError: it is damaged.
    """
    if not (folder / LOGS[0]).exists() and (folder / LOGS[1]).exists():
        return pd.read_csv(folder / LOGS[1], float_precision="round_trip")
    return pd.read_parquet(folder / LOGS[0])


def first_bad(losses: list[float]) -> int | None:
    """Index of the first loss that is not finite; None if all are finite."""
    return next((i for i, value in enumerate(losses) if not math.isfinite(value)), None)


def memory_gib() -> float:
    """Memory in GiB: the peak on the GPU if there is one, else what the process holds now."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**30
    import psutil

    return psutil.Process().memory_info().rss / 2**30

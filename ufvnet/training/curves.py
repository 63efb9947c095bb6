"""The curves of a training: rows for log.parquet, TensorBoard, and the checks that stop a failed training."""

from __future__ import annotations

import csv
import math
from pathlib import Path
from typing import Any

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


Log = list[dict[str, Any]]
"""The rows: what was measured at each step, by the names of LOG_COLUMNS. No DataFrame: every process that trains would
spend 0.2 CPU-seconds on importing pandas."""


class Curves:
    """The rows of log.parquet, whose columns LOG_COLUMNS describes.

    Args:
        folder: TensorBoard's events go into its folder ``tensorboard/``, if TensorBoard is installed; None writes none.
        log: the rows so far, of a training that is resumed.
    """

    def __init__(self, folder: Path | None, log: Log):
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
        """True if the last row's loss is far above the smallest; a loss that may be negative is not judged so."""
        losses = [row["loss"] for row in self.log if "loss" in row]
        return len(losses) > SETTLED and losses[-1] > DIVERGED * min(losses) > 0


def read_curves(folder: Path) -> Log:
    """The curves of a model folder. They are only shown, so a missing or damaged file gives no rows."""
    try:
        return read_log(folder)
    except (OSError, ValueError):  # pyarrow's errors are one of these
        return []


def log_name() -> str:
    """The one of LOGS that this machine writes."""
    return LOGS[0] if is_installed("pyarrow") else LOGS[1]


def write_log(log: Log, path: Path, name: str) -> None:
    """Write rows to ``path`` in the format that the name, one of LOGS, says."""
    names = list(dict.fromkeys(column for row in log for column in row))
    if name == LOGS[0]:
        import pyarrow as pa
        import pyarrow.parquet as pq

        pq.write_table(pa.table({column: [row.get(column) for row in log] for column in names}), path)
        return
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        writer.writerows(log)


def read_log(folder: Path) -> Log:
    """The rows in a folder's log.parquet or log.csv, each without the columns that it has no value for.

    Raises:
        OSError: there is none, or it cannot be read.
        ValueError: it is damaged.
    """
    if (folder / LOGS[1]).exists() and not (folder / LOGS[0]).exists():
        with (folder / LOGS[1]).open(newline="", encoding="utf-8") as text:
            rows = [{c: _number(v) for c, v in row.items() if v} for row in csv.DictReader(text, strict=True)]
    else:
        import pyarrow.parquet as pq

        with pq.ParquetFile(folder / LOGS[0]) as file:
            rows = file.read().to_pylist()
    return [{c: v for c, v in row.items() if v is not None and v == v} for row in rows]


def _number(text: str) -> int | float:
    return int(text) if text.isdecimal() else float(text)


def first_bad(losses: list[float]) -> int | None:
    """Index of the first loss that is not finite; None if all are finite."""
    return next((i for i, value in enumerate(losses) if not math.isfinite(value)), None)


def memory_gib() -> float:
    """Memory in GiB: the peak on the GPU if there is one, else what the process holds now."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**30
    import psutil

    return psutil.Process().memory_info().rss / 2**30

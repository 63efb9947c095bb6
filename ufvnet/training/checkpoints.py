"""The resumable state of a training: whole, without pickle, never half-written."""

from __future__ import annotations

import json
import os
import random
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from ufvnet.errors import TrainingError
from ufvnet.files import sha256

KEEP = 2
"""Checkpoints that stay; older ones are deleted."""


def checkpoints(folder: Path) -> list[Path]:
    """Those that were finished, oldest first."""
    return sorted((folder / "checkpoints").glob("step-*"))


def last_whole(folder: Path) -> Path | None:
    """The newest checkpoint whose files are as they were written; None where there is none at all.

    Raises:
        TrainingError: there are checkpoints, and all of them are damaged.
    """
    found = checkpoints(folder)
    for checkpoint in reversed(found):
        if _whole(checkpoint):
            return checkpoint
        print(f"{checkpoint} is damaged: going back to the one before", file=sys.stderr)
    if found:
        raise TrainingError(f"{folder}: every checkpoint is damaged; delete the folder to start anew")
    return None


def _whole(checkpoint: Path) -> bool:
    try:
        written = json.loads((checkpoint / "state.json").read_text())["sha256"]
        return all(sha256(checkpoint / name) == digest for name, digest in written.items())
    except (OSError, ValueError, KeyError):
        return False


class Checkpoints:
    """Writes and reads ``checkpoints/step-NNNNNNNN`` of a run folder.

    Each holds model, ema and optimizer as safetensors, the random states of every process, the curves
    (log.parquet) and state.json. It is written under a temporary name and renamed.
    """

    def __init__(self, folder: Path, model: nn.Module, optimizer: torch.optim.Optimizer, average: nn.Module | None):
        self.folder, self.model, self.optimizer, self.average = folder, model, optimizer, average
        self.last: Path | None = None

    def temporary(self, step: int) -> Path:
        """Where the processes write a checkpoint before it is renamed."""
        return self.folder / "checkpoints" / f".step-{step:08d}.tmp"

    def save(self, step: int, log: list[dict[str, Any]], state: dict[str, Any]) -> None:
        """Fill the temporary folder; the main process alone calls this."""
        to = self.temporary(step)
        save_file(_flat(self.model.state_dict()), to / "model.safetensors")
        if self.average is not None:
            save_file(_flat(self.average.state_dict()), to / "ema.safetensors")
        optimizer = self.optimizer.state_dict()
        tensors = {f"{i}.{name}": t for i, values in optimizer["state"].items() for name, t in values.items()}
        save_file(_flat(tensors), to / "optimizer.safetensors")
        pd.DataFrame(log).to_parquet(to / "log.parquet")
        groups = json.loads(json.dumps(optimizer["param_groups"]))
        digests = {"sha256": {path.name: sha256(path) for path in sorted(to.iterdir())}}
        (to / "state.json").write_text(json.dumps({"step": step, "param_groups": groups} | digests | state))
        for path in to.iterdir():
            with path.open("rb") as file:
                os.fsync(file.fileno())  # a rename may outlive a power cut that the contents do not

    def publish(self, step: int) -> None:
        """Rename the temporary folder into place, and delete old checkpoints."""
        os.replace(self.temporary(step), self.folder / "checkpoints" / f"step-{step:08d}")
        for old in checkpoints(self.folder)[:-KEEP]:
            shutil.rmtree(old, ignore_errors=True)

    def load(self) -> tuple[int, list[dict[str, Any]], dict[str, Any]]:
        """Fill model, average and optimizer from the last whole checkpoint; gives its step, curves and state."""
        last = self.last = last_whole(self.folder)
        if last is None:
            return 0, [], {}
        self.model.load_state_dict(load_file(last / "model.safetensors"))
        if self.average is not None:
            self.average.load_state_dict(load_file(last / "ema.safetensors"))
        state = json.loads((last / "state.json").read_text())
        self.optimizer.load_state_dict(
            {"state": self._optimizer_state(last), "param_groups": state.pop("param_groups")}
        )
        log = pd.read_parquet(last / "log.parquet").to_dict("records")
        return state.pop("step"), [{str(k): v for k, v in row.items() if v == v} for row in log], state

    def _optimizer_state(self, checkpoint: Path) -> dict[int, dict[str, Tensor]]:
        parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        state: dict[int, dict[str, Tensor]] = {}
        for key, value in load_file(checkpoint / "optimizer.safetensors").items():
            number, name = key.split(".", 1)
            parameter = parameters[int(number)]
            if value.shape == parameter.shape:  # fused optimizers walk both in the order of memory
                value = torch.empty_like(parameter).copy_(value)
            state.setdefault(int(number), {})[name] = value
        return state

    def save_random(self, step: int, rank: int) -> None:
        """The random states of one process, into the temporary folder."""
        tensors = {"torch": torch.get_rng_state()}
        if torch.cuda.is_available():
            tensors |= {f"cuda-{i}": s for i, s in enumerate(torch.cuda.get_rng_state_all())}
        save_file(tensors, self.temporary(step) / f"random-{rank}.safetensors")
        kind, keys, *rest = np.random.get_state()
        states = {"python": random.getstate(), "numpy": [kind, np.asarray(keys).tolist(), *rest]}
        (self.temporary(step) / f"random-{rank}.json").write_text(json.dumps(states))

    def load_random(self, rank: int) -> None:
        """Set this process's random states as in the loaded checkpoint; a process not there then keeps its own."""
        last = self.last
        if last is None or not (last / f"random-{rank}.json").exists():
            return
        tensors = load_file(last / f"random-{rank}.safetensors")
        torch.set_rng_state(tensors["torch"])
        for i in range(torch.cuda.device_count()):
            if f"cuda-{i}" in tensors:
                torch.cuda.set_rng_state(tensors[f"cuda-{i}"], i)
        states = json.loads((last / f"random-{rank}.json").read_text())
        version, internal, gauss = states["python"]
        random.setstate((version, tuple(internal), gauss))
        kind, keys, *rest = states["numpy"]
        np.random.set_state((kind, np.array(keys, dtype=np.uint32), *rest))


def _flat(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: t.detach().cpu().contiguous() for name, t in tensors.items()}

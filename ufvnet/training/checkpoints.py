"""The resumable state of a training: whole, without pickle, never half-written."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from ufvnet.errors import TrainingError
from ufvnet.files import printed, read_small, seal, sha256, unseal, write_as_usual
from ufvnet.models.store import tensors_written

from .curves import LOGS, Log, log_name, read_log, write_log

KEEP = 2
"""Number of checkpoints that stay; older ones are deleted."""

VERSION = 2
"""Version of state.json; files of version 2 and later are sealed."""

LARGEST_STATE = 2**26
"""Most bytes of a state.json that is read."""

NAME = re.compile(r"step-\d{8,}")
TEMPORARY = re.compile(r"\.step-\d{8,}\.tmp")
FILES = re.compile(
    r"(model|ema|optimizer|best)\.safetensors|random-\d+\.(safetensors|json)|log\.(parquet|csv)|state\.json"
)
"""Names of what a checkpoint holds; a folder with anything else is never removed."""

Note = Callable[[str], None]
"""Takes one line that the user must see."""


def to_stderr(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def checkpoints(folder: Path) -> list[Path]:
    """The finished checkpoints, oldest first; links and folders without a file of ours do not count."""
    found = (p for p in (folder / "checkpoints").glob("step-*") if NAME.fullmatch(p.name))
    ours = (p for p in found if not p.is_symlink() and p.is_dir() and any(FILES.fullmatch(f.name) for f in p.iterdir()))
    return sorted(ours, key=lambda p: int(p.name[5:]))


def remove(checkpoint: Path) -> None:
    """Delete a checkpoint that we wrote; a folder that holds anything else stays."""
    if checkpoint.is_symlink() or not checkpoint.is_dir():
        return
    if all(FILES.fullmatch(p.name) and not p.is_dir() for p in checkpoint.iterdir()):
        shutil.rmtree(checkpoint, ignore_errors=True)


def remove_unfinished(folder: Path) -> None:
    """Delete what was left of checkpoints whose writing was cut off; they would fill a full disk for good."""
    for temporary in (folder / "checkpoints").glob(".step-*.tmp"):
        if TEMPORARY.fullmatch(temporary.name):
            remove(temporary)


def last_whole(folder: Path, note: Note = to_stderr) -> Path | None:
    """The newest checkpoint whose files are unchanged since they were written; None if there are no checkpoints.

    Raises:
        TrainingError: there are checkpoints, and all of them are damaged.
    """
    found = checkpoints(folder)
    for checkpoint in reversed(found):
        if read_state(checkpoint) is not None:
            return checkpoint
        note(f"{printed(checkpoint)} is damaged: going back to the one before")
    if found:
        raise TrainingError(f"{printed(folder)}: every checkpoint is damaged; delete the folder to start anew")
    return None


def read_state(checkpoint: Path) -> dict[str, Any] | None:
    """A checkpoint's state.json; None if it or any other file of the checkpoint has changed.

    Files before version 2 are not sealed: their state is accepted if it fits the folder's name and files.
    """
    try:
        content = read_small(checkpoint / "state.json", LARGEST_STATE)
        state = unseal(content)
        if state is None:
            state = json.loads(content)
            if "version" in state or "sealed" in state:
                return None
        digests = state.pop("sha256")
        complete = "model.safetensors" in digests and any(name in digests for name in LOGS)
        named = state["step"] == int(checkpoint.name[5:]) and complete
        whole = all(sha256(checkpoint / name) == digest for name, digest in digests.items())
        return state if named and whole and isinstance(state["param_groups"], list) else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


class Checkpoints:
    """Writes and reads ``checkpoints/step-NNNNNNNN`` of a run folder.

    Each checkpoint holds model, ema, optimizer and, if they are kept, the best weights so far, as safetensors; the
    random states of every process; the curves (log.parquet or log.csv); and state.json, which is sealed and holds the
    sha256 of all other files. A checkpoint is written under a temporary name and then renamed.
    """

    def __init__(
        self,
        folder: Path,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        average: nn.Module | None,
        note: Note = to_stderr,
    ):
        self.folder, self.model, self.optimizer, self.average, self.note = folder, model, optimizer, average, note
        self.last: Path | None = None

    def temporary(self, step: int) -> Path:
        """Where the processes write a checkpoint before it is renamed."""
        return self.folder / "checkpoints" / f".step-{step:08d}.tmp"

    def save(self, step: int, log: Log, state: dict[str, Any], best: dict[str, Tensor] | None = None) -> None:
        """Fill the temporary folder; the main process alone calls this.

        Raises:
            OSError: it cannot be written.
        """
        to = self.temporary(step)
        _save(self.model.state_dict(), to / "model.safetensors")
        if self.average is not None:
            _save(self.average.state_dict(), to / "ema.safetensors")
        if best is not None:
            _save(best, to / "best.safetensors")
        optimizer = self.optimizer.state_dict()
        tensors = {f"{i}.{name}": t for i, values in optimizer["state"].items() for name, t in values.items()}
        _save(tensors, to / "optimizer.safetensors")
        write_log(log, to / log_name(), log_name())
        groups = json.loads(json.dumps(optimizer["param_groups"]))
        digests = {"sha256": {path.name: sha256(path) for path in sorted(to.iterdir())}}
        state = {"version": VERSION, "step": step, "param_groups": groups} | digests | state
        (to / "state.json").write_text(json.dumps(seal(state)))
        for path in to.iterdir():
            with path.open("rb") as file:
                os.fsync(file.fileno())  # a rename may outlive a power cut that the contents do not

    def publish(self, step: int) -> None:
        """Rename the temporary folder into place of what an earlier try wrote, and delete old checkpoints.

        Raises:
            TrainingError: a folder that we did not write has the checkpoint's name.
        """
        place = self.folder / "checkpoints" / f"step-{step:08d}"
        remove(place)
        if os.path.lexists(place):
            raise TrainingError(f"{printed(place)}: holds files that ufvnet did not write; move it away")
        os.replace(self.temporary(step), place)
        there = checkpoints(self.folder)
        damaged = [later for later in there if later > place]  # the training went back behind them
        for old in damaged + [earlier for earlier in there if earlier <= place][:-KEEP]:
            remove(old)

    def load(self) -> tuple[int, Log, dict[str, Any]]:
        """Fill model, average and optimizer from the last whole checkpoint; returns its step, curves and state."""
        last = self.last = last_whole(self.folder, self.note)
        state = None if last is None else read_state(last)
        if last is None or state is None:
            return 0, [], {}
        self.model.load_state_dict(load_file(last / "model.safetensors"))
        if self.average is not None:
            self.average.load_state_dict(load_file(last / "ema.safetensors"))
        self.optimizer.load_state_dict(
            {"state": self._optimizer_state(last), "param_groups": state.pop("param_groups")}
        )
        return state.pop("step"), read_log(last), state

    def load_best(self) -> dict[str, Tensor] | None:
        """The best weights that the loaded checkpoint holds."""
        file = None if self.last is None else self.last / "best.safetensors"
        return load_file(file) if file and file.is_file() else None

    def _optimizer_state(self, checkpoint: Path) -> dict[int, dict[str, Tensor]]:
        parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        state: dict[int, dict[str, Tensor]] = {}
        for key, value in load_file(checkpoint / "optimizer.safetensors").items():
            number, name = key.split(".", 1)
            parameter = parameters[int(number)]
            if value.shape == parameter.shape:  # fused optimizers need the same memory layout in both
                value = torch.empty_like(parameter).copy_(value)
            state.setdefault(int(number), {})[name] = value
        return state

    def save_random(self, step: int, rank: int) -> None:
        """The random states of one process, into the temporary folder."""
        tensors = {"torch": torch.get_rng_state()}
        if torch.cuda.is_available():
            tensors |= {f"cuda-{i}": s for i, s in enumerate(torch.cuda.get_rng_state_all())}
        _save(tensors, self.temporary(step) / f"random-{rank}.safetensors")
        kind, keys, *rest = np.random.get_state()
        states = {"python": random.getstate(), "numpy": [kind, np.asarray(keys).tolist(), *rest]}
        (self.temporary(step) / f"random-{rank}.json").write_text(json.dumps(states))

    def load_random(self, rank: int) -> None:
        """Set this process's random states from the loaded checkpoint; a process without states in it keeps its own."""
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


def _save(tensors: dict[str, Tensor], path: Path) -> None:
    """Write tensors; those that share memory (tied weights) are written each for itself."""
    there: dict[str, Tensor] = {}
    storages = set[int]()
    for name, tensor in tensors.items():
        there[name] = tensor.detach().cpu().contiguous()
        if (storage := there[name].untyped_storage().data_ptr()) in storages and there[name].numel():
            there[name] = there[name].clone()
        storages.add(storage)
    with tensors_written(path):
        write_as_usual(path, lambda p: save_file(there, p))

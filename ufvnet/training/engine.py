"""The training loop, on accelerate: CPU, one GPU or several; killed anywhere, it goes on to the same bits."""

from __future__ import annotations

import math
import os
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from ufvnet import data
from ufvnet.config import ConfigError, Recipe
from ufvnet.data.loader import Batch, TrainingLoader
from ufvnet.models import anchor_weights, to_network
from ufvnet.models.inference import channels_last

from .losses import sr_loss, total_loss, weight_loss
from .parts import Part
from .publish import publish
from .validation import Validation

KEEP_CHECKPOINTS = 2
LOG_EVERY = 20
WARM_UP = 0.05

Progress = Callable[[dict[str, Any]], None]


class TrainingError(RuntimeError):
    """A training that cannot go on; the message names the step and the faces of its batch."""


class Interrupted(Exception):
    """The training was asked to stop (SIGTERM) and has written a checkpoint."""


def learning_rate(recipe: Recipe, step: int, steps: int) -> float:
    """The rate at a step: a pure function, so a resumed training needs no schedule's state."""
    if recipe.lr_schedule == "constant":
        return recipe.lr
    warm = max(1, round(WARM_UP * steps))
    if step < warm:
        return recipe.lr * (step + 1) / warm
    return recipe.lr * 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))


def train(part: Part, progress: Progress | None = None) -> Path:
    """Train one part to its model folder, going on from its last checkpoint; a finished one is skipped.

    Args:
        part: what to train; its stage 1 must be finished.
        progress: called with step, steps, loss and images_per_s.

    Returns:
        The model folder.

    Raises:
        TrainingError: the loss is not finite.
        Interrupted: SIGTERM came; a checkpoint is written.
        ConfigError: the device or the data is not there.
    """
    if part.done():
        return part.model_folder
    return _Run(part, progress or (lambda _: None)).run()


class _Run:
    def __init__(self, part: Part, progress: Progress):
        from accelerate import Accelerator
        from accelerate.utils import set_seed

        self.part, self.progress, self.recipe = part, progress, part.config.recipe
        threads = self.recipe.threads or max(
            1, (os.cpu_count() or 1) // (1 if part.role == "whole" else part.config.parallel)
        )
        torch.set_num_threads(threads)
        device = part.config.device
        if device == "cuda" and not torch.cuda.is_available():
            raise ConfigError("device = cuda: torch finds no CUDA device; allowed here: auto, cpu")
        self.accelerator = Accelerator(cpu=device == "cpu", mixed_precision=self.recipe.mixed_precision)
        set_seed(self.recipe.seed)
        dataset = data.open(part.config.dataset)
        faces = dataset.select(part.ks, "train").arrays()
        recipe = self.recipe
        self.loader = TrainingLoader(faces, part.ks, recipe.batch_size, recipe.seed, recipe.flip)
        self.face_ids = faces.face_ids
        self.validation = Validation.of(dataset, part, recipe.validation_faces)
        network = channels_last(part.network())
        optimizer = torch.optim.Adam(network.parameters(), lr=recipe.lr, betas=recipe.betas)
        self.network, self.optimizer = self.accelerator.prepare(network, optimizer)
        self.log: list[dict[str, Any]] = []
        self.stop = False

    def run(self) -> Path:
        steps, step = self.part.steps, self._resume()
        previous = _on_sigterm(self._ask_to_stop)
        clock, losses = time.perf_counter(), []
        try:
            while step < steps:
                losses.append(self._step(step, steps))
                step += 1
                if step % LOG_EVERY == 0 or step == steps:
                    rate = len(losses) * self.recipe.batch_size / (time.perf_counter() - clock)
                    self._record(step, float(np.mean(losses)), rate)
                    clock, losses = time.perf_counter(), []
                if step % self.recipe.validate_every == 0 or step == steps:
                    self._validate(step)
                    clock = time.perf_counter()
                if self.stop or step % self.recipe.checkpoint_every == 0 or step == steps:
                    self._checkpoint(step)
                if self.stop and step < steps:
                    raise Interrupted(f"{self.part.name}: stopped at step {step} of {steps}, checkpoint written")
        finally:
            _on_sigterm(previous)
        if self.accelerator.is_main_process:
            network = self.accelerator.unwrap_model(self.network)
            publish(self.part, network, pd.DataFrame(self.log))
        self.accelerator.wait_for_everyone()
        return self.part.model_folder

    def _step(self, step: int, steps: int) -> float:
        batch = self.loader.batch(step, self.accelerator.process_index, self.accelerator.num_processes)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.recipe, step, steps)
        self.network.train()
        self.optimizer.zero_grad()
        with self.accelerator.autocast():
            loss = self._loss(batch)
        self.accelerator.backward(loss)
        self.optimizer.step()
        value = loss.item()
        if not math.isfinite(value):
            ids = ", ".join(self.face_ids[i] for i in batch.rows)
            raise TrainingError(f"{self.part.name}: the loss is {value} at step {step}; the batch: {ids}")
        return value

    def _loss(self, batch: Batch) -> Tensor:
        device = self.accelerator.device
        ls, hr, rate = to_network(batch.ls.to(device)), to_network(batch.hr.to(device)), batch.rate.to(device)
        ls = ls.contiguous(memory_format=torch.channels_last)
        part = self.part
        if part.role == "regressor":
            w = self.network(ls, logits=True)
            return weight_loss(w, anchor_weights(rate, [k / 16 for k in part.anchors]))
        output = self.network(ls, rate)
        loss = sr_loss(output.sr, hr)
        if output.logits is None:
            return loss
        target = anchor_weights(rate, [k / 16 for k in part.anchors])
        return total_loss(loss, weight_loss(output.logits, target), self.recipe.alpha)

    def _record(self, step: int, loss: float, images_per_s: float) -> None:
        lr = learning_rate(self.recipe, step - 1, self.part.steps)
        self.log.append({"step": step, "loss": loss, "lr": lr, "images_per_s": images_per_s})
        if self.accelerator.is_main_process:
            self.progress({"step": step, "steps": self.part.steps, "loss": loss, "images_per_s": images_per_s})

    def _validate(self, step: int) -> None:
        if self.validation is None or not self.accelerator.is_main_process:
            return
        network: nn.Module = self.accelerator.unwrap_model(self.network)
        if self.log and self.log[-1]["step"] == step:
            self.log[-1] |= self.validation.measure(network, self.accelerator.device)
        else:
            self.log.append({"step": step} | self.validation.measure(network, self.accelerator.device))

    @property
    def _checkpoints(self) -> list[Path]:
        return sorted((self.part.folder / "checkpoints").glob("step-*"))

    def _checkpoint(self, step: int) -> None:
        """Written under a temporary name and renamed: a half-written one is never picked up."""
        final = self.part.folder / "checkpoints" / f"step-{step:08d}"
        temporary = final.with_name(f".{final.name}.tmp")
        if self.accelerator.is_main_process:
            shutil.rmtree(temporary, ignore_errors=True)
        self.accelerator.wait_for_everyone()
        self.accelerator.save_state(str(temporary))
        self.accelerator.wait_for_everyone()
        if self.accelerator.is_main_process and not final.exists():
            pd.DataFrame(self.log).to_parquet(temporary / "log.parquet")
            os.replace(temporary, final)
            for old in self._checkpoints[:-KEEP_CHECKPOINTS]:
                shutil.rmtree(old, ignore_errors=True)

    def _resume(self) -> int:
        if not self._checkpoints:
            return 0
        last = self._checkpoints[-1]
        self.accelerator.load_state(str(last))
        log = pd.read_parquet(last / "log.parquet")
        self.log = [{str(k): v for k, v in row.items() if v == v} for row in log.to_dict("records")]
        return int(last.name.removeprefix("step-"))

    def _ask_to_stop(self, *_: object) -> None:
        self.stop = True


def _on_sigterm(handler: Any) -> Callable[[int, FrameType | None], Any] | int | None:
    """Set SIGTERM's handler where this thread may (the main one); returns the one before."""
    try:
        return signal.signal(signal.SIGTERM, handler)
    except (ValueError, TypeError):
        return None

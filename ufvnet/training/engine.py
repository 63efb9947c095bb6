"""The training loop, on accelerate: CPU, one GPU or several.

A training that is killed at any time and resumed ends with the same bits.
"""

from __future__ import annotations

import math
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from filelock import FileLock, Timeout
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from ufvnet.config import ConfigError, Recipe
from ufvnet.errors import DivergedError, TrainingError
from ufvnet.files import claim, printed, write_atomically
from ufvnet.models import anchor_weights, to_network
from ufvnet.models.inference import best_device, channels_last
from ufvnet.models.srg import SROutput, as_output
from ufvnet.models.store import tensors_written
from ufvnet.models.supervision import Target
from ufvnet.progress import Progress

from .batches import Batch, TrainingLoader
from .checkpoints import Checkpoints, Note, remove_unfinished, to_stderr
from .curves import DIVERGED, LOG_EVERY, Curves, first_bad, memory_gib
from .device_batches import DeviceLoader, can_make, has_room
from .distributed import synced
from .losses import damage_loss, sr_loss, total_loss, weight_loss
from .optimizers import OPTIMIZERS
from .part import Part
from .publish import publish
from .schedules import average_update, learning_rate
from .validation import Validation

LOCK_WAIT = 60
"""Seconds to wait for another process that trains the same part: if its parent was killed, it stops soon."""
ASK_EVERY = 5
"""Number of steps after which the processes of one training ask each other whether one must stop."""
BEST = "best.safetensors"


class Interrupted(Exception):
    """The training was asked to stop (SIGTERM) and has written a checkpoint."""


def train(part: Part, progress: Progress | None = None, note: Note = to_stderr) -> Path:
    """Train one part, from its last checkpoint if it has one, and write its model folder; skip a finished part.

    Args:
        part: what to train; its stage 1 must be finished.
        progress: called with every row of the curves: images per second and loss.
        note: called with a line for the user, e.g. that something is damaged and is made again.

    Returns:
        The model folder.

    Raises:
        DivergedError: the loss or a gradient is not finite, or the loss has grown far above its smallest value.
        TrainingError: a process that prepares batches was killed; every checkpoint is damaged; or another process
            trains the same part.
        Interrupted: SIGTERM came, and a checkpoint was written.
        ConfigError: the device or the data is missing, or an output folder holds files of another origin.
        OSError: a file cannot be written, e.g. because the disk is full.
    """
    problem = part.problem()
    if problem is None:
        return part.model_folder
    if os.environ.get("RANK", "0") != "0":
        return _Run(part, progress, lambda _: None).run()
    if problem:
        note(f"{part.name}: {printed(part.model_folder)}: {problem}; made again")
    part.check_folders()
    claim(part.folder, "run")
    try:
        with FileLock(part.folder / "lock", timeout=LOCK_WAIT):
            if part.done() and os.environ.get("WORLD_SIZE", "1") == "1":  # by the process that held the lock
                return part.model_folder
            remove_unfinished(part.folder)
            return _Run(part, progress, note).run()
    except Timeout as error:
        raise TrainingError(f"{part.name}: another process trains in {part.folder}") from error


class _OwnLoss(nn.Module):
    """A network's own loss as a forward pass, which distributed training and torch.compile wrap."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, fed: Tensor, rate: Tensor, target: Target) -> Tensor:
        return self.network.loss(fed, rate, target)  # type: ignore[operator]


class _Run:
    def __init__(self, part: Part, progress: Progress | None, note: Note):
        from accelerate import Accelerator
        from accelerate.state import AcceleratorState
        from accelerate.utils import DistributedDataParallelKwargs, set_seed

        self.part, self.progress, self.note, self.recipe = part, progress, note, part.recipe
        recipe, config = self.recipe, part.config
        share = config.processes * (1 if part.role == "whole" else config.parallel)
        torch.set_num_threads(recipe.threads or max(1, (os.cpu_count() or 1) // share))
        best_device(config.device)
        AcceleratorState._reset_state()  # an earlier training in this process may have set another precision
        self.accelerator = Accelerator(
            cpu=config.device == "cpu", mixed_precision=recipe.mixed_precision,
            kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=True)],  # a loss may use only some
        )  # fmt: skip
        rank, world = self.accelerator.process_index, self.accelerator.num_processes
        set_seed(recipe.seed)
        faces, whole = part.arrays(), recipe if part.role == "whole" else Recipe()
        try:
            self.loader = TrainingLoader(
                faces, part.ks, recipe.batch_size, recipe.seed, recipe.flip, recipe.colour,
                whole.between, whole.recut, whole.damage, part.feed, part.needs, rank, world,
            )  # fmt: skip
        except ValueError as error:
            raise ConfigError(f"recipe.batch_size = {recipe.batch_size}: {error}") from error
        self.face_ids = faces.face_ids
        self.batches = self._batches()
        self.validation = None if part.role == "landmarks" else Validation.of(part, recipe.validation_faces)
        self.module: nn.Module = channels_last(part.network()).to(self.accelerator.device)
        if world > 1:
            self.module = channels_last(synced(self.module, self.accelerator.device))
            torch.manual_seed(recipe.seed + rank)  # dropout differs between processes, as within one large batch
        self.optimizer = OPTIMIZERS[recipe.optimizer](
            self.module.parameters(), lr=recipe.lr, betas=recipe.betas, weight_decay=recipe.weight_decay, fused=True
        )
        self.average = None
        if recipe.ema is not None:
            self.average = AveragedModel(self.module, multi_avg_fn=average_update(recipe.ema), use_buffers=True)
        self.teacher = part.teacher()
        if self.teacher is not None:
            self.teacher = channels_last(self.teacher).to(self.accelerator.device)
        trained = _OwnLoss(self.module) if hasattr(self.module, "loss") else self.module
        network = torch.compile(trained) if recipe.compile else trained
        # Both are on their device; to look for itself, accelerate would import what shards tensors, and with it sympy.
        self.network, self.prepared = self.accelerator.prepare(network, self.optimizer, device_placement=[False, False])
        self.checkpoints = Checkpoints(part.folder, self.module, self.optimizer, self.average, note)
        self.losses: list[Tensor] = []
        self.norms: list[Tensor] = []
        self.best: tuple[int, float] | None = None
        self.best_weights: dict[str, Tensor] | None = None
        self.stop, self.parent = False, os.getppid()

    def _batches(self) -> TrainingLoader | DeviceLoader:
        """What gives the batches: on a GPU the device itself makes them where it can, to the same bytes."""
        device, datasets = self.accelerator.device, self.part.datasets
        exact = all(d.card["degradation"]["name"] == "pil-bicubic" for d in datasets)
        if device.type == "cuda" and exact and can_make(self.loader) and has_room(self.loader, device):
            return DeviceLoader(self.loader, device)
        return self.loader

    def run(self) -> Path:
        steps, main = self.part.steps, self.accelerator.is_main_process
        step, log, state = self.checkpoints.load()
        self.checkpoints.load_random(self.accelerator.process_index)
        if self.accelerator.scaler is not None and "scaler" in state:
            self.accelerator.scaler.load_state_dict(state["scaler"])
        self.losses = [torch.tensor(v, device=self.accelerator.device) for v in state.get("losses", ())]
        self.norms = [torch.zeros_like(loss) for loss in self.losses]  # checkpoints follow finite gradients only
        self._restore_best(state)
        self.curves = Curves(self.part.folder if main else None, log)
        workers, pin = self.part.config.loader_workers, self.accelerator.device.type == "cuda"
        previous = _on_sigterm(self._ask_to_stop)
        self.clock, self.since, self.waited = time.perf_counter(), step, 0.0
        killed = None
        try:
            for batch in self._waited_for(self.batches.batches(step, steps, workers, pin)):
                self._step(batch, step, steps)
                step += 1
                self._after(step, steps)
        except RuntimeError as error:
            if "DataLoader worker" not in str(error):
                raise
            killed = str(error).splitlines()[0]
        finally:
            _on_sigterm(previous)
            self.curves.close()
        if killed:  # raised here, without the error whose frames keep PyTorch's iterator and its processes
            raise TrainingError(
                f"{self.part.name}: a process that prepares batches was killed after step {step} ({killed}), often for "
                "lack of memory; run again to go on from the last checkpoint, with fewer loader_workers "
                f"(now {workers}) if it happens again"
            )
        if main:
            best_step = self.best[0] if self.best and self.best_weights is not None else None
            publish(self.part, self._published(), self.curves.log, best_step, self.accelerator.device)
        self.accelerator.wait_for_everyone()
        return self.part.model_folder

    def _waited_for(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        """The batches; the seconds that they are waited for are counted."""
        source = iter(batches)
        while True:
            started = time.perf_counter()
            batch = next(source, None)
            self.waited += time.perf_counter() - started
            if batch is None:
                return
            yield batch

    def _after(self, step: int, steps: int) -> None:
        """Do what is due after a step: a row of the curves, a measurement, a checkpoint, a stop."""
        end = step == steps
        if step % LOG_EVERY == 0 or end:
            self._record(step)
        if step % self.recipe.validate_every == 0 or end:
            self._losses(step)  # a step that broke the weights is named before they are measured
            self._validate(step)
        stop = self._asked_to_stop(step)  # after the record, which notices that the parent is gone
        if stop or end or step % self.recipe.checkpoint_every == 0:
            self._checkpoint(step)
        if stop and not end:
            raise Interrupted(f"{self.part.name}: stopped at step {step} of {steps}, checkpoint written")

    def _step(self, batch: Batch, step: int, steps: int) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.recipe, step, steps)
        self.network.train()
        self.prepared.zero_grad()
        with self.accelerator.autocast():
            loss = self._loss(batch, step / steps)
        self.accelerator.backward(loss)
        for parameter in getattr(self.module, "frozen", lambda _: ())(step / steps):
            parameter.grad = None  # the optimizer leaves it as it is
        self.norms.append(self._clip())
        self.prepared.step()
        if self.average is not None:
            self.average.update_parameters(self.module)
        self.losses.append(loss.detach())

    def _clip(self) -> Tensor:
        """Scale large gradients down; returns their norm, which is checked together with the losses.

        With fp16 it returns 0, because there the scaler itself skips steps with infinite gradients.
        """
        norm = None
        if self.recipe.clip_norm is not None:
            self.accelerator.unscale_gradients()
            norm = nn.utils.clip_grad_norm_(self.network.parameters(), self.recipe.clip_norm)
        if self.accelerator.scaler is not None:
            return torch.zeros((), device=self.accelerator.device)
        if norm is None:
            norm = torch.nn.utils.get_total_norm(p.grad for p in self.module.parameters() if p.grad is not None)
        return norm.detach().float()

    def _loss(self, batch: Batch, progress: float) -> Tensor:
        device, part = self.accelerator.device, self.part
        ls, hr, rate = (x.to(device, non_blocking=True) for x in (batch.fed, batch.hr, batch.rate))
        ls, hr = to_network(ls), to_network(hr)
        if self.recipe.colour:
            gain = batch.gain.to(device)
            ls, hr = ((x.add_(1).mul_(gain).sub_(1)).clamp_(-1, 1) for x in (ls, hr))
        ls = ls.contiguous(memory_format=torch.channels_last)
        if part.role == "regressor":
            w = self.network(ls, logits=True)
            return weight_loss(w, anchor_weights(rate, [k / 16 for k in part.anchors]))
        by_axis = getattr(self.module, "rate_by_axis", False)
        rate = batch.by_axis.to(device) if by_axis else rate
        if hasattr(self.module, "loss"):
            return self.network(ls, rate, self._target(batch, ls, hr, progress))
        output = self._output(self.network(ls, rate), hr)
        loss = sr_loss(output.sr, hr, self.recipe.balance, ls)
        if output.damage is not None and self.recipe.damage is not None:
            loss = loss + self.recipe.damage.alpha * damage_loss(output.damage, batch.damage.to(device))
        if output.logits is None or len(part.anchors) < 2:  # a share of one anchor says nothing
            return loss
        target = anchor_weights(batch.rate.to(device), [k / 16 for k in part.anchors])
        return total_loss(loss, weight_loss(output.logits, target), self.recipe.alpha)

    def _output(self, output: Any, hr: Tensor) -> SROutput:
        """What a network gave, if it is pictures of the HR faces' shape; the loss would compare others all the same."""
        try:
            return as_output(output, len(hr), hr.shape[-1])
        except (TypeError, ValueError) as error:
            raise TrainingError(f"{self.part.name}: model = {self.part.config.model}: {error}") from error

    def _target(self, batch: Batch, fed: Tensor, hr: Tensor, progress: float) -> Target:
        """What a network's own loss compares with, on the device."""
        device = self.accelerator.device

        def there(x: Tensor | None) -> Tensor | None:
            return None if x is None else x.to(device, non_blocking=True).float()

        masks, edges = there(batch.masks), batch.edges
        taught = None
        if self.teacher is not None:
            with torch.no_grad():
                taught = self.teacher(fed, parsing=masks)
        return Target(
            hr, progress, there(batch.landmarks), masks,
            None if edges is None else tuple(e.to(device, non_blocking=True).float() for e in edges),
            there(batch.points), there(batch.colours), there(batch.extent), taught,
        )  # fmt: skip

    def _losses(self, step: int) -> list[float]:
        """The losses since the last row, averaged over all processes; only this call waits for the device.

        Raises:
            DivergedError: the loss or the gradient of a step is not finite; the message names that step's batch.
        """
        if not self.losses:
            return []
        both = torch.stack([torch.stack(self.losses), torch.stack(self.norms)])
        values, norms = self.accelerator.reduce(both, "mean").tolist()
        bad = first_bad([loss + 0 * norm for loss, norm in zip(values, norms)])
        if bad is not None:
            at = step - len(values) + bad
            problem = f"the gradient is {norms[bad]}" if math.isfinite(values[bad]) else f"the loss is {values[bad]}"
            ids = printed(", ".join(self.face_ids[i] for i in self.loader.plan(at)[0]))
            raise DivergedError(f"{self.part.name}: {problem} at step {at}; the batch: {ids}")
        return values

    def _record(self, step: int) -> None:
        values, now = self._losses(step), time.perf_counter()
        loss, steps = sum(values) / len(values), self.part.steps
        seconds = now - self.clock
        rate, waiting = (step - self.since) * self.recipe.batch_size / seconds, self.waited / seconds
        lr = learning_rate(self.recipe, step - 1, steps)
        self.losses, self.norms, self.clock, self.since, self.waited = [], [], now, step, 0.0
        figures = {"images_per_s": rate, "waiting": waiting, "memory_gib": memory_gib()}
        self.curves.add(step, {"loss": loss, "lr": lr} | figures)
        if self.curves.diverged:
            ids = printed(", ".join(self.face_ids[i] for i in self.loader.plan(step - 1)[0]))
            raise DivergedError(
                f"{self.part.name}: diverged at step {step}: the loss is {loss:.4g}, {DIVERGED:g} times the least "
                f"before; lower recipe.lr or set recipe.clip_norm; the last batch: {ids}"
            )
        if self.progress is not None and self.accelerator.is_main_process:
            self.progress(step, steps, {"images/s": rate, "loss": loss})

    def _validate(self, step: int) -> None:
        if self.validation is None or not self.accelerator.is_main_process:
            return
        started = time.perf_counter()
        network = self.module if self.average is None else self.average.module
        samples = self.part.folder / "samples" / f"step-{step:08d}.png"
        try:
            measured = self.validation.measure(network, self.accelerator.device, samples)
        except (TypeError, ValueError) as error:
            raise TrainingError(f"{self.part.name}: model = {self.part.config.model}: {error}") from error
        except FloatingPointError as error:
            raise DivergedError(f"{self.part.name}: step {step}: {error}") from error
        self.curves.add(step, measured)
        self._keep_best(step, measured.get("psnr", -measured.get("kl", math.inf)), network)
        self.clock += time.perf_counter() - started

    def _keep_best(self, step: int, score: float, network: nn.Module) -> None:
        """Keep the best measurement's weights in a file; if they will be published, also in memory and checkpoints."""
        if self.best is not None and self.best[1] >= score:
            return
        tensors = {k: v.detach().cpu().clone().contiguous() for k, v in network.state_dict().items()}
        self.best = step, score
        self.best_weights = tensors if self.recipe.keep == "best" else None
        self._write_best(tensors)

    def _restore_best(self, state: dict[str, Any]) -> None:
        """Take over the checkpoint's best measurement; best.safetensors, which has no digest, is only written."""
        self.best_weights = self.checkpoints.load_best() if self.recipe.keep == "best" else None
        if self.checkpoints.last is not None and self.recipe.keep == "best" and "best" not in state:
            self.note(f"{self.part.name}: the checkpoint holds no best weights; the search for them starts again")
        best = state.get("best")
        if best is not None and (self.best_weights is not None or self.recipe.keep == "last"):
            self.best = int(best[0]), float(best[1])
        if self.best_weights is not None and self.accelerator.is_main_process:
            self._write_best(self.best_weights)

    def _write_best(self, tensors: dict[str, Tensor]) -> None:
        assert self.best is not None
        path = self.part.folder / BEST
        about = {"step": str(self.best[0]), "score": repr(self.best[1])}
        with tensors_written(path):
            write_atomically(path, lambda p: save_file(tensors, p, metadata=about))

    def _published(self) -> nn.Module:
        network = self.module if self.average is None else self.average.module
        if self.best_weights is not None:
            network.load_state_dict(self.best_weights)
        return network

    def _checkpoint(self, step: int) -> None:
        accelerator, temporary = self.accelerator, self.checkpoints.temporary(step)
        values = self._losses(step)
        if accelerator.is_main_process:
            shutil.rmtree(temporary, ignore_errors=True)
            temporary.mkdir(parents=True)
        accelerator.wait_for_everyone()
        self.checkpoints.save_random(step, accelerator.process_index)
        accelerator.wait_for_everyone()  # the main process takes the digest of what every process wrote
        if accelerator.is_main_process:
            scaler = {} if accelerator.scaler is None else {"scaler": accelerator.scaler.state_dict()}
            state = {"losses": values, "best": self.best} | scaler
            self.checkpoints.save(step, self.curves.log, state, self.best_weights)
        accelerator.wait_for_everyone()
        if accelerator.is_main_process:
            self.checkpoints.publish(step)

    def _asked_to_stop(self, step: int) -> bool:
        if os.getppid() != self.parent:  # torchrun was killed; the worker notices by itself when any other parent ends
            self.stop = True
        if self.accelerator.num_processes == 1:
            return self.stop
        if step % ASK_EVERY:
            return False
        asked = torch.tensor(float(self.stop), device=self.accelerator.device)
        return bool(self.accelerator.reduce(asked, "sum").item())

    def _ask_to_stop(self, *_: object) -> None:
        self.stop = True


def _on_sigterm(handler: Any) -> Callable[[int, FrameType | None], Any] | int | None:
    """Set the handler of SIGTERM if this is the main thread, which alone may; returns the previous handler."""
    try:
        return signal.signal(signal.SIGTERM, handler)
    except (ValueError, TypeError):
        return None

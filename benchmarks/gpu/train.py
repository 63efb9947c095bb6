"""Table IV at equal faces seen, and the model for real damage trained on, in the time that is left.

Every part of stage 1 and every stage 2 makes the same number of steps; how many is decided once, from the measured time
of a step, and stays in train.json. A model whose row is there is not trained again, and the run folders in ``work``
go on from their checkpoints while the machine keeps them.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from safetensors.torch import save_file
from torch import Tensor

from ufvnet.config import TrainConfig, load
from ufvnet.data import open as open_dataset
from ufvnet.data.damage import named
from ufvnet.files import write_atomically
from ufvnet.imaging.resize import SIXTEENTHS, lr_side
from ufvnet.metrics import score
from ufvnet.models.inference import ready
from ufvnet.models.inference import super_resolve as restore
from ufvnet.models.store import identity
from ufvnet.models.store import load as load_model
from ufvnet.training.curves import read_log
from ufvnet.training.engine import train
from ufvnet.training.stages import resolve_parts

from .results import Results, Row

ROWS = ("ufvnet", "onesrg", "ufvnet-nw", "ufvnet-fm", "twosrg", "foursrg")
STEPS_OF_ONESRG = 15.1
"""Time of a step of every part of Table IV, in steps of onesrg (configs/experiments/table4-equal-faces.yaml)."""
SHARE = {"table": 0.6, "real": 0.85}
"""Share of the time that is left for Table IV, and then for the model for real damage."""
REAL = "results/real/checkpoint"
DAMAGES = ("clean", "jpeg50", "noise5", "mixed")
LARGE = "regressor.classifier"
PART = 15 * 2**20
"""Most bytes of a file of weights."""
FILES = 4
"""Most files of weights; what matters most comes first."""


class Stage:
    """What all trainings of the stage share.

    Args:
        results: of the stage. datasets: unpacked. work: for models and run folders.
        preset: of Table IV's networks. models: those of ROWS, and ``real``, that are trained.
    """

    def __init__(
        self, results: Results, device: torch.device, datasets: list[Path], work: Path, preset: str, models: list[str]
    ):
        self.results, self.device, self.datasets, self.work = results, device, datasets, work
        self.preset, self.models = preset, models
        self.precision = "bf16" if device.type == "cuda" else "no"
        self.batch_size = 32 if device.type == "cuda" else 4

    def run(self, out: Path) -> None:
        """Measure the waiting, train and score, and write weights into ``out``."""
        for key, work in (
            ("waiting, ufvnet small", partial(self.waiting, "ufvnet", "small", {})),
            ("waiting, ufvnet-real, damaged", partial(self.waiting, "ufvnet-real", "paper", DAMAGED)),
        ):
            if self.device.type == "cuda":
                self.results.measure(key, work)
        plan = self.results.measure("plan", self.plan) or {}
        for name in (name for name in ROWS if name in self.models):
            if self.results.left > 0:
                self.results.measure(f"{self.preset}: {name}", partial(self.table_row, name, plan["steps"]))
        self.results.longest = 0.0  # it takes what is left
        if "real" in self.models and self.results.left > 0:
            self.results.measure("ufvnet-real, trained on", self.real)
        self.results.write()
        keep_weights([self.work / "models" / name for name in ("ufvnet", "ufvnet-real", "onesrg")], out)

    def config(self, name: str, model: str, preset: str, recipe: dict[str, Any], **keys: Any) -> TrainConfig:
        datasets = tuple(self.datasets)
        return load(TrainConfig, {
            "name": name, "dataset": datasets if len(datasets) > 1 else datasets[0], "model": model, "preset": preset,
            "device": self.device.type, "out": self.work / "models", "runs": self.work / "runs",
            "recipe": {"batch_size": self.batch_size, "mixed_precision": self.precision} | recipe,
        } | keys)  # fmt: skip

    def plan(self) -> Row:
        """Steps of every part: those that all trainings of Table IV can make in their share of the time."""
        steps = self._steps("onesrg", self.preset, self.batch_size, SHARE["table"] / STEPS_OF_ONESRG)
        return {"steps": steps, "batch": self.batch_size, "faces seen by each part": steps * self.batch_size}

    def _steps(self, model: str, preset: str, batch_size: int, share: float, **keys: Any) -> int:
        """Steps that a network makes in a share of the time that is left, by a short training whose beginning does not
        count. On a processor, where the stage proves only that it runs, three."""
        if self.device.type == "cpu":
            return 3
        recipe = {"batch_size": batch_size} | keys.pop("recipe", {})
        rate = self._short(model, preset, 60, {"recipe": recipe} | keys)["images_per_s"].iloc[-1]
        return max(1, int(self.results.left * share * rate / batch_size))

    def _short(self, model: str, preset: str, steps: int, keys: dict[str, Any]) -> Any:
        seldom = {"checkpoint_every": 10**6, "validate_every": 10**6, "validation_faces": 1, "anchor_steps": 0}
        recipe = {"steps": steps, "regressor_steps": 0} | seldom | keys.get("recipe", {})
        rest = {key: value for key, value in keys.items() if key != "recipe"}
        _, whole = resolve_parts(self.config(f"short-{model}-{preset}", model, preset, recipe, **rest))
        return pd.DataFrame(read_log(train(whole)))

    def waiting(self, model: str, preset: str, keys: dict[str, Any]) -> Row:
        """The share of a training's time that it waits for batches, after it has begun."""
        log = self._short(model, preset, 200, keys).iloc[3:]
        return {"waiting": float(log["waiting"].mean()), "faces/s": float(log["images_per_s"].mean())}

    def table_row(self, name: str, steps: int) -> Row:
        """One row of Table IV: all its parts trained, and the whole scored."""
        recipe = {
            "steps": steps, "anchor_steps": steps, "regressor_steps": steps, "lr": 1e-3, "lr_schedule": "cosine",
            "warm_up": 0.05, "identity_init": True, "checkpoint_every": max(1, steps // 4),
            "validate_every": max(1, steps // 4), "validation_faces": 32,
        }  # fmt: skip
        return self._trained(self.config(name, name, self.preset, recipe), ("clean",))

    def real(self) -> Row:
        """The model for real damage, trained on from its kept state with the damage of its recipe."""
        batch = 4 * self.batch_size
        steps = self._steps("ufvnet-real", "paper", batch, SHARE["real"], **DAMAGED)
        recipe = REAL_RECIPE | {"steps": steps, "batch_size": batch, "checkpoint_every": max(1, steps // 4)}
        config = self.config("ufvnet-real", "ufvnet-real", "paper", recipe, start=Path(REAL), loader_workers=WORKERS)
        return self._trained(config, DAMAGES) | {"before": self.scores(Path(REAL), DAMAGES)}

    def _trained(self, config: TrainConfig, damages: tuple[str, ...]) -> Row:
        stage1, whole = resolve_parts(config)
        for part in stage1:
            train(part, self._until_the_limit)
        folder = train(whole, self._until_the_limit)
        log = pd.DataFrame(read_log(folder))
        columns = [c for c in ("step", "loss", "psnr", "images_per_s", "waiting") if c in log]
        curve = log[columns].iloc[:: max(1, len(log) // 40)].astype(object).where(log[columns].notna(), None)
        seen = config.recipe.batch_size * sum(part.steps for part in (*stage1, whole))
        return {"steps": whole.steps, "faces seen with stage 1": seen, "scores": self.scores(folder, damages),
                "curve": [columns, *curve.to_numpy().tolist()]}  # fmt: skip

    def _until_the_limit(self, *_: object) -> None:
        """Ask the training for a checkpoint and its end when the time is over."""
        if self.results.left <= 0:
            signal.raise_signal(signal.SIGTERM)

    def scores(self, folder: Path, damages: tuple[str, ...]) -> dict[str, Any]:
        """Mean PSNR and SSIM of Y on the test faces of the first dataset, and bicubic's, by damage and size."""
        dataset = open_dataset(self.datasets[0])
        network = ready(str(folder), identity(folder), dataset.hr_size, self.device.type)
        bicubic = ready("bicubic", "", dataset.hr_size, self.device.type)
        arrays = dataset.select(SIXTEENTHS, "test").arrays()
        hr = np.stack([arrays.hr[i] for i in range(len(arrays))])
        found: dict[str, Any] = {}
        for damage in damages:
            rows = []
            for k in SIXTEENTHS:
                side = lr_side(dataset.hr_size, k)
                lr = np.stack([named.damaged(damage, face, side, side, (9, i)) for i, face in enumerate(hr)])
                both = [score(restore(net, lr, dataset.hr_size, k / 16, 64)[0], hr) for net in (network, bicubic)]
                rows.append([float(s[f"{m}_y"].mean()) for s in both for m in ("psnr", "ssim")])
            means = np.mean(rows, 0).round(4).tolist()
            found[damage] = dict(zip(("psnr", "ssim", "bicubic psnr", "bicubic ssim"), means)) | {
                "psnr by size": [round(row[0], 3) for row in rows], "gain": round(means[0] - means[2], 4)
            }  # fmt: skip
        return found


REAL_RECIPE: dict[str, Any] = {
    "optimizer": "adamw", "lr": 1e-3, "betas": [0.9, 0.99], "warm_up": 0.02, "lr_schedule": "cosine", "clip_norm": 1.0,
    "ema": 0.999, "balance": 0.5, "alpha": 0.35, "between": 0.75, "damage": {}, "seed": 22,
    "validate_every": 10**6, "validation_faces": 32,
}  # fmt: skip
"""configs/recipes/ufvnet-real-on.yaml with a cosine, without cutting anew: there are no photographs."""
WORKERS = max(1, (os.cpu_count() or 2) - 2)
DAMAGED: dict[str, Any] = {"loader_workers": WORKERS, "recipe": {"between": 0.75, "damage": {}}}
"""Of the short training that measures the waiting."""


def keep_weights(models: list[Path], out: Path) -> list[Path]:
    """Write finished models' weights in half precision into files of at most PART bytes.

    The regressor's large layers are left out: 58 of 72 million parameters of ``ufvnet paper``. The files
    weights-0.safetensors and so on hold tensors named ``<model>/<tensor>``.

    Args:
        models: folders, what matters most first; those that are not there are passed over.
    """
    parts: list[dict[str, Tensor]] = [{}]
    size = 0
    for folder in (folder for folder in models if (folder / "model.json").exists()):
        for name, tensor in load_model(folder)[0].state_dict().items():
            if name.startswith(LARGE) and tensor.numel() > 2**20:
                continue
            half = tensor.half() if tensor.is_floating_point() else tensor
            bytes_of = half.numel() * half.element_size()
            if size + bytes_of > PART:
                parts, size = [*parts, {}], 0
            parts[-1][f"{folder.name}/{name}"] = half.contiguous()
            size += bytes_of
    written = []
    for i, tensors in enumerate(part for part in parts[:FILES] if part):
        path = out / f"weights-{i}.safetensors"
        write: Callable[[Path], object] = partial(save_file, tensors)
        write_atomically(path, write)
        written.append(path)
    return written

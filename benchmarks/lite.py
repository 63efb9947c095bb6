"""Trials of ufvnet-lite on equal CPU minutes: ``python -m benchmarks.lite NAME '{"minutes": 7}' DATASET ...``.

Trains with one thread on the training splits of all datasets, with a cosine learning rate over the budget, and measures
on the first 100 faces of the first dataset's validation split at eight sizes, and at sizes between them. Appends a line
to trials.jsonl; benchmarks/lite.md keeps these lines. The keys are those of ``Trial`` and of ``LiteWidth``.
"""

from __future__ import annotations

import copy
import json
import math
import sys
import time
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn

from ufvnet import data
from ufvnet.data.dataset import FaceArrays, join
from ufvnet.imaging.resize import VIEWS, resize
from ufvnet.imaging.upscale import upscale
from ufvnet.metrics import luma, psnr, ssim
from ufvnet.models import anchor_weights, to_network, to_pixels
from ufvnet.models.complexity import complexity
from ufvnet.models.inference import channels_last
from ufvnet.models.lite import LiteWidth, UFVNetLite
from ufvnet.training.batches import Batch, TrainingLoader
from ufvnet.training.losses import sr_loss, weight_errors, weight_loss

FACES, ANCHORS, EMA = 100, (1 / 8, 1 / 4, 1 / 2), 0.998
BETWEEN = (11, 19, 37, 53)
"""Sides in pixels: in the range of MR8, but none of its sizes."""


@dataclass(frozen=True)
class Trial:
    """Settings of a trial.

    minutes: of CPU time. stage1: share of them in which each anchor's encoder sees only its own size.
    between: as in the recipe.
    """

    minutes: float = 7
    batch: int = 8
    lr: float = 1e-3
    balance: float = 0.5
    weighting: str = "regressor"
    stage1: float = 0.0
    between: float = 0.75
    seed: int = 0


def train(trial: Trial, network: nn.Module, faces: FaceArrays) -> tuple[nn.Module, int]:
    """The network with averaged weights, and the number of steps that the budget allowed."""
    whole = TrainingLoader(faces, VIEWS["MR8"], trial.batch, trial.seed, between=trial.between)
    anchors = TrainingLoader(faces, (2, 4, 8), trial.batch, trial.seed)
    optimizer = torch.optim.AdamW(network.parameters(), trial.lr, (0.9, 0.99), weight_decay=0, fused=True)
    average, started, step = copy.deepcopy(network), time.process_time(), 0
    while (spent := (time.process_time() - started) / (60 * trial.minutes)) < 1:
        for group in optimizer.param_groups:
            group["lr"] = trial.lr * min(1, spent / 0.03 + 1e-3) * 0.5 * (1 + math.cos(math.pi * spent))
        first = spent < trial.stage1
        loss = _loss(trial, network, (anchors if first else whole)[step], first)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        step += 1
        share = 1 - min(EMA, (1 + step) / (10 + step))
        with torch.no_grad():
            torch._foreach_lerp_(list(average.parameters()), list(network.parameters()), share)
    return average.eval(), step


def _loss(trial: Trial, network: nn.Module, batch: Batch, first: bool) -> torch.Tensor:
    ls, hr = to_network(batch.fed).contiguous(memory_format=torch.channels_last), to_network(batch.hr)
    true = anchor_weights(batch.rate, ANCHORS)
    own = (batch.rate[:, None] == torch.tensor(ANCHORS)).float() if first else None
    output = network(ls, batch.by_axis, own)
    loss = 0.08**trial.balance * sr_loss(output.sr, hr, balance=trial.balance, ls=ls)
    return loss if output.logits is None else loss + 0.1 * weight_loss(output.logits, true)


@torch.inference_mode()
def measure(network: nn.Module, faces: FaceArrays) -> dict[str, Any]:
    """Mean gains over bicubic at MR8's sizes in PSNR (dB) and SSIM, protocol ``y``; KL of the weights; the mean
    gain in PSNR at the sizes between; and the gain in PSNR at each size."""
    hr = np.stack([faces.hr[i] for i in range(FACES)])
    eight = {8 * k: _gains(network, hr, np.stack([faces.lr[k][i] for i in range(FACES)]), k / 16) for k in VIEWS["MR8"]}
    between = {
        side: _gains(
            network, hr, np.stack([np.asarray(resize(Image.fromarray(face), side)) for face in hr]), side / 128
        )
        for side in BETWEEN
    }
    psnrs, ssims, kls = np.array(list(eight.values())).mean(0)
    gain_by_side = {side: gain for sizes in (eight, between) for side, (gain, _, _) in sizes.items()}
    means = {"gain": psnrs, "ssim": ssims, "kl": kls, "gain_between": np.mean([gain_by_side[side] for side in between])}
    return means | {"sizes": gain_by_side}


def _gains(network: nn.Module, hr: np.ndarray, lr: np.ndarray, rate: float) -> tuple[float, float, float]:
    """Mean gain in PSNR (dB) and SSIM at one size, and the weights' mean KL."""
    ls = upscale(torch.from_numpy(lr.transpose(0, 3, 1, 2).copy()), hr.shape[1])
    outputs = [
        network(to_network(part).contiguous(memory_format=torch.channels_last), torch.full((len(part),), rate))
        for part in ls.split(25)
    ]
    sr = torch.cat([to_pixels(o.sr) for o in outputs]).permute(0, 2, 3, 1).numpy()
    pairs = [(luma(x), luma(hr)) for x in (sr, ls.permute(0, 2, 3, 1).numpy())]
    w = torch.cat([o.weights for o in outputs])
    kl = weight_errors(w, anchor_weights(torch.full((len(hr),), rate), ANCHORS))[0].mean().item()
    psnrs, ssims = ([float(metric(a, b).mean()) for a, b in pairs] for metric in (psnr, ssim))
    return psnrs[0] - psnrs[1], ssims[0] - ssims[1], kl


def main(name: str, settings: str, *paths: str) -> None:
    torch.set_num_threads(1)
    values = json.loads(settings)
    trial = Trial(**{f.name: values.pop(f.name) for f in fields(Trial) if f.name in values})
    width = LiteWidth(**{key: tuple(value) for key, value in values.items()})
    torch.manual_seed(trial.seed)
    datasets = [data.open(path) for path in paths]
    network = channels_last(UFVNetLite(ANCHORS, trial.weighting, width))  # type: ignore[arg-type]
    cost = complexity(copy.deepcopy(network), 128)[-1]
    average, steps = train(trial, network, join([d.view("MR8", "train").arrays() for d in datasets]))
    measured = measure(average, datasets[0].view("MR8", "val").arrays())
    about = {"name": name, **asdict(trial), **asdict(width), "gmac": cost.macs / 1e9, "params": cost.params}
    line = about | {"steps": steps, "faces": steps * trial.batch} | measured
    with Path("trials.jsonl").open("a") as file:
        print(json.dumps(line), file=file)
    print(json.dumps(line, indent=2))


if __name__ == "__main__":
    main(*sys.argv[1:])

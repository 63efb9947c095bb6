"""Trains the router of ufvnet-routed: ``python -m benchmarks.router CLEAN DAMAGED OUT DATASET [DATASET ...]``.

CLEAN and DAMAGED are the experts' model folders, OUT is the model folder to write, with all three. Faces of the
datasets' training splits are reduced to 8 to 72 px and damaged as in training; both experts restore them, and the
router learns to choose the one whose PSNR is higher, by the decibels at stake. Prints what it gains on the validation
split of the first dataset. benchmarks/real.md has every trial.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from ufvnet import data
from ufvnet.config import Damage, fingerprint
from ufvnet.data.damage.chain import KINDS, damaged
from ufvnet.files import claim, write_atomically, write_json, write_text
from ufvnet.metrics.psnr_ssim import luma, psnr
from ufvnet.models import create
from ufvnet.models.inference import super_resolve
from ufvnet.models.lr_statistics import LRStatistics
from ufvnet.models.readme import model_readme
from ufvnet.models.routed import Router
from ufvnet.models.srg import to_network
from ufvnet.models.store import CARD, README, WEIGHTS, check_model_folder, load, sealed_card

SEED, FACES, CHECKED = 17, 9_000, 1_000
BATCH, STEPS, RATE, DECAY = 128, 6_000, 2e-3, 1e-2
DAMAGE = Damage(clean=0.3, other_filter=0.55, unfiltered=0.6)
LEAST, MOST = 8, 72
AT_STAKE = 3.0
"""Decibels beyond which a face counts no more."""
SHAKEN = 0.1
"""Noise on the measurements in training, as a share of their standard deviation."""


class Samples(NamedTuple):
    """Faces under damage.

    measured: (N, count) LRStatistics. damage: (N, 5). psnr: (N, 3) dB of bicubic and of both experts.
    """

    measured: Tensor
    damage: Tensor
    psnr: Tensor


@torch.inference_mode()
def samples(dataset: str, split: str, count: int, experts: Sequence[nn.Module]) -> Samples:
    """Faces of a split, each under a damage and at a size of its own."""
    faces = data.open(dataset).view("MR8", split=split).arrays().hr
    statistics, columns = LRStatistics(faces.shape[1]), list[tuple[Tensor, ...]]()
    for number in range(count):
        rng = np.random.default_rng((SEED, number))
        hr = np.array(faces[int(rng.integers(len(faces)))])
        if rng.random() < 0.5:
            hr = hr[:, ::-1].copy()
        side = round(math.exp(rng.uniform(math.log(LEAST), math.log(MOST))))
        face = damaged(hr, _resized(hr, side), DAMAGE, (SEED, number))
        ls, rate = _resized(face.lr, len(hr)), side / len(hr)
        outputs = [ls, *(super_resolve(expert, face.lr[None], len(hr), rate, 1)[0][0] for expert in experts)]
        quality = psnr(luma(np.stack(outputs)), luma(np.stack([face.hr] * len(outputs))))
        fed = to_network(torch.tensor(ls).permute(2, 0, 1)[None])
        measured = statistics(fed, torch.tensor([[rate, rate]]))[0]
        columns.append((measured, torch.tensor(face.amounts), torch.tensor(quality).float()))
    return Samples(*map(torch.stack, zip(*columns)))


def _resized(pixels: np.ndarray, side: int) -> np.ndarray:
    return np.asarray(Image.fromarray(pixels).resize((side, side), Image.Resampling.BICUBIC))


def train(faces: Samples, checked: Samples) -> Router:
    """A router that has seen BATCH * STEPS faces."""
    torch.manual_seed(SEED)
    router = Router(faces.measured.shape[1])
    router.mean.copy_(faces.measured.mean(0))
    router.scale.copy_(1 / (faces.measured.std(0) + 1e-3))
    optimizer = torch.optim.AdamW(router.parameters(), RATE, weight_decay=DECAY)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
    for step in range(1, STEPS + 1):
        rows = torch.randint(len(faces.measured), (BATCH,))
        seen = faces.measured[rows]
        logit, damage = router(seen + SHAKEN / router.scale * torch.randn_like(seen))
        _, clean, damaged_ = faces.psnr[rows].unbind(1)
        gained = (logit.sigmoid() * (clean - damaged_).clamp(-AT_STAKE, AT_STAKE)).mean()
        loss = 2 * F.mse_loss(damage, faces.damage[rows]) - gained
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if step % (STEPS // 4) == 0:
            print(f"{step} steps\n{check(router, checked)}", flush=True)
    return router.eval()


@torch.inference_mode()
def check(router: Router, faces: Samples) -> str:
    """What routing gains, in three lines."""
    logit, damage = router(faces.measured)
    bicubic, clean, damaged_ = faces.psnr.unbind(1)
    routed, best = torch.where(logit > 0, clean, damaged_), torch.maximum(clean, damaged_)
    lines = []
    for name, rows in (("clean", faces.damage[:, -1] == 0), ("damaged", faces.damage[:, -1] > 0)):
        gains = [float((quality - bicubic)[rows].mean()) for quality in (routed, clean, damaged_, best)]
        worse = [float((quality < bicubic)[rows].float().mean()) for quality in (routed, damaged_)]
        lines.append(
            "{}: routed {:+.3f} dB, experts {:+.3f} and {:+.3f}, the better of them {:+.3f}; ".format(name, *gains)
            + f"{(logit > 0)[rows].float().mean():.1%} to the first; worse than bicubic {worse[0]:.1%}, by the second "
            + f"alone {worse[1]:.1%}"
        )
    known = 1 - (damage - faces.damage).square().mean(0) / faces.damage.var(0)
    told = ", ".join(f"{kind} {share:.2f}" for kind, share in zip(KINDS, known.tolist()))
    return "\n".join([*lines, f"share of the damage's variance that is known: {told}"])


def main(clean: str, damaged_: str, out: str, *datasets: str) -> None:
    """Make samples, train, and write the whole model."""
    torch.set_num_threads(1)
    check_model_folder("OUT", Path(out))
    loaded = [load(model) for model in (clean, damaged_)]
    experts, cards = [network for network, _ in loaded], [card for _, card in loaded]
    parts = [samples(dataset, "train", FACES // len(datasets), experts) for dataset in datasets]
    faces, checked = Samples(*map(torch.cat, zip(*parts))), samples(datasets[0], "val", CHECKED, experts)
    network = create("ufvnet-routed", cards[1]["preset"], cards[1]["hr_size"])
    for name, part in zip(("clean", "damaged", "router"), (*experts, train(faces, checked))):
        getattr(network, name).load_state_dict(part.state_dict())
    made_of, trained_on = [card["fingerprint"] for card in cards], [card["trained_on"] for card in cards]
    state = {name: tensor.half() for name, tensor in network.state_dict().items()}
    known = dict.fromkeys(name for part in trained_on for name in part["dataset"].split(" + "))
    card = cards[1] | {
        "model": "ufvnet-routed", "name": Path(out).name, "params": sum(p.numel() for p in network.parameters()),
        "precision": "half", "experts": made_of, "fingerprint": fingerprint(*made_of, SEED, FACES, STEPS),
        "trained_on": trained_on[1] | {"dataset": " + ".join(known), "faces": max(p["faces"] for p in trained_on)},
        "validation": {},
    }  # fmt: skip
    claim(Path(out), "model")
    write_atomically(Path(out) / WEIGHTS, lambda path: save_file(state, path))
    write_json(Path(out) / CARD, sealed_card(card, Path(out)))
    write_text(Path(out) / README, model_readme(card))


if __name__ == "__main__":
    main(*sys.argv[1:])

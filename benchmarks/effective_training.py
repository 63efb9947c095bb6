"""Trains the estimator of effective sizes: ``python -m benchmarks.effective_training DATASET OUT [key=value ...]``.

Cuts faces of a dataset's training split anew from their photographs, at the photographs' own resolution, leaves three
in ten sharp, and enlarges or blurs the others to a known effective size. Prints the error on the validation split, and
writes the weights in half precision. The bytes of the samples depend on the seed alone. benchmarks/effective.md has
every trial.
"""

from __future__ import annotations

import io
import math
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageFilter
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn import functional as F

from ufvnet import data
from ufvnet.data.damage import steps
from ufvnet.data.damage.recut import Original
from ufvnet.files import write_atomically
from ufvnet.models.effective import GAUSSIAN, SIDE, EffectiveSize

REDUCING = ("bicubic", "bicubic", "box", "bilinear", "lanczos", "hamming")
ENLARGING = ("bicubic", "bicubic", "bicubic", "bilinear", "bilinear", "lanczos", "hamming", "nearest")
LARGEST = 512
"""Pixels to which faces are enlarged."""
SMALLEST = 10


@dataclass(frozen=True)
class Settings:
    """What the command line may change.

    faces: photographs of the training split. samples: made of each.
    batch, passes, rate: of AdamW with a cosine; a pass sees every sample once.
    channels: of the network.
    start: weights to train on from, as this script writes them; empty for new ones.
    fixed: 1 trains only the head, with the rest as ``start`` has it.
    """

    seed: int = 17
    faces: int = 4000
    samples: int = 8
    batch: int = 64
    passes: int = 8
    rate: float = 2e-3
    channels: tuple[int, int, int] = (40, 64, 96)
    start: str = ""
    fixed: int = 0


def cut(original: Original, rng: np.random.Generator, count: int) -> list[Image.Image]:
    """Squares around a face, L, moved by up to a tenth and 0.75 to 1.7 times its size where the photograph has room."""
    photo = original.read().convert("L")
    left, top, right, bottom = original.box
    side, x, y = max(right - left, bottom - top), (left + right) / 2, (top + bottom) / 2
    squares = []
    for _ in range(count):
        wanted = round(side * math.exp(rng.uniform(math.log(0.75), math.log(1.7))))
        new = min(max(wanted, SIDE), *photo.size)
        corner = [round(v + rng.uniform(-0.1, 0.1) * side - new / 2) for v in (x, y)]
        x0, y0 = (min(max(0, v), length - new) for v, length in zip(corner, photo.size))
        squares.append(photo.crop((x0, y0, x0 + new, y0 + new)))
    return squares


def resized(image: Image.Image, side: int, way: str) -> Image.Image:
    return image.resize((side, side), Image.Resampling[way.upper()])


def compressed(image: Image.Image, quality: int) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return Image.open(buffer).convert("L")


def noisy(image: Image.Image, sigma: float, rng: np.random.Generator) -> Image.Image:
    pixels = np.asarray(image, np.float32) + rng.normal(0, sigma, image.size[::-1])
    return Image.fromarray(np.clip(np.rint(pixels), 0, 255).astype(np.uint8))


def defocused(image: Image.Image, radius: float) -> Image.Image:
    """The picture as a lens out of focus shows it: a disc for every point."""
    offsets = np.arange(-math.ceil(radius), math.ceil(radius) + 1)
    disc = np.clip(radius + 0.5 - np.hypot(offsets[:, None], offsets[None, :]), 0, 1)
    return Image.fromarray(steps.blurred(np.asarray(image)[..., None], disc / disc.sum())[..., 0])


def sample(face: Image.Image, rng: np.random.Generator) -> tuple[np.ndarray, float]:
    """A face as the network sees it, (SIDE, SIDE) uint8, and log2 of its effective size."""
    kind, inverse_square = rng.random(), 0.0  # 1 / n^2: variances of blurs add
    side = round(math.exp(rng.uniform(math.log(SIDE), math.log(LARGEST))))
    if 0.3 <= kind < 0.55 or kind >= 0.92:  # blurred
        size = math.exp(rng.uniform(math.log(12), math.log(120)))
        sigma = GAUSSIAN * face.width / size
        # a disc of this radius damps the same frequency to a half
        face = defocused(face, 1.88 * sigma) if rng.random() < 0.4 else face.filter(ImageFilter.GaussianBlur(sigma))
        inverse_square += size**-2
    if kind >= 0.55:  # enlarged
        size = round(math.exp(rng.uniform(math.log(SMALLEST), math.log(120))))
        face = resized(face, size, str(rng.choice(REDUCING)))
        if rng.random() < 0.15:
            face = noisy(face, rng.uniform(1, 12), rng)
        if rng.random() < 0.3:
            face = compressed(face, int(rng.integers(30, 96)))
        face = resized(face, max(side, round(1.1 * size)), str(rng.choice(ENLARGING)))
        inverse_square += size**-2
    else:
        face = resized(face, min(side, LARGEST if kind >= 0.3 else face.width), "bicubic")
    if rng.random() < 0.1:
        face = face.filter(ImageFilter.UnsharpMask(rng.uniform(0.5, 3), int(rng.integers(30, 150)), 0))
    if rng.random() < 0.25:
        face = noisy(face, rng.uniform(1, 10), rng)
    if rng.random() < 0.5:
        face = compressed(face, int(rng.integers(40, 97)))
    size = min(SIDE, inverse_square**-0.5) if inverse_square else SIDE
    return np.asarray(resized(face, SIDE, "bicubic")), math.log2(size)


def samples(originals: list[Original], count: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """(N, 1, SIDE, SIDE) uint8 and (N,) log2 of the sizes."""
    pictures, sizes = [], []
    for number, original in enumerate(originals):
        rng = np.random.default_rng((seed, number))
        for face in cut(original, rng, count):
            picture, size = sample(face, rng)
            pictures.append(picture)
            sizes.append(size)
    return torch.from_numpy(np.stack(pictures))[:, None], torch.tensor(sizes)


def batches(count: int, settings: Settings) -> Iterator[torch.Tensor]:
    generator = torch.Generator().manual_seed(settings.seed)
    for _ in range(settings.passes):
        yield from torch.randperm(count, generator=generator).split(settings.batch)


def train(pictures: torch.Tensor, sizes: torch.Tensor, settings: Settings) -> EffectiveSize:
    """The network, or with ``fixed`` only its head on features that are computed once."""
    torch.manual_seed(settings.seed)
    network = EffectiveSize(settings.channels).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if settings.start:
        state = {name: value.float() for name, value in load_file(settings.start).items()}
        network.load_state_dict(state, strict=False)  # files of the first trials have another head
    inputs = features(network, pictures) if settings.fixed else pictures
    trained: nn.Module = network.head if settings.fixed else network
    optimizer = torch.optim.AdamW(trained.parameters(), settings.rate, weight_decay=0.01)
    total = settings.passes * math.ceil(len(pictures) / settings.batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, settings.rate, total, pct_start=0.1)
    flips = np.random.default_rng(settings.seed)
    for step, rows in enumerate(batches(len(pictures), settings)):
        x = inputs[rows].float()
        if settings.fixed:
            predicted = network.head(x)[:, 0] + 5
        else:
            with torch.autocast("cpu", torch.bfloat16):
                predicted = network(x.flip(-1) if flips.random() < 0.5 else x)
        loss = F.smooth_l1_loss(predicted.float(), sizes[rows], beta=0.25)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if step % (total // 10) == 0 or step == total - 1:
            print(f"step {step:6,} of {total:,}: loss {loss.item():.4f}", flush=True)
    return network.eval()


@torch.no_grad()
def features(network: EffectiveSize, pictures: torch.Tensor) -> torch.Tensor:
    """What the head receives of each picture."""
    return torch.cat([network.features(x.float()) for x in pictures.split(64)])


@torch.inference_mode()
def report(network: EffectiveSize, pictures: torch.Tensor, sizes: torch.Tensor) -> None:
    """Print the error in octaves by true size, and the shares on the wrong side of some limits."""
    predicted = torch.cat([network(x.float()) for x in pictures.split(256)]).clamp(3, 7)
    error = (predicted - sizes).abs()
    print("| effective size | faces | median error, octaves | 90 % below | median estimate |\n|---|---|---|---|---|")
    for low, high in ((8, 16), (16, 24), (24, 40), (40, 64), (64, 96), (96, 127), (128, 129)):
        rows = (sizes >= math.log2(low) - 1e-3) & (sizes < math.log2(high))
        e, p = error[rows], predicted[rows].median().exp2()
        name = f"{low} to {high}" if high < SIDE else "sharp" if low == SIDE else f"{low} to {SIDE}"
        print(f"| {name} | {len(e)} | {e.median():.3f} | {e.quantile(0.9):.3f} | {p:.1f} |")
    sharp = sizes == math.log2(SIDE)
    for limit in (64, 80, 96):
        small, called = sizes < math.log2(limit) - 0.5, predicted < math.log2(limit)
        print(
            f"limit {limit}: {called[sharp].float().mean():.2%} of sharp faces below, "
            f"{(~called)[small].float().mean():.2%} of faces under 0.7 of it not"
        )


def main(dataset: Path, out: Path, settings: Settings) -> None:
    torch.set_num_threads(1)
    opened = data.open(dataset)
    originals = {split: list(opened.view("MR3", split).arrays(opened.photos).originals) for split in ("train", "val")}
    started = time.process_time()
    pictures, sizes = samples(originals["train"][: settings.faces], settings.samples, settings.seed)
    print(f"{len(pictures):,} samples in {time.process_time() - started:.0f} CPU-s", flush=True)
    started = time.process_time()
    network = train(pictures, sizes, settings)
    print(f"{settings} trained in {time.process_time() - started:.0f} CPU-s")
    report(network, *samples(originals["val"], 8, settings.seed + 1))
    half = {name: value.half().contiguous() for name, value in network.state_dict().items()}
    write_atomically(out, lambda path: save_file(half, path))


if __name__ == "__main__":
    changes: dict[str, Any] = {}
    for key, _, text in (pair.partition("=") for pair in sys.argv[3:]):
        kind = type(getattr(Settings, key))
        changes[key] = tuple(map(int, text.split(","))) if kind is tuple else kind(text)
    main(Path(sys.argv[1]), Path(sys.argv[2]), Settings(**changes))

"""Speed and peak memory of training every method of Tables I to IV, by its own loss, on random faces.

``python -m benchmarks.competitors HR_SIZE BATCH PRESET... [-- NAME...]`` prints a Markdown table: a row per method and
preset, each measured in a process of its own, one thread, float32. Seconds are CPU-seconds, which a busy machine shifts
less than time; the loader's part is in them.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import torch

from ufvnet.data.dataset import FaceArrays
from ufvnet.imaging.resize import SIXTEENTHS, lr_side
from ufvnet.models import create, names, to_network
from ufvnet.models.feed import feed_of
from ufvnet.models.inference import channels_last
from ufvnet.models.supervision import Target, needs_of, with_critic
from ufvnet.training.batches import Batch, TrainingLoader

STEPS = 3


def main(arguments: list[str]) -> None:
    """Print the table."""
    split = arguments.index("--") if "--" in arguments else len(arguments)
    hr_size, batch, *presets = arguments[:split]
    print("| method | preset | s a step | faces / s | peak GiB |\n|---|---|---|---|---|")
    for preset in presets:
        for name in arguments[split + 1 :] or [n for n in names() if n != "bicubic"]:
            command = [sys.executable, "-m", "benchmarks.competitors", "one", hr_size, batch, preset, name]
            done = subprocess.run(command, capture_output=True, text=True)
            print(
                done.stdout.strip() or f"| {name} | {preset} | {done.stderr.strip().splitlines()[-1]} | | |", flush=True
            )


def one(hr_size: int, batch_size: int, preset: str, name: str) -> None:
    """Measure one method in this process and print its row."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    network = channels_last(with_critic(create(name, preset, hr_size)))
    loader = _loader(network, hr_size, batch_size)
    seconds = []
    optimizer = torch.optim.Adam(network.parameters(), 1e-4, fused=True)
    network.train()
    for number in range(STEPS):
        started = time.process_time()
        batch = loader[number]
        optimizer.zero_grad()
        _loss(network, batch).backward()
        optimizer.step()
        seconds.append(time.process_time() - started)
    least = min(seconds[1:])
    peak = int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) / 2**20
    print(f"| {name} | {preset} | {least:.3f} | {batch_size / least:.1f} | {peak:.2f} |")


def _loss(network: torch.nn.Module, batch: Batch) -> torch.Tensor:
    fed = to_network(batch.fed).contiguous(memory_format=torch.channels_last)
    hr = to_network(batch.hr)
    if not hasattr(network, "loss"):
        by_axis = getattr(network, "rate_by_axis", False)
        return (network(fed, batch.by_axis if by_axis else batch.rate).sr - hr).abs().mean()
    masks = None if batch.masks is None else batch.masks.float()
    edges = None if batch.edges is None else tuple(e.float() for e in batch.edges)
    target = Target(hr, 0.5, batch.landmarks, masks, edges, batch.points, batch.colours, batch.extent)
    return network.loss(fed, batch.rate, target)  # type: ignore[operator]


def _loader(network: torch.nn.Module, hr_size: int, batch_size: int) -> TrainingLoader:
    random = np.random.default_rng(0)
    sides = {k: lr_side(hr_size, k) for k in SIXTEENTHS}
    lr = {k: random.integers(0, 256, (batch_size, side, side, 3), dtype=np.uint8) for k, side in sides.items()}
    hr = random.integers(0, 256, (batch_size, hr_size, hr_size, 3), dtype=np.uint8)
    landmarks = random.uniform(0, hr_size - 1, (batch_size, 68, 2)).astype(np.float32)
    faces = FaceArrays(hr, lr, tuple(map(str, range(batch_size))), landmarks=landmarks)
    feed = feed_of(network)
    ks = (feed.side * 16 // hr_size,) if feed.kind == "FR" and feed.side else SIXTEENTHS[1:]
    return TrainingLoader(faces, ks, batch_size, 0, feed=feed, needs=needs_of(network))


if __name__ == "__main__":
    if sys.argv[1] == "one":
        one(int(sys.argv[2]), int(sys.argv[3]), sys.argv[4], sys.argv[5])
    else:
        main(sys.argv[1:])

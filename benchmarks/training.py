"""Training and inference of the networks against plain modules (benchmarks/plain.py), and the loader alone.

``python -m benchmarks.training peak ours|plain NAME PRESET`` prints the peak memory of a training step in GiB.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.plain import plain
from ufvnet import data
from ufvnet.models import PRESETS, create
from ufvnet.models.conv import fold_norms
from ufvnet.models.inference import channels_last

BATCH, REPEATS, HR = 8, 4, 128
NETWORKS = (("ufvnet", "paper"), ("onesrg", "paper"), ("ufvnet", "small"), ("onesrg", "small"))

Row = tuple[str, str, float, float, float]


def networks() -> Iterator[Row]:
    """Rows (what, reference, ours / s, reference / s, ratio) of every network, in faces per second."""
    for name, preset in NETWORKS:
        ours, theirs, x = _pair(name, preset)
        laid_out = x.contiguous(memory_format=torch.channels_last)
        rates = _alternate(_step(ours, laid_out, fused=True), _step(theirs, x, fused=False))
        yield f"training step, {name} {preset}", "plain modules, same losses", *rates, rates[0] / rates[1]
        theirs.load_state_dict(dict(zip(theirs.state_dict(), ours.state_dict().values(), strict=True)))
        with torch.inference_mode():
            fast, slow = channels_last(fold_norms(ours.eval())), theirs.eval()
            difference = (_image(fast(laid_out)) - _image(slow(x))).abs().max().item()
            assert difference < 1e-4, difference
            rates = _alternate(partial(fast, laid_out), partial(slow, x))
            product, flops = _matrix_products(), _flops(fast, laid_out[:1])
        yield f"inference, {name} {preset}", f"plain modules, {difference:.0e} apart", *rates, rates[0] / rates[1]
        arithmetic = rates[0] * flops
        yield f"inference, {name} {preset}, GFLOP", "matrix product", arithmetic, product, arithmetic / product
        peaks = [_peak_of(kind, name, preset) for kind in ("ours", "plain")]
        yield f"peak GiB of a training, {name} {preset}", "plain modules", *peaks, peaks[0] / peaks[1]  # type: ignore[misc]


def _pair(name: str, preset: str) -> tuple[nn.Module, nn.Module, Tensor]:
    torch.manual_seed(0)
    ours = create(name, preset, HR)
    theirs = plain(name, PRESETS[preset], HR, ours)
    return channels_last(ours), theirs, torch.rand(BATCH, 3, HR, HR) * 2 - 1


def _image(output: Any) -> Tensor:
    return output if isinstance(output, Tensor) else output.sr


def _step(network: nn.Module, x: Tensor, fused: bool) -> Callable[[], None]:
    """A training step as the engine makes it (``fused``), or with Adam's default settings."""
    optimizer = torch.optim.Adam(network.parameters(), 2e-4, fused=fused)
    network.train()

    def step() -> None:
        optimizer.zero_grad()
        (_image(network(x)) - x).abs().mean().backward()
        optimizer.step()

    return step


def _alternate(ours: Callable[[], Any], theirs: Callable[[], Any]) -> tuple[float, float]:
    """Faces per second of both: the best of alternating runs, without the first run of each."""
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(REPEATS + 1):
        for work, into in zip((ours, theirs), times):
            started = time.perf_counter()
            work()
            into.append(time.perf_counter() - started)
    return BATCH / min(times[0][1:]), BATCH / min(times[1][1:])


def _flops(network: nn.Module, x: Tensor) -> float:
    """GFLOP per face as it is computed: less than twice docs/method.md's multiply-accumulates (models/conv.py)."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        network(x)
    return counter.get_total_flops() / 1e9


def _matrix_products(n: int = 2048) -> float:
    """GFLOP/s of float32 matrix products."""
    a, b = torch.rand(2, n, n)
    a @ b
    started = time.perf_counter()
    for _ in range(5):
        a @ b
    return 5 * 2 * n**3 / (time.perf_counter() - started) / 1e9


def _peak_of(kind: str, name: str, preset: str) -> float:
    command = [sys.executable, "-m", "benchmarks.training", "peak", kind, name, preset]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def _peak(kind: str, name: str, preset: str) -> float:
    """GiB above what the process held before its first training step."""
    ours, theirs, x = _pair(name, preset)
    if kind == "ours":
        del theirs
        step = _step(ours, x.contiguous(memory_format=torch.channels_last), fused=True)
    else:
        del ours
        step = _step(theirs, x, fused=False)
    for _ in range(2):
        step()
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) / 2**20


def loading(dataset: Path) -> Iterator[Row]:
    """Batches of the loader alone, against the training of the fastest preset, in faces per second."""
    from ufvnet.training.batches import TrainingLoader

    view = data.open(dataset).view("MR8", "train")
    loader = TrainingLoader(view.arrays(), view.ks, 32, seed=0)
    loader[0]
    started = time.perf_counter()
    for step in range(10):
        loader[step]
    rate = 320 / (time.perf_counter() - started)
    x = (torch.rand(BATCH, 3, HR, HR) * 2 - 1).contiguous(memory_format=torch.channels_last)
    step_of = _step(channels_last(create("onesrg", "tiny", HR)), x, fused=True)
    consumed, _ = _alternate(step_of, step_of)
    yield "loader alone, faces", "training of onesrg tiny", rate, consumed, rate / consumed


if __name__ == "__main__" and sys.argv[1] == "peak":
    print(_peak(*sys.argv[2:5]))

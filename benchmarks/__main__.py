"""``make bench``: each speed as a ratio to a reference in the same process; prints a table.

``python -m benchmarks training`` prints those rows alone; PARTS names the others.
"""

from __future__ import annotations

import importlib
import os
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

PAIRS, FACES, REPEATS = 200, 128, 3
PARTS = {
    "kernels": "benchmarks.__main__:kernels",
    "training": "benchmarks.training:networks",
    "scoring": "benchmarks.scoring:scoring",
    "serving": "benchmarks.serving:serving",
    "building": "benchmarks.building:building",
    "restoring": "benchmarks.restoring:restoring",
}


def main(*parts: str) -> None:
    """Run the benchmarks, or the named ones, and print the rows of benchmarks/README.md."""
    print("| what | reference | ours / s | reference / s | ratio |\n|---|---|---|---|---|")
    for part in parts or PARTS:
        for what, reference, ours, theirs, ratio in _rows(part):
            print(f"| {what} | {reference} | {ours:,.3g} | {theirs:,.3g} | {ratio:.2f} |", flush=True)


def _rows(part: str) -> Iterator[Row]:
    module, _, function = PARTS[part].partition(":")
    yield from getattr(importlib.import_module(module), function)()


def kernels() -> Iterator[Row]:
    """The computations on a batch of faces, on one core."""
    import torch

    torch.set_num_threads(1)
    for benchmark in (metrics, upscaling):
        what, reference, count, ours, theirs = benchmark()
        a, b = count / _best(ours), count / _best(theirs)
        yield what, reference, a, b, a / b
    torch.set_num_threads(os.cpu_count() or 1)


def _best(work: Callable[[], Any]) -> float:
    """Seconds of the fastest of REPEATS runs, after a warm-up."""
    work()
    times = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return min(times)


Row = tuple[str, str, float, float, float]
Benchmark = tuple[str, str, int, Callable[[], Any], Callable[[], Any]]


def metrics() -> Benchmark:
    """PSNR and SSIM of Y pairs, 128x128, float64."""
    from skimage.metrics import peak_signal_noise_ratio, structural_similarity

    from ufvnet.metrics import psnr, ssim

    rng = np.random.default_rng(0)
    a, b = rng.uniform(16, 235, (2, PAIRS, 128, 128))

    def theirs() -> None:
        for x, y in zip(a, b):
            peak_signal_noise_ratio(x, y, data_range=255)
            structural_similarity(
                x, y, data_range=255, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
            )  # fmt: skip

    return "PSNR + SSIM, pairs", "scikit-image, same values", PAIRS, lambda: (psnr(a, b), ssim(a, b)), theirs


def upscaling() -> Benchmark:
    """U(.): 32x32 to 128x128 bicubic, bit for bit."""
    import torch
    from PIL import Image

    from ufvnet.imaging.resize import resize
    from ufvnet.imaging.upscale import upscale

    faces = np.random.default_rng(0).integers(0, 256, (FACES, 32, 32, 3), dtype=np.uint8)
    tensor = torch.from_numpy(faces.transpose(0, 3, 1, 2).copy())

    def theirs() -> None:
        for face in faces:
            np.asarray(resize(Image.fromarray(face), 128))

    return "bicubic upscaling, faces", "PIL, same bytes", FACES, lambda: upscale(tensor, 128), theirs


if __name__ == "__main__":
    main(*sys.argv[1:])

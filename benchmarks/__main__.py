"""``make bench``: each speed as a ratio to a reference in the same process, a core each; prints a table."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

PAIRS, FACES, REPEATS = 200, 128, 3


def main() -> None:
    """Run every benchmark and print the rows of benchmarks/README.md."""
    import torch

    torch.set_num_threads(1)
    print("| what | reference | ours / s | reference / s | ratio |\n|---|---|---|---|---|")
    for benchmark in (metrics, upscaling, training):
        what, reference, count, ours, theirs = benchmark()
        a, b = count / _best(ours), count / _best(theirs)
        print(f"| {what} | {reference} | {a:,.0f} | {b:,.0f} | {a / b:.1f} |", flush=True)
    from benchmarks.building import building

    for what, reference, a, b, ratio in building():
        print(f"| {what} | {reference} | {a:,.3g} | {b:,.3g} | {ratio:.2f} |", flush=True)


def _best(work: Callable[[], Any]) -> float:
    """Seconds of the fastest of some runs after a warm-up."""
    work()
    times = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return min(times)


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

    from ufvnet.data.bicubic import resize, upscale

    faces = np.random.default_rng(0).integers(0, 256, (FACES, 32, 32, 3), dtype=np.uint8)
    tensor = torch.from_numpy(faces.transpose(0, 3, 1, 2).copy())

    def theirs() -> None:
        for face in faces:
            np.asarray(resize(Image.fromarray(face), 128))

    return "bicubic upscaling, faces", "PIL, same bytes", FACES, lambda: upscale(tensor, 128), theirs


def training() -> Benchmark:
    """A training step of onesrg tiny at HR 64, batch 16: channels-last, as the engine does, and NCHW."""
    import torch

    from ufvnet.models import create
    from ufvnet.models.inference import channels_last
    from ufvnet.training.losses import sr_loss

    def step_of(last: bool) -> Callable[[], None]:
        network, x = create("onesrg", "tiny", 64), torch.rand(16, 3, 64, 64)
        if last:
            network, x = channels_last(network), x.contiguous(memory_format=torch.channels_last)
        optimizer = torch.optim.Adam(network.parameters())

        def step() -> None:
            optimizer.zero_grad()
            sr_loss(network(x).sr, x).backward()
            optimizer.step()

        return step

    return "training step, faces", "the same in NCHW", 16, step_of(True), step_of(False)


if __name__ == "__main__":
    main()

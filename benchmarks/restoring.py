"""Restoring a folder: against the bare model's batched rate; start to first result; memory."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

from ufvnet.children import KEEP_MEMORY
from ufvnet.config import DEFAULT_MODEL

MODEL = os.environ.get("MODEL", DEFAULT_MODEL)
FACES = int(os.environ.get("FACES", "2000"))
MANY = int(os.environ.get("MANY", "20000"))
FEW = 500
BATCH, BARE, TURNS = 16, 80, 5
CHILD = """
import sys, time
from ufvnet.config import RestoreConfig, load
from ufvnet.restore import Restorer
from ufvnet.restore.folder.run import restore_folder
settings = dict(input=sys.argv[1], output=sys.argv[2], model=sys.argv[3], mode="aligned", device="cpu", batch_size=16)
Restorer.load(sys.argv[3], "cpu")
started = time.perf_counter()
restore_folder(load(RestoreConfig, settings))
print(time.perf_counter() - started, open("/proc/self/status").read().split("VmHWM:")[1].split()[0])
"""
Row = tuple[str, str, float, float, float]


def restoring() -> Iterator[Row]:
    """Rows (what, reference, ours / s, reference / s, ratio)."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        faces = make_crops(folder / "faces", FACES)
        rates: dict[str, list[float]] = {"bare": [], "tuned": [], "ours": []}
        for turn in range(TURNS):  # other programs on the machine come and go
            rates["bare"].append(_bare_alone())
            rates["tuned"].append(_bare_alone(KEEP_MEMORY))
            rates["ours"].append(FACES / _restore(faces, folder / f"out-{turn}")[0])
        bare, tuned, ours = (statistics.median(turns) for turns in rates.values())
        what = f"folder of {FACES:,} crops, faces"
        yield what, "the bare model, same threads", ours, bare, ours / bare
        yield what, "the same with the command's memory settings", ours, tuned, ours / tuned
        first = _first(faces, folder / "first")
        yield "start to first result", "3 s", 1 / first, 1 / 3, 3 / first
        small, large = (_restore(make_crops(folder / f"in-{n}", n), folder / f"out-{n}")[1] for n in (FEW, MANY))
        yield f"peak GiB, {MANY:,} files", f"{FEW:,} files", large, small, large / small


def make_crops(folder: Path, count: int) -> Path:
    """Crops of 8 to 64 pixels, half PNG and half JPEG."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    for i in range(count):
        side = int(rng.integers(8, 65))
        image = Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)).resize((side, side))
        image.save(folder / f"{i:06d}.{('png', 'jpg')[i % 2]}", quality=95)
    return folder


def _restore(faces: Path, out: Path) -> tuple[float, float]:
    """Seconds and peak GiB of a folder run, in a separate process with the memory settings of the command."""
    command = [sys.executable, "-c", CHILD, str(faces), str(out), MODEL]
    environment = os.environ | KEEP_MEMORY
    child = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    seconds, kib = child.stdout.split()[-2:]
    return float(seconds), int(kib) / 2**20


def _bare_alone(settings: Mapping[str, str] | None = None) -> float:
    """``_bare`` in a separate process with these variables."""
    command = [sys.executable, "-c", "from benchmarks.restoring import _bare; print(_bare())"]
    environment = os.environ | dict(settings or {})
    return float(subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout)


def _bare() -> float:
    """Faces per second of forward passes alone, with one batch per thread at the same time."""
    import torch

    from ufvnet.restore import Restorer

    network, lanes = Restorer.load(MODEL, "cpu").network, torch.get_num_threads()
    ls = torch.rand(BATCH, 3, 128, 128).contiguous(memory_format=torch.channels_last)
    rate = torch.full((BATCH, 2) if getattr(network, "rate_by_axis", False) else (BATCH,), 0.25)

    def forward(_: int) -> None:
        with torch.inference_mode():
            network(ls, rate)

    with ThreadPoolExecutor(lanes, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        list(pool.map(forward, range(lanes)))
        started = time.perf_counter()
        list(pool.map(forward, range(BARE)))
    return BARE * BATCH / (time.perf_counter() - started)


def _first(faces: Path, out: Path) -> float:
    """Seconds from starting the command to its first output."""
    command = [
        sys.executable,
        "-m",
        "ufvnet.cli",
        "restore",
        str(faces),
        str(out),
        "--model",
        MODEL,
        "--mode",
        "aligned",
    ]
    started = time.perf_counter()
    child = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    while child.poll() is None and not any(out.glob("0*.png")):
        time.sleep(0.02)
    seconds = time.perf_counter() - started
    child.kill()
    child.wait()
    return seconds

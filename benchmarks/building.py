"""Building and reading a dataset: against the sum of its kernels, a straightforward loop, and decoding PNG."""

from __future__ import annotations

import os
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

PHOTOS = Path(os.environ.get("PHOTOS", "../shared/faces/aaf/images"))
MORE = Path("../shared/faces/us_congress/images")
SAMPLE = 400
"""Photos that the bare loops go through, before and after each build."""

Row = tuple[str, str, float, float, float]


def building() -> Iterator[Row]:
    """Rows (what, reference, ours / s, reference / s, ratio per worker) and the workers' memory."""
    from ufvnet.data.sample import jittered_photos

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        photos = PHOTOS if PHOTOS.is_dir() else jittered_photos(folder / "photos", 400)
        files = sorted(photos.iterdir())
        sample = files[:: max(1, len(files) // SAMPLE)][:SAMPLE]
        for workers in (1, 2):
            before = _rate(_kernels, sample)
            rate, _ = _build(photos, folder / f"w{workers}", workers)
            floor = (before + _rate(_kernels, sample)) / 2
            yield (
                f"full build, {workers} worker(s), photos",
                "its kernels, bare loop",
                rate,
                floor,
                rate / workers / floor,
            )
        loop = _rate(lambda some: _straightforward(some, folder / "loop"), sample)
        kernels = _rate(_kernels, sample)
        yield "its kernels, photos", "straightforward loop", kernels, loop, kernels / loop
        yield "full build, 2 workers, photos", "straightforward loop", rate, loop, rate / 2 / loop
        yield from _memory(files, folder)
        yield from _reading(folder / "w1" / "bench")


def _rate(work: Callable[[list[Path]], Any], sample: list[Path]) -> float:
    """Photos a second."""
    work(sample[:20])
    started = time.perf_counter()
    work(sample)
    return len(sample) / (time.perf_counter() - started)


def _kernels(sample: list[Path]) -> None:
    """Decode, detect, landmarks, crop, resizes, encodes: what a build cannot do without, and nothing else."""
    from ufvnet.data.bicubic import SIXTEENTHS
    from ufvnet.data.degrade import degrade
    from ufvnet.data.images import read_image
    from ufvnet.data.png import encode
    from ufvnet.faces.crop import crop_box, crop_face
    from ufvnet.faces.detect import find_faces

    for file in sample:
        rgb = read_image(file).rgb
        faces = find_faces(rgb)
        hr = crop_face(rgb, crop_box(faces[0].landmarks, *rgb.size), 128)
        for image in (hr, *degrade("pil-bicubic", hr, [8 * k for k in SIXTEENTHS], (0,))):
            encode(image)


def _straightforward(sample: list[Path], out: Path) -> None:
    """As one would write it: the detector on the whole photo, Pillow's PNG at its default level 6, a file an image."""
    from ufvnet.faces.crop import crop_box
    from ufvnet.faces.detect import load_models

    detector, predictor = load_models()
    for file in sample:
        photo = Image.open(file).convert("RGB")
        pixels = np.asarray(photo)
        found = detector(pixels, 0)
        if not found:
            continue
        shape = predictor(pixels, max(found, key=lambda r: r.area()))
        box = crop_box(np.array([(p.x, p.y) for p in shape.parts()]), *photo.size)
        hr = photo.crop(box).resize((128, 128), Image.Resampling.BICUBIC)
        for k in range(1, 9):
            (out / str(k)).mkdir(parents=True, exist_ok=True)
            hr.resize((8 * k, 8 * k), Image.Resampling.BICUBIC).save(out / str(k) / f"{file.stem}.png")
        hr.save(out / f"{file.stem}.png")


def _build(photos: Path, out: Path, workers: int) -> tuple[float, float]:
    """(photos a second, greatest peak memory of a worker in GiB) of a whole build, the cluster's start included."""
    from tasks.cluster import dask_client, map_on_client
    from ufvnet.config import BuildConfig, load
    from ufvnet.data import build

    raw = {"name": "bench", "out": out, "source": {"root": photos}, "cluster": {"workers": workers}}
    config = load(BuildConfig, raw)
    started = time.perf_counter()
    scans = build.scans(config)
    with dask_client(config.cluster, workers) as client:
        shards = build.plan(config, zip(scans, map_on_client(client, build.scan, scans)))
        reports = map_on_client(client, build.build_shard, shards)
        card = build.finish(config, shards, reports)
        seconds = time.perf_counter() - started
        peaks = client.run(_peak)
    return card["photos"] / seconds, max(peaks.values())


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def _memory(files: list[Path], folder: Path) -> Iterator[Row]:
    """Peak memory of a worker at some 1,000 and 8,000 photos."""
    more = [*files, *(sorted(MORE.iterdir()) if MORE.is_dir() else [])]
    peaks = {}
    for count in (1000, len(more)):
        few = folder / f"few-{count}"
        few.mkdir()
        for file in more[:count]:
            (few / file.name).symlink_to(file.resolve())
        _, peaks[count] = _build(few, folder / f"out-{count}", 2)
    small, large = peaks[1000] if 1000 in peaks else peaks[len(more)], peaks[len(more)]
    yield f"peak GiB a worker, {len(more):,} photos", "1,000 photos", large, small, large / small


def _reading(dataset: Path) -> Iterator[Row]:
    """Training pairs a second, random rows, one of three scales each: the decoded cache, and PNG from Parquet."""
    from ufvnet import data
    from ufvnet.data.loader import TrainingLoader
    from ufvnet.data.reader import decode

    view = data.open(dataset).view("MR3", "train")
    arrays = view.arrays()
    rng = np.random.default_rng(0)
    rows, ks = rng.integers(0, len(arrays), 4000), rng.choice(view.ks, 4000)

    def cached(number: int) -> None:
        for row, k in zip(rows[:number], ks[:number]):
            np.array(arrays.hr[row]), np.array(arrays.lr[k][row])

    encoded = [view.face(int(row)) for row in rows[:200]]

    def decoded(number: int) -> None:
        for row, k in zip(encoded[:number], ks):
            decode(row["hr"]), decode(row[f"lr_{k}"])

    def parquet(number: int) -> None:
        for row, k in zip(rows[:number], ks):
            face = view.face(int(row))
            decode(face["hr"]), decode(face[f"lr_{k}"])

    ours, png, random = _pairs(cached, 4000), _pairs(decoded, 200), _pairs(parquet, 50)
    yield "pairs from the decoded cache, random", "decoding PNG in memory", ours, png, ours / png
    yield "pairs from the decoded cache, random", "PNG from Parquet, a row each", ours, random, ours / random
    loader = TrainingLoader(arrays, view.ks, 32, seed=0)

    def batches(number: int) -> None:
        for step in range(number // 32):
            loader.batch(step)

    rate = _pairs(batches, 320)
    yield "training pairs, U(.) included", "decoding PNG in memory, without U(.)", rate, png, rate / png


def _pairs(work: Callable[[int], None], number: int) -> float:
    work(number)
    started = time.perf_counter()
    work(number)
    return number / (time.perf_counter() - started)

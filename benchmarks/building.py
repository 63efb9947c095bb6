"""Building and reading a dataset: against the sum of its kernels, a straightforward loop, and decoding PNG."""

from __future__ import annotations

import itertools
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from distributed import Client

PHOTOS = Path(os.environ.get("PHOTOS", "../shared/faces/aaf/images"))
MORE = Path("../shared/faces/us_congress/images")
SAMPLE = 400
"""Number of photos for the bare loops, which run before and after each build in the worker processes that build."""

Row = tuple[str, str, float, float, float]


def building() -> Iterator[Row]:
    """Rows (what, reference, ours / s, reference / s, ratio); the kernels' ratio is per worker."""
    from benchmarks.training import loading
    from ufvnet.data.sample import jittered_photos

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        photos = PHOTOS if PHOTOS.is_dir() else jittered_photos(folder / "photos", 400)
        files = sorted(photos.iterdir())
        for workers in (1, 2):
            rate, floor, loop = _full_build(photos, folder / f"w{workers}", workers)
            what = f"full build, {workers} worker{'s' * (workers > 1)}, photos"
            yield what, "its kernels in a bare loop, same processes", rate, floor, rate / floor
            yield what, "a straightforward loop, same process", rate, loop, rate / loop
        yield from _memory(files, folder)
        yield from _reading(folder / "w1" / "bench")
        yield from loading(folder / "w1" / "bench")


def _full_build(photos: Path, out: Path, workers: int) -> tuple[float, float, float]:
    """Photos per second: of a build, of bare loops of its kernels in all workers at once, and of one plain loop."""
    from tasks.cluster import dask_client

    files = sorted(photos.iterdir())
    sample = [str(f.absolute()) for f in files[:: max(1, len(files) // SAMPLE)][:SAMPLE]]
    with dask_client(_config(photos, out, workers).cluster, workers) as client:
        kernels, loops = [], []
        for again in (False, True):
            kernels.append(_together(client, _rate, "kernels", sample, str(out)))
            loops.append(client.submit(_rate, "loop", sample, str(out / "loop"), pure=False).result())
            if not again:
                rate = _build(client, _config(photos, out, workers))
    return rate, sum(kernels) / 2, sum(loops) / 2


def _together(client: Client, work: Callable[..., float], *arguments: Any) -> float:
    """Run the work in all workers at the same time; returns the sum of the results."""
    futures = [client.submit(work, *arguments, workers=[w], pure=False) for w in client.scheduler_info()["workers"]]
    return sum(client.gather(futures))


def _config(photos: Path, out: Path, workers: int) -> Any:
    from ufvnet.config import BuildConfig, load

    return load(BuildConfig, {"name": "bench", "out": out, "source": {"root": photos}, "cluster": {"workers": workers}})


def _build(client: Client, config: Any) -> float:
    """Photos per second, from the listing of the folder to the card."""
    from tasks.cluster import map_jobs
    from ufvnet.data.build.assembly import finish_dataset
    from ufvnet.data.build.resolved import resolve
    from ufvnet.data.build.scan import scan, scan_jobs
    from ufvnet.data.build.shard_writer import build_shard
    from ufvnet.data.build.shards import plan_shards

    started = time.perf_counter()
    build = resolve(config)
    scanned = map_jobs(client, scan, scan_jobs(build))
    shards = plan_shards(build, (hashes for job_hashes in scanned for hashes in job_hashes))
    largest_first = sorted(shards, key=lambda s: -len(s.photos))
    card = finish_dataset(build, shards, map_jobs(client, build_shard, largest_first))
    return card["photos"] / (time.perf_counter() - started)


def _rate(kind: str, sample: list[str], out: str) -> float:
    """Photos per second of a loop."""
    work = {"kernels": _kernels, "loop": _straightforward}[kind]
    work(sample[:20], Path(out))
    started = time.perf_counter()
    work(sample, Path(out))
    return len(sample) / (time.perf_counter() - started)


def _kernels(sample: list[str], _: Path) -> None:
    """Decode, detect, landmarks, crop, resizes, encodes: the necessary work of a build, and nothing else."""
    from ufvnet.data.build.degrade import degrade
    from ufvnet.faces.crop import crop_box, crop_face
    from ufvnet.faces.finders import hog
    from ufvnet.imaging.png import encode
    from ufvnet.imaging.resize import SIXTEENTHS
    from ufvnet.imaging.rgb import read_image

    for file in sample:
        rgb = read_image(Path(file)).rgb
        faces = hog.find_faces(rgb)
        hr = crop_face(rgb, crop_box(faces[0].landmarks, *rgb.size), 128)
        for image in (hr, *degrade("pil-bicubic", hr, [8 * k for k in SIXTEENTHS], (0,))):
            encode(image)


def _straightforward(sample: list[str], out: Path) -> None:
    """The obvious way: the detector on the whole photo, Pillow's PNG at its default level 6, one file per image."""
    import dlib

    from ufvnet.faces.crop import crop_box
    from ufvnet.faces.landmarks import load_predictor

    detector, predictor = dlib.get_frontal_face_detector(), load_predictor()
    shutil.rmtree(out, ignore_errors=True)
    for k in range(1, 9):
        (out / str(k)).mkdir(parents=True)
    for file in sample:
        photo = Image.open(file).convert("RGB")
        pixels = np.asarray(photo)
        rectangles = detector(pixels, 0)
        if not rectangles:
            continue
        shape = predictor(pixels, max(rectangles, key=lambda r: r.area()))
        box = crop_box(np.array([(p.x, p.y) for p in shape.parts()]), *photo.size)
        hr = photo.crop(box).resize((128, 128), Image.Resampling.BICUBIC)
        for k in range(1, 9):
            hr.resize((8 * k, 8 * k), Image.Resampling.BICUBIC).save(out / str(k) / f"{Path(file).stem}.png")
        hr.save(out / f"{Path(file).stem}.png")


def _peak() -> float:
    """Peak GiB of this process. getrusage is not used: a process inherits its peak from its parent."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 2**20


def _memory(files: list[Path], folder: Path) -> Iterator[Row]:
    """Peak memory of a worker that builds 1,000 photos, and of one that builds all there are."""
    from tasks.cluster import dask_client

    files = [*files, *(sorted(MORE.iterdir()) if MORE.is_dir() else [])]
    peaks: dict[int, float] = {}
    for count in (min(1000, len(files) // 2), len(files)):
        links = folder / f"few-{count}"
        links.mkdir()
        for file in itertools.islice(files, count):
            (links / file.name).symlink_to(file.absolute())
        config = _config(links, folder / f"out-{count}", 2)
        with dask_client(config.cluster, 2) as client:
            _build(client, config)
            peaks[count] = max(client.run(_peak).values())
    (fewer, small), (all_, large) = peaks.items()
    yield f"peak GiB a worker, {all_:,} photos", f"{fewer:,} photos", large, small, large / small


def _reading(dataset: Path) -> Iterator[Row]:
    """Training pairs per second, of random faces at one of three scales: from the decoded cache, and from PNG."""
    from ufvnet import data
    from ufvnet.data.dataset import decode

    view = data.open(dataset).view("MR3", "train")
    arrays = view.arrays()
    rng = np.random.default_rng(0)
    rows, ks = rng.integers(0, len(arrays), 4000), rng.choice(view.ks, 4000)
    encoded = [view.face(int(row)) for row in rows[:200]]

    def cached(number: int) -> None:
        for row, k in zip(rows[:number], ks):
            np.array(arrays.hr[row]), np.array(arrays.lr[k][row])

    def decoded(number: int) -> None:
        for face, k in zip(encoded[:number], ks):
            decode(face["hr"]), decode(face[f"lr_{k}"])

    def parquet(number: int) -> None:
        for row, k in zip(rows[:number], ks):
            face = view.face(int(row))
            decode(face["hr"]), decode(face[f"lr_{k}"])

    ours, png, random = _pairs(cached, 4000), _pairs(decoded, 200), _pairs(parquet, 50)
    yield "pairs from the decoded cache, random", "decoding PNG in memory", ours, png, ours / png
    yield "pairs from the decoded cache, random", "PNG from Parquet, a row each", ours, random, ours / random


def _pairs(work: Callable[[int], None], number: int) -> float:
    work(number)
    started = time.perf_counter()
    work(number)
    return number / (time.perf_counter() - started)

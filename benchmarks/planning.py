"""What a build holds in one process: ``python -m benchmarks.planning [SIZE ...]`` lists, plans and compares photos.

The photos are rows without pixels: names and digests that a scan would have found. Each size runs in its own process.
"""

from __future__ import annotations

import hashlib
import pickle
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

SIZES = (200_000, 2_000_000)


def plan(count: int) -> None:
    """List, hash and plan so many photos; prints a row for the listing, and one for all until workers can begin."""
    from ufvnet.config import BuildConfig, FolderSource
    from ufvnet.data.build.packed import Packed
    from ufvnet.data.build.resolved import resolve
    from ufvnet.data.build.scan import PhotoHashes, scan_jobs
    from ufvnet.data.build.shards import plan_shards
    from ufvnet.data.sources import listing

    listing.paths_in = lambda *_: [f"{i // 1000:05d}/{i:08d}.jpg" for i in range(count)]
    before = _peak()
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "photos").mkdir()
        source = FolderSource(root=Path(folder) / "photos")
        build = resolve(BuildConfig(name="x", source=source, out=Path(folder) / "out"))
        _print(f"listing {count:,} photos", count, before)
        jobs = scan_jobs(build)
        digests = (hashlib.sha256(b"%d" % i).hexdigest() for i in range(count))
        scanned = [Packed(PhotoHashes(next(digests)) for _ in range(len(job.photos))) for job in jobs]
        shards = plan_shards(build, (hashes for job_hashes in scanned for hashes in job_hashes))
    _print(f"the same, and a plan of {len(shards):,} shards", count, before)
    sent = [sum(len(pickle.dumps(job)) for job in work) for work in (jobs, shards)]
    print(f"sent to workers: {sent[0]:,} bytes to hash, {sent[1]:,} bytes to build", flush=True)


def look_alikes(count: int) -> None:
    """Compare so many hashes, a seventh of which have a twin."""
    from ufvnet.data.build.duplicates import find_look_alikes

    raw = np.random.default_rng(0).integers(0, 256, (count, 32), dtype=np.uint8)
    twins = raw[count // 2 :: 7]
    twins[:] = raw[: len(twins)]
    twins[:, 0] ^= 1
    hashes = [row.tobytes().hex() for row in raw]
    before, started = _peak(), time.process_time()
    found = len(find_look_alikes(hashes, ["train"] * count, 24))
    _print(f"near duplicates of {count:,} hashes, {found:,} pairs", count, before, started)


def _print(what: str, count: int, before: int, started: float = 0.0) -> None:
    """A row: CPU seconds of this process since then, and how much its peak memory has grown."""
    spent, grown = time.process_time() - started, _peak() - before
    row = (f"{spent:.1f}", f"{1e6 * spent / count:.1f}", f"{grown:,}", f"{grown * 2**20 / count:,.0f}")
    print(f"| {what} | {' | '.join(row)} |", flush=True)


def _peak() -> int:
    """Peak memory of this process in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        {"plan": plan, "look-alikes": look_alikes}[sys.argv[2]](int(sys.argv[3]))
    else:
        print("| what | CPU s | µs per photo | MiB | bytes per photo |\n|---|---|---|---|---|", flush=True)
        for size in map(int, sys.argv[1:] or SIZES):
            for what in ("plan", "look-alikes"):
                subprocess.run([sys.executable, "-m", "benchmarks.planning", "--one", what, str(size)], check=True)

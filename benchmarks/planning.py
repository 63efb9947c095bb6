"""What a build holds in one process: ``python -m benchmarks.planning [SIZE ...]`` plans photos and compares hashes.

The photos are rows without pixels: names and digests that a scan would have found. Each size runs in its own process.
"""

from __future__ import annotations

import hashlib
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

SIZES = (200_000, 2_000_000)


def plan(count: int) -> None:
    """Plan so many photos; prints a row: CPU seconds and peak memory before and after."""
    from ufvnet.config import BuildConfig, FolderSource
    from ufvnet.data.build.resolved import ResolvedBuild
    from ufvnet.data.build.scan import PhotoHashes
    from ufvnet.data.build.shards import plan_shards
    from ufvnet.data.sources.photo import Photo

    photos = tuple(Photo(f"{i // 1000:05d}/{i:08d}.jpg", "train" if i % 10 else "test") for i in range(count))
    hashes = [PhotoHashes(hashlib.sha256(b"%d" % i).hexdigest()) for i in range(count)]
    before, started = _peak(), time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        config = BuildConfig(name="x", source=FolderSource(root=Path(folder) / "photos"), out=Path(folder) / "out")
        shards = plan_shards(ResolvedBuild(config, config, photos), hashes)
    spent = time.process_time() - started
    print(f"| plan of {count:,} photos, {len(shards):,} shards | {spent:.1f} | {before:,} | {_peak():,} |", flush=True)


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
    spent = time.process_time() - started
    print(
        f"| near duplicates of {count:,} hashes, {found:,} pairs | {spent:.1f} | {before:,} | {_peak():,} |", flush=True
    )


def _peak() -> int:
    """Peak memory of this process in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        {"plan": plan, "look-alikes": look_alikes}[sys.argv[2]](int(sys.argv[3]))
    else:
        print("| what | CPU s | MiB before | MiB at most |\n|---|---|---|---|", flush=True)
        for size in map(int, sys.argv[1:] or SIZES):
            for what in ("plan", "look-alikes"):
                subprocess.run([sys.executable, "-m", "benchmarks.planning", "--one", what, str(size)], check=True)

"""What a build holds in one process: ``python -m benchmarks.planning [SIZE ...]`` lists, plans and compares photos.

The photos are rows without pixels: names and digests that a scan would have found. Each size runs in its own process.
"""

from __future__ import annotations

import functools
import hashlib
import pickle
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

if TYPE_CHECKING:
    from ufvnet.data.build.shards import ShardJob
    from ufvnet.data.card import ShardFiles

SIZES = (200_000, 2_000_000)


def plan(count: int) -> None:
    """List, hash and plan so many photos, and read what a rebuild and a report need of them; a row for each step."""
    from ufvnet.config import BuildConfig, FolderSource
    from ufvnet.data.build.assembly import _comparable
    from ufvnet.data.build.lost_photos import check_lost
    from ufvnet.data.build.resolved import resolve
    from ufvnet.data.build.reuse import FilesByKey, used_photos
    from ufvnet.data.build.scan import PhotoHashes, scan_jobs
    from ufvnet.data.build.shards import plan_shards
    from ufvnet.data.packed import Packed, Shelf
    from ufvnet.data.sources import listing

    listing.paths_in = lambda *_: (f"{i // 1000:05d}/{i:08d}.jpg" for i in range(count))
    before, started = _began()
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "photos").mkdir()
        source = FolderSource(root=Path(folder) / "photos")
        build = resolve(BuildConfig(name="x", source=source, out=Path(folder) / "out"))
        _print(f"listing {count:,} photos", count, before, started)
        jobs, shelf = scan_jobs(build), Shelf()
        digests = (hashlib.sha256(b"%d" % i).hexdigest() for i in range(count))
        scanned = [Packed((PhotoHashes(next(digests)) for _ in range(len(job.photos))), shelf) for job in jobs]
        shards = plan_shards(build, (hashes for job_hashes in scanned for hashes in job_hashes))
        _print(f"the same, and a plan of {len(shards):,} shards", count, before, started)
        sent = [sum(len(pickle.dumps(job)) for job in work) for work in (jobs, shards)]
        print(f"sent to workers: {sent[0]:,} bytes to hash, {sent[1]:,} bytes to build", flush=True)
        for shard in shards:
            _write(shard)
        before, started = _began()
        files = [shard.files for shard in shards]
        used = functools.partial(used_photos, build.root, files)
        check_lost("x", used, ((path, ("ok", digest)) for path, digest in _rows(build.root, files)))
        places = FilesByKey(build.root, files)
        _print("a rebuild's account of the earlier build (beyond the plan)", count, before, started)
        del places
        before, started = _began()
        _comparable(shards)
        _print("names and hashes of photos that may look alike (beyond the plan)", count, before, started)


def _write(shard: ShardJob) -> None:
    """A shard's photos file, as if all its photos had become faces."""
    from ufvnet.data.schema import FINGERPRINT, PHOTOS

    photos = list(shard.photos)
    columns = {
        "path": [p.photo.path for p in photos], "split": [shard.split] * len(photos), "status": ["ok"] * len(photos),
        "sha256": [p.hashes.sha256 for p in photos], "dhash": [p.hashes.sha256 for p in photos],
        "faces_built": [0] * len(photos), "key": [p.key for p in photos],
    }  # fmt: skip
    arrays = [pa.array(columns.get(field.name, [None] * len(photos)), field.type) for field in PHOTOS]
    schema = PHOTOS.with_metadata({FINGERPRINT: shard.fingerprint.encode()})
    shard.photos_file.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(arrays, schema=schema), shard.photos_file, compression="zstd")


def _rows(root: Path, files: list[ShardFiles]) -> Iterator[tuple[str, str]]:
    """Path and sha256 of every photo of some shards."""
    for shard in files:
        table = pq.read_table(root / shard.photos, columns=["path", "sha256"])
        yield from zip(table["path"].to_pylist(), table["sha256"].to_pylist())


def look_alikes(count: int) -> None:
    """Compare so many hashes, a seventh of which have a twin."""
    from ufvnet.data.build.duplicates import find_look_alikes

    raw = np.random.default_rng(0).integers(0, 256, (count, 32), dtype=np.uint8)
    twins = raw[count // 2 :: 7]
    twins[:] = raw[: len(twins)]
    twins[:, 0] ^= 1
    hashes = raw.view(np.uint64)
    before, started = _began()
    found = len(find_look_alikes(hashes, ["train"] * count, 24))
    _print(f"near duplicates of {count:,} hashes, {found:,} pairs", count, before, started)


def _began() -> tuple[int, float]:
    """Memory of this process in MiB, from which its peak is counted now, and its CPU seconds."""
    Path("/proc/self/clear_refs").write_text("5")
    return _peak(), time.process_time()


def _print(what: str, count: int, before: int, started: float) -> None:
    """A row: CPU seconds of this process since then, and how much its peak memory has grown."""
    spent, grown = time.process_time() - started, _peak() - before
    row = (f"{spent:.1f}", f"{1e6 * spent / count:.1f}", f"{grown:,}", f"{grown * 2**20 / count:,.0f}")
    print(f"| {what} | {' | '.join(row)} |", flush=True)


def _peak() -> int:
    """Peak memory of this process in MiB since ``_began``."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) // 1024


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        {"plan": plan, "look-alikes": look_alikes}[sys.argv[2]](int(sys.argv[3]))
    else:
        print("| what | CPU s | µs per photo | MiB | bytes per photo |\n|---|---|---|---|---|", flush=True)
        for size in map(int, sys.argv[1:] or SIZES):
            for what in ("plan", "look-alikes"):
                subprocess.run([sys.executable, "-m", "benchmarks.planning", "--one", what, str(size)], check=True)

"""Photos to a multi-resolution Parquet dataset: ``plan`` shards, ``build_shard`` each, ``finish`` the card."""

from __future__ import annotations

import os
import shutil
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ufvnet.config import BuildConfig, fingerprint
from ufvnet.faces.detect import load_models
from ufvnet.files import write_json

from .degrade import DEGRADATIONS
from .duplicates import alike, rank
from .plan import AGAIN, Scan, Scanned, Shard, contents, dataset_root, plan, scan, scans
from .rows import NO_FAILURES, STATUSES, Built, build_photo, photo_row
from .schema import FACES, PHOTOS, ROW_GROUP, SCHEMA_VERSION, read_fingerprint, write_rows

__all__ = [
    "NO_FAILURES", "STATUSES", "Scan", "Scanned", "Shard", "ShardReport", "build_shard", "finish", "plan", "scan",
    "scans",
]  # fmt: skip

DEATHS = 3
"""A photo at which so many processes died one after the other is left out as crashed."""

TIMINGS = pa.schema([("path", pa.string()), ("milliseconds", pa.float64())])
PAIRS = pa.schema(
    [("path", pa.string()), ("split", pa.string()), ("like", pa.string()), ("like_split", pa.string()),
     ("distance", pa.int32())]
)  # fmt: skip


@dataclass
class ShardReport:
    """What became of a shard's photos.

    skipped: its files stood there already.
    taken_over: photos whose rows an earlier build's files had.
    """

    index: int
    counts: dict[str, int]
    faces: int
    skipped: bool
    taken_over: int = 0


def build_shard(shard: Shard) -> ShardReport:
    """Build one shard, unless its files exist with its fingerprint.

    Writes faces, then timings, then photos: the photos file is the mark of completion. In memory are the images of
    one row group.
    """
    if shard.is_built():
        statuses = pq.read_table(shard.photos_file, columns=["status"])["status"].to_pylist()
        faces = pq.read_metadata(shard.faces_file).num_rows if shard.faces_file else 0
        return ShardReport(shard.index, dict(Counter(statuses)), faces, True)
    rows: list[dict[str, Any]] = []
    timings: list[dict[str, Any]] = []
    earlier = _Earlier(shard)
    if any(e.key not in earlier and e.photo.landmarks is None for e in shard.entries):
        load_models()  # before the diary: a process that dies here does not die of a photo
    with _Diary(shard) as diary:
        made = _faces(shard, earlier, diary, rows, timings)
        faces = sum(1 for _ in made) if shard.faces_file is None else (
            write_rows(shard.faces_file, FACES, made, shard.fingerprint)
        )  # fmt: skip
        write_rows(shard.timings_file, TIMINGS, timings, shard.fingerprint)
        write_rows(shard.photos_file, PHOTOS, rows, shard.fingerprint + ("" if all(r["key"] for r in rows) else AGAIN))
    return ShardReport(shard.index, dict(Counter(r["status"] for r in rows)), faces, False, earlier.used)


def _faces(
    shard: Shard, earlier: _Earlier, diary: _Diary, rows: list[dict[str, Any]], timings: list[dict[str, Any]]
) -> Iterator[dict[str, Any]]:
    """The shard's rows of faces, in order; its photos' rows and timings are added to the lists."""
    crashed = diary.crashed
    new = [e for e in shard.entries if e.key not in earlier]
    content = contents(shard.config, [e.photo for e in new])
    for number, entry in enumerate(shard.entries):
        started = time.perf_counter()
        if entry.key in earlier:
            row, faces = earlier.take(entry.key)
        else:
            diary.write(number)
            at = next(content)
            built = build_photo(entry, at, shard.config) if number not in crashed else _crashed()
            row, faces = photo_row(entry, built), built.faces
        rows.append(row)
        timings.append({"path": row["path"], "milliseconds": (time.perf_counter() - started) * 1000})
        yield from faces


def _crashed() -> Built:
    return Built("crashed", f"{DEATHS} processes died, one after the other, while they read it")


class _Diary:
    """The photo that a shard is at, for whoever comes after a process that died; gone once the shard stands.

    A photo that kills its process (a decoder's crash, memory) must not stop a run for ever: after DEATHS deaths in a
    row at it, it is left out.
    """

    def __init__(self, shard: Shard):
        self.path = shard.root / "diary" / f"{shard.fingerprint[:32]}.txt"
        self.crashed: set[int] = set()
        self.died_at, self.deaths = -1, 0

    def __enter__(self) -> _Diary:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._file = os.open(self.path, os.O_RDWR | os.O_CREAT)
        words = [int(w) for w in os.read(self._file, 2**16).split()]
        if len(words) >= 3:
            at, died_at, deaths, *crashed = words
            self.crashed = set(crashed)
            self.died_at, self.deaths = at, deaths + 1 if at == died_at else 1
            if self.deaths >= DEATHS:
                self.crashed.add(at)
        return self

    def write(self, number: int) -> None:
        """Note that photo ``number`` of the shard is next."""
        words = (number, self.died_at, self.deaths, *sorted(self.crashed))
        os.pwrite(self._file, " ".join(f"{w:8d}" for w in words).encode(), 0)

    def __exit__(self, *failure: object) -> None:
        os.close(self._file)
        self.path.unlink(missing_ok=True)  # a failure that Python sees is not the photo's


class _Earlier:
    """Rows of the shard's photos in files of an earlier build, by key."""

    def __init__(self, shard: Shard):
        self.used = 0
        self.rows: dict[str, tuple[dict[str, Any], list[dict[str, Any]]]] = {}
        wanted = {e.key for e in shard.entries}
        for folder in shard.earlier:
            photos = [r for r in pq.read_table(folder / "photos.parquet").to_pylist() if r["key"] in wanted]
            faces: dict[str, list[dict[str, Any]]] = {}
            names = {r["path"] for r in photos if r["faces_built"]}
            if names:
                file = pq.ParquetFile(folder / "faces.parquet", page_checksum_verification=True)
                for group in file.iter_batches(ROW_GROUP):
                    for row in group.to_pylist():
                        if row["photo"] in names:
                            faces.setdefault(row["photo"], []).append(row)
            for row in photos:
                if len(faces.get(row["path"], ())) == row["faces_built"]:
                    self.rows[row["key"]] = row, faces.get(row["path"], [])

    def __contains__(self, key: str) -> bool:
        return key in self.rows

    def take(self, key: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        self.used += 1
        return self.rows[key]


def finish(config: BuildConfig, shards: Iterable[Shard], reports: Iterable[ShardReport]) -> dict[str, Any]:
    """Check that every photo has a row, list pairs that look alike, remove what is left over, and write the card.

    Returns:
        The card that stands in dataset.json.

    Raises:
        RuntimeError: rows and photos do not add up, or a shard's files are not those that were planned.
    """
    shards, reports = list(shards), list(reports)
    counts: Counter[str] = Counter()
    for report in reports:
        counts.update(report.counts)
    found = sum(len(s.entries) for s in shards)
    if sum(counts.values()) != found:
        raise RuntimeError(f"{found} photos were found but {sum(counts.values())} are accounted for")
    for shard in shards:
        if not shard.is_built(perhaps_again=True):
            raise RuntimeError(f"{shard.photos_file} is not as it was planned; build again")
    faces: Counter[str] = Counter()
    built = {r.index: r.faces for r in reports}
    for shard in shards:
        if shard.split is not None:
            faces[shard.split] += built[shard.index]
    root = dataset_root(config)
    pairs = _write_pairs(config, shards)
    _tidy(root, shards)
    card = {
        "name": config.name,
        "schema_version": SCHEMA_VERSION,
        "hr_size": config.hr_size,
        "degradation": {"name": config.degradation, "version": DEGRADATIONS[config.degradation].version,
                        "summary": DEGRADATIONS[config.degradation].summary},
        "photos": found,
        "counts": {status: counts.get(status, 0) for status in STATUSES},
        "faces": dict(sorted(faces.items())),
        "near_duplicates": pairs,
        "fingerprints": {split: fingerprint("split", [s.fingerprint for s in shards if s.split == split])
                         for split in sorted(faces)},
        "shards": [_shard_card(s) for s in shards],
        "config": config.model_dump(mode="json", exclude={"cluster"}),
        "versions": _versions(),
    }  # fmt: skip
    write_json(root / "dataset.json", card)
    return card


def _shard_card(shard: Shard) -> dict[str, str | None]:
    return {
        "photos": shard.photos_file.relative_to(shard.root).as_posix(),
        "faces": shard.faces_file.relative_to(shard.root).as_posix() if shard.faces_file else None,
        "fingerprint": shard.fingerprint,
    }


def _write_pairs(config: BuildConfig, shards: list[Shard]) -> dict[str, int] | None:
    """Write near_duplicates.parquet; gives how many pairs lie within one split and across two, None if not wanted."""
    file = dataset_root(config) / "near_duplicates.parquet"
    if config.near_duplicates == "off":
        file.unlink(missing_ok=True)
        return None
    columns = ["path", "split", "status", "dhash", "key"]
    rows = [row for s in shards for row in pq.read_table(s.photos_file, columns=columns).to_pylist()]
    rows = [r for r in rows if r["dhash"] and r["split"] and r["status"] != "duplicate"]
    rows.sort(key=lambda r: rank(r["split"], r["path"]))
    mark = fingerprint("pairs", [r["key"] for r in rows], config.near_distance)
    if read_fingerprint(file) != mark:
        found = alike([r["dhash"] for r in rows], [r["split"] for r in rows], config.near_distance)
        pairs = [{"path": rows[p.photo]["path"], "split": rows[p.photo]["split"], "like": rows[p.like]["path"],
                  "like_split": rows[p.like]["split"], "distance": p.distance} for p in found]  # fmt: skip
        write_rows(file, PAIRS, pairs, mark)
    table = pq.read_table(file, columns=["split", "like_split"])
    within = sum(a == b for a, b in zip(table["split"].to_pylist(), table["like_split"].to_pylist()))
    return {"within": within, "across": len(table) - within}


def _tidy(root: Path, shards: list[Shard]) -> None:
    """Remove what an earlier, other or killed build left."""
    wanted = {file for s in shards for file in (s.photos_file, s.timings_file, s.faces_file)}
    for pattern in ("timings/part-*.parquet", "*/.*.tmp", "faces/*/.*.tmp", ".*.tmp"):
        for file in root.glob(pattern):
            if file.absolute() not in wanted:
                file.unlink(missing_ok=True)
    for leftover in ("earlier", "diary"):
        shutil.rmtree(root / leftover, ignore_errors=True)


def _versions() -> dict[str, str]:
    from importlib.metadata import version

    return {name: version(name) for name in ("ufvnet", "pillow", "numpy", "pyarrow", "dlib-bin")}

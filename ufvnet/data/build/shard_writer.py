"""One shard of a build to its Parquet files, unless they are there already."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ufvnet.crashes import DEATHS, Diary
from ufvnet.data.schema import FACES, PHOTOS, Columns, schema_of, write_rows
from ufvnet.faces.finders import choose_finder
from ufvnet.files import printed, seal, sha256, unseal, write_json

from .folder import BUILDING, KnownFiles, no_links
from .photo import PhotoResult, build_photo, photo_row
from .reuse import RETRY, EarlierRows
from .scan import contents
from .shards import ShardJob

log = logging.getLogger(__name__)

DIGESTS = ("photos_sha256", "faces_sha256")
"""Names of the digests of a shard's files in its record, its report and the card."""

TIMING_COLUMNS: Columns = {
    "path": (pa.string(), "Photo."),
    "milliseconds": (pa.float64(), "Time that it took to build."),
}


@dataclass
class ShardReport:
    """What became of a shard's photos.

    index: of the shard.
    counts: photos by status.
    faces: number of faces.
    skipped: true if its files were there already and are what was built.
    reused: number of photos whose rows came from files of an earlier build.
    photos_sha256, faces_sha256: of its files.
    damaged: true if it was finished once, but its files were gone or damaged, so that it was built again.
    lost: photos that were read when they were hashed, and that now cannot be read or have other bytes.
    """

    index: int
    counts: dict[str, int]
    faces: int
    skipped: bool
    reused: int = 0
    photos_sha256: str | None = None
    faces_sha256: str | None = None
    damaged: bool = False
    lost: tuple[str, ...] = ()

    @property
    def as_planned(self) -> bool:
        """False if another build of the same plan may have more faces."""
        return not self.lost and not self.counts.get("crashed")


def build_shard(shard: ShardJob) -> ShardReport:
    """Build one shard, unless its files exist with its fingerprint and the digests that were recorded of them.

    Writes faces, then timings, then photos, then the record of their digests, which marks the shard as finished. In
    memory are the rows of all faces that earlier files have, with their images, and one row group of new ones.

    Raises:
        ConfigError: a folder of the dataset was replaced by a symbolic link.
    """
    base, recorded = shard.finished_below(), _recorded_digests(shard)
    if base is not None and recorded is not None and _digests(shard, base) == recorded:
        return _skipped(shard, base, recorded)
    damaged = recorded is not None
    if damaged and base is not None:  # the plan counted it as finished and did not name its files
        KnownFiles(shard.root).extend([shard.files], shard.names)
    for name in shard.names:
        no_links(shard.root, shard.root / name)
    shard = replace(shard, photos=tuple(shard.photos))
    rows: list[dict[str, Any]] = []
    timings: list[dict[str, Any]] = []
    lost: list[str] = []
    own = {shard.root / shard.files.photos, shard.root / BUILDING / shard.files.photos} if damaged else set()
    earlier = EarlierRows((e for e in shard.earlier if e.photos not in own), {p.key for p in shard.photos})
    if any(p.key not in earlier and p.photo.landmarks is None for p in shard.photos):
        choose_finder(shard.config.finder).load()  # before the diary: a process that dies here does not die of a photo
    with Diary(shard.root / shard.diary) as diary:
        made = _faces(shard, earlier, diary, rows, timings, lost)
        files = shard.files
        faces = sum(1 for _ in made) if files.faces is None else (
            write_rows(shard.base / files.faces, FACES, made, shard.fingerprint)
        )  # fmt: skip
        write_rows(shard.base / files.timings, schema_of(TIMING_COLUMNS), timings, shard.fingerprint)
        write_rows(shard.base / files.photos, PHOTOS, rows, shard.fingerprint + (RETRY if lost else ""))
        if not shard.aside:
            KnownFiles(shard.root).remove(name for name in shard.names if name.startswith(f"{BUILDING}/"))
        digests = _digests(shard, shard.base)
        write_json(shard.root / shard.record, seal(dict(zip(DIGESTS, digests))))
    counts = dict(Counter(r["status"] for r in rows))
    return ShardReport(shard.index, counts, faces, False, earlier.reused, *digests, damaged, tuple(lost))


def _skipped(shard: ShardJob, base: Path, digests: tuple[str | None, str | None]) -> ShardReport:
    """The report of a shard whose files are there."""
    statuses = pq.read_table(base / shard.files.photos, columns=["status"])["status"].to_pylist()
    faces = pq.read_metadata(base / shard.files.faces).num_rows if shard.files.faces else 0
    return ShardReport(shard.index, dict(Counter(statuses)), faces, True, 0, *digests)


def objection(shard: ShardJob, report: ShardReport) -> str | None:
    """Why a report must not be used: its worker could not read a photo that is here as it was hashed."""
    lost = [planned for planned in shard.photos if planned.photo.path in report.lost] if report.lost else []
    for planned, content in zip(lost, contents(shard.config, [planned.photo for planned in lost])):
        if sha256(content) == planned.hashes.sha256:
            return f"cannot read {printed(planned.photo.path)}, which the coordinator reads"
    return None


def _digests(shard: ShardJob, base: Path) -> tuple[str | None, str | None]:
    """The digests of the shard's files below a folder."""
    files = shard.files
    return sha256(base / files.photos), sha256(base / files.faces) if files.faces else None


def _recorded_digests(shard: ShardJob) -> tuple[str | None, str | None] | None:
    """The digests of the shard's files as they were when they were built; None if nobody finished it."""
    try:
        record = unseal((shard.root / shard.record).read_bytes())
    except OSError:
        record = None
    return shard.digests if record is None else (record[DIGESTS[0]], record[DIGESTS[1]])


def _faces(
    shard: ShardJob, earlier: EarlierRows, diary: Diary, rows: list[dict[str, Any]], timings: list[dict[str, Any]],
    lost: list[str],
) -> Iterator[dict[str, Any]]:  # fmt: skip
    """The rows of the shard's faces, in order; the rows and timings of its photos, and who is lost, go to the lists."""
    new = [p for p in shard.photos if p.key not in earlier]
    content = contents(shard.config, [p.photo for p in new])
    for planned in shard.photos:
        started = time.perf_counter()
        if planned.key in earlier:
            row, faces = earlier.take(planned.key)
        else:
            with diary.in_work(planned.photo.path):
                cell = next(content)
                deadly = diary.is_condemned(planned.photo.path)
                result = _crashed() if deadly else build_photo(planned, cell, shard.config)
            row, faces = photo_row(planned, result), result.faces
            lost += [planned.photo.path] if result.transient else []
        rows.append(row)
        timings.append({"path": row["path"], "milliseconds": (time.perf_counter() - started) * 1000})
        yield from faces


def _crashed() -> PhotoResult:
    return PhotoResult("crashed", f"{DEATHS} processes died, one after the other, while they read it")

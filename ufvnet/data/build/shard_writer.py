"""Photos to a multi-resolution Parquet dataset: ``plan`` shards, ``build_shard`` each, ``finish`` the card."""

from __future__ import annotations

import hashlib
import logging
import os
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ufvnet.config import BuildConfig, fingerprint
from ufvnet.data import card
from ufvnet.data.card import ShardFiles
from ufvnet.data.schema import FACES, PHOTOS, SCHEMA_VERSION, read_fingerprint, write_rows
from ufvnet.faces.finders import finder
from ufvnet.files import is_intact, printed, seal, sha256, unseal, write_json

from . import losses
from .degrade import DEGRADATIONS
from .duplicates import alike, rank
from .folder import BUILDING, PAIRS, Plan, dataset_root, no_links
from .photo import NO_FAILURES, STATUSES, Built, build_photo, photo_row
from .reuse import AGAIN, Earlier, good_photos
from .shards import Scan, Scanned, Shard, contents, plan, scan, scans

__all__ = [
    "NO_FAILURES", "STATUSES", "Scan", "Scanned", "Shard", "ShardReport", "build_shard", "finish", "plan", "scan",
    "scans",
]  # fmt: skip

log = logging.getLogger(__name__)

DEATHS = 3
"""A photo at which so many processes died one after the other is left out as crashed."""

DIGESTS = ("photos_sha256", "faces_sha256")

TIMINGS = pa.schema([("path", pa.string()), ("milliseconds", pa.float64())])
PAIR = pa.schema(
    [("path", pa.string()), ("split", pa.string()), ("like", pa.string()), ("like_split", pa.string()),
     ("distance", pa.int32())]
)  # fmt: skip


@dataclass
class ShardReport:
    """What became of a shard's photos.

    skipped: its files stood there already, and are what was built.
    taken_over: photos whose rows an earlier build's files had.
    photos_sha256, faces_sha256: of its files.
    damaged: whether it was finished once, but its files are gone or not what was built, so that it was built again.
    lost: photos that were read when they were hashed and cannot be read now, or are others.
    """

    index: int
    counts: dict[str, int]
    faces: int
    skipped: bool
    taken_over: int = 0
    photos_sha256: str | None = None
    faces_sha256: str | None = None
    damaged: bool = False
    lost: tuple[str, ...] = ()


def build_shard(shard: Shard) -> ShardReport:
    """Build one shard, unless its files exist with its fingerprint and the digests that were noted of them.

    Writes faces, then timings, then photos, then the digests: they are the mark of completion. In memory are the
    images of one row group.

    Raises:
        ConfigError: a folder of the dataset was replaced by a symbolic link.
    """
    standing, noted = shard.standing(), _noted(shard)
    if standing is not None and noted is not None and _digests(shard, standing) == noted:
        statuses = pq.read_table(standing / shard.files.photos, columns=["status"])["status"].to_pylist()
        faces = pq.read_metadata(standing / shard.files.faces).num_rows if shard.files.faces else 0
        return ShardReport(shard.index, dict(Counter(statuses)), faces, True, 0, *noted)
    damaged = noted is not None
    if damaged and standing is not None:  # the plan took it for finished
        Plan(shard.root).extend([shard.files], shard.names)
    for name in shard.names:
        no_links(shard.root, shard.root / name)
    rows: list[dict[str, Any]] = []
    timings: list[dict[str, Any]] = []
    lost: list[str] = []
    own = {shard.root / shard.files.photos, shard.root / BUILDING / shard.files.photos} if damaged else set()
    earlier = Earlier((e for e in shard.earlier if e.photos not in own), {e.key for e in shard.entries})
    if any(e.key not in earlier and e.photo.landmarks is None for e in shard.entries):
        finder.load()  # before the diary: a process that dies here does not die of a photo
    with _Diary(shard) as diary:
        made = _faces(shard, earlier, diary, rows, timings, lost)
        files = shard.files
        faces = sum(1 for _ in made) if files.faces is None else (
            write_rows(shard.base / files.faces, FACES, made, shard.fingerprint)
        )  # fmt: skip
        write_rows(shard.base / files.timings, TIMINGS, timings, shard.fingerprint)
        write_rows(shard.base / files.photos, PHOTOS, rows, shard.fingerprint + (AGAIN if lost else ""))
        if not shard.aside:
            Plan(shard.root).remove(name for name in shard.names if name.startswith(f"{BUILDING}/"))
        digests = _digests(shard, shard.base)
        write_json(shard.root / shard.record, seal(dict(zip(DIGESTS, digests))))
    counts = dict(Counter(r["status"] for r in rows))
    return ShardReport(shard.index, counts, faces, False, earlier.used, *digests, damaged, tuple(lost))


def unseen(shard: Shard, report: ShardReport) -> str | None:
    """Why a report is not to be used: a photo that its worker could not read, but that is here as it was hashed."""
    lost = [entry for entry in shard.entries if entry.photo.path in report.lost]
    for entry, content in zip(lost, contents(shard.config, [entry.photo for entry in lost])):
        if sha256(content) == entry.scanned.sha256:
            return f"cannot read {printed(entry.photo.path)}, which the coordinator reads"
    return None


def _digests(shard: Shard, base: Path) -> tuple[str | None, str | None]:
    files = shard.files
    return sha256(base / files.photos), sha256(base / files.faces) if files.faces else None


def _noted(shard: Shard) -> tuple[str | None, str | None] | None:
    """The digests of the shard's files as whoever built them noted them; None if nobody did."""
    try:
        noted = unseal((shard.root / shard.record).read_bytes())
    except OSError:
        noted = None
    return shard.digests if noted is None else (noted[DIGESTS[0]], noted[DIGESTS[1]])


def _faces(
    shard: Shard, earlier: Earlier, diary: _Diary, rows: list[dict[str, Any]], timings: list[dict[str, Any]],
    lost: list[str],
) -> Iterator[dict[str, Any]]:  # fmt: skip
    """The shard's rows of faces, in order; its photos' rows and timings are added to the lists, and who is lost."""
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
            lost += [entry.photo.path] if built.passing else []
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
        self.path = shard.root / shard.diary
        self.crashed: set[int] = set()
        self.died_at, self.deaths = -1, 0

    def __enter__(self) -> _Diary:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._file = os.open(self.path, os.O_RDWR | os.O_CREAT)
        content = os.read(self._file, 2**16)
        line, _, check = content.rpartition(b" ")
        if content and check != _check(line):
            log.warning("%s: is damaged and starts anew", self.path)
        elif content:
            words = [int(w) for w in line.split()]
            at, died_at, deaths, *crashed = words
            self.crashed = set(crashed)
            self.died_at, self.deaths = at, deaths + 1 if at == died_at else 1
            if self.deaths >= DEATHS:
                self.crashed.add(at)
        return self

    def write(self, number: int) -> None:
        """Note that photo ``number`` of the shard is next."""
        words = (number, self.died_at, self.deaths, *sorted(self.crashed))
        line = " ".join(f"{w:8d}" for w in words).encode()
        os.pwrite(self._file, line + b" " + _check(line), 0)

    def __exit__(self, *failure: object) -> None:
        os.close(self._file)
        self.path.unlink(missing_ok=True)  # a failure that Python sees is not the photo's


def _check(line: bytes) -> bytes:
    return hashlib.sha256(line).hexdigest()[:16].encode()


def finish(
    config: BuildConfig, shards: Iterable[Shard], reports: Iterable[ShardReport], allow_loss: bool = True
) -> dict[str, Any]:
    """Check that every photo has a row, put the shards in their places, list pairs that look alike, write the card.

    Up to here an earlier build of the dataset stands as it was.

    Args:
        allow_loss: whether photos that the earlier build used may be lost.

    Returns:
        The card that stands in dataset.json.

    Raises:
        RuntimeError: rows and photos do not add up, or a shard's files are not those that were planned.
        PipelineError: too many photos would be lost; nothing was changed.
    """
    shards, reports = list(shards), list(reports)
    counts: Counter[str] = Counter()
    for report in reports:
        counts.update(report.counts)
    found = sum(len(s.entries) for s in shards)
    if sum(counts.values()) != found:
        raise RuntimeError(f"{found} photos were found but {sum(counts.values())} are accounted for")
    root = dataset_root(config)
    known = Plan(root)
    places = [_place(shard) for shard in shards]
    if not allow_loss:
        losses.check(root, good_photos(root, known.finished), _fates(shards, places))
    _put_in_place(known, shards, places)
    by_index = {r.index: r for r in reports}
    faces: Counter[str] = Counter()
    for shard in shards:
        if shard.split is not None:
            faces[shard.split] += by_index[shard.index].faces
    pairs, pairs_sha256 = _write_pairs(config, shards)
    made = {
        "name": config.name,
        "schema_version": SCHEMA_VERSION,
        "hr_size": config.hr_size,
        "degradation": {"name": config.degradation, "version": DEGRADATIONS[config.degradation].version,
                        "summary": DEGRADATIONS[config.degradation].summary},
        "photos": found,
        "counts": {status: counts.get(status, 0) for status in STATUSES},
        "faces": dict(sorted(faces.items())),
        "near_duplicates": pairs,
        "near_duplicates_sha256": pairs_sha256,
        "fingerprints": {split: fingerprint("split", [s.fingerprint for s in shards if s.split == split])
                         for split in sorted(faces)},
        "shards": [asdict(s.files) | {d: getattr(by_index[s.index], d) for d in DIGESTS} for s in shards],
        "config": config.model_dump(mode="json", exclude={"cluster", "allow_loss"}),
        "versions": _versions(),
    }  # fmt: skip
    card.write(root, made)
    known.close({card.CARD, *_final(shards), *([PAIRS] if pairs else [])})
    return made


def failures(made: dict[str, Any]) -> int:
    """The photos of a dataset, by its card, that could not be used though they should have been."""
    return sum(n for status, n in made["counts"].items() if status not in NO_FAILURES)


def _place(shard: Shard) -> Path:
    """
    Raises:
        RuntimeError: its files do not stand there.
    """
    place = shard.standing(perhaps_again=True)
    if place is None:
        raise RuntimeError(f"{shard.photos_file} is not as it was planned; build again")
    return place


def _fates(shards: list[Shard], places: list[Path]) -> dict[str, tuple[str, str | None]]:
    """What became of every photo: path -> (status, sha256)."""
    columns = ["path", "status", "sha256"]
    files = (place / shard.files.photos for shard, place in zip(shards, places))
    return {r["path"]: (r["status"], r["sha256"]) for f in files for r in pq.read_table(f, columns=columns).to_pylist()}


def _final(shards: Iterable[ShardFiles | Shard]) -> set[str]:
    """The names of the shards' files in a finished dataset."""
    every = [s.files if isinstance(s, Shard) else s for s in shards]
    return {name for s in every for name in (s.photos, s.timings, s.faces) if name is not None}


def _put_in_place(known: Plan, shards: list[Shard], places: list[Path]) -> None:
    """Remove what an earlier build had and this one has not, and move what was built aside to its place.

    A build that is killed meanwhile is taken up again by the next one: all shards stand, here or there.
    """
    known.remove(_final(known.shards) - _final(shards))
    for shard, place in zip(shards, places):
        for name in sorted(_final([shard])) if place != shard.root else ():
            known.check(name)
            (shard.root / name).parent.mkdir(parents=True, exist_ok=True)
            os.replace(place / name, shard.root / name)


def _write_pairs(config: BuildConfig, shards: list[Shard]) -> tuple[dict[str, int] | None, str | None]:
    """Write near_duplicates.parquet; gives how many pairs lie within one split and across two, and its sha256."""
    root = dataset_root(config)
    file = root / PAIRS
    if config.near_duplicates == "off":
        return None, None
    columns = ["path", "split", "status", "dhash", "key"]
    rows = [row for s in shards for row in pq.read_table(s.photos_file, columns=columns).to_pylist()]
    rows = [r for r in rows if r["dhash"] and r["split"] and r["status"] != "duplicate"]
    rows.sort(key=lambda r: rank(r["split"], r["path"]))
    mark = fingerprint("pairs", [r["key"] for r in rows], config.near_distance)
    if read_fingerprint(file) != mark or not is_intact(file, card.pairs_sha256(root)):
        found = alike([r["dhash"] for r in rows], [r["split"] for r in rows], config.near_distance)
        pairs = [{"path": rows[p.photo]["path"], "split": rows[p.photo]["split"], "like": rows[p.like]["path"],
                  "like_split": rows[p.like]["split"], "distance": p.distance} for p in found]  # fmt: skip
        write_rows(file, PAIR, pairs, mark)
    table = pq.read_table(file, columns=["split", "like_split"])
    within = sum(a == b for a, b in zip(table["split"].to_pylist(), table["like_split"].to_pylist()))
    return {"within": within, "across": len(table) - within}, sha256(file)


def _versions() -> dict[str, str]:
    from importlib.metadata import version

    return {name: version(name) for name in ("ufvnet", "pillow", "numpy", "pyarrow", "dlib-bin")}

"""The shards of a build to a finished dataset: checked, put in their places, look-alikes listed, the card written."""

from __future__ import annotations

import functools
import hashlib
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ufvnet.config import BuildConfig
from ufvnet.data import card
from ufvnet.data.readme import write_readme
from ufvnet.data.schema import STATUSES, Columns, read_fingerprint, schema_of, write_rows
from ufvnet.files import is_intact, sha256

from .degrade import DEGRADATIONS
from .duplicates import bits_of, find_look_alikes, rank
from .folder import PAIRS, KnownFiles
from .lost_photos import Outcome, check_lost
from .resolved import ResolvedBuild
from .reuse import used_photos
from .shard_writer import DIGESTS, ShardReport
from .shards import ShardJob

PAIR_COLUMNS: Columns = {
    "path": (pa.string(), "Photo."),
    "split": (pa.string(), "Its split."),
    "like": (pa.string(), "Photo that it looks like."),
    "like_split": (pa.string(), "Split of that photo."),
    "distance": (pa.int32(), "Number of the 256 bits of their difference hashes that differ."),
}
"""A row for each pair of photos that look alike."""


def finish_dataset(build: ResolvedBuild, shards: Iterable[ShardJob], reports: Iterable[ShardReport]) -> dict[str, Any]:
    """Check that every photo has a row, put the shards in their places, list photos that look alike, write the card.

    Until all checks have passed, an earlier build of the dataset stays as it was.

    Returns:
        The card, as in dataset.json.

    Raises:
        RuntimeError: rows and photos do not add up, or a shard's files are not those that were planned.
        PipelineError: too many photos would be lost; nothing was changed.
    """
    shards, by_index = list(shards), {report.index: report for report in reports}
    counts: Counter[str] = Counter()
    for report in by_index.values():
        counts.update(report.counts)
    total = sum(len(s.photos) for s in shards)
    if counts.total() != total:
        raise RuntimeError(f"{total} photos were found but {counts.total()} are accounted for")
    known = KnownFiles(build.root)
    bases = [_base(shard) for shard in shards]
    if known.finished and not build.config.allow_loss:
        used = functools.partial(used_photos, build.root, known.finished)
        check_lost(build.root, used, _outcomes(shards, bases))
    _put_in_place(known, shards, bases)
    pairs, pairs_sha256 = _write_pairs(build.config, build.root, shards)
    content = _card(build.written, shards, by_index, {"near_duplicates": pairs, "near_duplicates_sha256": pairs_sha256})
    card.write(build.root, content)
    write_readme(build.root, content)
    known.close({card.CARD, *_names(shards), *([PAIRS] if pairs else [])})
    return content


def _base(shard: ShardJob) -> Path:
    """The folder below which a shard's files lie.

    Raises:
        RuntimeError: they lie nowhere.
    """
    base = shard.finished_below(with_retries=True)
    if base is None:
        raise RuntimeError(f"{shard.photos_file} is not as it was planned; build again")
    return base


def _outcomes(shards: list[ShardJob], bases: list[Path]) -> Iterator[tuple[str, Outcome]]:
    """(path, outcome) of every photo."""
    columns = ["path", "status", "sha256"]
    files = (base / shard.files.photos for shard, base in zip(shards, bases))
    for file in files:
        for row in pq.read_table(file, columns=columns).to_pylist():
            yield row["path"], (row["status"], row["sha256"])


def _names(shards: Iterable[ShardJob]) -> set[str]:
    """The names of the shards' files in the finished dataset."""
    return {name for shard in shards for name in shard.files.names}


def _put_in_place(known: KnownFiles, shards: list[ShardJob], bases: list[Path]) -> None:
    """Remove files that an earlier build had and this one has not, and move what was built aside to its place.

    If this is killed halfway, the next build goes on from there: every shard's files lie in one place or the other.
    """
    known.remove({name for files in known.shards for name in files.names} - _names(shards))
    for shard, base in zip(shards, bases):
        for name in sorted(shard.files.names) if base != shard.root else ():
            known.check(name)
            (shard.root / name).parent.mkdir(parents=True, exist_ok=True)
            os.replace(base / name, shard.root / name)


def _write_pairs(config: BuildConfig, root: Path, shards: list[ShardJob]) -> tuple[dict[str, int] | None, str | None]:
    """Write near_duplicates.parquet; returns the numbers of pairs within one split and across two, and its sha256."""
    if config.near_duplicates == "off":
        return None, None
    file = root / PAIRS
    rows, bits, keys = _comparable(shards)
    mark = _pairs_mark(keys, config.near_distance)
    del keys
    if read_fingerprint(file) != mark or not is_intact(file, card.pairs_sha256(root)):
        paths, splits = rows["path"], rows["split"]
        look_alikes = find_look_alikes(bits, splits.to_pylist(), config.near_distance)
        pairs = [{"path": paths[p.photo].as_py(), "split": splits[p.photo].as_py(), "like": paths[p.original].as_py(),
                  "like_split": splits[p.original].as_py(), "distance": p.distance}
                 for p in look_alikes]  # fmt: skip
        write_rows(file, schema_of(PAIR_COLUMNS), pairs, mark)
    table = pq.read_table(file, columns=["split", "like_split"])
    within = sum(a == b for a, b in zip(table["split"].to_pylist(), table["like_split"].to_pylist()))
    return {"within": within, "across": len(table) - within}, sha256(file)


def _comparable(shards: list[ShardJob]) -> tuple[pa.Table, np.ndarray, np.ndarray]:
    """The photos that may look like others, in the order of ``rank``: their paths and splits; hashes; keys."""
    columns = ["path", "split", "status", "dhash", "key"]
    ready = (pc.field("dhash") != "") & pc.field("split").is_valid() & (pc.field("status") != "duplicate")
    rows, bits, keys = [], [], []
    for shard in shards:
        part = pq.read_table(shard.photos_file, columns=columns).filter(ready)
        first = pa.repeat(pa.scalar(rank(shard.split, "")[0], pa.int8()), len(part))
        rows.append(part.select(["path", "split"]).append_column("rank", first))
        bits.append(bits_of(part["dhash"].to_pylist()))
        keys.append(np.array(part["key"].to_pylist(), "S32"))
    table = pa.concat_tables(rows).combine_chunks()
    order = pc.sort_indices(table, [("rank", "ascending"), ("path", "ascending")])
    del rows
    return table.select(["path", "split"]).take(order), *(np.concatenate(parts)[order] for parts in (bits, keys))


def _pairs_mark(keys: np.ndarray, distance: int) -> str:
    """``fingerprint("pairs", keys, distance)``, whose text would take much memory."""
    mark = hashlib.sha256(b'["pairs",[')
    for start in range(0, len(keys), 1000):
        mark.update(b"," * bool(start) + b",".join(b'"%s"' % key for key in keys[start : start + 1000].tolist()))
    mark.update(b"],%d]" % distance)
    return mark.hexdigest()


def _card(
    config: BuildConfig, shards: list[ShardJob], reports: dict[int, ShardReport], pairs: dict[str, Any]
) -> dict[str, Any]:
    """The card; ``pairs`` is what it says of photos that look alike."""
    counts, faces = Counter[str](), Counter[str]()
    files, by_split = list[card.ShardFiles](), dict[str, list[tuple[card.ShardFiles, bool]]]()
    for shard in shards:
        report = reports[shard.index]
        counts.update(report.counts)
        files.append(replace(shard.files, **{digest: getattr(report, digest) for digest in DIGESTS}))
        if shard.split is not None:
            faces[shard.split] += report.faces
            by_split.setdefault(shard.split, []).append((files[-1], report.as_planned))
    degradation = DEGRADATIONS[config.degradation]
    return {
        "name": config.name,
        "schema_version": card.SCHEMA_VERSION,
        "hr_size": config.hr_size,
        "degradation": {"name": degradation.name, "version": degradation.version, "summary": degradation.summary},
        "photos": counts.total(),
        "counts": {status: counts.get(status, 0) for status in STATUSES},
        "faces": dict(sorted(faces.items())),
        **pairs,
        "fingerprints": {split: card.split_fingerprint(by_split[split]) for split in sorted(faces)},
        "shards": [asdict(f) for f in files],
        "config": config.model_dump(mode="json", exclude={"cluster", "allow_loss"}),
        "versions": _versions(),
    }


def _versions() -> dict[str, str]:
    from importlib.metadata import version

    return {name: version(name) for name in ("ufvnet", "pillow", "numpy", "pyarrow", "dlib-bin")}

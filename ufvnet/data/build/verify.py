"""Verifying a built dataset: every count, fingerprint and image is read again."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from ufvnet.data import card
from ufvnet.data.card import ShardFiles, split_fingerprint, split_of
from ufvnet.data.schema import FACES, IMAGE_COLUMNS, PHOTOS, ROW_GROUP, STATUSES, read_fingerprint
from ufvnet.files import printed, sha256
from ufvnet.imaging.formats import formats
from ufvnet.imaging.resize import SIXTEENTHS, lr_side

from .degrade import DEGRADATIONS, degrade
from .folder import PAIRS
from .reuse import RETRY


@dataclass(frozen=True)
class CheckJob:
    """A shard that one worker checks: its files below the dataset's folder, and what the card says of its images."""

    root: Path
    files: ShardFiles
    card: dict[str, Any]


@dataclass(frozen=True)
class Verification:
    """A dataset that is verified, its card read once.

    card: as it was read.
    damage: what is wrong with its seal; None if nothing is.
    jobs: one for each shard that the card names.
    """

    root: Path
    card: dict[str, Any]
    damage: str | None
    jobs: tuple[CheckJob, ...]


@dataclass
class CheckReport:
    """What a shard holds: problems (a line each), photos by status, faces by split, and whether photos are lost."""

    problems: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    faces: Counter[str] = field(default_factory=Counter)
    lost: bool = False

    @property
    def as_planned(self) -> bool:
        """As the property of ``ShardReport``."""
        return not self.lost and not self.counts["crashed"]


def open_verification(root: Path) -> Verification:
    """Read a dataset's card.

    Raises:
        ConfigError: there is no dataset, one of another version of the schema, or one whose card cannot be used.
    """
    root = Path(root).absolute()
    content, damage = card.examine(root)
    of_images = {key: content[key] for key in ("hr_size", "degradation", "config")}
    jobs = tuple(CheckJob(root, ShardFiles(**shard), of_images) for shard in content["shards"])
    return Verification(root, content, damage, jobs)


def check_shard(job: CheckJob) -> CheckReport:
    """Read both files of a shard completely; each problem becomes a line of the report."""
    report = CheckReport()
    expected: Counter[str] = Counter()
    files, current = job.files, job.files.photos
    try:
        for row in _rows(job, files.photos, PHOTOS, report):
            report.counts[row["status"]] += 1
            expected[row["path"]] += row["faces_built"]
            if row["status"] not in STATUSES or (row["faces_built"] > 0) != (row["status"] == "ok"):
                report.problems.append(f"{current}: {row['path']} is {row['status']} with {row['faces_built']} faces")
        if files.faces is not None:
            current, faces = files.faces, Counter[str]()
            for face in _rows(job, files.faces, FACES, report):
                faces[face["photo"]] += 1
                report.problems += [f"{current}: {face['face_id']}: {p}" for p in face_problems(face, job.card)]
            report.faces[split_of(current)] += faces.total()
            if faces != +expected:
                report.problems.append(f"{current}: its faces are not those of {files.photos}")
    except (OSError, pa.ArrowException, KeyError, TypeError, ValueError) as error:
        report.problems.append(f"{current}: {type(error).__name__}: {error}")
    if not report.problems:
        for name, digest in ((files.photos, files.photos_sha256), (files.faces, files.faces_sha256)):
            if name is not None and sha256(job.root / name) != digest:
                report.problems.append(f"{name}: its bytes are not those that were built")
    return report


def _rows(job: CheckJob, name: str, schema: pa.Schema, report: CheckReport) -> Iterator[dict[str, Any]]:
    """The rows of one file, if it is the one that was built; otherwise none, and a problem in the report."""
    mark = read_fingerprint(job.root / name)
    if mark is None or mark.removesuffix(RETRY) != job.files.fingerprint:
        report.problems.append(f"{name}: {'missing or broken' if mark is None else 'not the file that was built'}")
        return
    report.lost |= mark.endswith(RETRY)
    with pq.ParquetFile(job.root / name, page_checksum_verification=True) as parquet:
        if parquet.schema_arrow.names != schema.names:
            report.problems.append(f"{name}: columns {parquet.schema_arrow.names}, not {schema.names}")
            return
        for group in parquet.iter_batches(ROW_GROUP):
            yield from group.to_pylist()


def face_problems(face: dict[str, Any], card: dict[str, Any]) -> Iterator[str]:
    """What is wrong with one face: images that do not decode, have a wrong size, or are not the degraded HR image."""
    sides = {"hr": card["hr_size"]} | {f"lr_{k}": lr_side(card["hr_size"], k) for k in SIXTEENTHS}
    images: dict[str, Image.Image] = {}
    for column in IMAGE_COLUMNS:
        try:
            image = Image.open(io.BytesIO(face[column]["bytes"]), formats=formats())
            image.load()
        except Exception as error:  # decoders of broken files raise nearly anything
            yield f"{column} does not decode ({type(error).__name__}: {error})"
            return
        if (image.format, image.mode, *image.size) != ("PNG", "RGB", sides[column], sides[column]):
            yield f"{column} is {image.format} {image.mode} {image.size}, not a PNG of {sides[column]} pixels"
            return
        images[column] = image
    if len(face["landmarks"]) != 136 or not np.isfinite(face["landmarks"]).all() or len(face["box"]) != 4:
        yield "landmarks or box are malformed"
    name = card["degradation"]["name"]
    if name == "blur-noise-jpeg" or DEGRADATIONS[name].version != card["degradation"]["version"]:
        return  # its JPEG depends on the decoder's version, so that LR images cannot be made again to compare
    made = degrade(name, images["hr"], [sides[f"lr_{k}"] for k in SIXTEENTHS], (0,))
    for k, lr in zip(SIXTEENTHS, made):
        if lr.tobytes() != images[f"lr_{k}"].tobytes():
            yield f"lr_{k} is not its HR degraded by {name}"


def conclude(verification: Verification, reports: Iterable[CheckReport]) -> list[str]:
    """All problems, a line each: the shards', and counts, fingerprints and files that contradict the card.

    Args:
        verification: the card, and a job for each shard.
        reports: of the jobs, in their order.
    """
    root, content = verification.root, verification.card
    problems: list[str] = []
    counts, faces, by_split = Counter[str](), Counter[str](), dict[str, list[tuple[ShardFiles, bool]]]()
    for job, report in zip(verification.jobs, reports, strict=True):
        problems += report.problems
        counts += report.counts
        faces += report.faces
        if job.files.faces is not None:
            by_split.setdefault(split_of(job.files.faces), []).append((job.files, report.as_planned))
    if counts != Counter({s: n for s, n in content["counts"].items() if n}) or counts.total() != content["photos"]:
        problems.append(f"dataset.json counts {content['counts']}, the files {dict(counts)}")
    if faces != Counter({s: n for s, n in content["faces"].items() if n}):
        problems.append(f"dataset.json has faces {content['faces']}, the files {dict(faces)}")
    for split, mark in content["fingerprints"].items():
        if split_fingerprint(by_split.get(split, ())) != mark:
            problems.append(f"dataset.json: the fingerprint of {split} is not that of its shards")
    named = {s[kind] for s in content["shards"] for kind in ("photos", "faces")}
    for file in sorted([*root.glob("photos/*.parquet"), *root.glob("faces/*/*.parquet")]):
        if file.relative_to(root).as_posix() not in named:
            problems.append(f"{file.relative_to(root)}: dataset.json does not name it")
    if content["near_duplicates"] is not None and sha256(root / PAIRS) != content["near_duplicates_sha256"]:
        problems.append(f"{PAIRS}: its bytes are not those that were built")
    if verification.damage and not problems:
        problems.append(verification.damage)
    return [printed(problem).replace("\n", "\\n") for problem in problems]


def verify(root: Path) -> list[str]:
    """Check a dataset in this process; see ``conclude``.

    Raises:
        ConfigError: as ``open_verification``.
    """
    verification = open_verification(root)
    return conclude(verification, map(check_shard, verification.jobs))

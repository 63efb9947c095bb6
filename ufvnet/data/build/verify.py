"""Re-reading a built dataset: every count, fingerprint and image."""

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

from ufvnet.config import fingerprint
from ufvnet.data import card
from ufvnet.data.card import ShardFiles, split_of
from ufvnet.data.schema import FACES, IMAGE_COLUMNS, PHOTOS, ROW_GROUP, read_fingerprint
from ufvnet.files import printed, sha256
from ufvnet.imaging.formats import formats
from ufvnet.imaging.resize import SIXTEENTHS, lr_side

from .degrade import DEGRADATIONS, degrade
from .folder import PAIRS
from .photo import STATUSES
from .reuse import AGAIN


@dataclass(frozen=True)
class Check:
    """One shard to be checked: its files below root, and the dataset's card."""

    root: Path
    files: ShardFiles
    card: dict[str, Any]


@dataclass
class Checked:
    """What a shard holds, and what is wrong with it, a line each."""

    problems: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    faces: Counter[str] = field(default_factory=Counter)


def checks(root: Path) -> list[Check]:
    """The shards that the card names.

    Raises:
        ConfigError: no dataset there, one of another version of the schema, or one whose card cannot be used.
    """
    root = Path(root).absolute()
    found, _ = card.examine(root)
    slim = {key: found[key] for key in ("hr_size", "degradation", "config")}
    return [Check(root, ShardFiles(**shard), slim) for shard in found["shards"]]


def check_shard(check: Check) -> Checked:
    """Read all of a shard's two files; whatever is wrong is a line."""
    checked = Checked()
    built: Counter[str] = Counter()
    files, at = check.files, check.files.photos
    try:
        for row in _rows(check, files.photos, PHOTOS, checked):
            checked.counts[row["status"]] += 1
            built[row["path"]] += row["faces_built"]
            if row["status"] not in STATUSES or (row["faces_built"] > 0) != (row["status"] == "ok"):
                checked.problems.append(f"{at}: {row['path']} is {row['status']} with {row['faces_built']} faces")
        if files.faces is not None:
            at, found = files.faces, Counter[str]()
            for face in _rows(check, files.faces, FACES, checked):
                found[face["photo"]] += 1
                checked.problems += [f"{at}: {face['face_id']}: {p}" for p in face_problems(face, check.card)]
            checked.faces[split_of(at)] += found.total()
            if found != +built:
                checked.problems.append(f"{at}: its faces are not those of {files.photos}")
    except (OSError, pa.ArrowException, KeyError, TypeError, ValueError) as error:
        checked.problems.append(f"{at}: {type(error).__name__}: {error}")
    if not checked.problems:
        for name, digest in ((files.photos, files.photos_sha256), (files.faces, files.faces_sha256)):
            if name is not None and sha256(check.root / name) != digest:
                checked.problems.append(f"{name}: its bytes are not those that were built")
    return checked


def _rows(check: Check, name: str, schema: pa.Schema, checked: Checked) -> Iterator[dict[str, Any]]:
    """The rows of one file, if it is the one that was built."""
    mark = read_fingerprint(check.root / name)
    if mark is None or mark.removesuffix(AGAIN) != check.files.fingerprint:
        checked.problems.append(f"{name}: {'missing or broken' if mark is None else 'not the file that was built'}")
        return
    with pq.ParquetFile(check.root / name, page_checksum_verification=True) as parquet:
        if parquet.schema_arrow.names != schema.names:
            checked.problems.append(f"{name}: columns {parquet.schema_arrow.names}, not {schema.names}")
            return
        for group in parquet.iter_batches(ROW_GROUP):
            yield from group.to_pylist()


def face_problems(face: dict[str, Any], card: dict[str, Any]) -> Iterator[str]:
    """What is wrong with one face: images that do not decode, have another side, or are not HR degraded."""
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
        return  # its JPEG depends on the decoder's version: only the images themselves can be checked
    made = degrade(name, images["hr"], [sides[f"lr_{k}"] for k in SIXTEENTHS], (0,))
    for k, lr in zip(SIXTEENTHS, made):
        if lr.tobytes() != images[f"lr_{k}"].tobytes():
            yield f"lr_{k} is not its HR degraded by {name}"


def conclude(root: Path, checked: Iterable[Checked]) -> list[str]:
    """All problems: the shards', and counts, fingerprints and files that do not fit the card. Empty if all is well."""
    root = Path(root)
    told, damage = card.examine(root)
    problems: list[str] = []
    counts, faces = Counter[str](), Counter[str]()
    for shard in checked:
        problems += shard.problems
        counts += shard.counts
        faces += shard.faces
    if counts != Counter({s: n for s, n in told["counts"].items() if n}) or counts.total() != told["photos"]:
        problems.append(f"dataset.json counts {told['counts']}, the files {dict(counts)}")
    if faces != Counter({s: n for s, n in told["faces"].items() if n}):
        problems.append(f"dataset.json has faces {told['faces']}, the files {dict(faces)}")
    for split, mark in told["fingerprints"].items():
        parts = [s["fingerprint"] for s in told["shards"] if s["faces"] and split_of(s["faces"]) == split]
        if fingerprint("split", parts) != mark:
            problems.append(f"dataset.json: the fingerprint of {split} is not that of its shards")
    named = {s[kind] for s in told["shards"] for kind in ("photos", "faces")}
    for file in sorted([*root.glob("photos/*.parquet"), *root.glob("faces/*/*.parquet")]):
        if file.relative_to(root).as_posix() not in named:
            problems.append(f"{file.relative_to(root)}: dataset.json does not name it")
    if told["near_duplicates"] is not None and sha256(root / PAIRS) != told["near_duplicates_sha256"]:
        problems.append(f"{PAIRS}: its bytes are not those that were built")
    if damage and not problems:
        problems.append(damage)
    return [printed(problem).replace("\n", "\\n") for problem in problems]


def verify(root: Path) -> list[str]:
    """Check a dataset in this process; see ``conclude``.

    Raises:
        ConfigError: no dataset there, or one of another version of the schema.
    """
    return conclude(root, map(check_shard, checks(root)))

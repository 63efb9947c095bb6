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

from . import reader
from .bicubic import SIXTEENTHS, lr_side
from .degrade import DEGRADATIONS, degrade
from .earlier import AGAIN
from .rows import STATUSES
from .schema import FACES, IMAGE_COLUMNS, PHOTOS, ROW_GROUP, read_fingerprint


@dataclass(frozen=True)
class Check:
    """One shard to be checked: its files below root, its fingerprint, and the dataset's card."""

    root: Path
    photos: str
    faces: str | None
    fingerprint: str
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
        ConfigError: no dataset there, or one of another version of the schema.
    """
    root = Path(root).absolute()
    card = reader.open(root).card
    slim = {key: card[key] for key in ("hr_size", "degradation", "config")}
    return [Check(root, s["photos"], s["faces"], s["fingerprint"], slim) for s in card["shards"]]


def check_shard(check: Check) -> Checked:
    """Read all of a shard's two files; whatever is wrong is a line."""
    checked = Checked()
    built: Counter[str] = Counter()
    at = check.photos
    try:
        for row in _rows(check, check.photos, PHOTOS, checked):
            checked.counts[row["status"]] += 1
            built[row["path"]] += row["faces_built"]
            if row["status"] not in STATUSES or (row["faces_built"] > 0) != (row["status"] == "ok"):
                checked.problems.append(f"{at}: {row['path']} is {row['status']} with {row['faces_built']} faces")
        if check.faces is not None:
            at, found = check.faces, Counter[str]()
            for face in _rows(check, check.faces, FACES, checked):
                found[face["photo"]] += 1
                checked.problems += [f"{at}: {face['face_id']}: {p}" for p in face_problems(face, check.card)]
            checked.faces[at.split("/")[1].removeprefix("split=")] += found.total()
            if found != +built:
                checked.problems.append(f"{at}: its faces are not those of {check.photos}")
    except (OSError, pa.ArrowException, KeyError, TypeError, ValueError) as error:
        checked.problems.append(f"{at}: {type(error).__name__}: {error}")
    return checked


def _rows(check: Check, name: str, schema: pa.Schema, checked: Checked) -> Iterator[dict[str, Any]]:
    """The rows of one file, if it is the one that was built."""
    mark = read_fingerprint(check.root / name)
    if mark is None or mark.removesuffix(AGAIN) != check.fingerprint:
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
            image = Image.open(io.BytesIO(face[column]["bytes"]))
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
    card = reader.open(root).card
    problems: list[str] = []
    counts, faces = Counter[str](), Counter[str]()
    for shard in checked:
        problems += shard.problems
        counts += shard.counts
        faces += shard.faces
    if counts != Counter({s: n for s, n in card["counts"].items() if n}) or counts.total() != card["photos"]:
        problems.append(f"dataset.json counts {card['counts']}, the files {dict(counts)}")
    if faces != Counter({s: n for s, n in card["faces"].items() if n}):
        problems.append(f"dataset.json has faces {card['faces']}, the files {dict(faces)}")
    for split, mark in card["fingerprints"].items():
        parts = [s["fingerprint"] for s in card["shards"] if (s["faces"] or "").startswith(f"faces/split={split}/")]
        if fingerprint("split", parts) != mark:
            problems.append(f"dataset.json: the fingerprint of {split} is not that of its shards")
    named = {s[kind] for s in card["shards"] for kind in ("photos", "faces")}
    for file in sorted([*root.glob("photos/*.parquet"), *root.glob("faces/*/*.parquet")]):
        if file.relative_to(root).as_posix() not in named:
            problems.append(f"{file.relative_to(root)}: dataset.json does not name it")
    return problems


def verify(root: Path) -> list[str]:
    """Check a dataset in this process; see ``conclude``.

    Raises:
        ConfigError: no dataset there, or one of another version of the schema.
    """
    return conclude(root, map(check_shard, checks(root)))

"""What to build: photos hashed, copies found, photos divided into shards that stay where they are as photos come."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ufvnet.config import BuildConfig, ConfigError, TableSource, fingerprint
from ufvnet.data.card import CARD, ShardFiles
from ufvnet.data.schema import SCHEMA_VERSION, read_fingerprint
from ufvnet.data.sources.cells import Cell
from ufvnet.data.sources.listing import list_photos
from ufvnet.data.sources.photo import Photo
from ufvnet.files import check_name, escape_name, printed, sha256
from ufvnet.imaging.decode import ImageProblem
from ufvnet.imaging.rgb import READING, read_image

from . import losses
from .degrade import DEGRADATIONS
from .duplicates import dhash, originals, rank
from .folder import BUILDING, PAIRS, Plan, check_output, dataset_root
from .reuse import AGAIN, Files, good_photos, places_of_keys

SCAN = 500
"""Photos of one job of the scan."""

PROVING = 3
"""Files of the source that each worker must see."""

DECIDING = ("hr_size", "faces", "min_face", "crop", "degradation", "max_pixels")
"""Settings that decide a photo's rows."""


@dataclass(frozen=True)
class Scanned:
    """A photo's bytes: sha256 (None where it cannot be read), and its dhash where near duplicates are dropped."""

    sha256: str | None
    dhash: str | None = None


@dataclass(frozen=True)
class Entry:
    """A photo of a shard.

    copy_of: the photo that it is a copy of, and ``alike`` bits apart, or None for the same bytes.
    """

    photo: Photo
    scanned: Scanned
    copy_of: str | None = None
    alike: int | None = None
    key: str = ""


@dataclass(frozen=True)
class Shard:
    """Photos of one split that make one pair of Parquet files; whatever a worker needs to build it.

    earlier: photos and faces files of an earlier build that hold rows of these photos, which are taken over.
    aside: build it below BUILDING, as an earlier build's files keep their places until all shards stand.
    digests: what an earlier build noted of these very files: sha256 of photos and faces.
    """

    index: int
    split: str | None
    index_in_split: int
    entries: tuple[Entry, ...]
    config: BuildConfig
    fingerprint: str
    earlier: tuple[Files, ...] = ()
    aside: bool = False
    digests: tuple[str | None, str | None] | None = None

    @property
    def root(self) -> Path:
        return dataset_root(self.config)

    @property
    def files(self) -> ShardFiles:
        faces = None if self.split is None else f"faces/split={self.split}/part-{self.index_in_split:05d}.parquet"
        return ShardFiles(f"photos/part-{self.index:05d}.parquet", faces, self.fingerprint)

    @property
    def photos_file(self) -> Path:
        return self.root / self.files.photos

    @property
    def faces_file(self) -> Path | None:
        return None if self.files.faces is None else self.root / self.files.faces

    @property
    def diary(self) -> str:
        return f"diary/{self.fingerprint[:32]}.txt"

    @property
    def record(self) -> str:
        """Here stand the digests of its files until the card has them."""
        return f"finished/{self.fingerprint[:32]}.json"

    @property
    def names(self) -> list[str]:
        """Every file that its building may write, below the dataset's folder."""
        files = [self.files.photos, self.files.timings, *([self.files.faces] if self.files.faces else [])]
        return [*files, *(f"{BUILDING}/{name}" for name in files), self.diary, self.record]

    @property
    def base(self) -> Path:
        """The folder below which it is built."""
        return self.root / BUILDING if self.aside else self.root

    def standing(self, perhaps_again: bool = False) -> Path | None:
        """The folder below which its files stand with its fingerprint, if they do; the later ones of two.

        Args:
            perhaps_again: also if some of its photos are to be tried again.
        """
        marks = [self.fingerprint, self.fingerprint + AGAIN] if perhaps_again else [self.fingerprint]
        for base in (self.root / BUILDING, self.root):
            faces = self.files.faces
            if (faces is None or read_fingerprint(base / faces) == self.fingerprint) and (
                read_fingerprint(base / self.files.photos) in marks
            ):
                return base
        return None


@dataclass(frozen=True)
class Scan:
    """A job of the scan: photos to be read and hashed."""

    photos: tuple[Photo, ...]
    config: BuildConfig


def scans(config: BuildConfig) -> list[Scan]:
    """The photos of the source, in jobs for ``scan``; their paths are absolute from here on.

    Raises:
        ConfigError: the source is not as it should be, or the dataset's folder is not ours.
    """
    check_output(config)
    folders = {key: getattr(config.source, key, None) for key in ("root", "image_root")}
    source = config.source.model_copy(update={key: folder.absolute() for key, folder in folders.items() if folder})
    config = config.model_copy(update={"source": source, "out": config.out.absolute()})
    photos = list_photos(config)
    return [Scan(tuple(photos[i : i + SCAN]), config) for i in range(0, len(photos), SCAN)]


def some_files(jobs: Sequence[Scan]) -> list[Path]:
    """A few files of the source, from its start, middle and end, that tell whether a worker sees the same source."""
    photos = [jobs[i].photos[len(jobs[i].photos) // 2] for i in sorted({0, len(jobs) // 2, len(jobs) - 1})]
    every = [photo for job in jobs[:1] for photo in job.photos][:PROVING] + photos
    root = jobs[0].config.source.root
    files = dict.fromkeys(root / (photo.table_row.file if photo.table_row else photo.path) for photo in every)
    return [file for file in files if os.path.isfile(file)][-PROVING:]  # False for what no file can be called


def unseen(job: Scan, found: Sequence[Scanned]) -> str | None:
    """Why a scan is not to be used: a photo that could not be read, but can be here."""
    missed = [photo for photo, scanned in zip(job.photos, found) if scanned.sha256 is None and not photo.fault]
    for photo, content in zip(missed, contents(job.config, missed)):
        if sha256(content) is not None:
            return f"cannot read {printed(photo.path)}, which the coordinator reads"
    return None


def scan(job: Scan) -> list[Scanned]:
    """Hash each photo's bytes; its looks too where near duplicates are dropped."""
    wants_looks = job.config.near_duplicates == "drop"
    found = []
    for photo, content in zip(job.photos, contents(job.config, job.photos)):
        digest = sha256(content)
        looks = _looks(content, job.config.max_pixels) if wants_looks and digest and photo.split else None
        found.append(Scanned(digest, looks))
    return found


def contents(config: BuildConfig, photos: Sequence[Photo]) -> Iterator[Cell]:
    """Where each photo's bytes are: a path, or the bytes of a table's row, None for an empty row, an error for one
    that cannot be read."""
    if not isinstance(config.source, TableSource):
        yield from (config.source.root / p.path for p in photos)
    else:
        from ufvnet.data.sources.image_table import read_cells

        yield from read_cells(config.source, photos)


def _looks(content: Cell, max_pixels: int) -> str | None:
    try:
        if content is None or isinstance(content, OSError):
            return None
        return dhash(read_image(content, max_pixels).rgb)
    except ImageProblem:
        return None


def plan(
    config: BuildConfig, scanned: Iterable[tuple[Scan, list[Scanned]]] | None = None, allow_loss: bool = True
) -> list[Shard]:
    """Divide the photos into shards of one split each, and persist which files the build is going to write.

    A photo's shard is its name's hash modulo a power of two, so that a photo that comes or goes touches one shard
    only, until there are twice as many. Files of an earlier build stay in their places until ``finish``.

    Args:
        config: what to build.
        scanned: the jobs of ``scans`` with what ``scan`` gave; they are done here if not given.
        allow_loss: whether photos that an earlier build used may be lost.

    Raises:
        ConfigError: the source is not as it should be, or the dataset's folder holds what is not ours.
        PipelineError: too many photos would be lost; nothing was changed.
    """
    done = list(scanned) if scanned is not None else [(job, scan(job)) for job in scans(config)]
    if not done:
        raise ConfigError(f"source.root = {printed(config.source.root)}: no photos in it")
    config = done[0][0].config
    entries = _without_copies([Entry(p, s) for job, found in done for p, s in zip(job.photos, found)], config)
    known = Plan(dataset_root(config))
    if not allow_loss:
        losses.check(known.root, good_photos(known.root, known.finished), dict(map(_expected, entries)))
    made_by = _made_by(config)
    entries = [replace(e, key=_key(made_by, e)) for e in entries]
    shards: list[Shard] = []
    for split in sorted({e.photo.split for e in entries}, key=lambda s: (s is None, s)):
        if split is not None:
            check_name("the name of a split", split)
        for j, members in _buckets([e for e in entries if e.photo.split == split], config.shard_size):
            mark = fingerprint("shard", [e.key for e in members])
            shards.append(Shard(len(shards), split, j, tuple(members), config, mark))
    shards = _beside_earlier(shards, known)
    if not all(s.digests is not None and s.standing() == s.root for s in shards):
        known.extend([s.files for s in shards], [CARD, PAIRS, *(name for s in shards for name in s.names)])
    return shards


def _expected(entry: Entry) -> tuple[str, tuple[str, str | None]]:
    """A photo's path as rows have it, and what becomes of it as far as is known before it is decoded."""
    digest = entry.scanned.sha256
    fate = "ok"
    if entry.photo.fault is not None:
        fate = entry.photo.fault[0]
    elif entry.photo.split is None:
        fate = "not_listed"
    elif digest is None:
        fate = "missing or unreadable"
    elif entry.copy_of is not None:
        fate = "duplicate"
    return escape_name(entry.photo.path), (fate, digest)


def utf8(text: str) -> str:
    """Text that may quote names that are not UTF-8; their bytes are escaped, as Parquet strings must be UTF-8."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _made_by(config: BuildConfig) -> str:
    settings = config.model_dump(mode="json", include=set(DECIDING))
    way = DEGRADATIONS[config.degradation]
    seed = config.seed if way.random else None
    return fingerprint("photo", SCHEMA_VERSION, READING, settings, way.version, seed, config.near_duplicates == "off")


def _key(made_by: str, entry: Entry) -> str:
    photo, scanned = entry.photo, entry.scanned
    points = None if photo.landmarks is None else photo.landmarks.tobytes().hex()
    told = (photo.path, photo.split, photo.identity, points, photo.hint, *(photo.fault or ()))
    return fingerprint(made_by, told, scanned.sha256, entry.copy_of, entry.alike)[:32]


def _buckets(entries: list[Entry], size: int) -> Iterator[tuple[int, list[Entry]]]:
    """Numbered groups of about ``size`` or down to half as many; rows of a table stay with their block."""
    number = 1
    while number * size < len(entries):
        number *= 2
    buckets: dict[int, list[Entry]] = {}
    for entry in entries:
        row = entry.photo.table_row
        name = f"{row.file}#{row.block}" if row else entry.photo.path
        place = hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest()
        buckets.setdefault(int.from_bytes(place[:4], "big") % number, []).append(entry)
    for j in sorted(buckets):
        yield j, sorted(buckets[j], key=lambda e: e.photo.table_row or e.photo.path)


def _without_copies(entries: list[Entry], config: BuildConfig) -> list[Entry]:
    """Entries of the same bytes, or that look alike where such are dropped, point to the one that keeps its place."""
    order = sorted(range(len(entries)), key=lambda i: rank(entries[i].photo.split, entries[i].photo.path))
    first: dict[str, str] = {}
    unique: list[int] = []
    for i in order:
        photo, scanned = entries[i].photo, entries[i].scanned
        if scanned.sha256 is not None and photo.split is not None:
            original = first.setdefault(scanned.sha256, photo.path)
            if original != photo.path:
                entries[i] = replace(entries[i], copy_of=original)
            elif scanned.dhash is not None:
                unique.append(i)
    gone = originals([entries[i].scanned.dhash or "" for i in unique], config.near_distance)
    for number, pair in gone.items():
        like = entries[unique[pair.like]].photo.path
        entries[unique[number]] = replace(entries[unique[number]], copy_of=like, alike=pair.distance)
    return entries


# Files of an earlier build


def _beside_earlier(shards: list[Shard], known: Plan) -> list[Shard]:
    """The shards with what earlier builds left: digests of those that stand, files of rows for the others.

    A build that finds files in places of its own, or a finished dataset, builds aside: what stands there stays until
    everything new does.
    """
    noted = {s.fingerprint: (s.photos_sha256, s.faces_sha256) for s in known.shards if s.photos_sha256}
    planned = {s.files.photos: s.fingerprint for s in shards} | {s.files.faces: s.fingerprint for s in shards}
    standing = {name for s in known.shards for name in (s.photos, s.faces) if name and (known.root / name).exists()}
    aside = known.rebuild or any(read_fingerprint(known.root / n) != planned.get(n) for n in standing)
    places = places_of_keys(known.root, known.shards)
    return [
        replace(
            s, aside=aside, digests=noted.get(s.fingerprint),
            earlier=tuple(dict.fromkeys(places[e.key] for e in s.entries if e.key in places)),
        )
        for s in shards
    ]  # fmt: skip

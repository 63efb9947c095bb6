"""What to build: photos hashed, copies found, photos divided into shards that stay where they are as photos come."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow.parquet as pq

from ufvnet.config import BuildConfig, ConfigError, TableSource, fingerprint
from ufvnet.files import sha256

from .cells import Cell
from .degrade import DEGRADATIONS
from .duplicates import dhash, originals, rank
from .images import READING, ImageProblem, read_image
from .schema import SCHEMA_VERSION, read_fingerprint
from .sources import Photo, list_photos

SCAN = 500
"""Photos of one job of the scan."""

AGAIN = "-again"
"""Ends the fingerprint of a shard in which a photo was read once and then not: the next build tries it again."""

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

    earlier: folders of an earlier build's files that hold rows of these photos, which are taken over.
    """

    index: int
    split: str | None
    index_in_split: int
    entries: tuple[Entry, ...]
    config: BuildConfig
    fingerprint: str
    earlier: tuple[Path, ...] = ()

    @property
    def root(self) -> Path:
        return dataset_root(self.config)

    @property
    def photos_file(self) -> Path:
        return self.root / "photos" / f"part-{self.index:05d}.parquet"

    @property
    def timings_file(self) -> Path:
        return self.root / "timings" / f"part-{self.index:05d}.parquet"

    @property
    def faces_file(self) -> Path | None:
        if self.split is None:
            return None
        return self.root / "faces" / f"split={self.split}" / f"part-{self.index_in_split:05d}.parquet"

    def is_built(self, perhaps_again: bool = False) -> bool:
        """Whether its files stand there with its fingerprint; perhaps with photos that are to be tried again."""
        if self.faces_file is not None and read_fingerprint(self.faces_file) != self.fingerprint:
            return False
        marks = [self.fingerprint, self.fingerprint + AGAIN] if perhaps_again else [self.fingerprint]
        return read_fingerprint(self.photos_file) in marks


@dataclass(frozen=True)
class Scan:
    """A job of the scan: photos to be read and hashed."""

    photos: tuple[Photo, ...]
    config: BuildConfig


def dataset_root(config: BuildConfig) -> Path:
    """The dataset's folder."""
    return config.out / config.name


def scans(config: BuildConfig) -> list[Scan]:
    """The photos of the source, in jobs for ``scan``; their paths are absolute from here on.

    Raises:
        ConfigError: the source is not as it should be.
    """
    folders = {key: getattr(config.source, key, None) for key in ("root", "image_root")}
    source = config.source.model_copy(update={key: folder.absolute() for key, folder in folders.items() if folder})
    config = config.model_copy(update={"source": source, "out": config.out.absolute()})
    photos = list_photos(config)
    return [Scan(tuple(photos[i : i + SCAN]), config) for i in range(0, len(photos), SCAN)]


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
        from .image_table import read_cells

        yield from read_cells(config.source, photos)


def _looks(content: Cell, max_pixels: int) -> str | None:
    try:
        if content is None or isinstance(content, OSError):
            return None
        return dhash(read_image(content, max_pixels).rgb)
    except ImageProblem:
        return None


def plan(config: BuildConfig, scanned: Iterable[tuple[Scan, list[Scanned]]] | None = None) -> list[Shard]:
    """Divide the photos into shards of one split each, and set aside files of an earlier build.

    A photo's shard is its name's hash modulo a power of two, so that a photo that comes or goes touches one shard
    only, until there are twice as many.

    Args:
        config: what to build.
        scanned: the jobs of ``scans`` with what ``scan`` gave; they are done here if not given.

    Raises:
        ConfigError: the source is not as it should be.
    """
    done = list(scanned) if scanned is not None else [(job, scan(job)) for job in scans(config)]
    if not done:
        raise ConfigError(f"source.root = {config.source.root}: no photos in it")
    config = done[0][0].config
    entries = _without_copies([Entry(p, s) for job, found in done for p, s in zip(job.photos, found)], config)
    made_by = _made_by(config)
    entries = [replace(e, key=_key(made_by, e)) for e in entries]
    shards: list[Shard] = []
    for split in sorted({e.photo.split for e in entries}, key=lambda s: (s is None, s)):
        for j, members in _buckets([e for e in entries if e.photo.split == split], config.shard_size):
            mark = fingerprint("shard", [e.key for e in members])
            shards.append(Shard(len(shards), split, j, tuple(members), config, mark))
    return _with_earlier(shards, dataset_root(config))


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
        cell = entry.photo.cell
        name = f"{cell[0]}#{cell[1]}" if cell else entry.photo.path
        place = hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest()
        buckets.setdefault(int.from_bytes(place[:4], "big") % number, []).append(entry)
    for j in sorted(buckets):
        yield j, sorted(buckets[j], key=lambda e: e.photo.cell or e.photo.path)


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


def _with_earlier(shards: list[Shard], root: Path) -> list[Shard]:
    """Move all files but those of finished shards into ``earlier/``, and tell the others which of them to take from.

    A shard's two files move together: its number may have changed, and half a shard is of no use.
    """
    built = {s.fingerprint for s in shards if s.is_built()}
    staying = {file for s in shards if s.fingerprint in built for file in (s.photos_file, s.faces_file)}
    for kind in ("photos/part-*.parquet", "faces/*/part-*.parquet"):
        for file in sorted(set(root.glob(kind)) - staying):
            mark = read_fingerprint(file)
            if mark is None:
                file.unlink()
                continue
            place = root / "earlier" / mark.removesuffix(AGAIN) / f"{file.relative_to(root).parts[0]}.parquet"
            place.parent.mkdir(parents=True, exist_ok=True)
            file.replace(place)
    places = _places_of_keys(root / "earlier")
    return [
        s if s.fingerprint in built
        else replace(s, earlier=tuple(sorted({places[e.key] for e in s.entries if e.key in places})))
        for s in shards
    ]  # fmt: skip


def _places_of_keys(earlier: Path) -> dict[str, Path]:
    """Which folder holds the rows of a photo, by the photo's key; folders that lack a file are removed."""
    places: dict[str, Path] = {}
    for folder in sorted(earlier.glob("*")):
        photos = folder / "photos.parquet"
        mark = read_fingerprint(photos)
        if mark is None or mark.removesuffix(AGAIN) != folder.name or "key" not in pq.read_schema(photos).names:
            shutil.rmtree(folder)
            continue
        has_faces = read_fingerprint(folder / "faces.parquet") == folder.name
        table = pq.read_table(photos, columns=["key", "faces_built"])
        for key, faces in zip(table["key"].to_pylist(), table["faces_built"].to_pylist()):
            if has_faces or not faces:
                places[key] = folder
    return places

"""The plan of a build: copies are found, and photos divided into shards that change little as photos come and go."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ufvnet.config import BuildConfig, fingerprint
from ufvnet.data.card import CARD, SCHEMA_VERSION, ShardFiles
from ufvnet.data.packed import Packed
from ufvnet.data.schema import read_fingerprint
from ufvnet.errors import ConfigError
from ufvnet.faces.finders import choose_finder
from ufvnet.files import check_name, escape_name, printed
from ufvnet.imaging.rgb import READING

from .copies import ShardPhoto, find_copies, planned
from .degrade import DEGRADATIONS
from .divide import divide
from .folder import BUILDING, PAIRS, KnownFiles, dataset_root
from .lost_photos import check_lost
from .resolved import ResolvedBuild
from .reuse import RETRY, EarlierFiles, FilesByKey, used_photos
from .scan import PhotoHashes, scan, scan_jobs

DECIDING = ("hr_size", "faces", "min_face", "crop", "degradation", "max_pixels")
"""Settings that decide a photo's rows."""


@dataclass(frozen=True)
class ShardJob:
    """All that a worker needs to build a shard: photos of one split that become one pair of Parquet files.

    index: among all shards.
    split: of its photos; None for those in none of the source's lists, which have no faces file.
    index_in_split: number of its faces file.
    earlier: files of an earlier build that hold rows of these photos, which are reused.
    aside: whether it is built below BUILDING, because an earlier build's files keep their places until all shards
        are finished.
    digests: sha256 of its photos file and faces file, if an earlier build finished this very shard.
    """

    index: int
    split: str | None
    index_in_split: int
    photos: Sequence[ShardPhoto]
    config: BuildConfig
    fingerprint: str
    earlier: tuple[EarlierFiles, ...] = ()
    aside: bool = False
    digests: tuple[str | None, str | None] | None = None

    @property
    def root(self) -> Path:
        """The dataset's folder."""
        return dataset_root(self.config)

    @property
    def files(self) -> ShardFiles:
        """Its files in the finished dataset."""
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
        """The crash diary: which photo is in work."""
        return f"diary/{self.fingerprint[:32]}.txt"

    @property
    def record(self) -> str:
        """The file that holds the digests of its files until the card does."""
        return f"finished/{self.fingerprint[:32]}.json"

    @property
    def names(self) -> list[str]:
        """Every file that building it may write, below the dataset's folder."""
        files = self.files.names
        return [*files, *(f"{BUILDING}/{name}" for name in files), self.diary, self.record]

    @property
    def base(self) -> Path:
        """The folder below which it is built."""
        return self.root / BUILDING if self.aside else self.root

    def finished_below(self, with_retries: bool = False) -> Path | None:
        """The folder below which its files lie with its fingerprint; None if they lie nowhere, BUILDING if in both.

        Args:
            with_retries: also accept files in which some photos are to be tried again.
        """
        marks = [self.fingerprint, self.fingerprint + RETRY] if with_retries else [self.fingerprint]
        for base in (self.root / BUILDING, self.root):
            faces = self.files.faces
            if (faces is None or read_fingerprint(base / faces) == self.fingerprint) and (
                read_fingerprint(base / self.files.photos) in marks
            ):
                return base
        return None


def plan_shards(build: ResolvedBuild, hashes: Iterable[PhotoHashes] | None = None) -> list[ShardJob]:
    """Divide the photos into shards of one split each, and persist which files the build is going to write.

    A photo's shard is its name's hash modulo a power of two, so that a photo that comes or goes changes one shard only,
    until there are twice as many photos. Files of an earlier build stay in their places until the build is finished.

    Args:
        build: photos and settings.
        hashes: of each photo, as ``scan`` gives them; without them, the photos are scanned here.

    Raises:
        ConfigError: the source has no photos, or something in the dataset's folder is not ours.
        PipelineError: too many photos would be lost; nothing was changed.
    """
    config = build.config
    if not build.photos:
        raise ConfigError(f"source.root = {printed(config.source.root)}: no photos in it")
    if hashes is None:
        hashes = (of_photo for job in scan_jobs(build) for of_photo in scan(job))
    hashes = Packed(hashes)
    copies, sizes = find_copies(build.photos, hashes, config), Counter(photo.split for photo in build.photos)
    known = KnownFiles(build.root)
    if known.finished and not config.allow_loss:
        used = functools.partial(used_photos, known.root, known.finished)
        check_lost(known.root, used, map(_expected, planned(build.photos, hashes, copies)))
    for split in sizes:
        if split is not None:
            check_name("the name of a split", split)
    settings = _settings_fingerprint(config)
    photos = (
        ShardPhoto(p.photo, p.hashes, p.copy_of, p.alike, _key(settings, p))
        for p in planned(build.photos, hashes, copies)
    )
    shards = [
        ShardJob(i, split, j, members, config, mark)
        for i, (split, j, members, mark) in enumerate(divide(photos, sizes, config.shard_size))
    ]
    shards = _beside_earlier(shards, known)
    if not all(s.digests is not None and s.finished_below() == s.root for s in shards):
        known.extend([s.files for s in shards], [CARD, PAIRS, *(name for s in shards for name in s.names)])
    return shards


def _expected(planned: ShardPhoto) -> tuple[str, tuple[str, str | None]]:
    """A photo's path as rows have it, and (status, sha256) as far as they are known before it is decoded."""
    digest = planned.hashes.sha256
    status = "ok"
    if planned.photo.fault is not None:
        status = planned.photo.fault[0]
    elif planned.photo.split is None:
        status = "not_listed"
    elif digest is None:
        status = "missing or unreadable"
    elif planned.copy_of is not None:
        status = "duplicate"
    return escape_name(planned.photo.path), (status, digest)


def _settings_fingerprint(config: BuildConfig) -> str:
    settings = config.model_dump(mode="json", include=set(DECIDING))
    if config.finder != "hog":  # rows from before there was a choice stay what they are
        settings["finder"] = choose_finder(config.finder).VERSION
    degradation = DEGRADATIONS[config.degradation]
    seed = config.seed if degradation.random else None
    without_dhash = config.near_duplicates == "off"
    return fingerprint("photo", SCHEMA_VERSION, READING, settings, degradation.version, seed, without_dhash)


def _key(settings: str, planned: ShardPhoto) -> str:
    photo, digest = planned.photo, planned.hashes.sha256
    points = None if photo.landmarks is None else photo.landmarks.tobytes().hex()
    facts = (photo.path, photo.split, photo.identity, points, photo.hint, *(photo.fault or ()))
    return fingerprint(settings, facts, digest, planned.copy_of, planned.alike)[:32]


def _beside_earlier(shards: list[ShardJob], known: KnownFiles) -> list[ShardJob]:
    """The shards with what earlier builds left: digests of those that are finished, files of rows for the others.

    If files lie in the places of this build's shards, or if a finished dataset is there, this build writes aside, and
    what is there stays until all new shards are finished.
    """
    digests = {s.fingerprint: (s.photos_sha256, s.faces_sha256) for s in known.shards if s.photos_sha256}
    planned = {s.files.photos: s.fingerprint for s in shards} | {s.files.faces: s.fingerprint for s in shards}
    present = {name for s in known.shards for name in (s.photos, s.faces) if name and (known.root / name).exists()}
    aside = known.rebuild or any(read_fingerprint(known.root / n) != planned.get(n) for n in present)
    places = FilesByKey(known.root, known.shards)
    return [
        replace(s, aside=aside, digests=digests.get(s.fingerprint), earlier=places.of(p.key for p in s.photos))
        for s in shards
    ]

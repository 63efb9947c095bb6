"""Every photo of a source, of whatever kind it is, with its split and what else is known of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from ufvnet.config import (
    BuildConfig,
    CelebASource,
    FolderSource,
    HelenSource,
    ManifestSource,
    Source,
    TableSource,
    fingerprint,
)
from ufvnet.data.packed import Packed
from ufvnet.errors import ConfigError
from ufvnet.files import check_name, printed

from .celeba import list_celeba
from .files import paths_in
from .helen import list_helen
from .landmarks import Landmarks, read_landmarks
from .manifest import list_manifest
from .photo import Photo
from .splits import NameIndex, check_counts, hashed_split, with_hashed_splits, with_identities, with_lists


def list_photos(config: BuildConfig) -> Packed[Photo]:
    """Every photo of the source, by path; photos that a list names and that do not exist are among them.

    Raises:
        ConfigError: a folder or file of the source is missing or malformed, a split has not as many photos as it is
            expected to have, a list names what lies elsewhere, or a split's name cannot be a folder's.
    """
    source = config.source
    try:
        there = source.root.is_dir()
    except (OSError, ValueError) as error:  # ValueError: a NUL in its name
        raise ConfigError(f"source.root = {printed(source.root)}: cannot be read ({printed(error)})") from error
    if not there:
        raise ConfigError(f"source.root = {printed(source.root)}: no such folder")
    if isinstance(source, FolderSource) and (streamed := _streamed(source, config)) is not None:
        return streamed
    landmarks = read_landmarks(source.landmarks) if source.landmarks else None
    photos = _photos_of(source)
    if not photos:
        raise ConfigError(f"source.root = {source.root}: no photos in it")
    if source.splits:
        photos = with_lists(photos, source, source.splits)
    if isinstance(source, FolderSource | ManifestSource | TableSource):
        if source.identity_pattern is not None:
            photos = with_identities(photos, source.identity_pattern)
        photos = with_hashed_splits(photos, source, config.seed)
    if landmarks is not None:
        photos = _with_landmarks(photos, landmarks)
    for split in sorted({p.split for p in photos if p.split is not None}):
        check_name("source: split", split)
    check_counts(Counter(p.split for p in photos), source.expect)
    photos.sort(key=lambda p: p.path)
    return Packed(photos if config.limit is None else _subset(photos, config.limit, config.seed))


def _streamed(source: FolderSource, config: BuildConfig) -> Packed[Photo] | None:
    """The photos of a folder, a few in memory at once; None where each depends on the others: with lists, persons,
    landmarks or a limit, or where a split would stay empty."""
    if source.splits or source.landmarks or source.identity_pattern is not None or config.limit is not None:
        return None
    split_of, counts = hashed_split(source.fractions, config.seed), Counter[str]()

    def photos() -> Iterator[Photo]:
        for path in paths_in(source.root, source.root):
            counts[split := split_of(path)] += 1
            yield Photo(path, split)

    packed = Packed(photos())
    if set(counts) < {split for split, share in source.fractions.items() if share}:
        return None
    for split in sorted(counts):
        check_name("source: split", split)
    check_counts(counts, source.expect)
    return packed


def _photos_of(source: Source) -> list[Photo]:
    """The photos as the source's own kind lists them."""
    if isinstance(source, ManifestSource):
        return list_manifest(source)
    if isinstance(source, TableSource):
        from .image_table import list_cells  # which imports pyarrow

        return list_cells(source)
    if isinstance(source, CelebASource):
        return list_celeba(source)
    if isinstance(source, HelenSource):
        return list_helen(source)
    return [Photo(path) for path in paths_in(source.root, source.root)]


def _with_landmarks(photos: list[Photo], landmarks: Landmarks) -> list[Photo]:
    """The photos with their rows of the landmark files; rows without a photo are passed over.

    Raises:
        ConfigError: no row has a photo, or two rows, whose names spell one photo's in two ways, have different points.
    """
    index, rows = NameIndex(photos), dict[str, int]()
    for row, name in enumerate(landmarks.names):
        photo = index.find(name)
        if photo is None:
            continue
        first = rows.setdefault(photo.path, row)
        if not np.allclose(landmarks.points[first], landmarks.points[row], atol=0.01, equal_nan=True):
            names = f"{landmarks.names[first]} and {name}"
            raise ConfigError(f"source.landmarks: {names} both name the photo {photo.path}, with different points")
    if not rows:
        raise ConfigError(f"source.landmarks: none of its {len(landmarks.names):,} names fits a photo")
    return [replace(p, landmarks=landmarks.points[rows[p.path]]) if p.path in rows else p for p in photos]


def _subset(photos: list[Photo], limit: int, seed: int) -> list[Photo]:
    """A seeded choice of at most ``limit`` photos of each split, and all tables that cannot be listed."""
    others = [p for p in photos if p.fault is None or p.fault[0] == "missing"]
    chosen = [p for p in photos if p.fault is not None and p.fault[0] != "missing"]
    for split in sorted({p.split for p in others if p.split}):
        members = [p for p in others if p.split == split]
        chosen += sorted(members, key=lambda p: fingerprint(seed, "subset", p.path))[:limit]
    return sorted(chosen, key=lambda p: p.path)

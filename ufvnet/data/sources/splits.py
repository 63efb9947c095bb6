"""Which photo is in which split: by lists, or by a seeded hash; and finding the photo that a list names."""

from __future__ import annotations

import bisect
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from ufvnet.config import FolderSource, ManifestSource, Source, TableSource, fingerprint
from ufvnet.errors import ConfigError
from ufvnet.remote import AnyPath

from .files import numbered_lines, path_below
from .landmarks import names_in_pickle
from .photo import Photo, TableRow
from .pickles import PICKLES
from .text import spellings


class NameIndex:
    """Photos by the names that lists and landmark files use: path or file name, with or without its ending."""

    def __init__(self, photos: Sequence[Photo]):
        paths = [PurePosixPath(p.path) for p in photos]
        self.tables = [
            _unique((key(path), photo) for path, photo in zip(paths, photos))
            for key in (str, lambda p: str(p.with_suffix("")), lambda p: p.name, lambda p: p.stem)
        ]

    def find(self, name: str, place: str = "") -> Photo | None:
        """The photo of that name, in any of its spellings; None if there is none.

        Raises:
            ConfigError: the name fits several photos; the message begins with the place.
        """
        for spelling in spellings(name):
            for table in self.tables:
                if spelling in table:
                    if table[spelling] is None:
                        start = f"{place}: " if place else ""
                        raise ConfigError(f"{start}{name} fits several photos; name it with its folder and ending")
                    return table[spelling]
        return None


def _unique(items: Iterable[tuple[str, Photo]]) -> Mapping[str, Photo | None]:
    """Photos by key; None for a key that several have."""
    table: dict[str, Photo | None] = {}
    for key, photo in items:
        table[key] = None if key in table else photo
    return table


def with_lists(photos: list[Photo], source: Source, lists: Mapping[str, AnyPath], missing: str = "{}") -> list[Photo]:
    """The photos with the splits of the lists. A listed name that fits no photo becomes a photo that is missing.

    Args:
        photos: of the source.
        source: for its root and kind.
        lists: a list file for each split.
        missing: how the path of a missing photo is made of its name in the list.

    Raises:
        ConfigError: a list is missing or malformed, a name fits several photos or is in two lists.
    """
    index, splits = NameIndex(photos), dict[str, str]()
    for split, path in lists.items():
        for place, name in _listed_names(path, split):
            photo = index.find(name, place)
            key = photo.path if photo else missing.format(path_below(source.root, name, place))
            if splits.setdefault(key, split) != split:
                raise ConfigError(f"source.splits: {name} is in both {splits[key]} and {split}")
    known = [replace(p, split=splits.pop(p.path, None)) for p in photos]
    if not isinstance(source, TableSource):
        return known + [Photo(path, split) for path, split in splits.items()]
    row, fault = TableRow("", -1, 0), ("missing", "listed, but no row of the tables has this name")
    return known + [Photo(path, split, table_row=row, fault=fault) for path, split in splits.items()]


def _listed_names(path: AnyPath, split: str) -> Iterator[tuple[str, str]]:
    """(place, name) of each name in a list file; those of pickles without endings, as photos may have others."""
    if path.suffix.lower() not in PICKLES:
        yield from numbered_lines(path)
        return
    for number, name in enumerate(names_in_pickle(path, f"source.splits.{split}"), start=1):
        yield f"{path}, entry {number}", str(PurePosixPath(name).with_suffix("")) if PurePosixPath(name).name else name


def with_identities(photos: list[Photo], pattern: str) -> list[Photo]:
    """The photos with the person that the pattern's first group finds in their paths.

    Raises:
        ConfigError: it fits none of the photos.
    """
    matches = [re.search(pattern, p.path) for p in photos]
    if not any(matches):
        raise ConfigError(f"source.identity_pattern = {pattern}: fits none of the photos")
    return [replace(p, identity=match.group(1)) if match else p for p, match in zip(photos, matches)]


def with_hashed_splits(
    photos: list[Photo], source: FolderSource | ManifestSource | TableSource, seed: int
) -> list[Photo]:
    """The photos with splits by a seeded hash, unless the source gives splits itself; a person's photos share one."""
    if source.splits or getattr(source, "split", None) or getattr(source, "files", None):
        return photos

    def group(photo: Photo) -> str:
        return photo.path if photo.identity is None else photo.identity

    split_of = hashed_split(source.fractions, seed)
    splits = [split_of(group(photo)) for photo in photos]
    if set(splits) < {split for split, share in source.fractions.items() if share}:
        by_group = hashed_splits(map(group, photos), source.fractions, seed)
        splits = [by_group[group(photo)] for photo in photos]
    for i, split in enumerate(splits):  # in place: there may be many millions
        photos[i] = replace(photos[i], split=split)
    return photos


def hashed_split(fractions: Mapping[str, float], seed: int) -> Callable[[str], str]:
    """What gives a name its split, by its seeded hash alone."""
    names, bounds = _shares(fractions)
    return lambda group: names[_share(bounds, _position(group, seed))]


def hashed_splits(groups: Iterable[str], fractions: Mapping[str, float], seed: int) -> dict[str, str]:
    """A split for each name, by its seeded hash alone.

    Small sets in which a split would stay empty are the exception: the name whose hash is nearest to that split's share
    goes there, from a split that has others left.
    """
    positions = {g: _position(g, seed) for g in sorted(set(groups))}
    names, bounds = _shares(fractions)
    splits = {g: names[_share(bounds, x)] for g, x in positions.items()}
    counts = Counter(splits.values())
    for i, split in enumerate(names):
        middle = (bounds[i] + (bounds[i - 1] if i else 0)) / 2
        spare = [g for g in splits if counts[splits[g]] > 1]
        if not counts[split] and spare:
            nearest = min(spare, key=lambda g: (abs(positions[g] - middle), g))
            counts[splits[nearest]] -= 1
            splits[nearest] = split
            counts[split] = 1
    return splits


def _shares(fractions: Mapping[str, float]) -> tuple[list[str], list[float]]:
    """Names of the splits that get a share, and where each share ends between 0 and 1."""
    ends = np.cumsum(list(fractions.values())).tolist()
    return [s for s, share in fractions.items() if share], [e for e, share in zip(ends, fractions.values()) if share]


def _position(group: str, seed: int) -> float:
    """A name's place between 0 and 1, by its seeded hash."""
    return int(fingerprint(seed, "split", group)[:13], 16) / 16**13


def _share(bounds: list[float], position: float) -> int:
    """The number of the share in which a place lies."""
    return min(bisect.bisect_right(bounds, position), len(bounds) - 1)


def check_counts(counts: Counter[Any], expect: Mapping[str, int]) -> None:
    """
    Raises:
        ConfigError: a split has another number of photos than the configuration expects.
    """
    for split, number in expect.items():
        if counts[split] != number:
            raise ConfigError(
                f"source.expect.{split} = {number:,}: the source has {counts[split]:,} photos of that split"
            )

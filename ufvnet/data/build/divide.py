"""The photos of a build, divided into shards that change little as photos come and go, with few in memory at once."""

from __future__ import annotations

import contextlib
import hashlib
import pickle
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

from ufvnet.config import fingerprint

from .copies import ShardPhoto
from .packed import Packed

Bucket = tuple[str | None, int, Packed[ShardPhoto], str]
"""Split, number, photos in order, and fingerprint of a shard."""

GROUP = 250_000
"""Photos that are in memory at the same time, about, while they are divided."""


def divide(photos: Iterable[ShardPhoto], sizes: Mapping[str | None, int], size: int) -> list[Bucket]:
    """Groups of between half of ``size`` and ``size`` photos on average, by split and number; those without a split
    come last. A table's block stays whole.

    More than GROUP photos go through files, a set of buckets in each, so that few are in memory at once.

    Args:
        photos: all of them, in any order.
        sizes: number of photos of each split.
        size: upper bound of the average number.
    """
    counts = {split: _power_of_two(-(-number // size)) for split, number in sizes.items()}
    groups = _power_of_two(-(-sum(sizes.values()) // GROUP))
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        files = [stack.enter_context(Path(folder, str(g)).open("w+b")) for g in range(groups if groups > 1 else 0)]
        opened = [list[ShardPhoto]() for _ in range(groups)]
        for number, planned in enumerate(photos, start=1):
            opened[_number(planned, counts) % groups].append(planned)
            if files and number % GROUP == 0:
                _put_away(opened, files)
        if files:
            _put_away(opened, files)
        buckets = [bucket for g in range(groups) for bucket in _divided(_taken(opened[g], files[g:]), counts)]
    return sorted(buckets, key=lambda bucket: (bucket[0] is None, bucket[0], bucket[1]))


def _power_of_two(least: int) -> int:
    return 1 << max(0, least - 1).bit_length()


def _number(planned: ShardPhoto, counts: Mapping[str | None, int]) -> int:
    """The number of a photo's bucket among those of its split."""
    row = planned.photo.table_row
    name = f"{row.file}#{row.block}" if row else planned.photo.path
    digest = hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest()
    return int.from_bytes(digest[:4], "big") % counts[planned.photo.split]


def _put_away(opened: list[list[ShardPhoto]], files: Sequence[BinaryIO]) -> None:
    for rows, file in zip(opened, files):
        pickle.dump(Packed(rows), file)
        rows.clear()


def _taken(rows: list[ShardPhoto], files: Sequence[BinaryIO]) -> Iterator[ShardPhoto]:
    """The photos of a group, from the first of the files, if there are files."""
    yield from rows
    for file in files[:1]:
        file.seek(0)
        with contextlib.suppress(EOFError):
            while True:
                yield from pickle.load(file)


def _divided(photos: Iterable[ShardPhoto], counts: Mapping[str | None, int]) -> Iterator[Bucket]:
    """The buckets of a group."""
    buckets: dict[tuple[str | None, int], list[ShardPhoto]] = {}
    for planned in photos:
        buckets.setdefault((planned.photo.split, _number(planned, counts)), []).append(planned)
    while buckets:
        (split, number), members = buckets.popitem()
        members.sort(key=lambda p: p.photo.table_row or p.photo.path)
        yield split, number, Packed(members), fingerprint("shard", [p.key for p in members])

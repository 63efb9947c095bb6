"""The photos of a build, divided into shards that change little as photos come and go, with few in memory at once."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterable, Iterator, Mapping

from ufvnet.config import fingerprint
from ufvnet.data.packed import Packed, Shelf

from .copies import ShardPhoto

Bucket = tuple[str | None, int, Packed[ShardPhoto], str]
"""Split, number, photos in order, and fingerprint of a shard."""

GROUP = 250_000
"""Photos that are in memory at the same time, about, while they are divided."""


def divide(photos: Iterable[ShardPhoto], sizes: Mapping[str | None, int], size: int) -> list[Bucket]:
    """Groups of between half of ``size`` and ``size`` photos on average, by split and number; those without a split
    come last. A table's block stays whole.

    Photos wait in sets of buckets until all are there, so that only those of a set are in memory at once.

    Args:
        photos: all of them, in any order.
        sizes: number of photos of each split.
        size: upper bound of the average number.
    """
    counts = {split: _power_of_two(-(-number // size)) for split, number in sizes.items()}
    groups = _power_of_two(-(-sum(sizes.values()) // GROUP))
    waiting, shelf = [list[Packed[ShardPhoto]]() for _ in range(groups)], Shelf()
    photos = iter(photos)
    while rows := list(itertools.islice(photos, GROUP)):
        opened = [list[ShardPhoto]() for _ in range(groups)]
        for planned in rows:
            opened[_number(planned, counts) % groups].append(planned)
        for group, members in zip(waiting, opened):
            group.append(Packed(members, shelf))
    buckets, kept = list[Bucket](), Shelf()
    while waiting:
        buckets += _divided(itertools.chain.from_iterable(waiting.pop()), counts, kept)
    return sorted(buckets, key=lambda bucket: (bucket[0] is None, bucket[0], bucket[1]))


def _power_of_two(least: int) -> int:
    return 1 << max(0, least - 1).bit_length()


def _number(planned: ShardPhoto, counts: Mapping[str | None, int]) -> int:
    """The number of a photo's bucket among those of its split."""
    row = planned.photo.table_row
    name = f"{row.file}#{row.block}" if row else planned.photo.path
    digest = hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest()
    return int.from_bytes(digest[:4], "big") % counts[planned.photo.split]


def _divided(photos: Iterable[ShardPhoto], counts: Mapping[str | None, int], shelf: Shelf) -> Iterator[Bucket]:
    """The buckets of a group, put on a shelf."""
    buckets: dict[tuple[str | None, int], list[ShardPhoto]] = {}
    for planned in photos:
        buckets.setdefault((planned.photo.split, _number(planned, counts)), []).append(planned)
    while buckets:
        (split, number), members = buckets.popitem()
        members.sort(key=lambda p: p.photo.table_row or p.photo.path)
        yield split, number, Packed(members, shelf), fingerprint("shard", [p.key for p in members])

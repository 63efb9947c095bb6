"""Photos that look alike: difference hashes of 256 bits, and the pairs whose hashes are near."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

SIDE = 16
"""Rows of the hash, and pixels in each."""
FLAT = 16
"""Hashes with fewer set bits are of plain areas, which all look alike: they pair with nothing."""

BITS = 256

CHUNK = 64
"""Hashes that are compared with all others at once."""
BUCKET = 512
"""Hashes of a bucket, about, in which pairs are looked for."""
PAIRS_AT_ONCE = 2**16
"""Pairs that are given at once, at least, where there are many."""


def dhash(image: Image.Image) -> str:
    """Difference hash: for 16 x 16 pixels of the reduced grey photo, whether each is brighter than its left neighbour.

    Computed from integers only, so that every machine gives the same 64 hex digits. Of 300 re-encoded, resized, greyed
    or brightened photos, 95 % stay within 25 bits. Portraits of different people are within 24 bits in none of the
    pairs of 819 photos of us_congress, and in 2 and 7 of 4.5 million pairs each of aaf and utkface.
    """
    grey = np.asarray(image.convert("L").resize((SIDE + 1, SIDE), Image.Resampling.BOX))
    return np.packbits(grey[:, 1:] > grey[:, :-1]).tobytes().hex()


def bits_of(hashes: Iterable[str]) -> np.ndarray:
    """Difference hashes as (n, 4) uint64."""
    return np.frombuffer(bytes.fromhex("".join(hashes)), dtype=np.uint64).reshape(-1, 4)


Rank = tuple[int, int, str]
"""Place of a photo's split, its pixels (negative), its path."""


def rank(split: str | None, path: str, pixels: int = 0) -> Rank:
    """Sorting key: of two equal photos the first is kept. Test photos come first, so that test splits stay complete;
    within a split, those of more pixels."""
    return {"test": 0, "val": 1, "train": 3}.get(split or "", 2), -pixels, path


@dataclass(frozen=True)
class LookAlike:
    """Photo number ``photo`` looks like the earlier photo number ``original``; ``distance`` in bits of 256."""

    photo: int
    original: int
    distance: int


Pairs = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Numbers of two hashes and the bits in which they differ: int64, int64 and uint16, each (n,)."""

NONE = np.iinfo(np.int64).max


def find_look_alikes(hashes: np.ndarray, groups: Sequence[str], distance: int) -> list[LookAlike]:
    """For each photo and each group, the nearest of the earlier photos of that group that look like it.

    There are at most as many pairs as photos times groups, however many photos look alike.

    Args:
        hashes: (n, 4) uint64, of ``bits_of``, in the order of ``rank``.
        groups: of each photo, e.g. its split.
        distance: greatest number of differing bits.
    """
    different, names = _Different(hashes), sorted(set(groups))
    of_photo = np.fromiter(map({name: at for at, name in enumerate(names)}.__getitem__, groups), np.int64, len(groups))
    first = np.full((len(different.bits), len(names)), NONE)  # photo of each hash and group
    np.minimum.at(first, (different.of_photo, of_photo), np.arange(len(hashes)))
    nearest = np.full((len(hashes), len(names)), NONE)  # bits apart and photo, as one number
    equal = np.flatnonzero(~different.flat)
    for a, b, apart in [(equal, equal, np.zeros(len(equal), np.uint16)), *different.near(distance)]:
        for one, other in ((a, b), (b, a)):
            photos, at = different.photos_of(one)
            for group in range(len(names)):
                originals = first[other[at], group]
                earlier = originals < photos
                value = (apart[at][earlier].astype(np.int64) << 40) | originals[earlier]
                np.minimum.at(nearest[:, group], photos[earlier], value)
    found = nearest != NONE
    return [
        LookAlike(int(photo), int(value & (2**40 - 1)), int(value >> 40))
        for photo, value in zip(np.nonzero(found)[0], nearest[found])
    ]


def find_dropped(hashes: np.ndarray, distance: int) -> dict[int, LookAlike]:
    """The photos that are dropped because they look like an earlier one that is kept, by number.

    Args:
        hashes: (n, 4) uint64, of ``bits_of``, in the order of ``rank``.
        distance: greatest number of differing bits.
    """
    different = _Different(hashes)
    alike: dict[int, dict[int, int]] = {}
    for a, b, apart in different.near(distance):
        for one, other, bits in zip(a.tolist(), b.tolist(), apart.tolist()):
            alike.setdefault(one, {})[other] = alike.setdefault(other, {})[one] = bits
    for twin in np.unique(np.delete(different.of_photo, different.first)):
        if not different.flat[twin]:
            alike.setdefault(int(twin), {})[int(twin)] = 0
    photos, _ = different.photos_of(np.array(sorted(alike), dtype=np.int64))
    dropped: dict[int, LookAlike] = {}
    for photo in np.sort(photos).tolist():
        candidates = (
            (bits, original)
            for other, bits in alike[int(different.of_photo[photo])].items()
            if (original := int(different.first[other])) < photo and original not in dropped
        )
        nearest = min(candidates, default=None)  # of equal photos only the first can be kept
        if nearest is not None:
            dropped[photo] = LookAlike(photo, nearest[1], nearest[0])
    return dropped


class _Different:
    """Hashes without repetitions: many photos may have one, and they need no comparing.

    bits: (n, 4) uint64, each once. flat: (n,) bool. first: (n,) the first photo of each. of_photo: each photo's hash.
    """

    def __init__(self, every: np.ndarray):
        """
        Args:
            every: (n, 4) uint64, each photo's hash.
        """
        self._photos = np.lexsort(every.T)  # equal hashes beside each other, their photos in order
        every = every[self._photos]
        new = np.ones(len(every), bool)
        new[1:] = (every[1:] != every[:-1]).any(1)
        self.bits, places = every[new], np.flatnonzero(new)
        del every
        self.first, self._starts = self._photos[places], np.append(places, len(new))
        self.of_photo = np.empty(len(new), np.int64)
        self.of_photo[self._photos] = np.cumsum(new) - 1
        self.flat = np.bitwise_count(self.bits).sum(1) < FLAT

    def near(self, distance: int) -> Iterator[Pairs]:
        """Every two hashes that differ in at most ``distance`` bits; flat ones in none."""
        kept = np.flatnonzero(~self.flat)
        for a, b, apart in near_pairs(self.bits[kept], distance):
            yield kept[a], kept[b], apart

    def photos_of(self, hashes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The photos of some hashes, and for each its hash's place among these."""
        counts = self._starts[hashes + 1] - self._starts[hashes]
        at = np.repeat(np.arange(len(hashes)), counts)
        within = np.arange(len(at)) - np.repeat(np.cumsum(counts) - counts, counts)
        return self._photos[self._starts[hashes][at] + within], at


# Pairs without comparing all


def near_pairs(bits: np.ndarray, distance: int) -> Iterator[Pairs]:
    """Every two hashes that differ in at most ``distance`` bits, in any order, once.

    Of ``distance + k`` blocks of bits, two such hashes have ``k`` equal ones. So only those are compared that agree in
    some ``k`` blocks. The more hashes there are, the more blocks are worth their looking up: with the ``k`` that
    ``_blocks_to_agree`` chooses, time grows little faster than the number of hashes.

    Args:
        bits: (n, 4) uint64.
        distance: greatest number of differing bits.
    """
    yield from _compared(bits, distance, _blocks_to_agree(len(bits), distance))


START, LOOK_UP, COMPARE, COMPARE_ALL = 8e8, 30.0, 5.0, 13.0
"""Nanoseconds to load compiled code, to look a hash up by some blocks, to compare a pair that this gave, and one of all
pairs; measured."""


def _blocks_to_agree(count: int, distance: int) -> int:
    """The number of blocks that takes least time; 0 means that all pairs are compared."""
    pairs = count * count / 2

    def seconds(k: int) -> float:
        if k == 0:
            return pairs * COMPARE_ALL
        keys, equal = math.comb(distance + k, k), 0.5 ** (BITS * k / (distance + k))
        return START + keys * (count * LOOK_UP + pairs * equal * COMPARE)

    return min(range(4), key=seconds)


def _compared(bits: np.ndarray, distance: int, k: int) -> Iterator[Pairs]:
    """Pairs within the distance, in any order.

    Hashes go into buckets by one block, so that the memory in which they are looked up by the others stays in the
    processor's caches.

    Args:
        bits: (n, 4) uint64.
        distance: greatest number of differing bits.
        k: number of blocks in which a pair must agree to be compared; 0 compares all.
    """
    if k == 0:
        yield from _all_compared(bits, distance)
        return
    from .near_kernel import near_in_bucket  # which imports Numba

    bits, blocks = _dealt_out(bits), distance + k
    starts = np.array([len(part) for part in np.array_split(np.arange(BITS), blocks)]).cumsum()
    starts = np.concatenate([[0], starts])
    for first in range(blocks - k + 1):
        choices = np.array([(first, *rest) for rest in itertools.combinations(range(first + 1, blocks), k - 1)])
        for members in _buckets(bits, int(starts[first]), int(starts[first + 1])):
            inside, choice, member = bits[members], 0, 0
            pairs = np.empty((len(members) + PAIRS_AT_ONCE, 3), np.int64)
            while choice < len(choices):
                found, choice, member = near_in_bucket(inside, starts, choices, distance, choice, member, pairs)
                if found:
                    one, other, apart = pairs[:found].T
                    yield members[one], members[other], apart.astype(np.uint16)


def _dealt_out(bits: np.ndarray) -> np.ndarray:
    """The hashes with their bits in a fixed random order: neighbouring bits of a plain background are equal in many
    photos, and blocks are of neighbours."""
    dealt = np.zeros_like(bits)
    for place, bit in enumerate(np.random.default_rng(0).permutation(BITS)):
        one = (bits[:, bit // 64] >> np.uint64(bit % 64)) & np.uint64(1)
        dealt[:, place // 64] |= one << np.uint64(place % 64)
    return dealt


def _buckets(bits: np.ndarray, start: int, end: int) -> Iterator[np.ndarray]:
    """The numbers of hashes that may agree in the bits from ``start`` to ``end``: (m,) int64 each, m > 1."""
    used = min(end - start, 16, max(0, (len(bits) // BUCKET).bit_length()))
    word, shift = start // 64, start % 64
    value = bits[:, word] >> np.uint64(shift)
    if shift + used > 64:
        value |= bits[:, word + 1] << np.uint64(64 - shift)
    bucket = (value & np.uint64(2**used - 1)).astype(np.uint16)
    del value
    order, ends = np.argsort(bucket, kind="stable"), np.bincount(bucket).cumsum()
    for begin, stop in zip([0, *ends[:-1]], ends):
        if stop - begin > 1:
            yield order[begin:stop]


def _all_compared(bits: np.ndarray, distance: int) -> Iterator[Pairs]:
    for start in range(0, len(bits), CHUNK):
        chunk = bits[start : start + CHUNK]
        apart = np.zeros((len(chunk), min(start + CHUNK, len(bits))), np.uint16)
        for word in range(4):
            apart += np.bitwise_count(chunk[:, word, None] ^ bits[None, : apart.shape[1], word])
        near = np.tril(apart <= distance, start - 1)
        rows, earlier = np.nonzero(near)
        yield rows + start, earlier, apart[near]

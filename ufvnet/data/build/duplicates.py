"""Photos that look alike: difference hashes of 256 bits, and the pairs whose hashes are near."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
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


def dhash(image: Image.Image) -> str:
    """Difference hash: for 16 x 16 pixels of the reduced grey photo, whether each is brighter than its left neighbour.

    Computed from integers only, so that every machine gives the same 64 hex digits. Of 300 re-encoded, resized, greyed
    or brightened photos, 95 % stay within 25 bits. Portraits of different people are within 24 bits in none of the
    pairs of 819 photos of us_congress, and in 2 and 7 of 4.5 million pairs each of aaf and utkface.
    """
    grey = np.asarray(image.convert("L").resize((SIDE + 1, SIDE), Image.Resampling.BOX))
    return np.packbits(grey[:, 1:] > grey[:, :-1]).tobytes().hex()


def rank(split: str | None, path: str) -> tuple[int, str]:
    """Sorting key: of two equal photos the first is kept. Test photos come first, so that test splits stay complete."""
    return {"test": 0, "val": 1, "train": 3}.get(split or "", 2), path


@dataclass(frozen=True)
class LookAlike:
    """Photo number ``photo`` looks like the earlier photo number ``original``; ``distance`` in bits of 256."""

    photo: int
    original: int
    distance: int


Pairs = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Numbers of two hashes and the bits in which they differ: int64, int64 and uint16, each (n,)."""

NONE = np.iinfo(np.int64).max


def find_look_alikes(hashes: Sequence[str], groups: Sequence[str], distance: int) -> list[LookAlike]:
    """For each photo and each group, the nearest of the earlier photos of that group that look like it.

    There are at most as many pairs as photos times groups, however many photos look alike.

    Args:
        hashes: of ``dhash``, in the order of ``rank``.
        groups: of each photo, e.g. its split.
        distance: greatest number of differing bits.
    """
    different, names = _Different(hashes), sorted(set(groups))
    of_photo = np.searchsorted(names, groups) if names else np.zeros(0, int)
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


def find_dropped(hashes: Sequence[str], distance: int) -> dict[int, LookAlike]:
    """The photos that are dropped because they look like an earlier one that is kept, by number.

    Args:
        hashes: of ``dhash``, in the order of ``rank``.
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

    def __init__(self, hashes: Sequence[str]):
        every = np.frombuffer(bytes.fromhex("".join(hashes)), dtype=np.uint64).reshape(len(hashes), 4)
        self.bits, self.first, of_photo = np.unique(every, axis=0, return_index=True, return_inverse=True)
        self.of_photo = of_photo.reshape(-1)
        self.flat = np.bitwise_count(self.bits).sum(1) < FLAT
        self._photos = np.argsort(self.of_photo, kind="stable")
        self._starts = np.searchsorted(self.of_photo[self._photos], np.arange(len(self.bits) + 1))

    def near(self, distance: int) -> Iterator[Pairs]:
        """Every two hashes that differ in at most ``distance`` bits, perhaps several times; flat ones in none."""
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
    """Every two hashes that differ in at most ``distance`` bits, in any order, perhaps several times.

    Of ``distance + k`` blocks of bits, two such hashes have ``k`` equal ones. So only those are compared that agree in
    some ``k`` blocks. The more hashes there are, the more blocks are worth their sorting: with the ``k`` that
    ``_blocks_to_agree`` chooses, time grows little faster than the number of hashes.

    Args:
        bits: (n, 4) uint64.
        distance: greatest number of differing bits.
    """
    yield from _compared(bits, distance, _blocks_to_agree(len(bits), distance))


SORT, COMPARE, COMPARE_ALL = 150.0, 40.0, 8.0
"""Nanoseconds to sort a hash by a key, to compare a pair that a key gave, and one of all pairs; measured."""


def _blocks_to_agree(count: int, distance: int) -> int:
    """The number of blocks that takes least time; 0 means that all pairs are compared."""
    pairs = count * count / 2

    def seconds(k: int) -> float:
        if k == 0:
            return pairs * COMPARE_ALL
        keys, equal = math.comb(distance + k, k), 0.5 ** (BITS * k / (distance + k))
        return keys * (count * SORT + pairs * equal * COMPARE)

    return min(range(4), key=seconds)


def _compared(bits: np.ndarray, distance: int, k: int) -> Iterator[Pairs]:
    """Pairs within the distance, in any order.

    Args:
        bits: (n, 4) uint64.
        distance: greatest number of differing bits.
        k: number of blocks in which a pair must agree to be compared; 0 compares all.
    """
    if k == 0:
        yield from _all_compared(bits, distance)
        return
    blocks = _blocks(bits, distance + k)
    numbers, width = np.arange(len(bits), dtype=np.uint64), np.uint64(len(bits).bit_length())
    for chosen in itertools.combinations(range(len(blocks)), k):
        key = np.zeros(len(bits), np.uint64)
        for block in chosen:
            key = (key << np.uint64(BITS // len(blocks) + 1)) | blocks[block]
        # One sort of key and number is 1.3 to 1.5 times as fast as finding the order of the keys.
        both = np.sort((key << width) | numbers)
        order, key, step = both & ((np.uint64(1) << width) - np.uint64(1)), both >> width, 0
        at = np.arange(len(key))
        while len(at):  # neighbours, then those two places apart, ..., as long as keys are equal
            step += 1
            at = at[at < len(key) - step]
            at = at[key[at] == key[at + step]]
            first, second = order[at], order[at + step]
            apart = np.bitwise_count(bits[first] ^ bits[second]).sum(1, dtype=np.uint16)
            near = apart <= distance
            if near.any():
                yield first[near], second[near], apart[near]


def _blocks(bits: np.ndarray, count: int) -> list[np.ndarray]:
    """The hashes' bits in blocks of nearly equal size, each as one number: ``count`` arrays (n,) uint16 if they fit.

    Bits are dealt out in a fixed random order: neighbouring bits of a plain background are equal in many photos.
    """
    order = np.random.default_rng(0).permutation(BITS)
    blocks = []
    for members in np.array_split(order, count):
        value = np.zeros(len(bits), np.uint64)
        for bit in members:
            value = (value << np.uint64(1)) | ((bits[:, bit // 64] >> np.uint64(bit % 64)) & np.uint64(1))
        blocks.append(value.astype(np.uint16) if len(members) <= 16 else value)
    return blocks


def _all_compared(bits: np.ndarray, distance: int) -> Iterator[Pairs]:
    for start in range(0, len(bits), CHUNK):
        chunk = bits[start : start + CHUNK]
        apart = np.zeros((len(chunk), min(start + CHUNK, len(bits))), np.uint16)
        for word in range(4):
            apart += np.bitwise_count(chunk[:, word, None] ^ bits[None, : apart.shape[1], word])
        near = np.tril(apart <= distance, start - 1)
        rows, earlier = np.nonzero(near)
        yield rows + start, earlier, apart[near]

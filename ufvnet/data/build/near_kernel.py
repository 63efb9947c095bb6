"""The inner loop of the search for near duplicates, compiled by Numba at the first call and cached on disk."""

from __future__ import annotations

import numpy as np
from numba import njit

MIX = np.uint64(0x9E3779B97F4A7C15)


@njit(cache=True, inline="always")
def _differing(a, b):
    """The number of bits in which two hashes of four uint64 differ."""
    total = np.uint64(0)
    for word in range(4):
        x = a[word] ^ b[word]
        x = x - ((x >> np.uint64(1)) & np.uint64(0x5555555555555555))
        x = (x & np.uint64(0x3333333333333333)) + ((x >> np.uint64(2)) & np.uint64(0x3333333333333333))
        x = (x + (x >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
        total += (x * np.uint64(0x0101010101010101)) >> np.uint64(56)
    return total


@njit(cache=True, inline="always")
def block_of(one, start, width):
    """Some bits of a hash as a number: at most 64, from bit ``start`` on."""
    word, shift = start // 64, np.uint64(start % 64)
    value = one[word] >> shift
    if start % 64 + width > 64:
        value |= one[word + 1] << (np.uint64(64) - shift)
    return value if width == 64 else value & ((np.uint64(1) << np.uint64(width)) - np.uint64(1))


@njit(cache=True)
def _is_first(a, b, chosen, starts):
    """Whether no earlier choice of as many blocks finds this pair, so that it is reported once."""
    found = 0
    for block in range(len(starts) - 1):
        width = starts[block + 1] - starts[block]
        if block_of(a, starts[block], width) == block_of(b, starts[block], width):
            if chosen[found] != block:
                return False
            found += 1
            if found == len(chosen):
                return True
    return False


@njit(cache=True)
def near_in_bucket(bits, starts, choices, distance, choice, member, pairs):
    """Find pairs of hashes that are near and agree in some blocks.

    Args:
        bits: (m, 4) uint64, the hashes of a bucket.
        starts: (blocks + 1,) int64, the first bit of each block, and the end.
        choices: (c, k) int64, blocks in ascending order; those that agree in one of these choices are compared.
        distance: greatest number of differing bits.
        choice, member: where to go on.
        pairs: (p, 3) int64, p > m: numbers of two hashes and their distance, which is filled.

    Returns:
        (pairs found, choice, member) with what would be the next step, where ``pairs`` had no more room; choice is c at
        the end.
    """
    count, slots = len(bits), 16
    while slots < 2 * count:
        slots *= 2
    shift = np.uint64(64)
    size = slots
    while size > 1:
        shift -= np.uint64(1)
        size //= 2
    head = np.empty(slots, np.int32)
    following, keys = np.empty(count, np.int32), np.empty(count, np.uint64)
    filled = 0
    for number in range(choice, len(choices)):
        chosen = choices[number]
        head[:] = -1
        for one in range(count):
            key = np.uint64(0)
            for block in chosen:
                value = block_of(bits[one], starts[block], starts[block + 1] - starts[block])
                key = (key ^ value) * MIX
                key ^= key >> np.uint64(29)
            slot = (key * MIX) >> shift
            other = head[slot]
            following[one], head[slot], keys[one] = other, one, key
            if number == choice and one < member:
                continue  # it was compared before the pairs had no more room
            if filled + one > len(pairs):
                return filled, number, one
            while other >= 0:
                if keys[other] == key:
                    apart = _differing(bits[one], bits[other])
                    if apart <= distance and _is_first(bits[one], bits[other], chosen, starts):
                        pairs[filled, 0], pairs[filled, 1], pairs[filled, 2] = one, other, apart
                        filled += 1
                other = following[other]
    return filled, len(choices), 0

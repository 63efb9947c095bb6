"""Photos with what the scan found of them, and which of them are copies of others."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ufvnet.config import BuildConfig
from ufvnet.data.sources.photo import Photo

from .duplicates import Rank, bits_of, find_dropped, rank
from .scan import PhotoHashes


@dataclass(frozen=True, slots=True)
class ShardPhoto:
    """A photo of a shard, with all that decides its rows.

    copy_of: path of the photo that this one duplicates.
    alike: number of differing bits of the difference hashes; None if the bytes are equal.
    key: fingerprint of all that decides its rows.
    """

    photo: Photo
    hashes: PhotoHashes
    copy_of: str | None = None
    alike: int | None = None
    key: str = ""

    def __reduce__(self) -> tuple[Any, ...]:
        return ShardPhoto, (self.photo, self.hashes, self.copy_of, self.alike, self.key)


Copies = dict[int, tuple[str, int | None]]
"""Path of the original, and differing bits if the bytes are not equal, by the number of the photo."""


def planned(photos: Iterable[Photo], hashes: Iterable[PhotoHashes], copies: Copies) -> Iterator[ShardPhoto]:
    """The photos with their hashes; copies point to the earlier photo."""
    for i, (photo, of_photo) in enumerate(zip(photos, hashes, strict=True)):
        yield ShardPhoto(photo, of_photo, *copies.get(i, (None, None)))


def find_copies(photos: Sequence[Photo], hashes: Sequence[PhotoHashes], config: BuildConfig) -> Copies:
    """The photos with the bytes of an earlier one, or that look like it where such are dropped. Earlier is by ``rank``.

    Photos of equal bytes are no copies if the source means another face in each. Of photos that look alike, the one of
    most pixels is kept: a thumbnail may be too small to give a face.

    Names are compared only where the first 8 bytes of two digests are equal.
    """
    firsts = (h.sha256[:16] if p.split is not None and h.sha256 else "" for p, h in zip(photos, hashes, strict=True))
    starts = np.fromiter((int(first, 16) | 1 if first else 0 for first in firsts), np.uint64, len(photos))
    ordered = np.sort(starts)
    shared = {*ordered[1:][ordered[1:] == ordered[:-1]].tolist()} - {0}
    del ordered
    groups: dict[str | None, list[tuple[Rank, int, Photo]]] = {}
    unique: list[tuple[Rank, int, str]] = []
    for i, (photo, of_photo) in enumerate(zip(photos, hashes)):
        place = rank(photo.split, photo.path, of_photo.pixels)
        if shared and int(starts[i]) in shared:
            groups.setdefault(of_photo.sha256, []).append((place, i, photo))
        if of_photo.dhash is not None and of_photo.sha256 is not None and photo.split is not None:
            unique.append((place, i, of_photo.dhash))
    copies: Copies = {}
    same_picture: dict[int, int] = {}
    for group in groups.values():
        group.sort()
        originals: list[Photo] = []
        for _, i, photo in group:
            original = next((o for o in originals if not _is_another_face(photo, o, config.min_face / 2)), None)
            if original is not None:
                copies[i] = original.path, None
                continue
            if originals:
                same_picture[i] = group[0][1]
            originals.append(photo)
    unique = sorted(row for row in unique if row[1] not in copies and row[1] not in same_picture)
    bits = bits_of(looks for *_, looks in unique)
    for number, pair in find_dropped(bits, config.near_distance).items():
        copies[unique[number][1]] = unique[pair.original][0][-1], pair.distance
    return copies | {i: copies[first] for i, first in same_picture.items() if first in copies}


def _is_another_face(photo: Photo, original: Photo, apart: float) -> bool:
    """Whether the source means different faces in two photos of equal bytes; never in two splits, as each split would
    then have the picture.

    Args:
        photo, original: the photos.
        apart: least distance in pixels between the centres of two faces; points of one face differ a little.
    """
    a, b = _centre(photo), _centre(original)
    return photo.split == original.split and a is not None and b is not None and math.dist(a, b) > apart


def _centre(photo: Photo) -> Sequence[float] | None:
    """The middle (x, y) of the face that the source means; None if it says nothing."""
    if photo.landmarks is None:
        return photo.hint
    with np.errstate(all="ignore"):  # of points that are inf or nan
        middle: list[float] = photo.landmarks.mean(0).tolist()
    return middle

"""The scan of a build: every photo's bytes are hashed, in jobs that workers can do."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ufvnet.config import BuildConfig, TableSource
from ufvnet.data.packed import Packed
from ufvnet.data.sources.cells import Cell
from ufvnet.data.sources.photo import Photo
from ufvnet.files import printed, sha256
from ufvnet.imaging.decode import ImageProblem
from ufvnet.imaging.rgb import read_image

from .duplicates import dhash
from .resolved import ResolvedBuild

PROOF_FILES = 3
"""Files of the source that each worker must see."""


@dataclass(frozen=True, slots=True)
class PhotoHashes:
    """What the scan found of a photo.

    sha256: of its bytes; None if they cannot be read.
    dhash, pixels: its difference hash and the number of its pixels, where near duplicates are dropped.
    """

    sha256: str | None
    dhash: str | None = None
    pixels: int = 0

    def __reduce__(self) -> tuple[Any, ...]:
        return PhotoHashes, (self.sha256, self.dhash, self.pixels)


@dataclass(frozen=True)
class ScanJob:
    """Photos that one worker reads and hashes."""

    photos: Sequence[Photo]
    config: BuildConfig


def scan_jobs(build: ResolvedBuild) -> list[ScanJob]:
    """The photos of a build in jobs for ``scan``, in order."""
    return [ScanJob(chunk, build.config) for chunk in build.photos.chunks()]


def scan(job: ScanJob) -> Packed[PhotoHashes]:
    """Hash each photo's bytes, and its looks where near duplicates are dropped."""
    wants_dhash = job.config.near_duplicates == "drop"
    hashes, photos = [], tuple(job.photos)
    for photo, content in zip(photos, contents(job.config, photos)):
        digest = sha256(content)
        looks = _looks(content, job.config.max_pixels) if wants_dhash and digest and photo.split else ()
        hashes.append(PhotoHashes(digest, *looks))
    return Packed(hashes)


def _looks(content: Cell, max_pixels: int) -> tuple[str, int] | tuple[()]:
    """The difference hash and the pixels of a photo; empty if it cannot be decoded."""
    try:
        if content is None or isinstance(content, OSError):
            return ()
        rgb = read_image(content, max_pixels).rgb
        return dhash(rgb), rgb.width * rgb.height
    except ImageProblem:
        return ()


def contents(config: BuildConfig, photos: Sequence[Photo]) -> Iterator[Cell]:
    """Where the bytes of each photo are: a path, or the bytes of a table's row; None for an empty row, an error for a
    row that cannot be read."""
    if not isinstance(config.source, TableSource):
        yield from (config.source.root / p.path for p in photos)
    else:
        from ufvnet.data.sources.image_table import read_cells

        yield from read_cells(config.source, photos)


def proof_files(jobs: Sequence[ScanJob]) -> list[Path]:
    """A few files from the start, middle and end of the source, which show whether a worker sees the same source."""
    photos = [jobs[i].photos[len(jobs[i].photos) // 2] for i in sorted({0, len(jobs) // 2, len(jobs) - 1})]
    candidates = [photo for job in jobs[:1] for photo in job.photos][:PROOF_FILES] + photos
    root = jobs[0].config.source.root
    if not isinstance(root, Path):
        return []  # of a store; a worker that cannot read it is found by ``objection``
    files = dict.fromkeys(root / (photo.table_row.file if photo.table_row else photo.path) for photo in candidates)
    return [file for file in files if os.path.isfile(file)][-PROOF_FILES:]  # isfile: False for names no file can have


def objection(job: ScanJob, hashes: Sequence[PhotoHashes]) -> str | None:
    """Why the result of a scan must not be used: its worker could not read a photo that this process can read."""
    unread = [photo for photo, of_photo in zip(job.photos, hashes) if of_photo.sha256 is None and not photo.fault]
    for photo, content in zip(unread, contents(job.config, unread)):
        if sha256(content) is not None:
            return f"cannot read {printed(photo.path)}, which the coordinator reads"
    return None

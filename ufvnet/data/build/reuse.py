"""Rows of an earlier build: which of its files hold those of a photo, and reading them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ufvnet.data.card import ShardFiles
from ufvnet.data.schema import ROW_GROUP, read_fingerprint
from ufvnet.files import is_intact

RETRY = "-again"
"""Ends the fingerprint of a shard with a photo that was hashed and could not be read later; it is tried again."""


@dataclass(frozen=True)
class EarlierFiles:
    """A photos file and a faces file of an earlier build, and their sha256 if its card has them."""

    photos: Path
    faces: Path | None
    photos_sha256: str | None
    faces_sha256: str | None

    def is_intact(self) -> bool:
        """Whether they are what was built; for older builds, only the checksums of Parquet's pages can tell."""
        return all(
            path is None or digest is None or is_intact(path, digest)
            for path, digest in ((self.photos, self.photos_sha256), (self.faces, self.faces_sha256))
        )


class FilesByKey:
    """The photos files and faces files of earlier builds, and which of them hold the rows of a photo.

    There may be many millions of photos: of each, half of its key and the number of its files are in memory. Files that
    have another photo with that half do no harm, as ``EarlierRows`` takes the rows of whole keys.
    """

    def __init__(self, root: Path, shards: Iterable[ShardFiles]):
        self._files = list[EarlierFiles]()
        keys, numbers = [np.zeros(0, np.uint64)], [np.zeros(0, np.int32)]
        for files, kept in _files_and_keys(root, shards):
            keys.append(_halves(kept))
            numbers.append(np.full(len(kept), len(self._files), np.int32))
            self._files.append(files)
        every = np.concatenate(keys)
        order = np.argsort(every, kind="stable")
        self._keys, self._numbers = every[order], np.concatenate(numbers)[order]

    def of(self, keys: Iterable[str]) -> tuple[EarlierFiles, ...]:
        """The files that hold the rows of some photos; where several hold those of a photo, the last of them."""
        if not self._files:
            return ()
        wanted = _halves(keys)
        at = np.maximum(np.searchsorted(self._keys, wanted, side="right") - 1, 0)
        numbers = self._numbers[at[self._keys[at] == wanted]] if len(self._keys) else []
        return tuple(self._files[number] for number in dict.fromkeys(int(number) for number in numbers))


def _halves(keys: Iterable[str]) -> np.ndarray:
    return np.array([int(key[:16], 16) for key in keys], np.uint64)


def _files_and_keys(root: Path, shards: Iterable[ShardFiles]) -> Iterator[tuple[EarlierFiles, list[str]]]:
    """Each shard's files that are there, and the keys of the photos whose rows they hold."""
    for shard in shards:
        photos, faces = root / shard.photos, root / shard.faces if shard.faces else None
        mark = read_fingerprint(photos)
        if mark is None or mark.removesuffix(RETRY) != shard.fingerprint or "key" not in pq.read_schema(photos).names:
            continue
        has_faces = faces is not None and read_fingerprint(faces) == shard.fingerprint
        with contextlib.suppress(OSError, pa.ArrowException):  # damaged: its photos are built again
            table = pq.read_table(photos, columns=["key", "faces_built"], page_checksum_verification=True)
            rows = zip(table["key"].to_pylist(), table["faces_built"].to_pylist())
            kept = [key for key, built in rows if key and (has_faces or not built)]
            yield EarlierFiles(photos, faces if has_faces else None, shard.photos_sha256, shard.faces_sha256), kept


def used_photos(root: Path, shards: Iterable[ShardFiles]) -> Iterator[tuple[str, str]]:
    """Path and sha256 of each photo that an earlier build used."""
    for shard in shards:
        mark = read_fingerprint(root / shard.photos)
        if mark is not None and mark.removesuffix(RETRY) == shard.fingerprint:
            with contextlib.suppress(OSError, pa.ArrowException):
                rows = pq.read_table(root / shard.photos, columns=["path", "sha256", "status"]).to_pylist()
                yield from ((r["path"], r["sha256"]) for r in rows if r["status"] == "ok")


class EarlierRows:
    """Rows of photos in files of an earlier build, by key, without those of damaged files.

    Args:
        places: the files.
        wanted: keys of the photos.
    """

    def __init__(self, places: Iterable[EarlierFiles], wanted: set[str]):
        self.reused = 0
        self.rows: dict[str, tuple[dict[str, Any], list[dict[str, Any]]]] = {}
        for files in places:
            with contextlib.suppress(OSError, pa.ArrowException, ValueError):
                if files.is_intact():
                    self._read(files.photos, files.faces, wanted)

    def _read(self, photos_file: Path, faces_file: Path | None, wanted: set[str]) -> None:
        table = pq.read_table(photos_file, page_checksum_verification=True)
        photos = [r for r in table.to_pylist() if r["key"] in wanted]
        faces: dict[str, list[dict[str, Any]]] = {}
        names = {r["path"] for r in photos if r["faces_built"]}
        if names and faces_file is not None:
            with pq.ParquetFile(faces_file, page_checksum_verification=True) as file:
                for group in file.iter_batches(ROW_GROUP):
                    for row in group.to_pylist():
                        if row["photo"] in names:
                            faces.setdefault(row["photo"], []).append(row)
        for row in photos:
            if len(faces.get(row["path"], ())) == row["faces_built"]:
                self.rows[row["key"]] = row, faces.get(row["path"], [])

    def __contains__(self, key: str) -> bool:
        return key in self.rows

    def take(self, key: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """(row of the photo, rows of its faces)."""
        self.reused += 1
        return self.rows[key]

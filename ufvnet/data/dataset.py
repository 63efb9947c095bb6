"""Reading a built dataset: ``open(path).view("MR3", split="train")``."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ufvnet.errors import ConfigError
from ufvnet.faces.crop import crop_landmarks
from ufvnet.files import is_intact, printed
from ufvnet.imaging.formats import formats
from ufvnet.imaging.resize import VIEWS, lr_side
from ufvnet.remote import check_local

from .cache import Cache
from .card import read, split_of
from .damage.recut import Original


@dataclass(frozen=True)
class FaceArrays:
    """A decoded view, memory-mapped.

    hr: (N, H, W, 3) uint8.
    lr: (N, kH/16, kW/16, 3) uint8 by k.
    face_ids: N names.
    originals: where the N faces were cut from, or empty if they were not asked for.
    landmarks: (N, 68, 2) float32, x and y in HR pixels, or None if they were not asked for.
    """

    hr: np.ndarray | Joined
    lr: dict[int, np.ndarray] | dict[int, Joined]
    face_ids: tuple[str, ...]
    originals: tuple[Original, ...] = ()
    landmarks: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.face_ids)


class Joined:
    """Arrays of equal row shape as one, without a copy; indexed by row number."""

    def __init__(self, parts: Sequence[np.ndarray]):
        self.parts, self.ends = parts, np.cumsum([len(p) for p in parts])
        self.shape = (int(self.ends[-1]), *parts[0].shape[1:])

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, row: int) -> np.ndarray:
        part = int(np.searchsorted(self.ends, row, side="right"))
        return self.parts[part][row - (self.ends[part - 1] if part else 0)]


def join(faces: Sequence[FaceArrays]) -> FaceArrays:
    """The decoded views of several datasets as one."""
    if len(faces) == 1:
        return faces[0]
    lr = {k: Joined([f.lr[k] for f in faces]) for k in faces[0].lr}  # type: ignore[misc]
    ids, originals = (
        tuple(i for part in parts for i in part) for parts in zip(*((f.face_ids, f.originals) for f in faces))
    )
    there = [f.landmarks for f in faces if f.landmarks is not None]
    landmarks = np.concatenate(there) if len(there) == len(faces) else None
    return FaceArrays(Joined([f.hr for f in faces]), lr, ids, originals, landmarks)  # type: ignore[misc]


@dataclass(frozen=True)
class DatasetView:
    """Columns of one split: HR, and LR at some scales.

    root: the dataset's folder.
    ks: the scales, in sixteenths of the HR size.
    fingerprint: of the split.
    files: (name, sha256) of its faces files.
    """

    root: Path
    split: str
    ks: tuple[int, ...]
    hr_size: int
    fingerprint: str
    files: tuple[tuple[str, str], ...]

    @property
    def shards(self) -> list[Path]:
        """The split's files, each verified to be as it was built (once per process, again if it changed).

        Raises:
            ConfigError: one is missing or damaged.
        """
        return [self._verified(*file) for file in self.files]

    def _verified(self, name: str, digest: str) -> Path:
        if not is_intact(self.root / name, digest):
            state = "is damaged, it is not the file that was built" if (self.root / name).exists() else "is missing"
            raise ConfigError(f"dataset = {printed(self.root)}: {name} {state}; build the dataset again")
        return self.root / name

    def __len__(self) -> int:
        return sum(_rows(self.root / name) for name, _ in self.files)

    def column(self, name: str) -> Iterator[np.ndarray]:
        """The images of one column (``hr``, ``lr_1`` ... ``lr_8``) as (h, w, 3) uint8, in order."""
        import pyarrow.parquet as pq

        from .schema import ROW_GROUP

        for shard in self.shards:
            for group in pq.ParquetFile(shard).iter_batches(ROW_GROUP, columns=[name]):
                yield from map(decode, group.column(0).to_pylist())

    def face(self, index: int) -> dict[str, Any]:
        """The row of face number ``index``: landmarks, box and encoded images. Reads one row group.

        Raises:
            IndexError: there are not so many faces.
        """
        import pyarrow.parquet as pq

        left = index
        for name, digest in self.files if index >= 0 else ():
            if left >= (rows := _rows(self.root / name)):
                left -= rows
                continue
            with pq.ParquetFile(self._verified(name, digest)) as file:
                for group in range(file.num_row_groups):
                    rows = file.metadata.row_group(group).num_rows
                    if left < rows:
                        return file.read_row_group(group).slice(left, 1).to_pylist()[0]
                    left -= rows
        raise IndexError(f"face {index} of {len(self)}")

    def face_ids(self) -> tuple[str, ...]:
        return tuple(row["face_id"] for row in self._rows_of("face_id"))

    def originals(self, root: Path) -> tuple[Original, ...]:
        """Where the faces were cut from.

        Args:
            root: the folder of the photographs.

        Raises:
            ConfigError: a photograph is missing, or the faces were turned when they were cut.
        """
        originals = list[Original]()
        for row in self._rows_of("photo", "sha256", "box", "angle"):
            if row["angle"]:
                raise ConfigError(f"{printed(self.root)}: its faces were turned (crop.align) and cannot be cut again")
            originals.append(Original.of_row(root, row))
        missing = next((o.path for o in originals if not o.path.is_file()), None)
        if missing is not None:
            name = printed(missing)
            raise ConfigError(f"{printed(self.root)}: the photograph {name} is not there; faces are cut again from it")
        return tuple(originals)

    def _rows_of(self, *columns: str) -> Iterator[dict[str, Any]]:
        """Some columns of every face, a few rows in memory at a time."""
        import pyarrow.parquet as pq

        from .schema import ROW_GROUP

        for shard in self.shards:
            with pq.ParquetFile(shard) as file:
                for group in file.iter_batches(ROW_GROUP, columns=[*columns]):
                    yield from group.to_pylist()

    def landmarks(self) -> np.ndarray:
        """(N, 68, 2) float32: each face's landmarks, x and y in pixels of its HR crop.

        Raises:
            ConfigError: a face has none.
        """
        points = np.empty((len(self), 68, 2), np.float32)
        for i, row in enumerate(self._rows_of("face_id", "landmarks", "box", "angle")):
            if len(row["landmarks"] or ()) != 136:
                name = printed(row["face_id"])
                raise ConfigError(f"dataset = {printed(self.root)}: face {name} has no 68 landmarks, which are needed")
            in_photo = np.reshape(row["landmarks"], (68, 2))
            points[i] = crop_landmarks(in_photo, row["box"], row["angle"] or 0, self.hr_size)
        return points

    def arrays(self, photos: Path | None = None, landmarks: bool = False) -> FaceArrays:
        """The decoded view as uint8 memory maps, one file per column.

        Each is made once, below <dataset>/cache/<split>-<its fingerprint>, and shared by all views. Files that are
        there are verified by their digests; damaged ones are made again. Those of earlier builds stay, because a
        training may be reading them.

        Args:
            photos: the folder of the photographs, if ``originals`` are wanted.
            landmarks: read them too.

        Raises:
            ConfigError: the cache lies behind a symbolic link, a file of the dataset is missing or damaged, or a
                photograph is missing.
        """
        cache = Cache(self.root, f"{self.split}-{self.fingerprint[:16]}")
        ids = cache.names(self.face_ids)
        sides = {"hr": self.hr_size} | {f"lr_{k}": lr_side(self.hr_size, k) for k in self.ks}
        maps = {
            name: cache.array(name, (len(ids), side, side, 3), partial(self.column, name))
            for name, side in sides.items()
        }
        originals = () if photos is None else self.originals(photos)
        shape = (len(ids), 68, 2)
        points = cache.array("landmarks", shape, self.landmarks, np.float32) if landmarks else None
        return FaceArrays(maps["hr"], {k: maps[f"lr_{k}"] for k in self.ks}, ids, originals, points)


def _rows(shard: Path) -> int:
    """
    Raises:
        ConfigError: it cannot be read.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.read_metadata(shard).num_rows
    except (OSError, pa.ArrowException) as error:
        raise ConfigError(f"{printed(shard)}: is missing or damaged; build the dataset again") from error


@dataclass(frozen=True)
class Dataset:
    """A built dataset: its folder and its card (dataset.json)."""

    root: Path
    card: dict[str, Any]

    @property
    def hr_size(self) -> int:
        return self.card["hr_size"]

    @property
    def photos(self) -> Path:
        """The folder of its photographs, as the configuration of its build names it.

        Raises:
            ConfigError: the dataset was built from an object store.
        """
        root = self.card["config"]["source"]["root"]
        check_local("photos", root)
        return Path(root)

    def view(self, name: str = "MR8", split: str = "train") -> DatasetView:
        """A view of a split: ``MR3``, ``MR7`` or ``MR8`` (docs/method.md section 5).

        Raises:
            ConfigError: unknown view, or a split without faces.
        """
        if name not in VIEWS:
            raise ConfigError(f"view = {name}: must be one of {', '.join(VIEWS)}")
        return self.select(VIEWS[name], split)

    def select(self, ks: tuple[int, ...], split: str = "train") -> DatasetView:
        """A view of any scales of a split, in sixteenths of the HR size.

        Raises:
            ConfigError: a split without faces.
        """
        if not self.card["faces"].get(split):
            others = {s: n for s, n in self.card["faces"].items() if n}
            raise ConfigError(f"{printed(self.root)}: no faces in split {split!r}; there are {others}")
        files = sorted((s["faces"], s["faces_sha256"]) for s in self.card["shards"] if s["faces"])
        chosen = tuple(file for file in files if split_of(file[0]) == split)
        return DatasetView(self.root, split, ks, self.hr_size, self.card["fingerprints"][split], chosen)


def open(path: Path | str) -> Dataset:
    """Open a built dataset.

    Raises:
        ConfigError: there is none at this path, it is of another version of the schema, or its card is damaged.
    """
    return Dataset(Path(path), read(Path(path)))


def decode(image: dict[str, Any]) -> np.ndarray:
    """The value of an image column as (h, w, 3) uint8."""
    return np.asarray(Image.open(io.BytesIO(image["bytes"]), formats=formats()).convert("RGB"))

"""A dataset's HR faces in few, small files, for a machine that has neither pyarrow nor the dataset.

A part is a zip file: HR faces as lossless WebP (17 kB for one of 128x128), their landmarks, and the dataset's card.
Every part can be used alone: its training faces are drawn at random. Part 0 has faces to validate and to test on, too.
LR images are made again from HR, bit for bit, so ``unpack`` gives the same decoded columns as the dataset has.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ufvnet import data
from ufvnet.config import fingerprint
from ufvnet.data.cache import Cache
from ufvnet.data.card import write
from ufvnet.data.dataset import FaceArrays
from ufvnet.errors import ConfigError
from ufvnet.files import write_atomically
from ufvnet.imaging.resize import SIXTEENTHS, lr_side, resize

PART = 60 * 2**20
"""Most bytes of a part."""
HELD = {"val": 64, "test": 200}
"""Most faces of the other splits."""
EFFORT = 2
"""WebP's method: 4 makes photographs' faces no smaller."""

Face = tuple[str, str, np.ndarray, np.ndarray | None]
"""Split, name, HR face and landmarks."""


def pack(dataset: Path, out: Path, faces: int | None = None, most: int = PART) -> list[Path]:
    """Write the parts ``<name>-<number>.zip``.

    Args:
        dataset: a built dataset of the degradation pil-bicubic.
        faces: of the training split; None packs all.
        most: bytes of a part.

    Raises:
        ConfigError: there is no such dataset, or its LR images cannot be made again from HR.
    """
    opened = data.open(dataset)
    card = opened.card
    if card["degradation"]["name"] != "pil-bicubic":
        raise ConfigError(f"dataset = {dataset}: only LR images of pil-bicubic are made again from HR faces")
    parts: list[Path] = []
    rest: list[tuple[Face, bytes]] = []
    for face in (*_faces(opened, "val"), *_faces(opened, "test"), *_faces(opened, "train", faces)):
        rest.append((face, _encoded(face[2])))
        if sum(len(content) for _, content in rest) > most - 2**20:
            parts.append(_write(out, len(parts), card, rest[:-1]))
            rest = rest[-1:]
    if rest:
        parts.append(_write(out, len(parts), card, rest))
    return parts


def _faces(dataset: data.Dataset, split: str, count: int | None = None) -> Iterator[Face]:
    if not dataset.card["faces"].get(split):
        return
    view = dataset.select((), split)
    try:
        arrays = view.arrays(landmarks=True)
    except ConfigError:  # faces without landmarks train all but dic, mlgdn and kdfsrnet
        arrays = view.arrays()
    rows = np.random.default_rng(0).permutation(len(arrays))
    for row in rows[: HELD.get(split, count)].tolist():
        points = None if arrays.landmarks is None else arrays.landmarks[row]
        yield split, arrays.face_ids[row], np.asarray(arrays.hr[row]), points


def _encoded(face: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(face).save(buffer, "WEBP", lossless=True, method=EFFORT, quality=100, exact=True)
    return buffer.getvalue()


def _write(out: Path, number: int, card: dict[str, Any], faces: list[tuple[Face, bytes]]) -> Path:
    def fill(file: Path) -> None:
        with zipfile.ZipFile(file, "w") as part:
            part.writestr("dataset.json", json.dumps(card))
            part.writestr("faces.json", json.dumps([(split, name) for (split, name, *_), _ in faces]))
            points = [p for (*_, p), _ in faces if p is not None]
            if len(points) == len(faces):
                buffer = io.BytesIO()
                np.save(buffer, np.array(points, dtype=np.float32))
                part.writestr("landmarks.npy", buffer.getvalue())
            for i, (_, content) in enumerate(faces):
                part.writestr(f"{i}.webp", content)

    path = out / f"{card['name']}-{number}.zip"
    write_atomically(path, fill)
    return path


def unpack(parts: list[Path], out: Path) -> Path:
    """A dataset of the faces in some parts of one dataset: card and decoded columns, but no Parquet files.

    Raises:
        ConfigError: the parts are of several datasets.
    """
    card, faces = dict[str, Any](), list[Face]()
    for path in sorted(parts):
        own, more = _read(path)
        if card and own != card:
            raise ConfigError(f"{path}: is of another dataset than the parts before it")
        card, faces = own, faces + more
    splits = {split: [face for face in faces if face[0] == split] for split in dict.fromkeys(f[0] for f in faces)}
    return put(out, card, splits)


def put(out: Path, card: dict[str, Any], splits: dict[str, list[Face]]) -> Path:
    """A dataset folder of decoded faces.

    Args:
        card: of the dataset that they come from; splits, counts and fingerprints become those of these faces.
        splits: the faces of each split.
    """
    of = card["fingerprints"]
    prints = {s: fingerprint("packed", of[s], [name for _, name, *_ in faces]) for s, faces in splits.items()}
    counts = {split: len(faces) for split, faces in splits.items()}
    write(out, card | {"faces": counts, "fingerprints": prints, "shards": []})
    for split, faces in splits.items():
        _fill(Cache(out, f"{split}-{prints[split][:16]}"), faces, card["hr_size"])
    return out


def _fill(cache: Cache, faces: list[Face], hr_size: int) -> None:
    n = len(faces)
    cache.names(lambda: tuple(name for _, name, *_ in faces))
    cache.array("hr", (n, hr_size, hr_size, 3), lambda: (face for _, _, face, _ in faces))
    with ThreadPoolExecutor() as pool:
        for k in SIXTEENTHS:
            side = lr_side(hr_size, k)
            cache.array(f"lr_{k}", (n, side, side, 3), partial(pool.map, _Reduce(side), faces))
    if all(points is not None for *_, points in faces):
        cache.array("landmarks", (n, 68, 2), lambda: (p for *_, p in faces if p is not None), np.float32)


class _Reduce:
    def __init__(self, side: int):
        self.side = side

    def __call__(self, face: Face) -> np.ndarray:
        return np.asarray(resize(Image.fromarray(face[2]), self.side))


def _read(path: Path) -> tuple[dict[str, Any], list[Face]]:
    with zipfile.ZipFile(path) as part, ThreadPoolExecutor() as pool:
        names = json.loads(part.read("faces.json"))
        contents = [part.read(f"{i}.webp") for i in range(len(names))]
        there = "landmarks.npy" in part.namelist()
        points = np.load(io.BytesIO(part.read("landmarks.npy"))) if there else [None] * len(names)
        pixels = pool.map(lambda content: np.asarray(Image.open(io.BytesIO(content)).convert("RGB")), contents)
        faces = [(split, name, face, p) for (split, name), face, p in zip(names, pixels, points)]
        return json.loads(part.read("dataset.json")), faces


def arrays_of(dataset: Path, split: str, ks: tuple[int, ...] = SIXTEENTHS) -> FaceArrays:
    """The decoded faces of a split of an unpacked dataset."""
    return data.open(dataset).select(ks, split).arrays()

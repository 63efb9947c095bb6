"""Photos to a multi-resolution Parquet dataset: ``plan`` shards, ``build_shard`` each, ``finish`` the card."""

from __future__ import annotations

import hashlib
import io
import os
import time
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from ufvnet.config import BuildConfig, fingerprint
from ufvnet.faces.crop import crop_box, crop_face
from ufvnet.faces.detect import Face, find_faces

from .bicubic import SIXTEENTHS, lr_side, resize
from .images import ImageProblem, read_image
from .schema import FACES, PHOTOS, SCHEMA_VERSION, read_fingerprint, write_json, write_table
from .sources import Photo, list_photos

PNG_LEVEL = 3  # 1.4x the speed of Pillow's default for 15 % more bytes

STATUSES = (
    "ok", "no_face", "too_small", "unreadable", "too_large", "duplicate", "missing", "not_listed", "landmarks_missing",
)  # fmt: skip
"""What can become of a photo."""

NO_FAILURES = ("ok", "duplicate", "not_listed")
"""Statuses that leave nothing to mend."""


@dataclass(frozen=True)
class Shard:
    """Photos of one split that make one pair of Parquet files; whatever a worker needs to build it."""

    index: int
    split: str | None
    index_in_split: int
    photos: tuple[Photo, ...]
    digests: tuple[str | None, ...]
    duplicates: dict[str, str]
    config: BuildConfig

    @property
    def root(self) -> Path:
        return self.config.out / self.config.name

    @property
    def photos_file(self) -> Path:
        return self.root / "photos" / f"part-{self.index:05d}.parquet"

    @property
    def timings_file(self) -> Path:
        return self.root / "timings" / f"part-{self.index:05d}.parquet"

    @property
    def faces_file(self) -> Path | None:
        if self.split is None:
            return None
        return self.root / "faces" / f"split={self.split}" / f"part-{self.index_in_split:05d}.parquet"

    @property
    def fingerprint(self) -> str:
        """Of all that decides the shard's bytes: photos by content, settings, schema."""
        made_by = self.config.model_dump(mode="json", include={"hr_size", "min_face", "max_pixels"})
        photos = [(p.path, p.split, p.landmarks, p.hint, self.duplicates.get(p.path)) for p in self.photos]
        return fingerprint("shard", SCHEMA_VERSION, made_by, photos, self.digests)


@dataclass
class ShardReport:
    """What became of a shard's photos."""

    index: int
    counts: dict[str, int]
    faces: int
    skipped: bool
    fingerprint: str = ""


@dataclass
class _Built:
    status: str
    reason: str = ""
    size: tuple[int | None, int | None] = (None, None)
    format: str | None = None
    faces_found: int = 0
    faces: list[dict[str, Any]] = field(default_factory=list)


def plan(config: BuildConfig) -> list[Shard]:
    """List and hash the photos and divide them into shards of one split each.

    The first photo by path keeps a content; later ones with the same sha256 are duplicates of it.

    Raises:
        ConfigError: the source is not as it should be.
    """
    photos = list_photos(config)
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        digests = dict(zip((p.path for p in photos), pool.map(lambda p: _sha256(config.source.root / p.path), photos)))
    first: dict[str, str] = {}
    duplicates: dict[str, str] = {}
    for photo in photos:
        digest = digests[photo.path]
        if digest is not None and photo.split is not None:
            original = first.setdefault(digest, photo.path)
            if original != photo.path:
                duplicates[photo.path] = original
    shards: list[Shard] = []
    for split in sorted({p.split for p in photos}, key=lambda s: (s is None, s)):
        members = [p for p in photos if p.split == split]
        for j, start in enumerate(range(0, len(members), config.shard_size)):
            chunk = tuple(members[start : start + config.shard_size])
            own = {p.path: duplicates[p.path] for p in chunk if p.path in duplicates}
            shards.append(Shard(len(shards), split, j, chunk, tuple(digests[p.path] for p in chunk), own, config))
    return shards


def build_shard(shard: Shard) -> ShardReport:
    """Build one shard, unless its files exist with its fingerprint.

    Writes faces, then timings, then photos: the photos file is the mark of completion.
    """
    done = read_fingerprint(shard.photos_file) == shard.fingerprint
    if done and (shard.faces_file is None or read_fingerprint(shard.faces_file) == shard.fingerprint):
        statuses = pq.read_table(shard.photos_file, columns=["status"])["status"].to_pylist()
        faces = pq.read_metadata(shard.faces_file).num_rows if shard.faces_file else 0
        return ShardReport(shard.index, dict(Counter(statuses)), faces, True, shard.fingerprint)
    rows, faces, timings = [], [], []
    for photo, digest in zip(shard.photos, shard.digests):
        started = time.perf_counter()
        built = _build_photo(photo, digest, shard)
        rows.append(_photo_row(photo, digest, built, shard.config))
        faces += built.faces
        timings.append({"path": rows[-1]["path"], "milliseconds": (time.perf_counter() - started) * 1000})
    if shard.faces_file:
        write_table(shard.faces_file, pa.Table.from_pylist(faces, schema=FACES), shard.fingerprint)
    write_table(shard.timings_file, pa.Table.from_pylist(timings), shard.fingerprint)
    write_table(shard.photos_file, pa.Table.from_pylist(rows, schema=PHOTOS), shard.fingerprint)
    return ShardReport(shard.index, dict(Counter(r["status"] for r in rows)), len(faces), False, shard.fingerprint)


def finish(config: BuildConfig, shards: Iterable[Shard], reports: Iterable[ShardReport]) -> dict[str, Any]:
    """Remove files of an earlier, other build, check that every photo has a row, and write the card.

    Returns:
        The card that stands in dataset.json.

    Raises:
        RuntimeError: rows and photos do not add up.
    """
    shards, reports = list(shards), sorted(reports, key=lambda r: r.index)
    counts: Counter[str] = Counter()
    for report in reports:
        counts.update(report.counts)
    found = sum(len(s.photos) for s in shards)
    if sum(counts.values()) != found:
        raise RuntimeError(f"{found} photos were found but {sum(counts.values())} are accounted for")
    root = config.out / config.name
    wanted = {file for s in shards for file in (s.photos_file, s.timings_file, s.faces_file)}
    for pattern in ("photos/part-*.parquet", "timings/part-*.parquet", "faces/*/part-*.parquet"):
        for old in root.glob(pattern):
            if old not in wanted:
                old.unlink()
    faces: Counter[str] = Counter()
    prints: dict[str, list[str]] = {}
    for shard, report in zip(shards, reports):
        if shard.split is not None:
            faces[shard.split] += report.faces
            prints.setdefault(shard.split, []).append(shard.fingerprint)
    card = {
        "name": config.name,
        "schema_version": SCHEMA_VERSION,
        "hr_size": config.hr_size,
        "photos": found,
        "counts": {status: counts.get(status, 0) for status in STATUSES},
        "faces": dict(sorted(faces.items())),
        "fingerprints": {split: fingerprint("split", parts) for split, parts in sorted(prints.items())},
        "config": config.model_dump(mode="json", exclude={"cluster"}),
        "versions": _versions(),
    }
    write_json(root / "dataset.json", card)
    return card


def _build_photo(photo: Photo, digest: str | None, shard: Shard) -> _Built:
    config = shard.config
    if photo.split is None:
        return _Built("not_listed", "in none of the source's lists")
    if digest is None:
        return _Built(*_why_not_read(config.source.root / photo.path))
    if photo.path in shard.duplicates:
        return _Built("duplicate", f"same bytes as {_printable(shard.duplicates[photo.path])}")
    try:
        read = read_image(config.source.root / photo.path, config.max_pixels)
    except ImageProblem as problem:
        return _Built(problem.status, problem.reason)
    built = _Built("ok", "; ".join(read.notes), read.rgb.size, read.format)
    try:
        points = _landmarks(photo, read.rgb, built)
        if points is not None:
            built.faces.append(_face_row(photo, digest, read.rgb, points, config))
    except ImageProblem as problem:
        built.status, built.reason = problem.status, problem.reason
    except Exception as error:  # one photo's surprise is one row's reason, never the run's end
        built.status, built.reason = "unreadable", f"{type(error).__name__}: {error}"
    return built


def _why_not_read(path: Path) -> tuple[str, str]:
    """Status and reason of a photo that has no bytes."""
    if path.is_symlink() and not path.exists():
        return "unreadable", "a link to nowhere"
    if not path.exists():
        return "missing", "listed, but no such file"
    return "unreadable", "cannot be opened" if path.is_file() else "not a regular file"


def _landmarks(photo: Photo, rgb: Image.Image, built: _Built) -> np.ndarray | None:
    """(68, 2) landmarks of the face that is meant: given, nearest the hint, or the largest; None if none."""
    if photo.landmarks is not None:
        built.faces_found = 1
        return np.asarray(photo.landmarks, dtype=np.float64).reshape(68, 2)
    faces = find_faces(rgb)
    built.faces_found = len(faces)
    if photo.hint is not None:
        faces = sorted((f for f in faces if _holds(f, photo.hint)), key=lambda f: _distance(f, photo.hint))
    if not faces:
        built.status = "no_face"
        built.reason = "no frontal face was found" if not built.faces_found else "no face where the annotation has one"
        return None
    return faces[0].landmarks


def _holds(face: Face, point: tuple[float, float]) -> bool:
    left, top, right, bottom = face.box
    return left <= point[0] < right and top <= point[1] < bottom


def _distance(face: Face, point: tuple[float, float] | None) -> float:
    return float(np.linalg.norm(face.landmarks.mean(0) - np.asarray(point)))


def _face_row(photo: Photo, digest: str | None, rgb: Image.Image, points: np.ndarray, config: BuildConfig) -> dict:
    """A row of the faces file.

    Raises:
        ImageProblem: the landmarks give no crop, or one too small.
    """
    try:
        box = crop_box(points, *rgb.size)
    except ValueError as error:
        raise ImageProblem("landmarks_missing", str(error)) from error
    side = min(box[2] - box[0], box[3] - box[1])
    if side < config.min_face:
        raise ImageProblem("too_small", f"the face's crop has {side} pixels, fewer than {config.min_face}")
    hr = crop_face(rgb, box, config.hr_size)
    images = {"hr": hr} | {f"lr_{k}": resize(hr, lr_side(config.hr_size, k)) for k in SIXTEENTHS}
    name = _printable(photo.path)
    face_id = f"{name}#0"
    return {
        "face_id": face_id,
        "photo": name,
        "sha256": digest,
        "landmarks": points.ravel().tolist(),
        "box": list(box),
        **{column: {"bytes": _png(image), "path": f"{face_id}/{column}.png"} for column, image in images.items()},
    }


def _photo_row(photo: Photo, digest: str | None, built: _Built, config: BuildConfig) -> dict[str, Any]:
    path = config.source.root / photo.path
    try:
        size = path.stat().st_size
    except OSError:
        size = None
    return {
        "path": _printable(photo.path), "split": photo.split, "bytes": size, "sha256": digest,
        "width": built.size[0], "height": built.size[1], "format": built.format,
        "status": built.status, "reason": _printable(built.reason), "faces_found": built.faces_found,
    }  # fmt: skip


def _png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=PNG_LEVEL)
    return buffer.getvalue()


def _printable(text: str) -> str:
    """File names that are not UTF-8 keep their bytes as escapes: Parquet strings must be UTF-8."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _sha256(path: Path) -> str | None:
    """None for what cannot be read; a pipe would block for ever."""
    if not path.is_file():
        return None
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return None


def _versions() -> dict[str, str]:
    from importlib.metadata import version

    return {name: version(name) for name in ("ufvnet", "pillow", "numpy", "pyarrow", "dlib-bin")}

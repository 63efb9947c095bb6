"""One photo to its rows: what became of it, and a row for each face that is built."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ufvnet.config import BuildConfig
from ufvnet.data.sources.cells import Cell
from ufvnet.faces.crop import Box, corners_inside, crop_box, crop_face, eye_angle, square_box, turn_upright
from ufvnet.faces.finders import finder
from ufvnet.files import escape_name
from ufvnet.imaging.decode import ImageProblem
from ufvnet.imaging.png import encode
from ufvnet.imaging.resize import SIXTEENTHS, lr_side
from ufvnet.imaging.rgb import read_image

from .degrade import degrade
from .duplicates import dhash
from .shards import Entry, utf8

STATUSES = (
    "ok", "no_face", "too_small", "clipped", "unreadable", "too_large", "crashed", "duplicate", "near_duplicate",
    "missing", "not_listed", "landmarks_missing",
)  # fmt: skip
"""What can become of a photo."""

NO_FAILURES = ("ok", "duplicate", "near_duplicate", "not_listed")
"""Statuses that leave nothing to mend."""

MAX_BYTES = 2**29
"""Larger files are too_large: a photo's bytes are read into memory once."""


@dataclass
class Built:
    """What became of a photo; ``passing`` if it may be otherwise the next time."""

    status: str
    reason: str = ""
    size: tuple[int | None, int | None] = (None, None)
    bytes: int | None = None
    format: str | None = None
    dhash: str | None = None
    passing: bool = False
    faces_found: int = 0
    faces: list[dict[str, Any]] = field(default_factory=list)


def build_photo(entry: Entry, content: Cell, config: BuildConfig) -> Built:
    """Read a photo and cut out, reduce and encode its faces; whatever goes wrong is a status and a reason."""
    try:
        path_size = content.stat().st_size if isinstance(content, Path) else None
        path_size = len(content) if isinstance(content, bytes) else path_size
    except (OSError, ValueError):  # ValueError: a NUL in the name
        path_size = None
    built = _without_reading(entry, content) or _within_limits(path_size)
    if built is None:
        built = Built("ok")
        try:
            _read_and_cut(entry, _bytes(entry, content, built), config, built)
        except ImageProblem as problem:
            built.status, built.reason, built.faces = problem.status, problem.reason, []
        except MemoryError:
            raise  # the machine's trouble, not the photo's: the shard is tried again
        except Exception as error:  # one photo's surprise is one row's reason, never the run's end
            built.status, built.reason, built.faces = "unreadable", f"{type(error).__name__}: {error}", []
    built.bytes = path_size
    return built


def photo_row(entry: Entry, built: Built) -> dict[str, Any]:
    """The row of the photos file."""
    return {
        "path": escape_name(entry.photo.path), "split": entry.photo.split,
        "identity": None if entry.photo.identity is None else escape_name(entry.photo.identity),
        "bytes": built.bytes, "sha256": entry.scanned.sha256,
        "width": built.size[0], "height": built.size[1], "format": built.format,
        "status": built.status, "reason": utf8(built.reason),
        "faces_found": built.faces_found, "faces_built": len(built.faces),
        "dhash": built.dhash or entry.scanned.dhash, "key": "" if built.passing else entry.key,
    }  # fmt: skip


def _without_reading(entry: Entry, content: Cell) -> Built | None:
    """Photos of which it is known beforehand that nothing is built."""
    if entry.photo.fault is not None:
        return Built(*entry.photo.fault)
    if entry.photo.split is None:
        return Built("not_listed", "in none of the source's lists")
    if entry.scanned.sha256 is None:
        return Built(*_why_not_read(content))
    if entry.copy_of is not None and entry.alike is not None:
        return Built("near_duplicate", f"looks like {entry.copy_of} ({entry.alike} of 256 bits differ)")
    if entry.copy_of is not None:
        return Built("duplicate", f"same bytes as {entry.copy_of}")
    return None


def _why_not_read(content: Cell) -> tuple[str, str]:
    """Status and reason of a photo that has no bytes."""
    if isinstance(content, OSError):
        return "unreadable", str(content)
    if not isinstance(content, Path):
        return "unreadable", "no image in the table's row"
    try:
        if content.is_symlink() and not content.exists():
            return "unreadable", "a link to nowhere"
        if content.is_dir():
            return "unreadable", "a link to a folder that it lies in" if content.is_symlink() else "cannot be listed"
        if not content.exists():
            return "missing", "listed, but no such file"
        return "unreadable", "cannot be opened" if content.is_file() else "not a regular file"
    except (OSError, ValueError) as error:
        return "unreadable", str(error)


def _within_limits(size: int | None) -> Built | None:
    if size is not None and size > MAX_BYTES:
        return Built("too_large", f"a file of {size:,} bytes, over {MAX_BYTES:,}")
    return None


def _bytes(entry: Entry, content: Cell, built: Built) -> bytes:
    """The photo's bytes, the same that were hashed.

    Raises:
        ImageProblem: they have changed since, or cannot be read any more.
    """
    built.passing = True
    try:
        if isinstance(content, OSError):
            raise content
        found = content.read_bytes() if isinstance(content, Path) else content or b""
    except OSError as error:
        raise ImageProblem("unreadable", f"cannot be opened any more ({error.strerror or error})") from error
    if hashlib.sha256(found).hexdigest() != entry.scanned.sha256:
        raise ImageProblem("unreadable", "the file changed while the dataset was built")
    built.passing = False
    return found


def _read_and_cut(entry: Entry, content: bytes, config: BuildConfig, built: Built) -> None:
    read = read_image(content, config.max_pixels)
    rgb, notes = read.rgb, list(read.notes)
    built.size, built.format = rgb.size, read.format
    if config.near_duplicates != "off":
        built.dhash = entry.scanned.dhash or dhash(rgb)
    problems: list[ImageProblem] = []
    for number, points in enumerate(_landmarks(entry, rgb, config, built)):
        try:
            built.faces.append(_face_row(entry, number, rgb, points, config))
        except ImageProblem as problem:
            problems.append(problem)
    if not built.faces and problems:
        raise problems[0]
    if problems:
        notes.append(f"{len(problems)} of {built.faces_found} faces left out: {problems[0].reason}")
    built.reason = "; ".join(notes)


def _landmarks(entry: Entry, rgb: Image.Image, config: BuildConfig, built: Built) -> list[np.ndarray]:
    """(68, 2) landmarks of the faces that are meant: given, at the hint, the largest, or all.

    Raises:
        ImageProblem: there is none.
    """
    photo = entry.photo
    if photo.landmarks is not None:
        built.faces_found = 1
        return [np.asarray(photo.landmarks, dtype=np.float64)]
    found = finder.find_faces(rgb, every=config.faces == "all", at=photo.hint)
    built.faces_found = len(found)
    if not found:
        raise ImageProblem("no_face", "no face where the annotation has one" if photo.hint else "no frontal face found")
    return [f.landmarks for f in (found if config.faces == "all" else found[:1])]


def _face_row(entry: Entry, number: int, rgb: Image.Image, points: np.ndarray, config: BuildConfig) -> dict[str, Any]:
    """A row of the faces file.

    Raises:
        ImageProblem: the landmarks give no crop, or one that is too small or leaves the photo.
    """
    name = escape_name(entry.photo.path)
    face_id = f"{name}#{number}"
    digest = entry.scanned.sha256 or ""
    hr, box, angle = _cut(rgb, points, config)
    sides = [lr_side(config.hr_size, k) for k in SIXTEENTHS]
    lrs = degrade(config.degradation, hr, sides, (config.seed, int(digest[:8], 16), number))
    images = {"hr": hr} | {f"lr_{k}": lr for k, lr in zip(SIXTEENTHS, lrs)}
    return {
        "face_id": face_id,
        "photo": name,
        "sha256": digest,
        "landmarks": points.ravel().tolist(),
        "box": list(box),
        "angle": angle,
        **{column: {"bytes": encode(image), "path": f"{face_id}/{column}.png"} for column, image in images.items()},
    }


def _cut(rgb: Image.Image, points: np.ndarray, config: BuildConfig) -> tuple[Image.Image, Box, float]:
    """The HR face, its box, and the degrees by which the photo was turned about the eyes' centre before.

    Raises:
        ImageProblem: the landmarks give no crop, or one that is too small or leaves the photo.
    """
    crop, angle = config.crop, 0.0
    try:
        inside = crop_box(points, *rgb.size, crop.factor)
        box = inside if crop.clip == "stretch" else square_box(points, crop.factor)
    except (ValueError, OverflowError) as error:
        raise ImageProblem("landmarks_missing", str(error)) from error
    corner = (0, 0)
    patch = rgb
    side = min(box[2] - box[0], box[3] - box[1])
    if side < config.min_face:
        raise ImageProblem("too_small", f"the face's crop has {side} pixels, fewer than {config.min_face}")
    if side > 2 * max(rgb.size):
        raise ImageProblem("landmarks_missing", f"the landmarks' crop of {side} pixels dwarfs the photo")
    if crop.align:
        angle = eye_angle(points)
        patch, turned, corner = turn_upright(rgb, points)
        box = square_box(turned, crop.factor)
    hr = crop_face(patch, box, config.hr_size)
    left, top = corner
    box = (box[0] + left, box[1] + top, box[2] + left, box[3] + top)
    if crop.clip == "drop" and not corners_inside(box, angle, points[36:48].mean(0), *rgb.size):
        raise ImageProblem("clipped", f"the face's crop {box} leaves the {rgb.width}x{rgb.height} photo")
    return hr, box, angle

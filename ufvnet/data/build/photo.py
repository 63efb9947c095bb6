"""One photo to its rows: what became of it, and a row for each face that is built."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from PIL import Image

from ufvnet.config import BuildConfig
from ufvnet.data.sources.cells import Cell
from ufvnet.faces.crop import Box, corners_inside, crop_box, crop_face, eye_angle, square_box, turn_upright
from ufvnet.faces.finders import choose_finder
from ufvnet.files import escape_name
from ufvnet.imaging.decode import ImageProblem
from ufvnet.imaging.png import encode
from ufvnet.imaging.resize import SIXTEENTHS, lr_side
from ufvnet.imaging.rgb import read_image
from ufvnet.remote import AnyPath

from .copies import ShardPhoto
from .degrade import degrade
from .duplicates import dhash

MAX_BYTES = 2**29
"""Larger files are too_large, because all bytes of a photo are read into memory at once."""


@dataclass
class PhotoResult:
    """What became of a photo.

    status, reason: of STATUSES, and why or what was converted.
    size: (width, height) of the upright photo, if it was read.
    bytes: size of its file.
    format: Pillow's name of its format.
    dhash: its difference hash, if it was decoded for its faces or is a near duplicate. Other photos have none even
        where the scan found it: ``near_duplicates: report`` and ``drop`` give the same rows.
    transient: true if the next build may have another result.
    faces_found, faces: number of faces found, and rows of those that are built.
    """

    status: str
    reason: str = ""
    size: tuple[int | None, int | None] = (None, None)
    bytes: int | None = None
    format: str | None = None
    dhash: str | None = None
    transient: bool = False
    faces_found: int = 0
    faces: list[dict[str, Any]] = field(default_factory=list)


def build_photo(planned: ShardPhoto, content: Cell, config: BuildConfig) -> PhotoResult:
    """Read a photo, cut out its faces, reduce and encode them; whatever goes wrong becomes a status and a reason.

    Raises:
        MemoryError: this machine has too little memory now.
    """
    try:
        path_size = content.stat().st_size if isinstance(content, AnyPath) else None
        path_size = len(content) if isinstance(content, bytes) else path_size
    except (OSError, ValueError):  # ValueError: a NUL in the name
        path_size = None
    result = _without_reading(planned, content) or _within_limits(path_size)
    if result is None:
        result = PhotoResult("ok")
        try:
            _read_and_cut(planned, _bytes(planned, content, result), config, result)
        except ImageProblem as problem:
            result.status, result.reason, result.faces = problem.status, problem.reason, []
        except MemoryError:
            raise  # a problem of the machine, not of the photo: the shard is tried again
        except Exception as error:  # an unforeseen error of one photo becomes the reason in its row
            result.status, result.reason, result.faces = "unreadable", f"{type(error).__name__}: {error}", []
    result.bytes = path_size
    return result


def photo_row(planned: ShardPhoto, result: PhotoResult) -> dict[str, Any]:
    """The row of the photo in the photos file."""
    return {
        "path": escape_name(planned.photo.path), "split": planned.photo.split,
        "identity": None if planned.photo.identity is None else escape_name(planned.photo.identity),
        "bytes": result.bytes, "sha256": planned.hashes.sha256,
        "width": result.size[0], "height": result.size[1], "format": result.format,
        "status": result.status, "reason": _utf8(result.reason),
        "faces_found": result.faces_found, "faces_built": len(result.faces),
        "dhash": result.dhash, "key": "" if result.transient else planned.key,
    }  # fmt: skip


def _utf8(text: str) -> str:
    """Text as UTF-8, which Parquet needs: bytes of quoted names that are not UTF-8 are escaped."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _without_reading(planned: ShardPhoto, content: Cell) -> PhotoResult | None:
    """The result of a photo of which nothing is built, known without reading it; None for all others."""
    if planned.photo.fault is not None:
        return PhotoResult(*planned.photo.fault)
    if planned.photo.split is None:
        return PhotoResult("not_listed", "in none of the source's lists")
    if planned.hashes.sha256 is None:
        return PhotoResult(*_why_not_read(content))
    if planned.copy_of is not None and planned.alike is not None:
        reason = f"looks like {planned.copy_of} ({planned.alike} of 256 bits differ)"
        return PhotoResult("near_duplicate", reason, dhash=planned.hashes.dhash)
    if planned.copy_of is not None:
        return PhotoResult("duplicate", f"same bytes as {planned.copy_of}")
    return None


def _why_not_read(content: Cell) -> tuple[str, str]:
    """Status and reason of a photo whose bytes could not be hashed."""
    if isinstance(content, OSError):
        return "unreadable", str(content)
    if not isinstance(content, AnyPath):
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


def _within_limits(size: int | None) -> PhotoResult | None:
    if size is not None and size > MAX_BYTES:
        return PhotoResult("too_large", f"a file of {size:,} bytes, over {MAX_BYTES:,}")
    return None


def _bytes(planned: ShardPhoto, content: Cell, result: PhotoResult) -> bytes:
    """The photo's bytes, which are those that were hashed; sets ``transient`` while they are not proven to be.

    Raises:
        ImageProblem: they have changed since, or can no longer be read.
    """
    result.transient = True
    try:
        if isinstance(content, OSError):
            raise content
        data = content.read_bytes() if isinstance(content, AnyPath) else content or b""
    except OSError as error:
        raise ImageProblem("unreadable", f"cannot be opened any more ({error.strerror or error})") from error
    if hashlib.sha256(data).hexdigest() != planned.hashes.sha256:
        raise ImageProblem("unreadable", "the file changed while the dataset was built")
    result.transient = False
    return data


def _read_and_cut(planned: ShardPhoto, content: bytes, config: BuildConfig, result: PhotoResult) -> None:
    read = read_image(content, config.max_pixels)
    rgb, notes = read.rgb, list(read.notes)
    result.size, result.format = rgb.size, read.format
    if config.near_duplicates != "off":
        result.dhash = planned.hashes.dhash or dhash(rgb)
    problems: list[ImageProblem] = []
    for number, points in enumerate(_landmarks(planned, rgb, config, result)):
        try:
            result.faces.append(_face_row(planned, number, rgb, points, config))
        except ImageProblem as problem:
            problems.append(problem)
    if not result.faces and problems:
        raise problems[0]
    if problems:
        notes.append(f"{len(problems)} of {result.faces_found} faces left out: {problems[0].reason}")
    result.reason = "; ".join(notes)


def _landmarks(planned: ShardPhoto, rgb: Image.Image, config: BuildConfig, result: PhotoResult) -> list[np.ndarray]:
    """(68, 2) landmarks of the faces that are wanted: those of a file, at the hint, the largest, or all.

    Raises:
        ImageProblem: no face is found.
    """
    photo = planned.photo
    if photo.landmarks is not None:
        result.faces_found = 1
        return [np.asarray(photo.landmarks, dtype=np.float64)]
    faces = choose_finder(config.finder).find_faces(rgb, every=config.faces == "all", at=photo.hint)
    result.faces_found = len(faces)
    if not faces:
        raise ImageProblem("no_face", "no face where the annotation has one" if photo.hint else "no frontal face found")
    return [f.landmarks for f in (faces if config.faces == "all" else faces[:1])]


def _face_row(
    planned: ShardPhoto, number: int, rgb: Image.Image, points: np.ndarray, config: BuildConfig
) -> dict[str, Any]:
    """The row of a face in the faces file.

    Raises:
        ImageProblem: the landmarks give no crop, or one that is too small or leaves the photo.
    """
    name = escape_name(planned.photo.path)
    face_id = f"{name}#{number}"
    digest = planned.hashes.sha256 or ""
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
    """The HR face, its box, and the angle in degrees by which the photo was turned about the eyes' centre first.

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

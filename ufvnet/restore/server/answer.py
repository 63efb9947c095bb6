"""What the page shows of an upload: the picture before and after and its faces, or why there is nothing to show.

An upload goes the way of a picture of ``ufvnet restore``, through the same stages and rules; it only stays in memory.
"""

from __future__ import annotations

import base64
import io
import json
import math
import time
from dataclasses import replace
from typing import Any, Literal

from PIL import Image

from ufvnet.files import printed
from ufvnet.imaging.decode import ImageProblem, NotAnImage, OtherFormat
from ufvnet.imaging.resize import resize
from ufvnet.restore.face_crops import side
from ufvnet.restore.face_finder import FaceFinder
from ufvnet.restore.folder.job import Job
from ufvnet.restore.folder.reasons import STRETCHED
from ufvnet.restore.folder.records import new_row
from ufvnet.restore.folder.stage_read import ReadStage
from ufvnet.restore.folder.stage_write import WriteStage
from ufvnet.restore.memory import PixelBudget
from ufvnet.restore.picture import Picture, read_picture
from ufvnet.restore.resolved import ResolvedRestore
from ufvnet.restore.restorer import Restored
from ufvnet.restore.single import MemoryTarget

Mode = Literal["auto", "aligned", "photo"]
MAX_PIXELS = 24_000_000
"""As many as a camera takes. A file of 200 kB may declare any size, and each copy of 24 megapixels takes 72 MB;
``ufvnet restore`` takes larger pictures."""
LARGEST_SIDE = 2048
"""What is only shown beside the output is reduced to this side."""
PLAIN_SIDE = 512
"""What is only shown is a PNG up to this side, and a JPEG, which is far smaller, if it is larger."""
BATCH_SIZE = 16
MAX_FACES = 500
"""Faces of an upload that are restored at most; ``ufvnet restore`` takes any number."""
STATUSES = {"not_a_picture": 415, "too_large": 413}
"""HTTP status by the status of an ImageProblem; 422 for all others."""
TYPES = {".png": "image/png", ".jpg": "image/jpeg"}
"""Media types of outputs by their ending."""

_budget = PixelBudget(2 * MAX_PIXELS)


def reply(upload: bytes, mode: Mode, resolved: ResolvedRestore, deadline: float = math.inf) -> tuple[int, bytes]:
    """HTTP status and JSON: what ``answer`` returns, or ``error``, a sentence. Never raises."""
    try:
        return 200, json.dumps(answer(upload, mode, resolved, deadline)).encode()
    except OutOfTimeError as error:
        return error_reply(504, str(error))
    except ImageProblem as problem:
        return error_reply(STATUSES.get(problem.status, 422), problem.reason)
    except (ArithmeticError, RuntimeError, MemoryError) as error:  # out of memory and the like
        return error_reply(500, f"The model failed: {error or type(error).__name__}")
    except Exception as error:  # decoders raise nearly anything for broken files
        return error_reply(500, f"The picture cannot be restored ({type(error).__name__}: {error}).")


def error_reply(status: int, message: str) -> tuple[int, bytes]:
    """An HTTP status and a sentence as JSON."""
    return status, json.dumps({"error": printed(message)}).encode()


class OutOfTimeError(Exception):
    """Nobody waits for an answer any more."""


def answer(upload: bytes, mode: Mode, resolved: ResolvedRestore, deadline: float = math.inf) -> dict[str, Any]:
    """What the page shows of an upload.

    Args:
        upload: the bytes of a file.
        mode: as in RestoreConfig.
        resolved: how, and the model.
        deadline: the ``time.monotonic()`` after which no further step is begun.

    Returns:
        ``after``, the output as a file in base64, with its ``type`` and ``ending``; ``before``, the input enlarged by
        bicubic, and ``input``, as it is; its ``width`` and ``height``; the ``mode`` that it was treated in; ``notes``;
        ``faces``, each with the ``input`` crop, the ``restored`` face, its ``box``, ``rate``, ``weights`` and
        ``effective_size``, the largest first, whose numbers also stand by themselves; and ``anchors``.

    Raises:
        ImageProblem: the upload is no picture that can be used, or has no face to restore, or over MAX_FACES.
        OutOfTimeError: it is later than ``deadline``.
        RuntimeError: the model or what writes the output failed.
    """
    resolved = _for_page(resolved, mode)
    job = Job("upload", upload, "", MemoryTarget(), new_row("upload", ""))
    try:
        ReadStage(resolved, _budget).read(job)
    except ImageProblem as problem:
        raise ImageProblem(*_sentence(problem)) from problem
    if job.row["status"]:
        raise _nothing_to_restore(job, resolved.hr_size)
    if len(job.crops) > MAX_FACES:
        raise ImageProblem("too_many_faces", f"{len(job.crops):,} small faces are over {MAX_FACES}; crop the picture.")
    results: dict[int, Restored] = {}
    for first in range(0, len(job.crops), BATCH_SIZE):
        _check_time(deadline)
        part = job.crops[first : first + BATCH_SIZE]
        made = resolved.restorer.batch([crop for _, crop in part])
        results |= {i: replace(face, effective_size=job.effective.get(i)) for (i, _), face in zip(part, made)}
    job.results = dict(results)
    _check_time(deadline)
    WriteStage(resolved.config, _budget).run(job)
    if job.row["status"] != "restored":
        raise RuntimeError(job.row["reason"])
    return _account(job, results, read_picture(upload, MAX_PIXELS), resolved)


def _check_time(deadline: float) -> None:
    if time.monotonic() > deadline:
        raise OutOfTimeError("The picture took too long; try a smaller one.")


def _for_page(resolved: ResolvedRestore, mode: Mode) -> ResolvedRestore:
    """The same with this mode, and with the limits of the page."""
    changes = {"mode": mode, "max_pixels": min(MAX_PIXELS, resolved.config.max_pixels), "unrestored": "leave"}
    config, searching = resolved.config.model_copy(update=changes), resolved.face_finder
    face_finder = FaceFinder(config, searching.finder, searching.known_faces, resolved.hr_size)
    return replace(resolved, config=config, face_finder=face_finder)


def _account(job: Job, results: dict[int, Restored], picture: Picture, resolved: ResolvedRestore) -> dict[str, Any]:
    """The answer for a job that is done."""
    target = job.target
    assert isinstance(target, MemoryTarget)
    assert target.data is not None
    order = sorted(results, key=lambda i: -side(job.boxes[i]))
    largest = results[order[0]]
    profile = picture.extras.get("icc_profile")
    colour = picture.colour.convert("RGB")
    remarks = (f"{note[0].upper()}{note[1:]}." for note in job.row["reason"].split("; ") if note)
    return {
        "width": picture.size[0],
        "height": picture.size[1],
        "mode": job.row["mode"],
        "notes": [*filter(None, [_found(job, results)]), *remarks],
        **_numbers(largest),
        "anchors": [round(rate * resolved.hr_size) for rate in getattr(resolved.restorer.network, "anchors", ())],
        "faces": [
            {
                "box": job.boxes[i],
                "input": _shown(colour.crop(job.boxes[i]), profile),
                "restored": _shown(results[i].image, profile),
                **_numbers(results[i]),
            }
            for i in order
        ],
        "input": _shown(_fitting(colour, colour.size), profile),
        "before": _shown(_fitting(colour, job.output_size), profile),
        "after": base64.b64encode(target.data).decode(),
        "type": TYPES[target.ending],
        "ending": target.ending,
    }


def _numbers(face: Restored) -> dict[str, Any]:
    return {"rate": face.rate, "weights": list(face.weights or ()), "effective_size": face.effective_size}


def _found(job: Job, results: dict[int, Restored]) -> str:
    """A sentence on the faces; empty if the reason of the row says it."""
    width, height = job.row["width"], job.row["height"]
    if not job.is_photo:
        return "" if STRETCHED in job.row["reason"] else "Taken for a face crop."
    found = len(job.boxes)
    enlarged = job.output_size[0] / width
    size = f"; the photo is enlarged {enlarged:.2g} times" if job.output_size != (width, height) else ""
    return f"{found} face{'s' * (found != 1)} found, {len(results)} restored{size}."


def _sentence(problem: ImageProblem) -> tuple[str, str]:
    """Status and reason of an upload that cannot be used."""
    if problem.status == "too_large":
        return "too_large", f"The picture has over {MAX_PIXELS / 1e6:g} megapixels."
    if isinstance(problem, NotAnImage):
        format_name = f" ({problem.reason})" if isinstance(problem, OtherFormat) else ""
        return "not_a_picture", f"The file is no picture of a kind that is known here{format_name}."
    if problem.status == "unreadable":
        return "unreadable", f"The picture is damaged: {problem.reason.removeprefix('damaged: ')}."
    return problem.status, f"The picture cannot be restored: {problem.reason}."


def _nothing_to_restore(job: Job, hr_size: int) -> ImageProblem:
    """Why an upload without a face to restore has none, and what may help."""
    if job.row["status"] == "no_face":
        return ImageProblem("no_face", "No face was found. If the picture is a face crop, choose “face crop”.")
    if job.is_photo:
        count = f"{len(job.boxes)} face{'s' * (len(job.boxes) != 1)} found"
        return ImageProblem("not_smaller", f"{count}, none smaller than {hr_size} pixels: nothing to restore.")
    size = f"{job.row['width']}×{job.row['height']} pixels"
    reason = f"The face is {size} and sharp, the model's output {hr_size}×{hr_size}: nothing to restore."
    return ImageProblem("not_smaller", f"{reason} To search it for a small face, choose “photo”.")


def _fitting(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """The picture resized, but not beyond what a page can show."""
    scale = min(1.0, LARGEST_SIDE / max(size))
    target = (max(1, round(size[0] * scale)), max(1, round(size[1] * scale)))
    return image if target == image.size else resize(image, *target)


def _shown(image: Image.Image, profile: bytes | None) -> str:
    """A picture that is only looked at, in base64."""
    buffer, is_small = io.BytesIO(), max(image.size) <= PLAIN_SIDE
    image.save(buffer, "PNG" if is_small else "JPEG", quality=90, icc_profile=profile)
    return base64.b64encode(buffer.getvalue()).decode()

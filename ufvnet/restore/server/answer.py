"""What the page shows of an upload: the picture before and after, or a sentence that says why there is none."""

from __future__ import annotations

import base64
import io
import json
from dataclasses import dataclass
from typing import Any, Literal

from PIL import Image

from ufvnet.files import printed
from ufvnet.imaging.decode import ImageProblem, NotAnImage, OtherFormat
from ufvnet.imaging.resize import resize
from ufvnet.imaging.rgb import ReadImage, read_image
from ufvnet.restore.face_crops import LEAST_SIDE, side
from ufvnet.restore.restorer import Restorer

Mode = Literal["aligned", "photo"]
MAX_PIXELS = 24_000_000
"""As many as a camera takes. A file of 200 kB may declare any size, and each copy of 24 megapixels takes 72 MB;
``ufvnet restore`` takes larger pictures."""
LARGEST_SIDE = 2048
"""A photo is enlarged up to this side, at most LARGEST_SCALE times; what is only shown beside it is reduced to it."""
LARGEST_SCALE = 4.0
STATUSES = {"not_a_picture": 415, "too_large": 413}
"""HTTP status by the status of an ImageProblem; 422 for all others."""


@dataclass(frozen=True)
class Comparison:
    """A picture before and after its restoration.

    before: the upload, RGB.
    after: the restored picture, RGB, of any size.
    rate: of the face; of the largest face in a photo.
    weights: of the anchors for that face, or None.
    effective_size: of that face in pixels, or None if it is smaller than the model's output.
    notes: sentences on what was done.
    """

    before: Image.Image
    after: Image.Image
    rate: float
    weights: tuple[float, ...] | None
    effective_size: float | None
    notes: tuple[str, ...] = ()


def reply(upload: bytes, mode: Mode, restorer: Restorer) -> tuple[int, bytes]:
    """HTTP status and JSON: what ``answer`` returns, or ``error``, a sentence. Never raises."""
    try:
        return 200, json.dumps(answer(upload, mode, restorer)).encode()
    except ImageProblem as problem:
        return error_reply(STATUSES.get(problem.status, 422), problem.reason)
    except (ArithmeticError, RuntimeError, MemoryError) as error:  # out of memory and the like
        return error_reply(500, f"The model failed: {error or type(error).__name__}")
    except Exception as error:  # decoders raise nearly anything for broken files
        return error_reply(500, f"The picture cannot be restored ({type(error).__name__}: {error}).")


def error_reply(status: int, message: str) -> tuple[int, bytes]:
    """An HTTP status and a sentence as JSON."""
    return status, json.dumps({"error": printed(message)}).encode()


def answer(upload: bytes, mode: Mode, restorer: Restorer) -> dict[str, Any]:
    """What the page shows of an upload.

    Args:
        upload: the bytes of a file.
        mode: ``aligned``: the picture is a face crop; ``photo``: its small faces are restored and pasted back.
        restorer: the model.

    Raises:
        ImageProblem: the upload is no picture that can be used.
    """
    read = _read(upload)
    comparison = restore_picture(read.rgb, mode, restorer)
    anchors = getattr(restorer.network, "anchors", ())
    return {
        "width": read.rgb.width,
        "height": read.rgb.height,
        "notes": [*comparison.notes, *(f"{note[0].upper()}{note[1:]}." for note in read.notes)],
        "rate": comparison.rate,
        "effective_size": comparison.effective_size,
        "weights": list(comparison.weights or ()),
        "anchors": [round(rate * restorer.hr_size) for rate in anchors],
        "input": _png(_shown(comparison.before, comparison.before.size)),
        "before": _png(_shown(comparison.before, comparison.after.size)),
        "after": _png(comparison.after),
    }


def _read(upload: bytes) -> ReadImage:
    try:
        read = read_image(upload, MAX_PIXELS)
    except ImageProblem as problem:
        if problem.status == "too_large":
            raise ImageProblem("too_large", f"The picture has over {MAX_PIXELS / 1e6:g} megapixels.") from problem
        if isinstance(problem, NotAnImage):
            format_name = f" ({problem.reason})" if isinstance(problem, OtherFormat) else ""
            reason = f"The file is no picture of a kind that is known here{format_name}."
            raise ImageProblem("not_a_picture", reason) from problem
        raise ImageProblem("unreadable", f"The picture is damaged: {problem.reason}.") from problem
    profile = read.rgb.info.get("icc_profile")
    # nothing else that goes with the picture is needed or trusted
    read.rgb.info = {"icc_profile": profile} if isinstance(profile, bytes) else {}
    return read


def restore_picture(image: Image.Image, mode: Mode, restorer: Restorer) -> Comparison:
    """Restore an upright RGB picture.

    Raises:
        ImageProblem: there is no face (``no_face``), or one that is ``too_small`` or ``not_smaller`` than the output.
    """
    if mode == "photo":
        return _restore_photo(image, restorer)
    size, output = f"{image.width}×{image.height} pixels", f"{restorer.hr_size}×{restorer.hr_size}"
    if min(image.size) < LEAST_SIDE:
        raise ImageProblem("too_small", f"The picture is {size}: no face shows in fewer than {LEAST_SIDE}.")
    restored = restorer.batch([image])[0]
    if restored.received.size == image.size and min(image.size) >= restorer.hr_size:
        reason = f"The face is {size} and sharp, the model's output {output}: nothing to restore."
        raise ImageProblem("not_smaller", f"{reason} To search it for a small face, choose “photo”.")
    notes = [] if image.width == image.height else [f"The face is not square ({size}): it was stretched."]
    after = restored.image
    if restored.effective_size is not None:
        notes.append(_reduction(size, restored.effective_size))
        after = _shown(after, image.size)
    return Comparison(image, after, restored.rate, restored.weights, restored.effective_size, tuple(notes))


def _reduction(size: str, effective_size: float) -> str:
    held = round(effective_size)
    return f"The face is {size} but holds no more than {held}×{held}, to which it was reduced first."


def _restore_photo(image: Image.Image, restorer: Restorer) -> Comparison:
    """The photo enlarged, so that restored detail shows, with its small faces restored in it."""
    scale = max(1.0, min(LARGEST_SCALE, LARGEST_SIDE / max(image.size)))
    photo = restorer.photo(image, scale=scale)
    count = f"{len(photo.boxes)} face{'s' * (len(photo.boxes) != 1)} found"
    if not photo.boxes:
        raise ImageProblem("no_face", "No face was found. If the picture is a face crop, choose “face crop”.")
    restored = [(box, face) for box, face in zip(photo.boxes, photo.faces) if face is not None]
    if not restored:
        raise ImageProblem("not_smaller", f"{count}, none smaller than {restorer.hr_size} pixels: nothing to restore.")
    box, largest = max(restored, key=lambda pair: side(pair[0]))
    which = "It" if len(restored) == 1 else "The largest of them, whose rate and weights stand here,"
    size = f"{box[2] - box[0]}×{box[3] - box[1]} pixels of the photo"
    notes = [f"{count}, {len(restored)} restored. {which} is {size}."]
    if largest.effective_size is not None:
        notes.append(_reduction(size, largest.effective_size))
    return Comparison(
        image, photo.image.convert("RGB"), largest.rate, largest.weights, largest.effective_size, tuple(notes)
    )


def _shown(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """The picture resized, but not beyond what a page can show."""
    scale = min(1.0, LARGEST_SIDE / max(size))
    target = (max(1, round(size[0] * scale)), max(1, round(size[1] * scale)))
    return image if target == image.size else resize(image, *target)


def _png(image: Image.Image) -> str:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()

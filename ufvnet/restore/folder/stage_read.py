"""The first half of a job: reading its picture and deciding which faces of it are to be restored."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from pathlib import Path

from ufvnet.config import RestoreConfig
from ufvnet.data.sources.files import TABLES
from ufvnet.faces.crop import Box
from ufvnet.files import sha256
from ufvnet.imaging.decode import ImageProblem, NotAnImage, OtherFormat
from ufvnet.imaging.formats import picture_endings, why_not_read_by_name
from ufvnet.restore.face_finder import Looker
from ufvnet.restore.output_size import LEAST_SIDE, check_output
from ufvnet.restore.picture import Picture, read_picture
from ufvnet.restore.trial import crash_in_trial

from .job import Job, side
from .room import Room
from .targets import FileTarget, PartTarget

LEARNT_SIDE = 8
"""Crops below it are smaller than any that models learn from."""


class Preparer:
    """Reads pictures and cuts out their faces.

    Args:
        config: how.
        hr_size: side of the model's output; crops of at least that side gain nothing.
        looker: finds faces.
        room: for decoded pictures.
        suspects: names of pictures that may have killed a process, which are tried in one of their own first.
    """

    def __init__(self, config: RestoreConfig, hr_size: int, looker: Looker, room: Room, suspects: Collection[str] = ()):
        self.config, self.hr_size, self.looker = config, hr_size, looker
        self.room, self.suspects = room, suspects
        self.max_face = min(config.max_face or hr_size, hr_size)

    def __call__(self, job: Job) -> Job:
        """The job with its crops, or with the status that it has without them; never raises."""
        started = time.perf_counter()
        try:
            with self.room.visit(job.file_size()) as admit:
                self._prepare(job, admit)
        except ImageProblem as problem:
            job.crops = []
            job.row |= _status(job, problem)
        except Exception as error:  # one odd picture must not stop the night's run
            job.crops = []
            job.row |= {"status": "failed", "reason": f"{type(error).__name__}: {error}"}
        job.left = len(job.crops)
        job.seconds += time.perf_counter() - started
        return job

    def _prepare(self, job: Job, admit: Callable[[int], None]) -> None:
        data = job.read()
        if self.config.resume and isinstance(job.target, FileTarget):
            earlier = job.target.account.earlier(job.name)
            if earlier is not None and job.target.kept(earlier, job.row["key"], data):
                job.kept, job.row = True, earlier
                return
        job.row["sha256"] = sha256(data)
        if job.name in self.suspects and job.content is not None:
            cause = crash_in_trial(self.config, job.name, job.content, job.ending)
            if cause:
                raise ImageProblem("failed", cause)
        picture = read_picture(data, self.config.max_pixels, admit)
        width, height = picture.size
        job.row |= {"format": picture.format, "width": width, "height": height}
        job.changed = picture.notes
        boxes = self.looker.look(picture.colour, job.name)
        if boxes is None:
            self._crop(job, picture)
        else:
            self._photo(job, picture, boxes)

    def _crop(self, job: Job, picture: Picture) -> None:
        width, height = picture.size
        job.row |= {"mode": "aligned", "faces_found": 1, "faces_restored": 0}
        if min(width, height) < LEAST_SIDE:
            raise ImageProblem("failed", f"{width}x{height}: no face in fewer than {LEAST_SIDE} pixels")
        if min(width, height) >= self.max_face:
            job.row |= {"status": "copied", "reason": f"{width}x{height} is not smaller than {self.max_face} pixels"}
            return
        check_output(self.config, self.hr_size, picture.size)
        if min(width, height) < LEARNT_SIDE:
            job.notes.append(f"smaller than {LEARNT_SIDE} pixels, the least that the model learnt")
        job.picture, job.boxes, job.crops = picture, [(0, 0, width, height)], [(0, picture.colour)]

    def _photo(self, job: Job, picture: Picture, boxes: list[Box]) -> None:
        job.photo, job.boxes = True, boxes
        job.row |= {"mode": "photo", "faces_found": len(boxes), "faces_restored": 0}
        sides = [side(box) for box in boxes]
        chosen = [i for i, length in enumerate(sides) if LEAST_SIDE <= length < self.max_face]
        large, tiny = sum(s >= self.max_face for s in sides), sum(s < LEAST_SIDE for s in sides)
        if large:
            job.notes.append(f"{_faces(large)} of at least {self.max_face} pixels left as found")
        if tiny:
            job.notes.append(f"{_faces(tiny)} of fewer than {LEAST_SIDE} pixels left as found")
        if not boxes:
            job.row |= {"status": "no_face", "reason": "no frontal face found"}
        elif not chosen:
            job.row |= {"status": "copied", "reason": "nothing to restore"}
        else:
            check_output(self.config, self.hr_size, picture.size, [sides[i] for i in chosen])
            job.crops = [(i, picture.colour.crop(boxes[i])) for i in chosen]


def _status(job: Job, problem: ImageProblem) -> dict[str, str]:
    """Status and reason; ``skipped`` for a file that neither its name nor its content takes for a picture."""
    ending, reason = job.ending.lower(), problem.reason
    if isinstance(problem, NotAnImage) and not isinstance(problem, OtherFormat):
        if ending in TABLES:
            return {"status": "failed", "reason": "a table that cannot be read"}
        among_others = isinstance(job.content, Path) and isinstance(job.target, FileTarget | PartTarget)
        if among_others and ending not in picture_endings() and not why_not_read_by_name(ending):
            return {"status": "skipped", "reason": "not a picture, by its name and by its content"}
        if "0 bytes" not in reason:
            reason = why_not_read_by_name(ending) or reason
    return {"status": "failed", "reason": reason}


def _faces(count: int) -> str:
    return f"{count} face{'s' * (count > 1)}"

"""The stage that reads: a job's picture is decoded, and its faces that are to be restored are cut out."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence

from PIL import Image

from ufvnet.data.sources.files import TABLES
from ufvnet.faces.crop import Box
from ufvnet.files import sha256
from ufvnet.imaging.decode import ImageProblem, NotAnImage, OtherFormat
from ufvnet.imaging.formats import picture_endings, why_not_read_by_name
from ufvnet.restore.face_crops import LEAST_SIDE, CropChoice, side
from ufvnet.restore.face_finder import SQUARE
from ufvnet.restore.memory import PixelBudget
from ufvnet.restore.output_size import check_pixels, output_size, unrestored_size
from ufvnet.restore.picture import Picture, read_picture
from ufvnet.restore.resolved import ResolvedRestore
from ufvnet.restore.trial import crash_in_trial

from .archives import ArchivedFile
from .job import Job
from .reasons import STRETCHED
from .side_folders import SideFolders

LEARNT_SIDE = 8
"""Models learn from no crops below this side."""


class ReadStage:
    """Reads pictures and cuts out their faces; several threads may use it at once.

    Args:
        resolved: how, and what finds faces.
        budget: of decoded pixels.
        suspects: names of pictures that may have killed an earlier process; each has a trial in a process of its own
            before it is decoded in this one.
    """

    def __init__(self, resolved: ResolvedRestore, budget: PixelBudget, suspects: Collection[str] = ()):
        self.config, self.hr_size, self.rule = resolved.config, resolved.hr_size, resolved.crop_rule
        self.sides = SideFolders(resolved.config)
        self.face_finder, self.budget, self.suspects = resolved.face_finder, budget, suspects

    def run(self, job: Job) -> Job:
        """The job with its crops, or with the status that it has without crops; never raises."""
        started = time.perf_counter()
        try:
            self.read(job)
        except ImageProblem as problem:
            job.crops, job.pending = [], 0
            job.row |= _status(job, problem)
        except Exception as error:  # one odd picture must not stop the night's run
            job.crops, job.pending = [], 0
            job.row |= {"status": "failed", "reason": f"{type(error).__name__}: {error}"}
        job.seconds += time.perf_counter() - started
        return job

    def read(self, job: Job) -> None:
        """Read a job's picture and cut out its faces; what needs none has a status then.

        Raises:
            ImageProblem: the picture cannot be used.
        """
        with self.budget.picture(job.file_size()) as reserve:
            self._read(job, reserve)
            job.pending = len(job.crops)

    def _read(self, job: Job, reserve: Callable[[int], None]) -> None:
        data = job.read()
        if self.config.resume:
            kept = job.target.find_kept(job.name, job.row["key"], data)
            if kept is not None and self.sides.are_complete(kept):
                job.is_kept, job.row = True, kept
                return
        job.row["sha256"] = sha256(data)
        if job.name in self.suspects and job.content is not None:
            content = data if isinstance(job.content, ArchivedFile) else job.content
            cause = crash_in_trial(self.config, job.name, content, job.ending)
            if cause:
                raise ImageProblem("failed", cause)
        picture = read_picture(data, self.config.max_pixels, reserve)
        width, height = picture.size
        job.row |= {"format": picture.format, "width": width, "height": height}
        job.conversions = picture.notes
        boxes = self.face_finder.find(picture.colour, job.name)
        if boxes is None:
            self._cut_crop(job, picture)
        else:
            self._cut_photo(job, picture, boxes)

    def _cut_crop(self, job: Job, picture: Picture) -> None:
        width, height = picture.size
        job.row |= {"mode": "aligned", "faces_found": 1, "faces_restored": 0}
        if min(width, height) < LEAST_SIDE:
            raise ImageProblem("failed", f"{width}x{height}: no side may be under {LEAST_SIDE} pixels")
        choice = self._choose(job, [picture.colour], [min(width, height)])
        if not choice.chosen:
            self._leave(job, picture, "copied", self._already_larger)
            return
        job.output_size = output_size(self.config, self.hr_size, picture.size)
        check_pixels(self.config, job.output_size)
        if min(width, height) < LEARNT_SIDE:
            job.notes.append(f"smaller than {LEARNT_SIDE} pixels, the least that the model learnt")
        _note_stretching(job, picture)
        job.notes += choice.notes
        job.boxes, job.crops = [(0, 0, width, height)], [(0, choice.chosen[0].pixels)]
        if choice.chosen[0].size_class == "small":
            job.picture = picture

    def _cut_photo(self, job: Job, picture: Picture, boxes: list[Box]) -> None:
        job.is_photo, job.boxes = True, boxes
        job.row |= {"mode": "photo", "faces_found": len(boxes), "faces_restored": 0}
        choice = self._choose(job, [picture.colour.crop(box) for box in boxes])
        job.notes += choice.notes
        if not boxes:
            self._leave(job, picture, "no_face", "no face found")
        elif not choice.chosen:
            self._leave(job, picture, "copied", self._already_larger if choice.left else "no face to restore")
        else:
            sides = [min(side(boxes[i]), self.hr_size) for i in choice.chosen]
            job.output_size = output_size(self.config, self.hr_size, picture.size, sides)
            check_pixels(self.config, job.output_size)
            job.crops = [(i, crop.pixels) for i, crop in choice.chosen.items()]

    @property
    def _already_larger(self) -> str:
        return f"faces already larger than {self.rule.limit} px"

    def _choose(self, job: Job, crops: Sequence[Image.Image], sides: Sequence[int] | None = None) -> CropChoice:
        """What the rule says of a picture's crops, kept in the job."""
        choice = self.rule.choose(crops, sides)
        job.effective = choice.effective
        if choice.effective:
            job.row["effective_size"] = sum(choice.effective.values()) / len(choice.effective)
        return choice

    def _leave(self, job: Job, picture: Picture, status: str, reason: str) -> None:
        """There is no face to restore: the picture is copied or left out, as ``unrestored`` says."""
        job.row |= {"status": status, "reason": reason}
        if self.config.unrestored == "leave":
            if status == "copied":
                job.row["status"] = "skipped"
            job.notes.append("left out")
            return
        job.output_size = unrestored_size(self.config, self.hr_size, picture.size, job.is_photo)
        job.row |= {"output_width": job.output_size[0], "output_height": job.output_size[1]}
        if job.output_size != picture.size:
            job.row["status"] = "scaled"
            check_pixels(self.config, job.output_size)
            if not job.is_photo:
                _note_stretching(job, picture)


def _note_stretching(job: Job, picture: Picture) -> None:
    """Note it if a face crop gets other proportions, as one that is not square does when it becomes one."""
    (width, height), (output_width, output_height) = picture.size, job.output_size
    if not 1 / SQUARE <= (output_width * height) / (output_height * width) <= SQUARE:
        job.notes.append(f"{STRETCHED} ({width}×{height}): it was stretched")


def _status(job: Job, problem: ImageProblem) -> dict[str, str]:
    """Status and reason; ``skipped`` for a file that is no picture by its name and by its content."""
    ending, reason = job.ending.lower(), problem.reason
    if isinstance(problem, NotAnImage) and not isinstance(problem, OtherFormat):
        if ending in TABLES:
            return {"status": "failed", "reason": "a table that cannot be read"}
        if job.may_skip and ending not in picture_endings() and not why_not_read_by_name(ending):
            return {"status": "skipped", "reason": "not a picture, by its name and by its content"}
        if "0 bytes" not in reason:
            reason = why_not_read_by_name(ending) or reason
    return {"status": "failed", "reason": reason}

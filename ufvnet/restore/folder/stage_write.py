"""The second half of a job: its output made of restored faces, encoded and delivered."""

from __future__ import annotations

import errno
import math
import time
from collections.abc import Callable

from PIL import Image

from ufvnet.config import RestoreConfig
from ufvnet.faces.paste import paste_restored
from ufvnet.files import sha256
from ufvnet.imaging.decode import ImageProblem
from ufvnet.restore.output_size import check_output, output_size
from ufvnet.restore.picture import Picture, choose_format, encoded, read_picture
from ufvnet.restore.restorer import Restored

from .job import Job, side
from .room import Room
from .targets import FileTarget


class Finisher:
    """Makes outputs and hands them to their targets with their rows.

    Args:
        config: how.
        hr_size: side of the model's output.
        room: for decoded pictures.
    """

    def __init__(self, config: RestoreConfig, hr_size: int, room: Room):
        self.config, self.hr_size, self.room = config, hr_size, room

    def __call__(self, job: Job) -> None:
        """Account for a job whose crops all have their results.

        Raises:
            OSError: the disk is full.
        """
        if job.kept:
            assert isinstance(job.target, FileTarget)
            job.target.account.tell(job.row)
            return
        started = time.perf_counter()
        with self.room.visit(job.file_size()) as admit:
            data, ending = self._output(job, admit)
        if job.row["status"] == "failed":
            data = None
            job.row["faces_restored"] = 0
        job.row["reason"] = "; ".join(filter(None, [job.row["reason"], *dict.fromkeys([*job.changed, *job.notes])]))
        job.row["seconds"] = round(job.seconds + time.perf_counter() - started, 4)
        job.picture, job.results = None, {}
        job.target.put(job.row, data, f"{self.config.suffix}{ending}" if data is not None else "")

    def _output(self, job: Job, admit: Callable[[int], None]) -> tuple[bytes | None, str]:
        """The bytes of the output and the ending of its name; None and a reason in the row where there is none."""
        try:
            if job.row["status"] in ("copied", "no_face"):
                return self._unrestored(job, admit)
            if not job.row["status"]:
                return self._restored(job, admit)
        except ImageProblem as problem:
            job.row |= {"status": "failed", "reason": problem.reason}
        except Exception as error:  # one odd picture must not stop the night's run, but a full disk must
            if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise
            job.row |= {"status": "failed", "reason": f"{type(error).__name__}: {error}"}
        return None, ""

    def _restored(self, job: Job, admit: Callable[[int], None]) -> tuple[bytes, str]:
        here = (job.row["width"], job.row["height"])
        if job.photo:
            size = output_size(self.config, self.hr_size, here, [side(job.boxes[i]) for i in job.results])
            admit(max(math.prod(here), math.prod(size)))
            picture = self._again(job)
            faces = [(job.boxes[i], result.image) for i, result in sorted(job.results.items())]
            picture = picture.with_colour(paste_restored(picture.colour, size, faces))
        else:
            assert job.picture is not None
            size = output_size(self.config, self.hr_size, here)
            image = job.results[0].image
            image = image if size == image.size else image.resize(size, Image.Resampling.BICUBIC)
            picture = job.picture.with_colour(image)
        kind, ending, said = choose_format(self.config.format, picture.format, job.ending)
        data, lost = encoded(picture, kind, self.config.quality)
        job.notes += filter(None, [said, lost])
        job.row |= {"status": "restored", "output_width": size[0], "output_height": size[1], **_told(job)}
        return data, ending

    def _unrestored(self, job: Job, admit: Callable[[int], None]) -> tuple[bytes | None, str]:
        """A picture without a restored face: its own bytes, or scaled or in another format as asked."""
        if self.config.unrestored == "leave":
            if job.row["status"] == "copied":
                job.row["status"] = "skipped"
            job.notes.append("left out")
            return None, ""
        data = job.read()
        self._check_same(job, data)
        size = here = (job.row["width"], job.row["height"])
        if job.photo or self.config.scale is not None or isinstance(self.config.size, int):
            size = output_size(self.config, self.hr_size, here, [] if job.photo else None)
        job.row |= {"output_width": size[0], "output_height": size[1]}
        if size == here and self.config.format in ("auto", "same", "parquet"):
            job.changed = ()  # these are the bytes that came in
            return data, job.ending
        kind, ending, said = choose_format(self.config.format, job.row["format"], job.ending)
        if size == here and kind == job.row["format"]:
            job.changed = ()
            return data, job.ending
        check_output(self.config, self.hr_size, here, [] if job.photo else None)
        admit(max(math.prod(here), math.prod(size)))
        picture = read_picture(data, self.config.max_pixels)
        del data
        picture = picture.resized(size)
        written, lost = encoded(picture, kind, self.config.quality)
        job.notes += filter(None, ["only scaled" if size != here else "", said, lost])
        return written, ending

    def _again(self, job: Job) -> Picture:
        data = job.read()
        self._check_same(job, data)
        return read_picture(data, self.config.max_pixels)

    def _check_same(self, job: Job, data: bytes) -> None:
        if sha256(data) != job.row["sha256"]:
            raise ImageProblem("failed", "the file changed while it was being restored")


def _told(job: Job) -> dict[str, object]:
    """What the row tells of restored faces."""
    weights = [r.weights for r in job.results.values() if r.weights]
    means = [sum(w) / len(weights) for w in zip(*weights)]
    sides = [side(job.boxes[i]) for i in job.results] if job.photo else [sum(job.boxes[0][2:]) / 2]
    told: dict[str, object] = {"faces_restored": len(job.results), "face_size": sum(sides) / len(sides)}
    told |= {f"w{i + 1}": w for i, w in enumerate(means[:3])}
    if job.photo:
        told["faces"] = [
            dict(zip(("left", "top", "right", "bottom"), box))
            | {"restored": i in job.results, **_weights(job.results.get(i))}
            for i, box in enumerate(job.boxes)
        ]
    return told


def _weights(result: Restored | None) -> dict[str, float]:
    weights = result.weights if result else None
    return {f"w{i + 1}": w for i, w in enumerate((weights or ())[:3])}

"""The stage that writes: a job's output is made of its restored faces, encoded, and handed to the job's target."""

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
from ufvnet.restore.face_crops import side
from ufvnet.restore.memory import PixelBudget
from ufvnet.restore.picture import LOSSY, Picture, choose_format, encode_picture, read_picture
from ufvnet.restore.restorer import Restored

from .job import Job
from .side_folders import SideFolders


class WriteStage:
    """Makes outputs and hands them to their targets with their rows; several threads may use it at once.

    Args:
        config: how.
        budget: of decoded pixels.
    """

    def __init__(self, config: RestoreConfig, budget: PixelBudget):
        self.config, self.budget, self.sides = config, budget, SideFolders(config)

    def run(self, job: Job) -> None:
        """Account for a job whose crops all have their results.

        Raises:
            OSError: the disk is full.
        """
        if job.is_kept:
            job.target.keep(job.row)
            return
        started = time.perf_counter()
        with self.budget.picture(job.file_size()) as reserve:
            data, ending = self._output(job, reserve)
        if job.row["status"] == "failed":
            data = None
            job.row["faces_restored"] = 0
        remarks = dict.fromkeys([*job.conversions, *job.notes])
        job.row["reason"] = "; ".join(filter(None, [job.row["reason"], *remarks]))
        job.row["seconds"] = round(job.seconds + time.perf_counter() - started, 4)
        job.picture, job.results = None, {}
        job.target.put(job.row, data, f"{self.config.suffix}{ending}" if data is not None else "")

    def _output(self, job: Job, reserve: Callable[[int], None]) -> tuple[bytes | None, str]:
        """The bytes of the output and the ending of its name; None if there is no output."""
        try:
            if not job.row["status"]:
                return self._restored(job, reserve)
            if job.row["status"] in ("copied", "no_face", "scaled") and self.config.unrestored == "copy":
                return self._unrestored(job, reserve)
        except ImageProblem as problem:
            job.row |= {"status": "failed", "reason": problem.reason}
        except Exception as error:  # one odd picture must not stop the night's run, but a full disk must
            if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise
            job.row |= {"status": "failed", "reason": f"{type(error).__name__}: {error}"}
        return None, ""

    def _restored(self, job: Job, reserve: Callable[[int], None]) -> tuple[bytes, str]:
        size, picture = job.output_size, job.picture
        if picture is None:
            sheets = 3 if self.config.compare is not None else 1
            reserve(max(job.row["width"] * job.row["height"], sheets * math.prod(size)))
            picture = read_picture(_same_bytes(job), self.config.max_pixels)
        before = picture
        if job.is_photo:
            faces = [(job.boxes[i], result.image, result.received) for i, result in sorted(job.results.items())]
            picture = picture.with_colour(paste_restored(picture.colour, size, faces, picture.scaled_colour(size)))
        else:
            image = job.results[0].image
            image = image if size == image.size else image.resize(size, Image.Resampling.BICUBIC)
            picture = picture.with_colour(image)
        restored = {i: result.image for i, result in job.results.items()}
        self.sides.write(job.name, before, picture, job.boxes, restored)
        kind, ending, format_note = self._format_of(job, picture)
        data, losses = encode_picture(picture, kind, self.config.quality)
        job.notes += filter(None, [format_note, losses])
        job.row |= {"status": "restored", "output_width": size[0], "output_height": size[1], **_face_columns(job)}
        return data, ending

    def _unrestored(self, job: Job, reserve: Callable[[int], None]) -> tuple[bytes, str]:
        """A picture without a restored face: its own bytes, or scaled, or in another format."""
        data = _same_bytes(job)
        size, own_size = job.output_size, (job.row["width"], job.row["height"])
        if size == own_size and self.config.format in ("auto", "same", "parquet"):
            job.conversions = ()
            return data, job.ending
        own_kind, _, _ = choose_format(self.config.format, job.row["format"], job.ending)
        if size == own_size and own_kind == job.row["format"]:
            job.conversions = ()
            return data, job.ending
        reserve(max(math.prod(own_size), math.prod(size)))
        picture = read_picture(data, self.config.max_pixels)
        del data
        kind, ending, format_note = self._format_of(job, picture)
        picture = picture.resized(size)
        written, losses = encode_picture(picture, kind, self.config.quality)
        job.notes += filter(None, [format_note, losses])
        return written, ending

    def _format_of(self, job: Job, picture: Picture) -> tuple[str, str, str]:
        """As ``choose_format``, for an output of this picture."""
        is_lossy_photo = job.is_photo and picture.format in LOSSY and picture.alpha is None
        return choose_format(self.config.format, picture.format, job.ending, is_lossy_photo)


def _same_bytes(job: Job) -> bytes:
    """The bytes of the picture, which must be those that the stage that reads has seen.

    Raises:
        ImageProblem: the file changed since then, or cannot be read any more.
    """
    data = job.read()
    if sha256(data) != job.row["sha256"]:
        raise ImageProblem("failed", "the file changed while it was being restored")
    return data


def _face_columns(job: Job) -> dict[str, object]:
    """The row's columns on restored faces."""
    weights = [r.weights for r in job.results.values() if r.weights]
    means = [sum(w) / len(weights) for w in zip(*weights)]
    sides = [side(job.boxes[i]) for i in job.results] if job.is_photo else [sum(job.boxes[0][2:]) / 2]
    columns: dict[str, object] = {"faces_restored": len(job.results), "face_size": sum(sides) / len(sides)}
    columns |= {f"w{i + 1}": w for i, w in enumerate(means[:3])}
    if job.is_photo:
        columns["faces"] = [
            dict(zip(("left", "top", "right", "bottom"), box))
            | {"restored": i in job.results, "effective_size": job.effective.get(i), **_weights(job.results.get(i))}
            for i, box in enumerate(job.boxes)
        ]
    return columns


def _weights(result: Restored | None) -> dict[str, float]:
    weights = result.weights if result else None
    return {f"w{i + 1}": w for i, w in enumerate((weights or ())[:3])}

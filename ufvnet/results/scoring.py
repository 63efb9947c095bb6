"""Scores of every method and LR image: a Parquet file per method, damage and row group, skipped if it is finished."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from ufvnet.config import fingerprint
from ufvnet.config.lr_images import CLEAN
from ufvnet.crashes import DEATHS, Diary
from ufvnet.data.damage import named
from ufvnet.data.lr_images import FaceUnderDamage, LRKind, Size, columns, face_under
from ufvnet.data.schema import read_checked, write_checked
from ufvnet.errors import EvaluationError
from ufvnet.faces.crop import crop_landmarks
from ufvnet.files import MARKER, claim, printed, safe_name
from ufvnet.metrics import PROTOCOLS, score
from ufvnet.metrics.identity import cosine, descriptors, distance

from .evaluation import Evaluation, OpenedTestSet, RowGroup, ScoredEvaluation
from .folder import KIND
from .methods.faces import Faces, Restoration, failed_restoration
from .methods.own_process import MethodDied
from .methods.resolve import ResolvedMethod, prove
from .methods.restore import device_of, restore

SCORING_VERSION = 3
MOST_ANCHORS = 4

SCORE_COLUMNS = {
    "model": "Name of the method, as tables show it.",
    "dataset": "Name of the test set.",
    "damage": "Name of the LR image's damage; `clean` for none.",
    "face_id": "Face, as in the test set's `faces/`.",
    "k": "16 times the down-sampling rate: whole for the scales that datasets store.",
    "px": "Mean side of the LR image in pixels.",
    "width": "Width of the LR image in pixels.",
    "height": "Height of the LR image in pixels.",
    "device": "Where `milliseconds` was measured; empty where the method chooses or none ran, null if unknown.",
    "status": "`ok`, or `failed` where the method raised or gave no image.",
    "reason": "Why it failed.",
    **{f"psnr_{protocol}": f"PSNR in dB, protocol `{protocol}`." for protocol in PROTOCOLS},
    **{f"ssim_{protocol}": f"SSIM, protocol `{protocol}`." for protocol in PROTOCOLS},
    "milliseconds": "Time per face, the mean of its batch.",
    "identity": "Cosine of dlib's face descriptors of SR and HR; NaN where it was not measured.",
    "identity_distance": "Euclidean distance of the same descriptors.",
    **{f"w{i}": f"Weight of anchor {i}; NaN if the method has none." for i in range(1, MOST_ANCHORS + 1)},
}
"""Columns of a file of scores and their meanings; scores of failed faces are NaN."""
DEADLY = f"it kills the process that runs it: {DEATHS} died, one after the other"

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ScoreTask:
    """All that a worker needs to score one row group of a test set, with one damage, under one method.

    It can be pickled. dataset: the test set's name. sizes: of the LR images. photos: folder of the photographs, where
    the damage needs it. fingerprint: of all that changes the scores. file: where they go.
    """

    method: ResolvedMethod
    dataset: str
    damage: str
    sizes: tuple[Size, ...]
    photos: Path | None
    hr_size: int
    group: RowGroup
    fingerprint: str
    file: Path
    batch_size: int
    device: str

    @property
    def diary(self) -> Path:
        """The crash diary: whether the method is in work, and how many processes died of it."""
        return self.file.with_suffix(".diary")

    @property
    def folder(self) -> Path:
        """The evaluation's folder; the file is <folder>/scores/<test set>/<method>/<name>."""
        return self.file.parents[3]


def plan_scoring(evaluation: Evaluation) -> list[ScoreTask]:
    """The tasks of an evaluation, whose folder is made and marked as ours."""
    claim(evaluation.folder, KIND)
    return [
        task
        for test_set in evaluation.test_sets
        for method in evaluation.methods
        for damage in test_set.settings.damage
        for task in _tasks(evaluation, test_set, method, damage)
    ]


def _tasks(evaluation: Evaluation, test_set: OpenedTestSet, method: ResolvedMethod, damage: str) -> Iterator[ScoreTask]:
    """A task per row group of a test set, for one method and damage."""
    config, view, sizes = evaluation.config, test_set.view, test_set.sizes
    folder = evaluation.folder / "scores" / safe_name(test_set.name) / safe_name(method.label)
    for group in test_set.row_groups:
        digest = fingerprint(
            SCORING_VERSION, method.label, method.fingerprint, view.fingerprint, [size.name for size in sizes],
            damage, "" if damage == CLEAN else named.VERSION, test_set.name,
            group.shard.name, group.number, group.faces, group.identity_faces,
        )  # fmt: skip
        ending = "" if damage == CLEAN else f"-{damage}"
        yield ScoreTask(
            method, test_set.name, damage, sizes, test_set.photos, view.hr_size, group, digest,
            folder / f"{group.shard.stem}-{group.number:05d}{ending}.parquet", config.batch_size, config.device,
        )  # fmt: skip


def score_faces(task: ScoreTask) -> bool:
    """Score one task into its file; False if its finished file was there already.

    A face that the method fails on has the status ``failed``, the reason, and NaN for scores. So have all faces of a
    task that DEATHS processes died at.

    Raises:
        EvaluationError: this machine does not see what the task needs, or not as it was planned. No face is to blame,
            so there are no rows; another machine may do better.
    """
    if read_finished(task) is not None:
        return False
    if not (task.folder / MARKER).is_file():
        raise EvaluationError(f"{socket.gethostname()}: {printed(task.folder)} is gone, or cannot be seen from here")
    prove(task.method)
    with Diary(task.diary) as diary:
        table = _table(task, diary)
        write_checked(task.file, table, task.fingerprint)
    return True


def _table(task: ScoreTask, diary: Diary) -> pa.Table:
    """The scores; a method that ends its own process is tried again, until DEATHS processes have died of it."""
    label = task.method.label
    while True:
        try:
            with diary.in_work(label):
                frames = _frames(task, diary.is_condemned(label))
        except MethodDied:
            diary.add_death(label)
            continue
        return pa.Table.from_pandas(pd.concat(frames, ignore_index=True), preserve_index=False)


def _frames(task: ScoreTask, is_condemned: bool) -> list[pd.DataFrame]:
    """The scores at each size. is_condemned: the method fails on all faces without being run."""
    places, faces = _read_faces(task)
    if not faces:
        return [pd.DataFrame(columns=list(SCORE_COLUMNS))]
    hr, ids = np.stack([face.hr for face in faces]), [face.record["face_id"] for face in faces]
    identity = _IdentityMeter([face for i, face in zip(places, faces) if i < task.group.identity_faces])
    frames, device = [], device_of(task.method, task.device)
    for size in task.sizes:
        lr, folder = _lr_images(task, faces, size), LRKind(task.damage, size).folder
        batch = Faces(lr, size.px / task.hr_size, task.hr_size, ids, task.dataset, folder)
        if is_condemned:
            restoration = failed_restoration(batch, DEADLY)
        else:
            restoration = restore(task.method, batch, task.batch_size, task.device)
        names = {
            "model": task.method.label, "dataset": task.dataset, "damage": task.damage, "face_id": ids,
            "k": 16 * size.px / task.hr_size, "px": size.px, "width": size.width, "height": size.height,
            "device": device,
        }  # fmt: skip
        frames.append(pd.DataFrame(names | _columns(restoration, hr) | identity.measure(restoration)))
    return frames


def _read_faces(task: ScoreTask) -> tuple[list[int], list[FaceUnderDamage]]:
    """The task's faces with its damage, and the place of each in the row group.

    Faces that the damage leaves out are not among them.

    Raises:
        EvaluationError: the shard or a photograph is damaged, or cannot be seen from here.
    """
    try:
        with pq.ParquetFile(task.group.shard, page_checksum_verification=True) as file:
            table = file.read_row_group(task.group.number, columns=columns(task.damage, task.sizes, task.hr_size))
        records = table.slice(0, task.group.faces).to_pylist()
        faces = [face_under(task.damage, record, task.hr_size, task.photos) for record in records]
    except ERRORS as error:
        raise _unreadable(task, error) from error
    places = [i for i, face in enumerate(faces) if face is not None]
    return places, [face for face in faces if face is not None]


def _lr_images(task: ScoreTask, faces: Sequence[FaceUnderDamage], size: Size) -> np.ndarray:
    """(N, h, w, 3) uint8.

    Raises:
        EvaluationError: the shard is damaged.
    """
    try:
        return np.stack([face.lr(size) for face in faces])
    except ERRORS as error:
        raise _unreadable(task, error) from error


ERRORS = (OSError, SyntaxError, ValueError, pa.ArrowException)
"""What pyarrow and Pillow raise for damaged files; ConfigError, of a photograph, is a ValueError."""


def _unreadable(task: ScoreTask, error: Exception) -> EvaluationError:
    where = f"{task.group.shard}, row group {task.group.number}"
    return EvaluationError(f"{socket.gethostname()}: {where}: cannot be read ({error})")


def _columns(restoration: Restoration, hr: np.ndarray) -> dict[str, Any]:
    """Columns of the scores of N faces; scores of faces that the method failed on are NaN."""
    is_failed = np.array([bool(reason) for reason in restoration.reasons])
    scores = {name: np.where(is_failed, np.nan, values) for name, values in score(restoration.sr, hr).items()}
    columns: dict[str, Any] = {
        "status": np.where(is_failed, "failed", "ok"), "reason": restoration.reasons, **scores,
        "milliseconds": restoration.milliseconds,
    }  # fmt: skip
    weights = restoration.weights
    for i in range(MOST_ANCHORS):
        has_anchor = weights is not None and i < weights.shape[1]
        columns[f"w{i + 1}"] = weights[:, i].astype(float) if has_anchor and weights is not None else np.nan
    return columns


class _IdentityMeter:
    """Identity of SR and HR; both are aligned by the landmarks found on the photo."""

    def __init__(self, faces: Sequence[FaceUnderDamage]):
        self.landmarks = [_landmarks(face) for face in faces]
        self.hr = descriptors([face.hr for face in faces], self.landmarks) if faces else None

    def measure(self, restoration: Restoration) -> dict[str, np.ndarray]:
        """(N,) cosines ``identity`` and distances ``identity_distance``.

        NaN beyond the faces that are measured, and where the method failed.
        """
        result = {name: np.full(len(restoration.sr), np.nan) for name in IDENTITY}
        if self.hr is not None:
            n = len(self.hr)
            is_failed = [bool(reason) for reason in restoration.reasons[:n]]
            sr = descriptors(restoration.sr[:n], self.landmarks)
            for name, measure in IDENTITY.items():
                result[name][:n] = np.where(is_failed, np.nan, measure(sr, self.hr))
        return result


IDENTITY = {"identity": cosine, "identity_distance": distance}
"""Columns of scores that compare descriptors of SR and HR."""


def _landmarks(face: FaceUnderDamage) -> np.ndarray:
    """(68, 2) x, y in pixels of the HR face."""
    points, side = np.reshape(face.record["landmarks"], (-1, 2)), len(face.hr)
    if face.cut is not None:
        return crop_landmarks(points, face.cut.box, face.cut.angle, side, face.cut.centre)
    return crop_landmarks(points, face.record["box"], face.record["angle"] or 0, side)


def read_finished(task: ScoreTask) -> pa.Table | None:
    """The scores of a task, proven to be as they were written; None if the task is still to be done, or again."""
    checked = read_checked(task.file)
    if checked is None and os.path.lexists(task.file):
        log.warning("%s is damaged, or of an earlier release: it is scored again", printed(task.file))
    return checked[0] if checked and checked[1] == task.fingerprint else None


def read_scores(evaluation: Evaluation) -> ScoredEvaluation:
    """An evaluation with the scores of exactly its tasks, in their order.

    Raises:
        EvaluationError: some are not there, or damaged.
    """
    tasks = plan_scoring(evaluation)
    return evaluation.with_scores(join_scores([(task, read_finished(task)) for task in tasks]))


def remove_stale(evaluation: Evaluation) -> None:
    """Remove scores of earlier runs that are of no task, so that ``scores/`` holds what the tables are made from.

    Files that are not proven to be scores as we wrote them stay. So do folders of methods that the evaluation does not
    have if some of its methods were left out, whose folders they may be.
    """
    planned = {task.file for task in plan_scoring(evaluation)}
    folders = {file.parent for file in planned}
    for file in sorted((evaluation.folder / "scores").glob("*/*/part-*.parquet")):
        is_linked = any(path.is_symlink() for path in (file, *file.parents[:2]))
        if file in planned or is_linked or (evaluation.left_out and file.parent not in folders):
            continue
        if read_checked(file) is None:
            log.warning("%s is not known to be ours: it is kept, though it is of no table", printed(file))
            continue
        file.unlink()
        for folder in file.parents[:2]:
            with contextlib.suppress(OSError):  # it holds other files
                folder.rmdir()


def join_scores(tables: list[tuple[ScoreTask, pa.Table | None]]) -> pd.DataFrame:
    """Scores of tasks as one table of SCORE_COLUMNS; columns that files of earlier releases lack are NaN.

    Raises:
        EvaluationError: some are missing.
    """
    for task, table in tables:
        if table is None:
            raise EvaluationError(f"{printed(task.file)}: no whole scores there; evaluate again")
    scores = pd.concat([table.to_pandas() for _, table in tables if table is not None], ignore_index=True)
    return scores.reindex(columns=list(SCORE_COLUMNS))

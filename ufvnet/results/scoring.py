"""Scores of every method, image and scale: a Parquet file per method and row group, skipped if it is finished."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from ufvnet import data
from ufvnet.config import fingerprint
from ufvnet.crashes import DEATHS, Diary
from ufvnet.data.schema import read_checked, write_checked
from ufvnet.errors import EvaluationError
from ufvnet.faces.crop import crop_landmarks
from ufvnet.files import MARKER, claim, printed, safe_name
from ufvnet.imaging.resize import lr_side
from ufvnet.metrics import score
from ufvnet.metrics.identity import cosine, descriptors

from .evaluation import Evaluation, OpenedTestSet, RowGroup, ScoredEvaluation
from .folder import KIND
from .methods.faces import Faces, Restoration, failed_restoration
from .methods.own_process import MethodDied
from .methods.resolve import ResolvedMethod, prove
from .methods.restore import restore

SCORING_VERSION = 2
MOST_ANCHORS = 4
DEADLY = f"it kills the process that runs it: {DEATHS} died, one after the other"

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ScoreTask:
    """All that a worker needs to score one row group of a test set under one method; it can be pickled.

    dataset: the test set's name. ks: scales in sixteenths. fingerprint: of all that changes the scores. file: where
    they go.
    """

    method: ResolvedMethod
    dataset: str
    ks: tuple[int, ...]
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
        for task in _tasks(evaluation, test_set, method)
    ]


def _tasks(evaluation: Evaluation, test_set: OpenedTestSet, method: ResolvedMethod) -> Iterator[ScoreTask]:
    """A task per row group of a test set, for one method."""
    config, view = evaluation.config, test_set.view
    folder = evaluation.folder / "scores" / safe_name(test_set.name) / safe_name(method.label)
    for group in test_set.row_groups:
        digest = fingerprint(
            SCORING_VERSION, method.label, method.fingerprint, view.fingerprint, view.ks, test_set.name,
            group.shard.name, group.number, group.faces, group.identity_faces,
        )  # fmt: skip
        file = folder / f"{group.shard.stem}-{group.number:05d}.parquet"
        yield ScoreTask(
            method, test_set.name, view.ks, view.hr_size, group, digest, file, config.batch_size, config.device
        )


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
    """The scores at each scale. is_condemned: the method fails on all faces without being run."""
    faces, hr, lrs = _read_faces(task)
    identity = _IdentityMeter(faces.slice(0, task.group.identity_faces), hr)
    frames = []
    for k, lr in zip(task.ks, lrs):
        px, ids = lr_side(task.hr_size, k), faces["face_id"].to_pylist()
        batch = Faces(lr, k / 16, task.hr_size, ids, task.dataset, px)
        if is_condemned:
            restoration = failed_restoration(batch, DEADLY)
        else:
            restoration = restore(task.method, batch, task.batch_size, task.device)
        names = {"model": task.method.label, "dataset": task.dataset, "face_id": ids, "k": k, "px": px}
        columns = names | _columns(restoration, hr) | {"identity": identity.measure(restoration)}
        frames.append(pd.DataFrame(columns))
    return frames


def _read_faces(task: ScoreTask) -> tuple[pa.Table, np.ndarray, Iterator[np.ndarray]]:
    """The task's faces, their HR images, and their LR images at each scale, decoded one scale at a time.

    Raises:
        EvaluationError: the shard is damaged, or cannot be seen from here.
    """
    columns = ["face_id", "landmarks", "box", "angle", "hr", *(f"lr_{k}" for k in task.ks)]
    try:
        with pq.ParquetFile(task.group.shard, page_checksum_verification=True) as file:
            faces = file.read_row_group(task.group.number, columns=columns).slice(0, task.group.faces)
        images = {name: faces[name].to_pylist() for name in columns[4:]}
        hr = _decoded(images["hr"], task.hr_size)
        return faces, hr, iter([_decoded(images[f"lr_{k}"], lr_side(task.hr_size, k)) for k in task.ks])
    except (OSError, SyntaxError, ValueError, pa.ArrowException) as error:  # pyarrow's and Pillow's, for damaged files
        raise EvaluationError(
            f"{socket.gethostname()}: {task.group.shard}, row group {task.group.number}: cannot be read ({error})"
        ) from error


def _decoded(images: list[dict[str, Any]], side: int) -> np.ndarray:
    """(N, side, side, 3) uint8."""
    decoded = np.stack([data.decode(image) for image in images])
    if decoded.shape[1:] != (side, side, 3):
        raise ValueError(f"images of {decoded.shape[2]}x{decoded.shape[1]} pixels instead of {side}x{side}")
    return decoded


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
    """Identity similarity of SR to HR; both are aligned by the landmarks found on the photo."""

    def __init__(self, faces: pa.Table, hr: np.ndarray):
        self.landmarks = [
            crop_landmarks(np.reshape(face["landmarks"], (-1, 2)), face["box"], face["angle"] or 0, hr.shape[1])
            for face in faces.select(["landmarks", "box", "angle"]).to_pylist()
        ]
        self.hr = descriptors(hr[: len(self.landmarks)], self.landmarks) if self.landmarks else None

    def measure(self, restoration: Restoration) -> np.ndarray:
        """(N,) cosines; NaN beyond the faces that are measured, and where the method failed."""
        result = np.full(len(restoration.sr), np.nan)
        if self.hr is not None:
            n = len(self.hr)
            is_failed = [bool(reason) for reason in restoration.reasons[:n]]
            similarity = cosine(descriptors(restoration.sr[:n], self.landmarks), self.hr)
            result[:n] = np.where(is_failed, np.nan, similarity)
        return result


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


def join_scores(tables: list[tuple[ScoreTask, pa.Table | None]]) -> pd.DataFrame:
    """Scores of tasks as one table.

    Raises:
        EvaluationError: some are missing.
    """
    for task, table in tables:
        if table is None:
            raise EvaluationError(f"{printed(task.file)}: no whole scores there; evaluate again")
    return pd.concat([table.to_pandas() for _, table in tables if table is not None], ignore_index=True)

"""Method x image x scale to scores: one Parquet file a shard of a test set, skipped where it is finished."""

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
from ufvnet.config import ConfigError, EvaluateConfig, TestSet, fingerprint
from ufvnet.crashes import DEATHS, Diary
from ufvnet.data.schema import read_checked, write_checked
from ufvnet.errors import EvaluationError
from ufvnet.files import MARKER, claim, printed, safe_name
from ufvnet.imaging.resize import lr_side
from ufvnet.metrics import score
from ufvnet.metrics.identity import cosine, crop_landmarks, descriptors
from ufvnet.models.inference import BICUBIC, best_device
from ufvnet.models.store import read_card

from .folder import KIND, check_folder
from .methods.own_process import MethodDied
from .methods.restoring import Faces, Restoration, failed
from .methods.rows import Row, prove, restore, rows_of

SCORING_VERSION = 2
MOST_ANCHORS = 4
DEADLY = f"it kills the process that runs it: {DEATHS} died, one after the other"

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ScoreTask:
    """One row group of a test set under one method: what a worker needs to score it.

    faces: how many of the group's faces to take, from its first. identity: how many of those to measure identity on.
    """

    row: Row
    test_set: TestSet
    ks: tuple[int, ...]
    hr_size: int
    shard: Path
    group: int
    faces: int
    identity: int
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
        """The evaluation's: <folder>/scores/<test set>/<method>/<file>."""
        return self.file.parents[3]


def plan(config: EvaluateConfig) -> list[ScoreTask]:
    """Every task of an evaluation, whose folder is there and ours from then on.

    Raises:
        ConfigError: a method, dataset or device is missing, HR sizes differ, no method is left, or the folder holds
            files of somebody else, overlaps what is read, or cannot be written to.
    """
    best_device(config.device)
    check_folder(config)
    rows = rows_of(config)
    if not rows:
        raise ConfigError("models: none of them is there")
    tasks = [task for test_set in config.datasets for row in rows for task in _tasks(config, test_set, row)]
    claim(config.out / config.name, KIND)
    return tasks


def _tasks(config: EvaluateConfig, test_set: TestSet, row: Row) -> list[ScoreTask]:
    view = data.open(test_set.path).view(config.view, test_set.split)
    if row.method.model and row.ref != BICUBIC and (side := read_card(Path(row.ref))["hr_size"]) != view.hr_size:
        raise ConfigError(
            f"models: {row.ref} makes {side}-pixel faces, {test_set.path} holds {view.hr_size}-pixel ones"
        )
    folder = config.out / config.name / "scores" / safe_name(test_set.name) / safe_name(row.label)
    left, to_identify = test_set.limit or len(view), config.identity_faces
    tasks = []
    for shard in view.shards:
        try:
            metadata = pq.read_metadata(shard)
        except (OSError, pa.ArrowException) as error:
            raise ConfigError(f"datasets: {shard}: cannot be read ({error}); verify the dataset") from error
        for group in range(metadata.num_row_groups):
            faces = min(left, metadata.row_group(group).num_rows)
            identity = min(to_identify, faces)
            left, to_identify = left - faces, to_identify - identity
            if faces:
                print_ = fingerprint(SCORING_VERSION, row.label, row.fingerprint, view.fingerprint, view.ks,
                                     test_set.name, shard.name, group, faces, identity)  # fmt: skip
                file = folder / f"{shard.stem}-{group:05d}.parquet"
                tasks.append(ScoreTask(row, test_set, view.ks, view.hr_size, shard, group, faces, identity, print_,
                                       file, config.batch_size, config.device))  # fmt: skip
    return tasks


def score_faces(task: ScoreTask) -> bool:
    """Score one task into its file; False where a whole file of it was there already.

    A face that the method fails on has the status ``failed``, the reason, and NaN for scores. So have all faces of a
    task that DEATHS processes died at.

    Raises:
        EvaluationError: this machine does not see what the task needs, or not as it was planned. No face is to blame,
            so there are no rows; another machine may do better.
    """
    if finished(task) is not None:
        return False
    if not (task.folder / MARKER).is_file():
        raise EvaluationError(f"{socket.gethostname()}: {printed(task.folder)} is gone, or cannot be seen from here")
    prove(task.row)
    with Diary(task.diary) as diary:
        table = _table(task, diary)
        write_checked(task.file, table, task.fingerprint)
    return True


def _table(task: ScoreTask, diary: Diary) -> pa.Table:
    """The scores; a method that ends its own process is tried again, until DEATHS processes have died of it."""
    method = task.row.label
    while True:
        try:
            with diary.in_work(method):
                frames = _frames(task, diary.is_condemned(method))
        except MethodDied:
            diary.add_death(method)
            continue
        return pa.Table.from_pandas(pd.concat(frames, ignore_index=True), preserve_index=False)


def _frames(task: ScoreTask, deadly: bool) -> list[pd.DataFrame]:
    """The scores at each scale. deadly: the method is not run."""
    faces, hr, lrs = _read_faces(task)
    identity = _Identity(faces.slice(0, task.identity), hr)
    frames = []
    for k, lr in zip(task.ks, lrs):
        px, ids = lr_side(task.hr_size, k), faces["face_id"].to_pylist()
        given = Faces(lr, k / 16, task.hr_size, ids, task.test_set.name, px)
        done = failed(given, DEADLY) if deadly else restore(task.row, given, task.batch_size, task.device)
        names = {"model": task.row.label, "dataset": task.test_set.name, "face_id": ids, "k": k, "px": px}
        frames.append(pd.DataFrame(names | _scores(done, hr) | {"identity": identity.of(done)}))
    return frames


def _read_faces(task: ScoreTask) -> tuple[pa.Table, np.ndarray, Iterator[np.ndarray]]:
    """The task's faces, their HR images, and their LR images at each scale, decoded one scale at a time.

    Raises:
        EvaluationError: the shard is damaged, or cannot be seen from here.
    """
    columns = ["face_id", "landmarks", "box", "angle", "hr", *(f"lr_{k}" for k in task.ks)]
    try:
        with pq.ParquetFile(task.shard, page_checksum_verification=True) as file:
            faces = file.read_row_group(task.group, columns=columns).slice(0, task.faces)
        images = {name: faces[name].to_pylist() for name in columns[4:]}
        hr = _decoded(images["hr"], task.hr_size)
        return faces, hr, iter([_decoded(images[f"lr_{k}"], lr_side(task.hr_size, k)) for k in task.ks])
    except (OSError, SyntaxError, ValueError, pa.ArrowException) as error:  # what damage makes of pyarrow and Pillow
        raise EvaluationError(
            f"{socket.gethostname()}: {task.shard}, row group {task.group}: cannot be read ({error})"
        ) from error


def _decoded(images: list[dict[str, Any]], side: int) -> np.ndarray:
    """(N, side, side, 3) uint8."""
    decoded = np.stack([data.decode(image) for image in images])
    if decoded.shape[1:] != (side, side, 3):
        raise ValueError(f"images of {decoded.shape[2]}x{decoded.shape[1]} pixels instead of {side}x{side}")
    return decoded


def _scores(done: Restoration, hr: np.ndarray) -> dict[str, Any]:
    without = np.array([bool(reason) for reason in done.reasons])
    scores = {name: np.where(without, np.nan, values) for name, values in score(done.sr, hr).items()}
    columns: dict[str, Any] = {
        "status": np.where(without, "failed", "ok"), "reason": done.reasons, **scores,
        "milliseconds": done.milliseconds,
    }  # fmt: skip
    for i in range(MOST_ANCHORS):
        has = done.weights is not None and i < done.weights.shape[1]
        columns[f"w{i + 1}"] = done.weights[:, i].astype(float) if has and done.weights is not None else np.nan
    return columns


class _Identity:
    """Identity similarity of SR to HR; both are aligned by the landmarks found on the photo."""

    def __init__(self, faces: pa.Table, hr: np.ndarray):
        self.landmarks = [
            crop_landmarks(np.reshape(face["landmarks"], (-1, 2)), face["box"], face["angle"] or 0, hr.shape[1])
            for face in faces.select(["landmarks", "box", "angle"]).to_pylist()
        ]
        self.hr = descriptors(hr[: len(self.landmarks)], self.landmarks) if self.landmarks else None

    def of(self, done: Restoration) -> np.ndarray:
        """(N,) cosines; NaN beyond the faces that are measured, and where the method failed."""
        result = np.full(len(done.sr), np.nan)
        if self.hr is not None:
            n = len(self.hr)
            without = [bool(reason) for reason in done.reasons[:n]]
            result[:n] = np.where(without, np.nan, cosine(descriptors(done.sr[:n], self.landmarks), self.hr))
        return result


def finished(task: ScoreTask) -> pa.Table | None:
    """The scores of a task, proven to be as they were written; None where they are yet to be made, or again."""
    found = read_checked(task.file)
    if found is None and os.path.lexists(task.file):
        log.warning("%s is damaged, or of an earlier release: it is scored again", printed(task.file))
    return found[0] if found and found[1] == task.fingerprint else None


def read_scores(config: EvaluateConfig) -> pd.DataFrame:
    """The scores of exactly the planned tasks, in their order.

    Raises:
        EvaluationError: some are not there, or damaged.
    """
    return joined([(task, finished(task)) for task in plan(config)])


def joined(scores: list[tuple[ScoreTask, pa.Table | None]]) -> pd.DataFrame:
    """Scores of tasks as one table.

    Raises:
        EvaluationError: some are missing.
    """
    for task, table in scores:
        if table is None:
            raise EvaluationError(f"{printed(task.file)}: no whole scores there; evaluate again")
    return pd.concat([table.to_pandas() for _, table in scores if table is not None], ignore_index=True)

"""Model x image x scale to scores: one Parquet file a shard of a test set, skipped where it is finished."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from ufvnet import data
from ufvnet.config import ConfigError, EvaluateConfig, TestSet, fingerprint
from ufvnet.data.bicubic import lr_side
from ufvnet.data.schema import read_fingerprint, write_table
from ufvnet.metrics import score
from ufvnet.models.inference import BICUBIC, best_device, ready, super_resolve
from ufvnet.models.store import read_card

SCORING_VERSION = 1
MOST_ANCHORS = 4


@dataclass(frozen=True)
class Row:
    """A row of the tables: a model as it was trained.

    name: registry name. ref: ``bicubic`` or its folder. trained_on: view, or "" for bicubic.
    label: tells it from others of its name, e.g. ``ufvnet (MR8)``.
    """

    name: str
    ref: str
    trained_on: str
    preset: str
    fingerprint: str

    @property
    def label(self) -> str:
        return f"{self.name} ({self.trained_on})" if self.trained_on else self.name


@dataclass(frozen=True)
class ScoreTask:
    """One row group of a test set under one model: what a worker needs to score it.

    faces: how many of the group's faces to take, from its first.
    """

    row: Row
    test_set: TestSet
    ks: tuple[int, ...]
    hr_size: int
    shard: Path
    group: int
    faces: int
    fingerprint: str
    file: Path
    batch_size: int
    device: str


def rows_of(config: EvaluateConfig) -> list[Row]:
    """The models of an evaluation.

    Raises:
        ConfigError: a folder holds no model, or two models have one label.
    """
    rows = []
    for ref in config.models:
        if ref == "bicubic":
            rows.append(Row("bicubic", ref, "", "", fingerprint("bicubic")))
            continue
        card = read_card(Path(ref))
        rows.append(Row(card["model"], ref, card["trained_on"]["view"], card["preset"], card["fingerprint"]))
    labels = [r.label for r in rows]
    for label in labels:
        if labels.count(label) > 1:
            raise ConfigError(f"models: {label} stands there twice; evaluate the two apart")
    return rows


def plan(config: EvaluateConfig) -> list[ScoreTask]:
    """Every task of an evaluation.

    Raises:
        ConfigError: a model, dataset or device is missing, or HR sizes differ.
    """
    best_device(config.device)
    rows = rows_of(config)
    return [task for test_set in config.datasets for row in rows for task in _tasks(config, test_set, row)]


def _tasks(config: EvaluateConfig, test_set: TestSet, row: Row) -> list[ScoreTask]:
    view = data.open(test_set.path).view(config.view, test_set.split)
    if row.ref != BICUBIC and (side := read_card(Path(row.ref))["hr_size"]) != view.hr_size:
        raise ConfigError(
            f"models: {row.ref} makes {side}-pixel faces, {test_set.path} holds {view.hr_size}-pixel ones"
        )
    folder = config.out / config.name / "scores" / test_set.name / row.label
    left = test_set.limit or len(view)
    tasks = []
    for shard in view.shards:
        metadata = pq.read_metadata(shard)
        for group in range(metadata.num_row_groups):
            faces = min(left, metadata.row_group(group).num_rows)
            left -= faces
            if faces:
                print_ = fingerprint(SCORING_VERSION, row.label, row.fingerprint, view.fingerprint, view.ks,
                                     test_set.name, shard.name, group, faces)  # fmt: skip
                file = folder / f"{shard.stem}-{group:05d}.parquet"
                tasks.append(ScoreTask(row, test_set, view.ks, view.hr_size, shard, group, faces, print_, file,
                                       config.batch_size, config.device))  # fmt: skip
    return tasks


def score_faces(task: ScoreTask) -> bool:
    """Score one task into its file; False where the file was there already."""
    if read_fingerprint(task.file) == task.fingerprint:
        return False
    columns = ["face_id", "hr", *(f"lr_{k}" for k in task.ks)]
    faces = pq.ParquetFile(task.shard).read_row_group(task.group, columns=columns).slice(0, task.faces)
    images = {name: np.stack([data.decode(v) for v in faces[name].to_pylist()]) for name in columns[1:]}
    network = ready(task.row.ref, task.row.fingerprint, task.hr_size, task.device)
    frames = []
    for k in task.ks:
        started = time.perf_counter()
        sr, weights = super_resolve(network, images[f"lr_{k}"], task.hr_size, k / 16, task.batch_size)
        milliseconds = (time.perf_counter() - started) * 1000 / task.faces
        columns_of: dict[str, Any] = {
            "model": task.row.label, "dataset": task.test_set.name, "face_id": faces["face_id"].to_pylist(),
            "k": k, "px": lr_side(task.hr_size, k), **score(sr, images["hr"]), "milliseconds": milliseconds,
        }  # fmt: skip
        for i in range(MOST_ANCHORS):
            has = weights is not None and i < weights.shape[1]
            columns_of[f"w{i + 1}"] = weights[:, i].astype(float) if has and weights is not None else np.nan
        frames.append(pd.DataFrame(columns_of))
    table = pa.Table.from_pandas(pd.concat(frames, ignore_index=True), preserve_index=False)
    write_table(task.file, table, task.fingerprint)
    return True


def read_scores(config: EvaluateConfig) -> pd.DataFrame:
    """The scores of exactly the planned tasks, in their order."""
    return pd.concat([pd.read_parquet(task.file) for task in plan(config)], ignore_index=True)

"""An evaluation, resolved once: methods found, test sets opened, the folder checked; later steps receive it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from ufvnet import data
from ufvnet.config import ConfigError, EvaluateConfig, TestSet
from ufvnet.data.dataset import DatasetView
from ufvnet.models.inference import best_device

from .folder import check_folder, folder_of
from .methods.resolve import ResolvedMethod, resolve_methods


@dataclass(frozen=True)
class RowGroup:
    """A row group of a test set's shard; each method scores it as one task.

    faces: how many are scored, from its first. identity_faces: of how many of those identity is measured.
    """

    shard: Path
    number: int
    faces: int
    identity_faces: int


@dataclass(frozen=True)
class OpenedTestSet:
    """A test set whose dataset was opened.

    view: the split at the evaluation's scales. card: the dataset's. row_groups: those with faces to score, in order.
    """

    settings: TestSet
    view: DatasetView
    card: dict[str, Any]
    row_groups: tuple[RowGroup, ...]

    @property
    def name(self) -> str:
        return self.settings.name


@dataclass(frozen=True, eq=False)
class Evaluation:
    """All that is known of an evaluation before it is scored.

    left_out: with ``missing: skip``, why methods are left out, a line each.
    """

    config: EvaluateConfig
    methods: tuple[ResolvedMethod, ...]
    left_out: tuple[str, ...]
    test_sets: tuple[OpenedTestSet, ...]

    @property
    def folder(self) -> Path:
        """Where everything is written: scores/, tables/, figures/, report.html."""
        return folder_of(self.config)

    def with_scores(self, scores: pd.DataFrame) -> ScoredEvaluation:
        """The same evaluation with its scores: a row per method, image and scale, as ``scoring`` makes them."""
        return ScoredEvaluation(self.config, self.methods, self.left_out, self.test_sets, scores)


@dataclass(frozen=True, eq=False)
class ScoredEvaluation(Evaluation):
    """An evaluation whose scores are there; what tables, figures and report are made from."""

    scores: pd.DataFrame

    def scores_on(self, test_set: str) -> pd.DataFrame:
        """The scores of one test set, by its name."""
        return self.scores[self.scores["dataset"] == test_set]


def resolve_evaluation(config: EvaluateConfig) -> Evaluation:
    """Find, open and check all that an evaluation needs. Writes nothing.

    Raises:
        ConfigError: a method, dataset or device is missing, HR sizes differ, no method is left, or the folder holds
            files of somebody else, overlaps what is read, or cannot be written to.
    """
    best_device(config.device)
    check_folder(config)
    methods, left_out = resolve_methods(config)
    if not methods:
        raise ConfigError("models: none of them is there")
    test_sets = tuple(open_test_set(settings, config) for settings in config.datasets)
    for test_set in test_sets:
        for method in methods:
            _check_size(method, test_set)
    return Evaluation(config, methods, left_out, test_sets)


def open_test_set(settings: TestSet, config: EvaluateConfig) -> OpenedTestSet:
    """Open a test set's dataset and list its row groups.

    Raises:
        ConfigError: there is no such dataset, the split has no faces, or a shard is missing or damaged.
    """
    dataset = data.open(settings.path)
    view = dataset.view(config.view, settings.split)
    left, identity_left = settings.limit or len(view), config.identity_faces
    row_groups = []
    for shard in view.shards:
        try:
            metadata = pq.read_metadata(shard)
        except (OSError, pa.ArrowException) as error:
            raise ConfigError(f"datasets: {shard}: cannot be read ({error}); verify the dataset") from error
        for number in range(metadata.num_row_groups):
            faces = min(left, metadata.row_group(number).num_rows)
            identity_faces = min(identity_left, faces)
            left, identity_left = left - faces, identity_left - identity_faces
            if faces:
                row_groups.append(RowGroup(shard, number, faces, identity_faces))
    return OpenedTestSet(settings, view, dataset.card, tuple(row_groups))


def _check_size(method: ResolvedMethod, test_set: OpenedTestSet) -> None:
    """
    Raises:
        ConfigError: a model makes faces of another size than the dataset holds.
    """
    side, hr_size = method.card.get("hr_size"), test_set.view.hr_size
    if side not in (None, hr_size):
        raise ConfigError(
            f"models: {method.ref} makes {side}-pixel faces, {test_set.settings.path} holds {hr_size}-pixel ones"
        )

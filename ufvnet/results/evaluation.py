"""An evaluation, resolved once: methods found, test sets opened, the folder checked; later steps receive it."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from ufvnet import data
from ufvnet.config import ConfigError, EvaluateConfig, TestSet
from ufvnet.config.lr_images import CROP
from ufvnet.data.dataset import Dataset, DatasetView
from ufvnet.data.lr_images import Size, check_made, size_of, stored_sizes
from ufvnet.models.inference import best_device

from .folder import check_folder, folder_of
from .groups import GroupOutcome, group_outcomes, read_groups
from .methods.resolve import ResolvedMethod, resolve_methods
from .statistics import Outcomes, outcomes


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

    view: the split. card: the dataset's. row_groups: those with faces to score, in order. sizes: of the LR images,
    ascending. photos: folder of the photographs, if a damage needs it. groups: of the faces (``groups.read_groups``).
    """

    settings: TestSet
    view: DatasetView
    card: dict[str, Any]
    row_groups: tuple[RowGroup, ...]
    sizes: tuple[Size, ...]
    photos: Path | None = None
    groups: pd.DataFrame | None = field(default=None, compare=False)

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
        """The same evaluation with its scores: a row per method and LR image, as ``scoring`` makes them."""
        return ScoredEvaluation(self.config, self.methods, self.left_out, self.test_sets, scores)


@dataclass(frozen=True, eq=False)
class ScoredEvaluation(Evaluation):
    """An evaluation whose scores are there; what tables, figures and report are made from."""

    scores: pd.DataFrame

    def scores_on(self, test_set: str) -> pd.DataFrame:
        """The scores of one test set, by its name."""
        return self.scores[self.scores["dataset"] == test_set]

    @cached_property
    def outcomes(self) -> dict[str, Outcomes]:
        """By test set: what each method made of the faces, by damage and size."""
        names = [test_set.name for test_set in self.config.datasets]
        return {name: outcomes(self.scores_on(name), self.config.seed) for name in names}

    @cached_property
    def group_outcomes(self) -> dict[str, list[GroupOutcome]]:
        """By test set with groups: what each method made of the faces of each group."""
        return {
            test_set.name: group_outcomes(self.scores_on(test_set.name), test_set.groups, self.config.seed)
            for test_set in self.test_sets
            if test_set.groups is not None
        }


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
        ConfigError: there is no such dataset, the split has no faces, a shard is missing or damaged, the faces cannot
            have LR images of that size or damage, or the groups or photographs are not there.
    """
    dataset = data.open(settings.path)
    view = dataset.view(config.view, settings.split)
    sizes = stored_sizes(view.hr_size, view.ks)
    if settings.sizes is not None:
        sizes = tuple(sorted(map(size_of, settings.sizes)))
    check_made(f"datasets.{settings.name}.", dataset, settings.damage, sizes)
    groups = None if settings.groups is None else read_groups(settings.groups, view)
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
    photos = _photos(settings, dataset, view)
    return OpenedTestSet(settings, view, dataset.card, tuple(row_groups), sizes, photos, groups)


def _photos(settings: TestSet, dataset: Dataset, view: DatasetView) -> Path | None:
    """The folder of the photographs, if a damage needs it.

    Raises:
        ConfigError: a photograph is missing, or the faces were turned when they were cut.
    """
    if CROP not in settings.damage:
        return None
    photos = settings.photos or dataset.photos
    view.originals(photos)
    return photos.absolute()


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

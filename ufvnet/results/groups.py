"""Groups of a test set's faces, such as ages, from a CSV, and what methods make of the faces of each."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq

from ufvnet.data.dataset import DatasetView
from ufvnet.errors import ConfigError
from ufvnet.files import printed
from ufvnet.models.inference import BICUBIC

from .statistics import Outcome, damages_in, labels_in, outcome

PHOTO = "photo"
"""Column of the CSV with the photographs' paths, as the dataset names them."""


def read_groups(file: Path, view: DatasetView) -> pd.DataFrame:
    """The group of each face, "" where the CSV has none: indexed by face id, a column for each division.

    Args:
        file: a CSV with a column ``photo`` and a column for each division.
        view: the split whose faces are scored.

    Raises:
        ConfigError: the file is missing or no such CSV, names a photograph twice, or none of the split's.
    """
    where = f"groups = {printed(file)}"
    try:
        table = pd.read_csv(file, dtype=str, keep_default_na=False)
    except (OSError, ValueError, pd.errors.ParserError) as error:
        raise ConfigError(f"{where}: cannot be read as a CSV ({printed(error)})") from error
    if PHOTO not in table or len(table.columns) < 2:
        raise ConfigError(
            f"{where}: must have a column {PHOTO} and one for each division; it has {', '.join(map(str, table))}"
        )
    if table[PHOTO].duplicated().any():
        raise ConfigError(f"{where}: {printed(table[PHOTO][table[PHOTO].duplicated()].iloc[0])} is there twice")
    faces = pd.concat([pq.read_table(shard, columns=["face_id", PHOTO]).to_pandas() for shard in view.shards])
    groups = faces.join(table.set_index(PHOTO), on=PHOTO).set_index("face_id").drop(columns=PHOTO)
    if groups.isna().all(axis=None):
        raise ConfigError(
            f"{where}: none of its photographs is in split {view.split!r} of {printed(view.root)}, which has "
            f"{printed(faces[PHOTO].iloc[0])}"
        )
    return groups.fillna("")


FAR_BELOW = 0.8
"""A group is named if its gain is below this share of everyone's."""
EVERYONE = "all"


@dataclass(frozen=True)
class GroupOutcome:
    """What a method made of the faces of a group: division and group ("all", "" for everyone), label, damage."""

    division: str
    group: str
    label: str
    damage: str
    outcome: Outcome

    @property
    def name(self) -> str:
        return f"{self.division}: {self.group}" if self.group else self.division


def group_outcomes(scores: pd.DataFrame, groups: pd.DataFrame, seed: int) -> list[GroupOutcome]:
    """The outcomes of one test set by group, over all sizes; everyone's come first.

    Args:
        groups: as ``results.groups.read_groups`` gives them.
    """
    results = []
    for label in labels_in(scores):
        for damage in damages_in(scores) if label != BICUBIC else ():
            part = scores[scores["damage"] == damage]
            for division, group, faces in _groups(groups):
                images = part if faces is None else part[part["face_id"].isin(faces)]
                if len(images):
                    results.append(GroupOutcome(division, group, label, damage, outcome(images, label, seed)))
    return results


def _groups(groups: pd.DataFrame) -> Iterator[tuple[str, str, pd.Index | None]]:
    """Division, group and its faces; groups in the order of their names, numbers by value."""
    yield EVERYONE, "", None
    for division in groups:
        column = groups[division]
        for group in sorted(set(column) - {""}, key=_by_number):
            yield str(division), group, groups.index[column == group]


def _by_number(group: str) -> tuple[float, str]:
    first = group.split("-")[0].rstrip("+")
    return (float(first) if first.isdigit() else math.inf, group)


def is_far_below(gain: float, everyone: float) -> bool:
    """True if a gain in dB is below FAR_BELOW of everyone's; a loss, if it is larger by as much."""
    return gain < everyone - (1 - FAR_BELOW) * abs(everyone)


def far_below(results: Sequence[GroupOutcome]) -> list[GroupOutcome]:
    """The groups whose gain is below FAR_BELOW of everyone's by the same method under the same damage."""
    everyone = {(r.label, r.damage): r.outcome.gain for r in results if r.division == EVERYONE}

    def is_far(result: GroupOutcome) -> bool:
        all_faces, here = everyone[result.label, result.damage], result.outcome.gain
        if all_faces is None or here is None or result.division == EVERYONE:
            return False
        return is_far_below(here.mean, all_faces.mean)

    return [result for result in results if is_far(result)]

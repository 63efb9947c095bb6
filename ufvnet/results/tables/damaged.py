"""Tables of what was measured under damage, a row per method and damage; and identity, which every damage has."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import pandas as pd

from ufvnet.config.lr_images import CLEAN
from ufvnet.data.lr_images import Size
from ufvnet.metrics import PRIMARY
from ufvnet.models.inference import BICUBIC
from ufvnet.results.statistics import Outcome, Outcomes

from .captions import failures
from .measured import percent, size_header
from .table import NOTHING, Cell, Gain, Number, Score, Table


def damage_tables(outcomes: Outcomes, scores: pd.DataFrame, dataset: str) -> list[Table]:
    """PSNR / SSIM, gains and shares of worse images by damage and size; none if every LR image is clean.

    Args:
        scores: those that the outcomes are of.
    """
    if all(damage == CLEAN for damage, _, _ in outcomes):
        return []
    tables = [
        _table(
            f"damage_scores_{dataset}",
            f"{dataset}, by damage of the LR images: PSNR / SSIM, protocol {PRIMARY}.{failures(scores)}",
            outcomes, lambda o: Score(o.mean),
        )
    ]  # fmt: skip
    if not any(outcome.gain for outcome in outcomes.values()):
        return tables
    gains = (
        f"{dataset}, by damage of the LR images: gain over bicubic of the same LR image in dB (protocol {PRIMARY}), "
        f"mean and bootstrap 95 % interval over faces; n.s.: the interval holds zero.{failures(scores, True)}"
    )
    worse = (
        f"{dataset}, by damage of the LR images: share of images whose PSNR is below that of bicubic's."
        f"{failures(scores)}"
    )
    compared = {place: outcome for place, outcome in outcomes.items() if place[2] != BICUBIC}
    tables.append(_table(f"damage_gain_{dataset}", gains, compared, lambda o: Gain(o.gain)))
    tables.append(_table(f"damage_worse_{dataset}", worse, compared, lambda o: percent(o.worse, o.mean.incomplete)))
    return tables


def identity_table(outcomes: Outcomes, scores: pd.DataFrame, dataset: str) -> Table | None:
    """Distance from HR by method, damage and size, beside bicubic's; None if no identity was measured.

    Args:
        scores: those that the outcomes are of.
    """
    measured = {place: outcome for place, outcome in outcomes.items() if not math.isnan(outcome.distance)}
    if not measured:
        return None
    rows: list[tuple[Cell, ...]] = []
    sizes = _sizes(measured)
    for damage, label in _methods(measured):
        found = [measured.get((damage, size, label)) for size in [*sizes, None]]
        for name, cell in IDENTITY.items():
            line = [cell(outcome) if outcome else Number(math.nan) for outcome in found]
            if not all(math.isnan(number.value) for number in line):
                rows.append((label, damage, name, *line))
    caption = (
        f"{dataset}: identity, from dlib's descriptors of SR and HR: Euclidean distance, beside that of bicubic's "
        "image from HR; nearer: share of images that are nearer to HR than bicubic's; cosine of the descriptors. Of "
        "the faces whose identity was measured (identity_faces); bicubic's distance is of the same images."
        f"{failures(scores)}"
    )
    return Table(f"identity_{dataset}", caption, ("method", "damage", "", *size_header(sizes)), tuple(rows))


IDENTITY: dict[str, Callable[[Outcome], Number]] = {
    "distance": lambda o: Number(o.distance, "{:.3f}", o.identity_incomplete),
    "bicubic's distance": lambda o: Number(o.bicubic_distance, "{:.3f}", o.identity_incomplete),
    "nearer": lambda o: percent(o.nearer, o.identity_incomplete),
    "cosine": lambda o: Number(o.cosine, "{:.4f}", o.identity_incomplete),
}
"""Rows of the identity table."""


def _table(key: str, caption: str, outcomes: Outcomes, cell: Callable[[Outcome], Cell]) -> Table:
    """A row per method and damage, a column per size."""
    rows: list[tuple[Cell, ...]] = []
    sizes = _sizes(outcomes)
    for damage, label in _methods(outcomes):
        found = [outcomes.get((damage, size, label)) for size in [*sizes, None]]
        faces = max(outcome.faces for outcome in found if outcome)
        rows.append((label, damage, Number(faces), *(cell(o) if o else NOTHING for o in found)))
    return Table(key, caption, ("method", "damage", "faces", *size_header(sizes)), tuple(rows))


def _sizes(outcomes: Outcomes) -> Sequence[Size]:
    return sorted({size for _, size, _ in outcomes if size is not None})


def _methods(outcomes: Outcomes) -> list[tuple[str, str]]:
    """(damage, label), damages of one method together."""
    places = dict.fromkeys((damage, label) for damage, _, label in outcomes)
    labels = list(dict.fromkeys(label for _, label in places))
    return sorted(places, key=lambda place: labels.index(place[1]))

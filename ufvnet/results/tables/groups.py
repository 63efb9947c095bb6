"""Tables of gain and identity by group of faces, such as age or gender (``groups`` of a test set)."""

from __future__ import annotations

import math

import pandas as pd

from ufvnet.metrics import PRIMARY
from ufvnet.results.groups import FAR_BELOW, GroupOutcome, far_below
from ufvnet.results.statistics import Outcome

from .captions import failures
from .damaged import IDENTITY
from .measured import percent
from .table import Cell, Gain, Number, Table


def group_tables(results: list[GroupOutcome], scores: pd.DataFrame, dataset: str) -> list[Table]:
    """A table per method: rows are groups; columns are gain, share worse and identity under each damage.

    Args:
        scores: those that the results are of.
    """
    return [_table(label, results, scores, dataset) for label in dict.fromkeys(result.label for result in results)]


def _table(label: str, results: list[GroupOutcome], scores: pd.DataFrame, dataset: str) -> Table:
    mine = [result for result in results if result.label == label]
    damages = list(dict.fromkeys(result.damage for result in mine))
    measured = any(not math.isnan(result.outcome.distance) for result in mine)
    by_name = {(result.name, result.damage): result.outcome for result in mine}
    header = ["group", "faces"]
    rows: list[tuple[Cell, ...]] = []
    for damage in damages:
        header += [f"{damage}: gain [dB]", f"{damage}: worse"]
        header += [f"{damage}: identity distance", f"{damage}: bicubic's", f"{damage}: nearer"] if measured else []
    for name in dict.fromkeys(result.name for result in mine):
        here = [by_name.get((name, damage)) for damage in damages]
        row: list[Cell] = [name, Number(max(o.faces for o in here if o))]
        for found in here:
            row += _cells(found, measured)
        rows.append(tuple(row))
    far = [f"{result.name} ({result.damage})" for result in far_below(mine)]
    caption = (
        f"{dataset}, {label}, by group of faces: gain over bicubic (protocol {PRIMARY}) with bootstrap 95 % interval "
        "over faces, and share of images worse, over all sizes. "
        + (f"Below {FAR_BELOW} of everyone's gain: {', '.join(far)}." if far else
           f"No group is below {FAR_BELOW} of everyone's gain.")
        + failures(scores[scores["model"] == label], True)
    )  # fmt: skip
    return Table(f"groups_{dataset}_{label}", caption, tuple(header), tuple(rows))


def _cells(found: Outcome | None, measured: bool) -> list[Cell]:
    """The cells of one damage; nothing where the group has no face with it."""
    if found is None:
        return [Number(math.nan)] * (5 if measured else 2)
    cells: list[Cell] = [Gain(found.gain), percent(found.worse, found.mean.incomplete)]
    return cells + [IDENTITY[name](found) for name in ("distance", "bicubic's distance", "nearer") if measured]

"""Which of the paper's orderings came out: its differences between methods beside those measured here."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from typing import NamedTuple

import numpy as np

from ufvnet.imaging.resize import VIEWS
from ufvnet.metrics import PRIMARY
from ufvnet.results.evaluation import ScoredEvaluation
from ufvnet.results.statistics import (
    PSNR,
    Difference,
    by_face,
    mean_difference,
    mean_over_sizes,
    paired_differences,
    square,
    undamaged,
)

from .beside_paper import ROMAN, SEED, labels_of
from .captions import ONE_SEED, failures, test_set_name
from .paper import Column, PaperTable
from .table import BESIDE_PAPER, NOTHING, Cell, Gain, Number, Table

FIRST = ""
OURS = "ufvnet"


class _Difference(NamedTuple):
    """One method minus another, each as a column has it, on the same test images."""

    one: tuple[str, Column]
    other: tuple[str, Column]


class _Ordering(NamedTuple):
    """text: names it. parts: for each column what it compares: a difference, perhaps less another one; or nothing."""

    text: str
    parts: tuple[tuple[_Difference, ...], ...]


def orderings_table(paper: PaperTable, evaluation: ScoredEvaluation) -> Table | None:
    """A line per ordering that the paper's numbers state and that was measured here; None if there is none.

    First every pair of methods trained alike; then each method trained on all tested sizes over itself trained on
    fewer, and how much more that changes than for UFVNet.
    """
    columns = [c for c in paper.columns if c.place < len(evaluation.config.datasets)]
    measured = _Measured(columns, evaluation)
    seeds = _seeds(evaluation)
    rows = [
        row
        for seed in seeds
        for ordering in _orderings(paper, columns)
        if (row := _row(ordering, paper, measured, seed, seeds if seed == FIRST else [seed]))
    ]
    if not rows:
        return None
    sets = " and ".join(test_set_name(evaluation.config.datasets[i]) for i in sorted({c.place for c in columns}))
    header = ["the paper's ordering"]
    for column in columns:
        name = f"{evaluation.config.datasets[column.place].name}-{column.tested}"
        header += [f"trained {column.trained} → {name}", f"paper: trained {column.trained} → {column.paper}"]
    caption = (
        f"The orderings of Table {ROMAN[paper.number]}: differences in dB, measured on {sets} (protocol {PRIMARY}, "
        "paired by image, mean over sizes, bootstrap 95 % interval; n.s.: it holds zero) and as the paper prints them. "
        "Came out: columns whose difference has the paper's sign and an interval without zero, with every seed that "
        f"both methods were measured with; reversed: the same with the other sign. {ONE_SEED}"
        f"{failures(square(undamaged(evaluation.scores)), True)}"
    )
    full_header = (*header, "came out", "reversed")
    return Table(f"orderings_{paper.number}", caption, full_header, tuple(rows), group=BESIDE_PAPER)


def _orderings(paper: PaperTable, columns: list[Column]) -> Iterator[_Ordering]:
    """All that the numbers state, the better method first, as the first column has them."""
    ranked = sorted(paper.rows, key=lambda name: -_printed(paper, name, columns[0]))
    for better, worse in combinations(ranked, 2):
        parts = tuple((_Difference((better, column), (worse, column)),) for column in columns)
        yield _Ordering(f"{better} over {worse}", parts)
    full = {column.place: column for column in columns if column.trained == column.tested}
    if all(column in full.values() for column in columns):
        return
    views = {
        name: tuple(
            () if column in full.values() else (_Difference((name, full[column.place]), (name, column)),)
            for column in columns
        )
        for name in ranked
    }
    for name in ranked:
        yield _Ordering(f"{name}: trained on all sizes over fewer", views[name])
        if name != OURS:
            more = tuple(a + b for a, b in zip(views[name], views[OURS]))
            yield _Ordering(f"{name}: trained on all sizes over fewer, more than {OURS}", more)


class _Measured:
    """The PSNR of an evaluation, by the paper's columns."""

    def __init__(self, columns: list[Column], evaluation: ScoredEvaluation):
        self.methods, self.seed, self.faces = evaluation.methods, evaluation.config.seed, {}
        for place, tested in {(c.place, c.tested) for c in columns}:
            scores = square(undamaged(evaluation.scores_on(evaluation.config.datasets[place].name)))
            self.faces[place, tested] = by_face(scores[scores["k"].isin(VIEWS[tested])], PSNR)

    def difference(self, part: tuple[_Difference, ...], seed: str) -> np.ndarray | None:
        """(faces,) the first difference of a part less the others; None if one was not measured, or there are none."""
        found = [f for f in (self.differences(difference, seed) for difference in part) if f is not None]
        return found[0] - sum(found[1:]) if part and len(found) == len(part) else None

    def differences(self, difference: _Difference, seed: str) -> np.ndarray | None:
        """(faces,) means over the sizes; None if a method was not scored at every size, or both are one."""
        column = difference.other[1]
        faces, sizes = self.faces[column.place, column.tested], len(VIEWS[column.tested])
        labels = []
        for name, trained in difference:
            found = [label for label in labels_of(name + seed, trained, self.methods) if label in faces]
            labels += [label for label in found if faces[label].shape[1] == sizes][:1]
        return mean_over_sizes(paired_differences(faces, *labels)) if len(set(labels)) == 2 else None


def _row(
    ordering: _Ordering, paper: PaperTable, measured: _Measured, seed: str, agreeing: list[str]
) -> tuple[Cell, ...]:
    """The cells of an ordering; empty if no column was measured. ``agreeing``: seeds that decide if it came out."""
    cells: list[Cell] = [ordering.text + seed]
    came_out = reversed_ = columns = 0
    for part in ordering.parts:
        faces = measured.difference(part, seed)
        if faces is None:
            cells += [NOTHING, NOTHING]
            continue
        there = [_printed(paper, *d.one) - _printed(paper, *d.other) for d in part]
        expected = there[0] - sum(there[1:])
        cells += [Gain(mean_difference(faces, measured.seed)), Number(expected, "{:+.2f}")]
        columns += 1
        all_faces = (measured.difference(part, s) for s in agreeing)
        signs = {_sign(mean_difference(f, measured.seed), expected) for f in all_faces if f is not None}
        came_out += signs == {1}
        reversed_ += signs == {-1}
    return (*cells, f"{came_out} of {columns}", f"{reversed_} of {columns}") if columns else ()


def _sign(here: Difference | None, expected: float) -> int:
    """1 if a difference has the expected sign, -1 if the other one, 0 if its interval holds zero."""
    if here is None or not here.real or not expected:
        return 0
    return 1 if here.mean * expected > 0 else -1


def _printed(paper: PaperTable, name: str, column: Column) -> float:
    return paper.rows[name][paper.columns.index(column)][0]


def _seeds(evaluation: ScoredEvaluation) -> list[str]:
    """What the names of methods that are compared end with: nothing, `` seed 1``, ..."""
    ends = {SEED + method.name.split(SEED, 1)[1] for method in evaluation.methods if SEED in method.name}
    return [FIRST, *sorted(ends)]

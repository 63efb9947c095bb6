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
    by_face,
    mean_difference,
    mean_over_sizes,
    paired_differences,
    square,
    undamaged,
)

from .beside_paper import ROMAN, labels_of
from .paper import Column, PaperTable
from .table import BESIDE_PAPER, NOTHING, Cell, Gain, Number, Table

SEED = " seed "
"""A method named ``NAME seed N`` is NAME trained with another seed; such methods are compared among themselves."""
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
    rows = [
        row
        for seed in _seeds(evaluation)
        for ordering in _orderings(paper, columns)
        if (row := _row(ordering, paper, measured, seed))
    ]
    if not rows:
        return None
    header = ["the paper's ordering"]
    for column in columns:
        name = f"{evaluation.config.datasets[column.place].name}-{column.tested}"
        header += [f"trained {column.trained} → {name}", f"paper: trained {column.trained} → {column.paper}"]
    caption = (
        f"The orderings of Table {ROMAN[paper.number]}: differences in dB, measured (protocol {PRIMARY}, paired by "
        "image, mean over sizes, bootstrap 95 % interval; n.s.: it holds zero) and as the paper prints them. Came out: "
        "columns whose difference has the paper's sign and is real; reversed: it is real and has the other sign."
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

    def differences(self, difference: _Difference, seed: str) -> np.ndarray | None:
        """(faces,) means over the sizes; None if a method was not scored at every size, or both are one."""
        column = difference.other[1]
        faces, sizes = self.faces[column.place, column.tested], len(VIEWS[column.tested])
        labels = []
        for name, trained in difference:
            found = [label for label in labels_of(name + seed, trained, self.methods) if label in faces]
            labels += [label for label in found if faces[label].shape[1] == sizes][:1]
        return mean_over_sizes(paired_differences(faces, *labels)) if len(set(labels)) == 2 else None


def _row(ordering: _Ordering, paper: PaperTable, measured: _Measured, seed: str) -> tuple[Cell, ...]:
    """The cells of an ordering; empty if no column was measured."""
    cells: list[Cell] = [ordering.text + seed]
    came_out = reversed_ = columns = 0
    for part in ordering.parts:
        faces = [f for f in (measured.differences(difference, seed) for difference in part) if f is not None]
        if not part or len(faces) < len(part):
            cells += [NOTHING, NOTHING]
            continue
        here = mean_difference(faces[0] - sum(faces[1:]), measured.seed)
        there = [_printed(paper, *d.one) - _printed(paper, *d.other) for d in part]
        expected = there[0] - sum(there[1:])
        cells += [Gain(here), Number(expected, "{:+.2f}")]
        columns += 1
        if here is not None and here.real and expected:
            came_out += here.mean * expected > 0
            reversed_ += here.mean * expected < 0
    return (*cells, f"{came_out} of {columns}", f"{reversed_} of {columns}") if columns else ()


def _printed(paper: PaperTable, name: str, column: Column) -> float:
    return paper.rows[name][paper.columns.index(column)][0]


def _seeds(evaluation: ScoredEvaluation) -> list[str]:
    """What the names of methods that are compared end with: nothing, `` seed 1``, ..."""
    ends = {SEED + method.name.split(SEED, 1)[1] for method in evaluation.methods if SEED in method.name}
    return ["", *sorted(ends)]

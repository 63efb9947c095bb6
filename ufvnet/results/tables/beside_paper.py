"""The paper's Tables I-IV with what was measured here beside its numbers."""

from __future__ import annotations

from collections.abc import Sequence

from ufvnet.imaging.resize import VIEWS
from ufvnet.metrics import PRIMARY
from ufvnet.results.evaluation import ScoredEvaluation
from ufvnet.results.methods.resolve import ResolvedMethod
from ufvnet.results.statistics import MeanScore, mean_score, square, undamaged

from .captions import brief, failures, how_models_were_made, test_set_name
from .paper import SAME_NETWORK, TABLES, Column, PaperTable
from .table import BESIDE_PAPER, NOTHING, Cell, Score, Table

SEED = " seed "
"""A method named ``NAME seed N`` is NAME trained with another seed; such methods are compared among themselves."""
ROMAN = {"1": "I", "2": "II", "3": "III", "4": "IV"}

NO_VIEW = " (no view)"

Line = tuple[str, list[str | None]]
"""A row's name, and the label of the method that fills each column."""


def paper_table(paper: PaperTable, evaluation: ScoredEvaluation) -> Table:
    """A table of the paper: PSNR / SSIM measured (protocol y, cross view), then the paper's own number."""
    columns = [c for c in paper.columns if c.place < len(evaluation.config.datasets)]
    sets = " and ".join(test_set_name(evaluation.config.datasets[i]) for i in sorted({c.place for c in columns}))
    header = ["method"]
    for column in columns:
        name = f"{evaluation.config.datasets[column.place].name}-{column.tested}"
        header += [f"trained {column.trained} → {name}", f"paper: trained {column.trained} → {column.paper}"]
    rows, not_evaluated = [], []
    for name, labels in _lines(paper, columns, evaluation.methods):
        row: list[Cell] = [name]
        for column, label in zip(columns, labels):
            row += [_measured(label, column, evaluation), _printed(name, column, paper)]
        if all(cell == NOTHING for cell in row[1::2]):
            not_evaluated.append(name)
        rows.append(tuple(row))
    caption = (
        f"Table {ROMAN[paper.number]}: {paper.title}. PSNR / SSIM (protocol {PRIMARY}, every image at every scale), "
        f"measured on {sets}, beside the paper's "
        f"numbers. {how_models_were_made(evaluation.methods)}"
        + (f" Not evaluated: {', '.join(not_evaluated)}." if not_evaluated else "")
        + "".join(f" Left out ({brief(reason)})." for reason in evaluation.left_out)
        + failures(square(undamaged(evaluation.scores)))
    )
    ranked = tuple(range(1, len(header), 2))
    return Table(f"table_{paper.number}", caption, tuple(header), tuple(rows), ranked, BESIDE_PAPER)


def _measured(label: str | None, column: Column, evaluation: ScoredEvaluation) -> Cell:
    """The mean over the scales of a column; nothing if one of them was not evaluated."""
    ks = set(VIEWS[column.tested])
    scores = square(undamaged(evaluation.scores_on(evaluation.config.datasets[column.place].name)))
    cell = scores[(scores["model"] == label) & scores["k"].isin(ks)]
    return Score(mean_score(cell)) if set(cell["k"]) == ks else NOTHING


def _printed(name: str, column: Column, paper: PaperTable) -> Cell:
    """The paper's number; nothing for a method that it does not have."""
    numbers = paper.rows.get(name)
    return Score(MeanScore(*numbers[paper.columns.index(column)])) if numbers else NOTHING


def _lines(paper: PaperTable, columns: Sequence[Column], methods: Sequence[ResolvedMethod]) -> list[Line]:
    """The table's rows: the paper's, then methods that it does not have.

    Where several methods fit a row, all but the first get a row of their own below it, named by their label: that of a
    method without a view is the row's own name, so NO_VIEW follows it.
    """
    lines: list[Line] = []
    for name in [*paper.rows, *_new_methods(methods)]:
        candidates = [labels_of(name, column, methods) for column in columns]
        lines.append((name, [labels[0] if labels else None for labels in candidates]))
        others = dict.fromkeys(label for labels in candidates for label in labels[1:])
        lines += [
            (label + NO_VIEW * (label == name), [label if label in labels else None for labels in candidates])
            for label in others
        ]
    return lines


def _new_methods(methods: Sequence[ResolvedMethod]) -> list[str]:
    """Names of evaluated methods that are in none of the paper's tables."""
    known = {name for table in TABLES for name in table.rows} | set(SAME_NETWORK)
    return list(dict.fromkeys(method.name for method in methods if method.name not in known))


def labels_of(name: str, column: Column, methods: Sequence[ResolvedMethod]) -> list[str]:
    """The methods that may fill a cell: those of the very name first, of them those trained on the column's view."""
    network, of_seed, number = name.partition(SEED)
    names = (name, SAME_NETWORK.get(network, network) + of_seed + number)
    fitting = [m for m in methods if m.name in names and m.trained_on in ("", column.trained)]
    return [m.label for m in sorted(fitting, key=lambda m: (m.name != name, m.trained_on == ""))]

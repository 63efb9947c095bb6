"""The paper's Tables I-IV with what was measured here beside its numbers."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from ufvnet.imaging.resize import VIEWS
from ufvnet.metrics import PRIMARY
from ufvnet.models.registry import describe
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

KNOWN = {*(name for table in TABLES for name in table.rows), *SAME_NETWORK, *SAME_NETWORK.values()}
"""Names of the paper's tables, and ours for the same networks."""
ALL = "MR8"
"""The view of all sizes."""

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
    rows, empty, shown = [], [], set()
    for name, labels in _lines(paper, columns, evaluation.methods):
        row: list[Cell] = [name]
        for column, label in zip(columns, labels):
            row += [_measured(label, column, evaluation), _printed(name, column, paper)]
        if all(cell == NOTHING for cell in row[1::2]):
            empty.append(name)
            if name not in paper.rows:
                continue
        shown.update(labels)
        rows.append(tuple(row))
    caption = (
        f"Table {ROMAN[paper.number]}: {paper.title}. PSNR / SSIM (protocol {PRIMARY}, every image at every scale), "
        f"measured on {sets}, beside the paper's "
        f"numbers. {how_models_were_made([m for m in evaluation.methods if m.label in shown])}"
        + _why_empty(empty, {text for m in evaluation.methods for text in (m.name, m.label)})
        + "".join(f" Left out ({brief(reason)})." for reason in evaluation.left_out)
        + failures(square(undamaged(evaluation.scores)))
    )
    ranked = tuple(range(1, len(header), 2))
    return Table(f"table_{paper.number}", caption, tuple(header), tuple(rows), ranked, BESIDE_PAPER)


def _why_empty(names: Sequence[str], evaluated: Collection[str]) -> str:
    """Sentences on methods without a number in the table; empty if there are none."""
    there = [name for name in names if {name, SAME_NETWORK.get(name, name)} & set(evaluated)]
    absent = [name for name in names if name not in there]
    return (f" Not evaluated: {', '.join(absent)}." if absent else "") + (
        f" Evaluated, but not trained or not scored as a column says: {', '.join(there)}." if there else ""
    )


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
    for name in [*paper.rows, *_new_methods(paper, methods)]:
        candidates = [labels_of(name, column, methods) for column in columns]
        lines.append((name, [labels[0] if labels else None for labels in candidates]))
        others = dict.fromkeys(label for labels in candidates for label in labels[1:])
        lines += [
            (label + NO_VIEW * (label == name), [label if label in labels else None for labels in candidates])
            for label in others
        ]
    return lines


def _new_methods(paper: PaperTable, methods: Sequence[ResolvedMethod]) -> list[str]:
    """Names of evaluated methods that the table shows below the paper's rows.

    They are other seeds of its rows, and methods that are in none of the paper's tables. One that learned at sizes of
    its own is with its like: of fixed resolution in Table I, of original resolution in Table II.
    """
    here = {*paper.rows, *(SAME_NETWORK[name] for name in paper.rows if name in SAME_NETWORK)}
    names = []
    for method in methods:
        network = method.name.partition(SEED)[0]
        if network in KNOWN:
            fits = network != method.name and network in here
        else:
            fits = not _has_own_sizes(method) or paper.number == ("1" if _is_fixed(method) else "2")
        names += [method.name] if fits else []
    return list(dict.fromkeys(names))


def _has_own_sizes(method: ResolvedMethod) -> bool:
    """Whether a trained model learned at chosen sizes instead of a view's."""
    return not method.trained_on and isinstance(method.card.get("trained_on"), dict)


def _is_fixed(method: ResolvedMethod) -> bool:
    try:
        return describe(method.card["model"]).kind == "FR"
    except ValueError:  # a plugin's, that is not there now
        return False


def labels_of(name: str, column: Column, methods: Sequence[ResolvedMethod]) -> list[str]:
    """The methods that may fill a cell: those of the very name first, of them those trained on the column's view."""
    network, of_seed, number = name.partition(SEED)
    names = (name, SAME_NETWORK.get(network, network) + of_seed + number)
    fitting = [m for m in methods if m.name in names and m.trained_on in ("", column.trained)]
    if network not in KNOWN:  # as the paper's own rows of one size fill both its columns, and no other's
        fitting = [m for m in fitting if column.trained == ALL or not _has_own_sizes(m)]
    return [m.label for m in sorted(fitting, key=lambda m: (m.name != name, m.trained_on == ""))]

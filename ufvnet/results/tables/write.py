"""All tables of an evaluation, and their files."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import pandas as pd

from ufvnet.files import safe_name, write_text
from ufvnet.metrics import PROTOCOLS
from ufvnet.results.evaluation import ScoredEvaluation
from ufvnet.results.folder import PathFor
from ufvnet.results.statistics import can_gain, clean_title, damages_in, labels_in, undamaged

from .beside_paper import paper_table
from .damaged import damage_tables, identity_table
from .groups import group_tables
from .measured import assigned_table, cost_table, difference_table, gain_table, scale_table
from .orderings import orderings_table
from .paper import TABLES
from .render import to_csv, to_html, to_latex, to_markdown
from .summary import FILE, summary_csv, summary_rows
from .table import Table


def all_tables(evaluation: ScoredEvaluation) -> list[Table]:
    """The paper's four tables and their orderings, then those of each test set's scores, then the assigned view."""
    seed = evaluation.config.seed
    tables = [paper_table(paper, evaluation) for paper in TABLES]
    tables += filter(None, (orderings_table(paper, evaluation) for paper in TABLES))
    for test_set in evaluation.config.datasets:
        name, scores = test_set.name, evaluation.scores_on(test_set.name)
        tables += _clean_tables(scores, name, seed)
        tables += damage_tables(evaluation.outcomes[name], scores, name)
        identity = identity_table(evaluation.outcomes[name], scores, name)
        tables += [] if identity is None else [identity]
        tables += group_tables(evaluation.group_outcomes.get(name, []), scores, name)
    tables.append(assigned_table(evaluation))
    return tables


def _clean_tables(scores: pd.DataFrame, name: str, seed: int) -> list[Table]:
    """The tables of clean LR images, whose captions say so where there are others; none if all are damaged."""
    clean = undamaged(scores)
    if clean.empty:
        return []
    tables = [scale_table(clean, name, protocol) for protocol in PROTOCOLS]
    if can_gain(clean):
        tables.append(gain_table(clean, name, seed))
    if len(labels_in(clean)) > 1:
        tables.append(difference_table(clean, name, seed))
    title = clean_title(name, damages_in(scores))
    return [replace(t, caption=title + t.caption.removeprefix(name)) for t in (*tables, cost_table(clean, name))]


def write_summary(evaluation: ScoredEvaluation, path_for: PathFor) -> None:
    """summary.csv: a row per test set, damage, size or group, and method."""
    rows = []
    for name, outcomes in evaluation.outcomes.items():
        rows += summary_rows(name, outcomes, evaluation.group_outcomes.get(name, []), evaluation.methods)
    write_text(path_for(FILE), summary_csv(rows))


def write_tables(tables: Iterable[Table], path_for: PathFor) -> None:
    """Each table as .md, .csv, .tex and .html, at the paths that are given for their names."""
    for table in tables:
        name = safe_name(table.key)
        write_text(path_for(f"{name}.md"), to_markdown(table))
        write_text(path_for(f"{name}.csv"), to_csv(table))
        write_text(path_for(f"{name}.tex"), to_latex(table))
        write_text(path_for(f"{name}.html"), to_html(table))

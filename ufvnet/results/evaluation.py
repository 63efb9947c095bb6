"""Finished scores to the evaluation's folder: tables, figures, report."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ufvnet.config import EvaluateConfig

from .figures import open_galleries, write_figures
from .report import write_report
from .scoring import read_scores
from .tables import Table, all_tables, write_tables


@dataclass(frozen=True)
class Evaluation:
    """What an evaluation wrote."""

    folder: Path
    tables: list[Table]
    figures: list[Path]
    report: Path


def write_evaluation(config: EvaluateConfig) -> Evaluation:
    """Tables, figures and report from the scores of ``scoring.plan``'s tasks, all of which must be there."""
    folder = config.out / config.name
    scores = read_scores(config)
    tables = all_tables(config, scores)
    write_tables(tables, folder / "tables")
    galleries = open_galleries(config, scores)
    figures = write_figures(config, scores, galleries)
    return Evaluation(folder, tables, figures, write_report(config, tables, figures, scores, galleries))

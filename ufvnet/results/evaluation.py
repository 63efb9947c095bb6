"""Finished scores to the evaluation's folder: tables, figures, report."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from ufvnet.config import EvaluateConfig
from ufvnet.errors import EvaluationError
from ufvnet.files import printed

from .figures.gallery import open_galleries, write_figures
from .folder import Written
from .report.page import write_report
from .scoring import read_scores
from .tables.table import Table, all_tables, write_tables


@dataclass(frozen=True)
class Evaluation:
    """What an evaluation wrote. scored: images that have a score."""

    folder: Path
    tables: list[Table]
    figures: list[Path]
    report: Path
    scored: int


def write_evaluation(config: EvaluateConfig, scores: pd.DataFrame | None = None) -> Evaluation:
    """Tables, figures and report, and nothing that only earlier runs wrote.

    Args:
        scores: of ``scoring.plan``'s tasks, else they are read; all must be there.
    """
    folder = config.out / config.name
    scores = read_scores(config) if scores is None else scores
    written = Written(folder)
    tables = all_tables(config, scores)
    write_tables(tables, folder / "tables", written.into("tables"))
    galleries = open_galleries(config, scores)
    figures = write_figures(config, scores, galleries, written.into("figures"))
    report = write_report(config, tables, figures, scores, galleries, written.place)
    written.tidy()
    return Evaluation(folder, tables, figures, report, int((scores["status"] == "ok").sum()))


def check_scored(evaluation: Evaluation) -> None:
    """
    Raises:
        EvaluationError: no method gave a single image, which is no success; the report says why.
    """
    if not evaluation.scored:
        raise EvaluationError(f"no image has a score, every method failed: {printed(evaluation.report)} says why")

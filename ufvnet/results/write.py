"""Tables, figures and report of a scored evaluation, into its folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ufvnet.errors import EvaluationError
from ufvnet.files import printed

from .evaluation import ScoredEvaluation
from .figures.gallery import open_galleries
from .figures.write import write_figures
from .folder import WrittenFiles
from .report.page import write_report
from .scoring import remove_stale
from .tables.table import Table
from .tables.write import all_tables, write_summary, write_tables


@dataclass(frozen=True)
class Results:
    """What was written for an evaluation.

    figures: the PNG files. scored: how many images have a score.
    """

    folder: Path
    tables: list[Table]
    figures: list[Path]
    report: Path
    scored: int


def write_results(evaluation: ScoredEvaluation) -> Results:
    """Write tables, figures and report, and remove files that only earlier runs wrote, scores among them.

    Raises:
        ConfigError: a test set no longer holds a face that was scored.
        EvaluationError: the folder was removed meanwhile.
    """
    files = WrittenFiles(evaluation.folder)
    tables = all_tables(evaluation)
    write_tables(tables, files.below("tables"))
    write_summary(evaluation, files.below("tables"))
    galleries = open_galleries(evaluation)
    figures = write_figures(evaluation, galleries, files.below("figures"))
    report = write_report(evaluation, tables, figures, galleries, files.path)
    files.remove_stale()
    remove_stale(evaluation)
    scored = int((evaluation.scores["status"] == "ok").sum())
    return Results(evaluation.folder, tables, figures, report, scored)


def check_scored(results: Results) -> None:
    """
    Raises:
        EvaluationError: no method gave a single image, which is no success; the report has the reasons.
    """
    if not results.scored:
        raise EvaluationError(f"no image has a score, every method failed: {printed(results.report)} says why")

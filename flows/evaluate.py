"""evaluate: Dask-parallel scoring -> tables, figures, report."""

from __future__ import annotations

from pathlib import Path

from tasks.evaluate import publish_results, score, write_results
from tasks.runtime import flow
from ufvnet.config import EvaluateConfig, load
from ufvnet.results.evaluation import check_scored
from ufvnet.results.folder import alone, check_folder


@flow(name="evaluate")
def evaluate(config: EvaluateConfig | Path, overrides: list[str] | None = None) -> Path:
    """Evaluate models on test sets from a configuration or its file; returns the report.

    Raises:
        EvaluationError: no image has a score.
    """
    settings = load(EvaluateConfig, config, overrides or ())
    check_folder(settings)
    with alone(settings):
        evaluation = write_results(settings, score(settings))
    report = publish_results(evaluation)
    check_scored(evaluation)
    return report

"""evaluate: Dask-parallel scoring -> tables, figures, report."""

from __future__ import annotations

from pathlib import Path

from tasks.evaluate import publish_results, score, write_results
from tasks.runtime import flow
from tasks.settings import read_settings
from ufvnet.config import EvaluateConfig
from ufvnet.results.evaluation import Evaluation, resolve_evaluation
from ufvnet.results.folder import lock_folder
from ufvnet.results.methods.configured import with_model
from ufvnet.results.write import check_scored


@flow(name="evaluate")
def evaluate(config: EvaluateConfig | Path, overrides: list[str] | None = None, model: Path | None = None) -> Path:
    """Evaluate models on test sets from a configuration or its file; returns the report.

    The trigger after a training gives ``model``, the folder of the trained model, which is evaluated with the others.

    Raises:
        EvaluationError: no image has a score.
    """
    settings = read_settings(EvaluateConfig, config, overrides)
    return run(resolve_evaluation(settings if model is None else with_model(settings, model)))


def run(evaluation: Evaluation) -> Path:
    """Score, write, publish; returns the report.

    Raises:
        EvaluationError: no image has a score.
    """
    with lock_folder(evaluation.folder):
        results = write_results(score(evaluation))
    report = publish_results(results)
    check_scored(results)
    return report


evaluate_resolved = flow(name="evaluate", validate_parameters=False)(run)
"""The flow for a caller that has already resolved the evaluation, as the command line does before Prefect starts."""

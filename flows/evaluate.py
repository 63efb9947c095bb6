"""evaluate: Dask-parallel scoring -> tables, figures, report."""

from __future__ import annotations

from pathlib import Path

from prefect import flow

from tasks.evaluate import publish_results, score, write_results
from ufvnet.config import EvaluateConfig, load


@flow(name="evaluate")
def evaluate(config: EvaluateConfig | Path, overrides: list[str] | None = None) -> Path:
    """Evaluate models on test sets from a configuration or its file; returns the report."""
    settings = load(EvaluateConfig, config, overrides or ())
    score(settings)
    return publish_results(write_results(settings))

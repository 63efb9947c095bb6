"""reproduce: an experiment file's builds, trainings, evaluation and restoring, end to end."""

from __future__ import annotations

from pathlib import Path

from flows.build_datasets import build_datasets
from flows.evaluate import evaluate
from flows.super_resolve import super_resolve
from flows.train import train
from tasks.runtime import flow
from tasks.settings import read_settings
from ufvnet.config import ExperimentConfig


@flow(name="reproduce")
def reproduce(config: ExperimentConfig | Path, overrides: list[str] | None = None) -> Path | None:
    """Run an experiment from a configuration or its file; returns the report, if it evaluates."""
    experiment = read_settings(ExperimentConfig, config, overrides)
    for build in experiment.build:
        build_datasets(build)
    for training in experiment.train:
        train(training)
    report = evaluate(experiment.evaluate) if experiment.evaluate else None
    if experiment.restore:
        super_resolve(experiment.restore)
    return report

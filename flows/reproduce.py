"""reproduce: an experiment file's builds, trainings, evaluation and restoring, end to end."""

from __future__ import annotations

from pathlib import Path

from flows.build_datasets import build_datasets
from flows.evaluate import evaluate
from flows.super_resolve import super_resolve
from flows.train import train
from tasks.runtime import flow
from tasks.settings import read_settings
from tasks.train import note_failure
from ufvnet.config import ExperimentConfig
from ufvnet.errors import DivergedError


@flow(name="reproduce")
def reproduce(config: ExperimentConfig | Path, overrides: list[str] | None = None) -> Path | None:
    """Run an experiment from a configuration or its file; returns the report, if it evaluates.

    If the evaluation may skip missing methods, a training that diverges is noted in its folder, and the others go on.
    """
    experiment = read_settings(ExperimentConfig, config, overrides)
    for build in experiment.build:
        build_datasets(build)
    for training in experiment.train:
        try:
            train(training)
        except DivergedError as error:
            may_skip = experiment.evaluate is not None and experiment.evaluate.missing == "skip"
            if not (may_skip and note_failure(training, error)):
                raise
    report = evaluate(experiment.evaluate) if experiment.evaluate else None
    if experiment.restore:
        super_resolve(experiment.restore)
    return report

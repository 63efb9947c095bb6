"""train: stage 1 (anchors and regressor, in parallel) -> stage 2 (integrated)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tasks.runtime import flow, skipped, wait, with_failures
from tasks.settings import read_settings
from tasks.train import announce_training, plan_training, publish_curves, stopping_trainings, train_part
from ufvnet.config import TrainConfig
from ufvnet.training.after_build import reason_to_skip
from ufvnet.training.stages import select_part


@flow(name="train")
def train(
    config: TrainConfig | Path,
    overrides: list[str] | None = None,
    part: str | None = None,
    dataset: Path | None = None,
    fingerprint: str | None = None,
) -> Path | None:
    """Train a model from a configuration or its file, or only one ``part`` of it; returns the model's folder.

    The trigger after a build gives ``dataset`` and ``fingerprint``, what was built. The run is then skipped, with a
    reason as its message, if the configuration names another dataset or has been trained on this one.
    """
    settings = read_settings(TrainConfig, config, overrides)
    if dataset is not None and (reason := reason_to_skip(settings, dataset, fingerprint)):
        return skipped(reason)
    stage1, whole = plan_training(settings, part)
    if part is not None:
        return train_part(select_part(stage1, whole, part))
    trained: list[Any] = []
    for start in range(0, len(stage1), settings.parallel):
        running = train_part.map(stage1[start : start + settings.parallel])
        with stopping_trainings():
            wait(running)
        running.result()
        trained += running
    train_part(whole, wait_for=trained)  # arrows in the graph of the run
    announce_training(whole)
    if whole.is_kept_back():
        return with_failures("NotPublished", whole.why_kept_back, None)
    return publish_curves(whole)

"""train: stage 1 (anchors and regressor, in parallel) -> stage 2 (integrated)."""

from __future__ import annotations

from pathlib import Path

from tasks.runtime import flow, wait
from tasks.settings import read_settings
from tasks.train import plan_training, publish_curves, train_part
from ufvnet.config import TrainConfig
from ufvnet.training.stages import select_part


@flow(name="train")
def train(config: TrainConfig | Path, overrides: list[str] | None = None, part: str | None = None) -> Path:
    """Train a model from a configuration or its file, or only one ``part`` of it; returns the model's folder."""
    settings = read_settings(TrainConfig, config, overrides)
    stage1, whole = plan_training(settings, part)
    if part is not None:
        return train_part(select_part(stage1, whole, part))
    for start in range(0, len(stage1), settings.parallel):
        running = train_part.map(stage1[start : start + settings.parallel])
        wait(running)
        running.result()
    train_part(whole)
    return publish_curves(whole)

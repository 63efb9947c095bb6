"""What a training still has to do."""

from __future__ import annotations

import shutil
from pathlib import Path

from tasks.train import plan_training
from ufvnet.config import TrainConfig, load
from ufvnet.models import create
from ufvnet.training.publish import publish


def test_a_finished_model_needs_no_stage_1_that_is_gone(built: Path, tmp_path: Path) -> None:
    recipe = {"steps": 1, "anchor_steps": 1, "regressor_steps": 1, "validation_faces": 2}
    config = load(TrainConfig, {
        "name": "m", "dataset": built, "model": "ufvnet", "preset": "tiny", "device": "cpu", "recipe": recipe,
        "out": tmp_path / "models", "runs": tmp_path / "runs",
    })  # fmt: skip
    stage1, whole = plan_training.fn(config)
    assert len(stage1) == 4
    publish(whole, create("ufvnet", "tiny", 64), [{"step": 1}])
    shutil.rmtree(tmp_path / "runs", ignore_errors=True)
    assert plan_training.fn(config)[0] == []

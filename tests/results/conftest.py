"""A small evaluation whose figures and report are looked at: two networks as initialised, one of an ugly name."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
import torch

from ufvnet.config import EvaluateConfig, load
from ufvnet.files import write_json
from ufvnet.models import SRG, create, names, register
from ufvnet.results import scoring

UGLY = "<script>alert('x')</script>"
if UGLY not in names():
    register(UGLY, lambda width, hr_size: SRG(width, hr_size), "a method whose name must be escaped")


def _untrained(folder: Path, model: str) -> str:
    from safetensors.torch import save_model

    folder.mkdir(parents=True)
    torch.manual_seed(0)
    save_model(create(model, "tiny", 64), str(folder / "model.safetensors"))
    write_json(folder / "model.json", {
        "model": model, "preset": "tiny", "hr_size": 64, "fingerprint": model,
        "trained_on": {"view": "MR8", "dataset": "none"},
    })  # fmt: skip
    return str(folder)


@pytest.fixture(scope="session")
def shown_config(built: Path, tmp_path_factory: pytest.TempPathFactory) -> EvaluateConfig:
    """Bicubic, ufvnet and an ugly name on 6 and 5 faces; do not write to its folder."""
    root = tmp_path_factory.mktemp("shown")
    models = ["bicubic", _untrained(root / "ufvnet", "ufvnet"), _untrained(root / "ugly", UGLY)]
    sets = [{"name": "A", "path": built, "split": "test"}, {"name": "B", "path": built, "split": "train", "limit": 5}]
    return load(EvaluateConfig, {"name": "shown", "models": models, "datasets": sets, "out": root, "grid_faces": 2})


@pytest.fixture(scope="session")
def shown_scores(shown_config: EvaluateConfig) -> pd.DataFrame:
    for task in scoring.plan(shown_config):
        scoring.score_faces(task)
    return scoring.read_scores(shown_config)

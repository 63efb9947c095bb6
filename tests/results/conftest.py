"""A small evaluation whose figures and report are looked at: two networks as initialised, one of an ugly name."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch

from ufvnet.config import EvaluateConfig, load
from ufvnet.files import write_json
from ufvnet.models import SRG, create, names, register
from ufvnet.results import scoring
from ufvnet.results.evaluation import ScoredEvaluation, resolve_evaluation

UGLY = "<script>alert('x')</script>"
if UGLY not in names():
    register(UGLY, lambda width, hr_size: SRG(width, hr_size), "a method whose name must be escaped")


def save_untrained(folder: Path, model: str) -> str:
    from safetensors.torch import save_model

    folder.mkdir(parents=True)
    torch.manual_seed(0)
    save_model(create(model, "tiny", 64), str(folder / "model.safetensors"))
    write_json(folder / "model.json", {
        "model": model, "preset": "tiny", "hr_size": 64, "fingerprint": model,
        "trained_on": {"view": "MR8", "dataset": "none"},
    })  # fmt: skip
    return str(folder)


def scored(config: EvaluateConfig) -> ScoredEvaluation:
    """An evaluation that is scored in this process."""
    evaluation = resolve_evaluation(config)
    for task in scoring.plan_scoring(evaluation):
        scoring.score_faces(task)
    return scoring.read_scores(evaluation)


def part_of(
    evaluation: ScoredEvaluation,
    scores: pd.DataFrame,
    out: Path,
    methods: slice = slice(None),
    test_sets: slice = slice(None),
) -> ScoredEvaluation:
    """Some methods and test sets of an evaluation with scores of their own, to be written elsewhere."""
    config = evaluation.config.model_copy(update={"out": out, "datasets": evaluation.config.datasets[test_sets]})
    return replace(
        evaluation,
        config=config,
        methods=evaluation.methods[methods],
        test_sets=evaluation.test_sets[test_sets],
        scores=scores,
    )


@pytest.fixture(scope="session")
def shown(built: Path, tmp_path_factory: pytest.TempPathFactory) -> ScoredEvaluation:
    """Bicubic, ufvnet and an ugly name on 6 and 5 faces; do not write to its folder."""
    root = tmp_path_factory.mktemp("shown")
    models = ["bicubic", save_untrained(root / "ufvnet", "ufvnet"), save_untrained(root / "ugly", UGLY)]
    sets = [{"name": "A", "path": built, "split": "test"}, {"name": "B", "path": built, "split": "train", "limit": 5}]
    return scored(
        load(EvaluateConfig, {"name": "shown", "models": models, "datasets": sets, "out": root, "grid_faces": 2})
    )


@pytest.fixture(scope="session")
def shown_scores(shown: ScoredEvaluation) -> pd.DataFrame:
    return shown.scores

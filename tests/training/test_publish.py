"""Which finished model takes the place of an earlier one."""

from __future__ import annotations

from pathlib import Path

import pytest

from ufvnet.config import TrainConfig, load
from ufvnet.models import create
from ufvnet.models.store import read_card
from ufvnet.training.after_build import reason_to_skip
from ufvnet.training.launch import train_in_process
from ufvnet.training.part import Part
from ufvnet.training.publish import publish
from ufvnet.training.stages import resolve_parts


def _finish(built: Path, folder: Path, seed: int, psnr: float, replace: str = "better", faces: int = 2) -> Part:
    """A training that has ended with a PSNR."""
    recipe = {"steps": 1, "seed": seed, "validation_faces": faces}
    config = load(TrainConfig, {
        "name": "m", "dataset": built, "model": "onesrg", "preset": "tiny", "device": "cpu", "recipe": recipe,
        "out": folder / "models", "runs": folder / "runs", "replace": replace,
    })  # fmt: skip
    _, whole = resolve_parts(config)
    publish(whole, create("onesrg", "tiny", 64), [{"step": 1, "psnr": psnr}])
    return whole


def test_a_worse_model_leaves_the_earlier_one_in_place(built: Path, tmp_path: Path) -> None:
    first = _finish(built, tmp_path, 0, 20.0)
    assert first.done()
    worse = _finish(built, tmp_path, 1, 19.9)
    assert (worse.done(), worse.is_kept_back(), first.done()) == (False, True, True)
    assert read_card(worse.kept_back_folder)["validation"]["psnr"] == 19.9
    assert train_in_process(worse) == first.model_folder  # it is not trained again
    mark = read_card(first.model_folder)["trained_on"]["fingerprint"]
    assert "is worse than" in str(reason_to_skip(worse.config, built, str(mark)))
    better = _finish(built, tmp_path, 2, 20.1)
    assert (better.done(), better.is_kept_back(), first.done()) == (True, False, False)


@pytest.mark.parametrize(("replace", "faces"), [("always", 2), ("better", 3)], ids=["always", "other-faces"])
def test_otherwise_the_last_model_is_published(built: Path, tmp_path: Path, replace: str, faces: int) -> None:
    _finish(built, tmp_path, 0, 20.0)
    assert _finish(built, tmp_path, 1, 19.9, replace, faces).done()

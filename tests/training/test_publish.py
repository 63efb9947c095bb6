"""Which finished model takes the place of an earlier one."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path

import pytest
import torch

from ufvnet.config import TrainConfig, load
from ufvnet.models import create
from ufvnet.models.readme import CLEAN, model_readme
from ufvnet.models.store import read_card, save_half
from ufvnet.training.after_build import reason_to_skip
from ufvnet.training.engine import train
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


def test_a_card_names_the_device(built: Path, tmp_path: Path) -> None:
    part = _finish(built, tmp_path, 0, 20.0)
    unknown = read_card(part.model_folder)
    publish(part, create("onesrg", "tiny", 64), [{"step": 1, "psnr": 20.0}], device=torch.device("cpu"))
    card = read_card(part.model_folder)
    assert ("device" in unknown, card["device"]) == (False, "cpu")
    assert ", device cpu. " in model_readme(card)
    assert ", device" not in model_readme(unknown)


def test_others_may_read_a_model_as_any_new_file(built: Path, tmp_path: Path) -> None:
    """A server's user is often another than the trainer's; safetensors alone gives its files the mode 0600."""
    (tmp_path / "any").touch()
    mode = (tmp_path / "any").stat().st_mode
    part = _finish(built, tmp_path, 0, 20.0)
    half = save_half(part.model_folder, tmp_path / "half")
    written = [path for folder in (part.model_folder, half) for path in folder.iterdir() if path.is_file()]
    assert {path.name: path.stat().st_mode for path in written} == {path.name: mode for path in written}
    assert "model.safetensors" in {path.name for path in written}


def test_a_worse_model_leaves_the_earlier_one_in_place(built: Path, tmp_path: Path) -> None:
    first = _finish(built, tmp_path, 0, 20.0)
    assert first.done()
    worse = _finish(built, tmp_path, 1, 19.9)
    assert (worse.done(), worse.is_kept_back(), first.done()) == (False, True, True)
    assert read_card(worse.kept_back_folder)["validation"]["psnr"] == 19.9
    assert train_in_process(worse) == first.model_folder  # it is not trained again
    mark = read_card(first.model_folder)["trained_on"]["fingerprint"]
    worse.note_announced()
    assert "is worse than" in str(reason_to_skip(worse.config, built, str(mark)))
    better = _finish(built, tmp_path, 2, 20.1)
    assert (better.done(), better.is_kept_back(), first.done()) == (True, False, False)


def test_an_outcome_is_announced_until_it_is_another_or_trained_again(built: Path, tmp_path: Path) -> None:
    first = _finish(built, tmp_path, 0, 20.0)
    mark = str(read_card(first.model_folder)["trained_on"]["fingerprint"])
    assert not first.is_announced()
    assert reason_to_skip(first.config, built, mark) is None  # a run that died before it announced is not skipped
    first.note_announced()
    assert first.is_announced()
    assert str(reason_to_skip(first.config, built, mark)).startswith("nothing changed")
    kept = _finish(built, tmp_path, 1, 19.9)
    kept.note_announced()
    shutil.rmtree(first.model_folder)
    assert not kept.is_announced()  # it was as one that is kept back
    _finish(built, tmp_path, 1, 19.9, replace="always")
    _finish(built, tmp_path, 0, 20.0, replace="always")  # another had its place, so what follows must hear of it again
    assert not first.is_announced()


def test_a_model_kept_back_is_published_when_nothing_better_keeps_the_place(built: Path, tmp_path: Path) -> None:
    first = _finish(built, tmp_path, 0, 20.0)
    kept = _finish(built, tmp_path, 1, 19.9)
    shutil.rmtree(first.model_folder)
    assert not kept.is_kept_back()
    _finish(built, tmp_path, 0, 20.0)
    assert kept.is_kept_back()
    (first.model_folder / "model.safetensors").write_bytes(b"damaged")
    assert not kept.is_kept_back()
    _finish(built, tmp_path, 0, 20.0, replace="always")
    always = kept.config.model_copy(update={"replace": "always"})
    assert not resolve_parts(always)[1].is_kept_back()


def test_a_kept_back_training_goes_on_to_the_place_that_is_free_now(built: Path, tmp_path: Path) -> None:
    first = _finish(built, tmp_path, 0, 99.0)
    recipe = first.config.recipe.model_copy(update={"seed": 1, "batch_size": 4})
    _, second = resolve_parts(first.config.model_copy(update={"recipe": recipe}))
    train(second)
    assert second.is_kept_back()
    assert second.why_kept_back.endswith(f"is worse than {first.model_folder}, which stays")
    kept = (second.kept_back_folder / "model.safetensors").read_bytes()
    first.model_folder.rename(tmp_path / "earlier")
    train(second)
    assert second.done()
    assert (second.model_folder / "model.safetensors").read_bytes() == kept


def test_on_a_full_disk_the_earlier_model_stays(built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = _finish(built, tmp_path, 0, 20.0)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("ufvnet.training.publish.save_model", full)
    with pytest.raises(OSError, match="No space left"):
        _finish(built, tmp_path, 1, 21.0)
    assert first.done()


def test_a_readme_tells_the_step_of_its_measurement_and_what_its_part_saw(built: Path, tmp_path: Path) -> None:
    whole = _finish(built, tmp_path, 0, 20.0)
    card = read_card(whole.model_folder)
    assert "Last measurement" in model_readme(card)
    assert "(the weights are those of step 6, the best measured)" in model_readme(card | {"best_step": 6})
    assert "Last measurement" not in model_readme(card | {"best_step": 6})
    damaged = card["recipe"] | {"damage": {"alpha": 1}}
    assert CLEAN not in model_readme(card | {"recipe": damaged})
    assert CLEAN in model_readme(card | {"recipe": damaged, "model": "anchor"})


@pytest.mark.parametrize(("replace", "faces"), [("always", 2), ("better", 3)], ids=["always", "other-faces"])
def test_otherwise_the_last_model_is_published(built: Path, tmp_path: Path, replace: str, faces: int) -> None:
    _finish(built, tmp_path, 0, 20.0)
    assert _finish(built, tmp_path, 1, 19.9, replace, faces).done()

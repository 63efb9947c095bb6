"""Training parts on a small built dataset."""

from __future__ import annotations

import functools
import hashlib
import json
import math
import os
import pickle
import pickletools
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import psutil
import pytest
import torch
from filelock import FileLock
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from benchmarks.carry import carry_in, carry_out
from benchmarks.keep import keep
from ufvnet.config import ConfigError, Recipe, TrainConfig, load
from ufvnet.errors import TrainingError
from ufvnet.files import write_json
from ufvnet.models import UFVNet
from ufvnet.models import load as load_model
from ufvnet.models.store import read_card
from ufvnet.training.checkpoints import checkpoints, last_whole
from ufvnet.training.curves import LOG_COLUMNS, Curves
from ufvnet.training.engine import train
from ufvnet.training.launch import train_in_process
from ufvnet.training.part import Part
from ufvnet.training.schedules import learning_rate
from ufvnet.training.stages import resolve_parts
from ufvnet.training.validation import Validation
from ufvnet.training.worker import INTERRUPTED, job_of

RECIPE = {
    "batch_size": 4, "steps": 6, "anchor_steps": 1, "regressor_steps": 1, "checkpoint_every": 2,
    "validate_every": 3, "validation_faces": 2, "threads": 1,
}  # fmt: skip


def config_of(built: Path, out: Path, model: str = "ufvnet-lite", **recipe: Any) -> TrainConfig:
    """A short training; ufvnet-lite's takes half the time of a network of the paper's depth."""
    return load(
        TrainConfig,
        {
            "name": f"{model}-test", "dataset": built, "model": model, "preset": "tiny", "device": "cpu",
            "out": out / "models", "runs": out / "runs", "recipe": RECIPE | recipe,
        },
    )  # fmt: skip


def sha256(folder: Path) -> str:
    return hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()


class Killed(BaseException):
    """What a progress function raises to end a training in the middle."""


def kill(*_: object) -> None:
    raise Killed


def train_all(config: TrainConfig) -> Path:
    stage1, whole = resolve_parts(config)
    for part in stage1:
        train(part)
    return train(whole)


Training = Callable[..., Path]


@pytest.fixture(scope="module")
def trained(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Training:
    """Trains a model, once per recipe; gives its folder of models and runs, which tests read or copy."""

    @functools.cache
    def trained_once(model: str = "ufvnet-lite", **recipe: Any) -> Path:
        folder = tmp_path_factory.mktemp("trained")
        train_all(config_of(built, folder, model, **recipe))
        return folder

    return trained_once


@pytest.fixture(scope="module")
def killed(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Models and runs of a training killed at its last step; tests copy it."""
    folder = tmp_path_factory.mktemp("killed")
    with pytest.raises(Killed):  # progress comes at the last step, after checkpoints 2 and 4
        train(resolve_parts(config_of(built, folder))[1], kill)
    return folder


def model_of(folder: Path, model: str = "ufvnet-lite") -> Path:
    """The model folder in what ``trained`` gives."""
    return folder / "models" / f"{model}-test"


def copied(folder: Path, to: Path, runs: str = "*") -> Path:
    """A folder with copies of the runs, and of the models if all runs are copied."""
    for run in (folder / "runs").glob(runs):
        shutil.copytree(run, to / "runs" / run.name)
    if runs == "*" and (folder / "models").is_dir():
        shutil.copytree(folder / "models", to / "models")
    return to


STAGE1 = "[ar][ne]*"
"""Pattern of the runs of anchors and regressor."""


def test_ufvnet_has_three_anchors_and_a_regressor_before_the_whole(built: Path, tmp_path: Path) -> None:
    stage1, whole = resolve_parts(config_of(built, tmp_path, "ufvnet"))
    assert [p.name for p in stage1] == ["anchor-2", "anchor-4", "anchor-8", "regressor"]
    assert [p.ks for p in stage1] == [(2,), (4,), (8,), tuple(range(1, 9))]
    assert whole.role == "whole"


@pytest.mark.parametrize(
    ("model", "stage1"),
    [("onesrg", 0), ("twosrg", 3), ("foursrg", 5), ("ufvnet-nw", 3), ("ufvnet-fm", 3)],
)
def test_variants_have_the_parts_of_their_design(built: Path, tmp_path: Path, model: str, stage1: int) -> None:
    assert len(resolve_parts(config_of(built, tmp_path, model))[0]) == stage1


def test_variants_share_the_anchors_that_they_train_alike(built: Path, tmp_path: Path) -> None:
    folders = [
        {p.name: p.folder for p in resolve_parts(config_of(built, tmp_path, model))[0]}
        for model in ("ufvnet", "ufvnet-nw", "foursrg")
    ]
    assert folders[0]["anchor-4"] == folders[1]["anchor-4"] == folders[2]["anchor-4"]
    assert folders[0]["regressor"] != folders[2]["regressor"]


def test_a_fingerprint_changes_with_what_decides_the_weights_and_with_nothing_else(built: Path, tmp_path: Path) -> None:
    def fingerprint(**recipe: Any) -> str:
        return resolve_parts(config_of(built, tmp_path, "ufvnet", **recipe))[1].fingerprint

    base = fingerprint()
    assert base == fingerprint(threads=2, checkpoint_every=5)
    others = [{"lr": 1e-3}, {"seed": 1}, {"steps": 7}, {"anchor_steps": 4}, {"alpha": 0.2}, {"identity_init": True}]
    assert len({base, *(fingerprint(**other) for other in others)}) == len(others) + 1


def test_stage_2_starts_from_stage_1_s_encoders_and_regressor(built: Path, trained: Training) -> None:
    stage1, whole = resolve_parts(config_of(built, trained("ufvnet"), "ufvnet"))
    network = whole.network()
    assert isinstance(network, UFVNet)
    for encoder, part in zip(network.encoders, stage1):
        anchor = load_file(part.model_folder / "model.safetensors")
        for name, value in encoder.state_dict().items():
            assert torch.equal(value, anchor[f"encoder.{name}"])
    assert network.regressor is not None
    trained = load_file(stage1[3].model_folder / "model.safetensors")
    assert all(torch.equal(v, trained[k]) for k, v in network.regressor.state_dict().items())


def test_a_trained_model_is_a_folder_that_loads_and_says_how_it_was_made(trained: Training) -> None:
    folder = model_of(trained("ufvnet"), "ufvnet")
    network, card = load_model(folder)
    assert card["model"] == "ufvnet"
    assert card["device"] == "cpu"
    assert card["trained_on"]["view"] == "MR8"
    assert card["params"] == sum(p.numel() for p in network.parameters())
    assert "never identify a person" in (folder / "README.md").read_text()
    log = pd.read_parquet(folder / "log.parquet")
    assert log["step"].iloc[-1] == 6
    assert {"loss", "lr", "images_per_s", "psnr", "gain", "kl", "mae"} <= set(log.columns) <= set(LOG_COLUMNS)
    output = network(torch.zeros(1, 3, 64, 64), torch.tensor([0.5]))
    assert output.weights is not None
    assert output.weights.sum().item() == pytest.approx(1, abs=1e-6)


def test_a_measurement_in_half_precision_is_of_the_model_that_is_published(built: Path, tmp_path: Path) -> None:
    whole = resolve_parts(config_of(built, tmp_path, "onesrg", mixed_precision="bf16"))[1]
    network, card = load_model(train(whole))
    validation = Validation.of(whole, RECIPE["validation_faces"])
    assert validation is not None
    assert validation.measure(network, torch.device("cpu"))["psnr"] == pytest.approx(
        card["validation"]["psnr"], abs=1e-6
    )


def test_training_lowers_the_loss(built: Path, tmp_path: Path) -> None:
    recipe = {"steps": 40, "lr": 4e-3, "identity_init": True, "checkpoint_every": 40, "validate_every": 40}
    folder = train_all(config_of(built, tmp_path, "onesrg", **recipe))
    losses = pd.read_parquet(folder / "log.parquet")["loss"].dropna()
    assert losses.iloc[-1] < 0.8 * losses.iloc[0]


def test_a_finished_part_is_not_trained_again(built: Path, tmp_path: Path, trained: Training) -> None:
    folder = model_of(copied(trained(), tmp_path))
    config = config_of(built, tmp_path)
    before = (folder / "model.safetensors").stat().st_mtime_ns
    train_all(config)
    assert (folder / "model.safetensors").stat().st_mtime_ns == before
    train_all(config_of(built, tmp_path, seed=3))
    assert (folder / "model.safetensors").stat().st_mtime_ns != before


@pytest.mark.parametrize("model", ["ufvnet-lite", "ufvnet"])
def test_a_training_killed_at_a_checkpoint_ends_in_the_same_bits(
    built: Path, tmp_path: Path, trained: Training, model: str
) -> None:
    _, whole = resolve_parts(config_of(built, copied(trained(model), tmp_path, STAGE1), model))
    with pytest.raises(Killed):  # progress comes at the last step, after checkpoints 2 and 4
        train(whole, kill)
    assert sorted(p.name for p in (whole.folder / "checkpoints").iterdir()) == ["step-00000002", "step-00000004"]
    assert sha256(train(whole)) == sha256(model_of(trained(model), model))


@pytest.mark.kills
def test_kills_with_changing_loader_workers_end_in_the_same_bits(built: Path, tmp_path: Path) -> None:
    recipe = {"steps": 20, "validate_every": 10}
    undisturbed, config = (config_of(built, tmp_path / name, **recipe) for name in "ab")
    for kind, workers in ((signal.SIGKILL, 0), (signal.SIGKILL, 1), (signal.SIGTERM, 2)):
        _, whole = resolve_parts(config.model_copy(update={"loader_workers": workers}))
        whole.folder.mkdir(parents=True, exist_ok=True)
        job = whole.folder / "job.json"
        write_json(job, job_of(whole))
        command = [sys.executable, "-m", "ufvnet.training.worker", str(job)]
        seen = set(whole.folder.glob("checkpoints/step-*"))
        child = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )
        while child.poll() is None and set(whole.folder.glob("checkpoints/step-*")) <= seen:
            time.sleep(0.02)
        os.killpg(child.pid, kind)  # its loader workers too, as a terminal or a container does
        code = child.wait()
        assert code in ((-9,) if kind == signal.SIGKILL else (INTERRUPTED,))
    assert not whole.done()
    assert sha256(train(whole)) == sha256(train_all(undisturbed))


def test_a_training_whose_parent_is_gone_stops_with_a_checkpoint(built: Path, tmp_path: Path) -> None:
    _, whole = resolve_parts(config_of(built, tmp_path, steps=60, checkpoint_every=60))
    whole.folder.mkdir(parents=True)
    write_json(whole.folder / "job.json", job_of(whole))
    command = [sys.executable, "-m", "ufvnet.training.worker", str(whole.folder / "job.json")]
    child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert child.stdout is not None
    child.stdout.close()
    assert child.wait() == INTERRUPTED
    assert [p.name for p in (whole.folder / "checkpoints").glob("step-*")] == ["step-00000020"]


@pytest.mark.kills
def test_a_training_whose_parent_is_killed_stops_with_a_checkpoint(built: Path, tmp_path: Path) -> None:
    recipe = {"steps": 100_000, "checkpoint_every": 50_000, "validate_every": 50_000}
    _, whole = resolve_parts(config_of(built, tmp_path, **recipe))
    (tmp_path / "job").write_bytes(pickle.dumps(whole))
    program = f"""
import pickle
from pathlib import Path
from ufvnet.training.launch import train_in_process
part = pickle.loads(Path({str(tmp_path / "job")!r}).read_bytes())
train_in_process(part, lambda *_: Path({str(tmp_path / "begun")!r}).touch())
"""
    parent = subprocess.Popen([sys.executable, "-c", program])
    while parent.poll() is None and not (tmp_path / "begun").exists():
        time.sleep(0.02)
    (worker,) = psutil.Process(parent.pid).children()
    parent.kill()
    assert parent.wait() == -signal.SIGKILL
    worker.wait(timeout=60)
    assert len(checkpoints(whole.folder)) == 1


@pytest.mark.parametrize(
    "recipe",
    [
        {"optimizer": "adamw", "weight_decay": 0.01, "lr_schedule": "cosine", "warm_up": 0.3},
        {"ema": 0.9, "clip_norm": 0.1},
        {"colour": 0.2, "balance": 0.5},
        {"mixed_precision": "bf16", "keep": "best", "flip": False},
        {"damage": {"clean": 0.1}, "between": 0.5, "recut": 0.5},
    ],
)
def test_every_option_resumes_to_the_same_bits(
    built: Path, tmp_path: Path, trained: Training, recipe: dict[str, Any]
) -> None:
    undisturbed = train_all(config_of(built, tmp_path / "a", **recipe))
    assert sha256(undisturbed) != sha256(model_of(trained()))
    _, whole = resolve_parts(config_of(built, tmp_path / "b", **recipe))

    with pytest.raises(Killed):
        train(whole, kill)
    assert sha256(train(whole)) == sha256(undisturbed)


def test_checkpoints_hold_no_pickle(trained: Training) -> None:
    files = [p for p in trained(ema=0.5).glob("runs/*/checkpoints/*/*") if p.is_file()]
    assert {p.suffix for p in files} == {".safetensors", ".json", ".parquet"}
    assert not any(pickletools_reads(p) for p in files)


def pickletools_reads(path: Path) -> bool:
    try:
        list(pickletools.genops(path.read_bytes()))
    except Exception:
        return False
    return True


def test_the_average_is_published_and_differs_from_the_last_weights(trained: Training) -> None:
    published = load_file(model_of(trained(ema=0.5)) / "model.safetensors")
    (last,) = map(load_file, trained(ema=0.5).glob("runs/*/checkpoints/step-00000006/model.safetensors"))
    assert published.keys() == last.keys()
    assert not torch.equal(published["head.weight"], last["head.weight"])


def test_the_best_measurement_is_kept(built: Path, tmp_path: Path) -> None:
    _, whole = resolve_parts(config_of(built, tmp_path, keep="best", validate_every=1, lr=0.05, steps=8))
    published = load_file(train(whole) / "model.safetensors")
    log = pd.read_parquet(whole.model_folder / "log.parquet").set_index("step")
    with safe_open(whole.folder / "best.safetensors", "pt") as file:
        about = file.metadata()
    assert int(about["step"]) == log["psnr"].idxmax()
    assert float(about["score"]) == log["psnr"].max()
    card = read_card(whole.model_folder)
    assert (card["best_step"], card["validation"]["psnr"]) == (log["psnr"].idxmax(), log["psnr"].max())
    best = load_file(whole.folder / "best.safetensors")
    assert all(torch.equal(published[name], value) for name, value in best.items())


def test_a_loss_that_grows_far_above_its_least_stops_the_training(built: Path, tmp_path: Path) -> None:
    rows = [{"step": 20 * i, "loss": 0.1} for i in range(1, 7)]
    curves = Curves(None, rows)
    assert not curves.diverged
    curves.add(140, {"loss": 0.9})
    assert not curves.diverged
    curves.add(160, {"loss": 1.1})
    assert curves.diverged


def test_curves_samples_and_events_are_written(trained: Training) -> None:
    (run,) = trained().glob("runs/*")
    log = pd.read_parquet(model_of(trained()) / "log.parquet")
    assert {
        "step",
        "loss",
        "lr",
        "images_per_s",
        "memory_gib",
        "psnr",
        "gain",
        *(f"psnr_{k}" for k in range(1, 9)),
    } <= set(log.columns)
    assert log["memory_gib"].dropna().between(0.1, 16).all()
    for step in (3, 6):
        with Image.open(run / "samples" / f"step-{step:08d}.png") as picture:
            assert picture.size == (64 * 17, 64 * 2)
    events = EventAccumulator(str(run / "tensorboard"))
    events.Reload()
    assert {"loss", "psnr", "memory_gib"} <= set(events.Tags()["scalars"])


def test_two_processes_learn_what_one_does_on_the_whole_batch(built: Path, tmp_path: Path) -> None:
    # from torch's own initialisation the same rounding grows to 2e-4 in 20 steps
    recipe = {"steps": 5, "checkpoint_every": 4, "validate_every": 5, "lr": 2e-4, "identity_init": True}
    one, two = (config_of(built, tmp_path / name, "onesrg", **recipe) for name in "ab")
    train(resolve_parts(one)[1])
    steps: list[int] = []
    train_in_process(resolve_parts(two.model_copy(update={"processes": 2}))[1], lambda step, *_: steps.append(step))
    assert steps == [5]
    losses = [_losses(resolve_parts(config)[1]) for config in (one, two)]
    assert len(losses[0]) == 5
    assert losses[0] == pytest.approx(losses[1], abs=1e-5)


def _losses(part: Part) -> list[float]:
    """Of the first 4 steps, which stand in the checkpoint, and the mean of all."""
    state = json.loads((part.folder / "checkpoints" / "step-00000004" / "state.json").read_text())
    return [*state["losses"], *pd.read_parquet(part.model_folder / "log.parquet")["loss"]]


def test_anchors_of_one_s_own_are_trained_saved_and_loaded(built: Path, tmp_path: Path) -> None:
    config = config_of(built, tmp_path, "ufvnet", steps=2)
    config = config.model_copy(update={"anchors": (1, 8), "regressor_scales": (2, 8)})
    stage1, _ = resolve_parts(config)
    assert [p.name for p in stage1] == ["anchor-1", "anchor-8", "regressor"]
    assert stage1[-1].ks == (2, 8)
    network, card = load_model(train_all(config))
    assert card["anchors"] == [1, 8]
    assert isinstance(network, UFVNet)
    assert network.anchors == (1 / 16, 1 / 2)


def test_several_datasets_train_one_model(built: Path, tmp_path: Path, trained: Training) -> None:
    config = config_of(built, tmp_path).model_copy(update={"dataset": (built, built)})
    _, card = load_model(train_all(config))
    _, alone = load_model(model_of(trained()))
    assert card["trained_on"]["faces"] == 2 * alone["trained_on"]["faces"]
    assert card["trained_on"]["dataset"] == "faces + faces"


def test_stage_2_starts_from_given_anchors_and_refuses_others(built: Path, tmp_path: Path, trained: Training) -> None:
    copied(trained("ufvnet"), tmp_path, "anchor-[48]*")
    (anchor,) = trained("ufvnet").glob("runs/anchor-2*/model")

    def given(**changes: Any) -> TrainConfig:
        return config_of(built, tmp_path, "ufvnet-nw").model_copy(update=changes)

    parts, whole = resolve_parts(given(stage1={"anchor-2": anchor}))
    assert parts[0].done()
    assert parts[0].model_folder == anchor
    assert all(part.done() for part in parts[1:])
    first = whole.network().encoders[0].stem.conv.weight
    assert torch.equal(first, load_file(anchor / "model.safetensors")["encoder.stem.conv.weight"])
    for changes, message in (
        ({"stage1": {"anchor-4": anchor}}, r"stage1\.anchor-4 = .*: its scales is \[2\]; it must be \[4\]"),
        ({"stage1": {"anchor-2": anchor}, "preset": "small"}, "its preset is tiny; it must be small"),
        ({"stage1": {"anchor-2": anchor}, "dataset": (built, built)}, "its fingerprint of the training photographs is"),
        ({"stage1": {"anchor-3": anchor}}, "no such part; there are: anchor-2, anchor-4, anchor-8"),
    ):
        with pytest.raises(ConfigError, match=message):
            resolve_parts(given(**changes))


def test_a_half_written_checkpoint_is_not_picked_up(built: Path, tmp_path: Path) -> None:
    _, whole = resolve_parts(config_of(built, tmp_path))
    (whole.folder / "checkpoints" / ".step-00000004.tmp").mkdir(parents=True)
    assert train(whole).is_dir()


def test_a_training_process_that_fails_says_why(built: Path, tmp_path: Path) -> None:
    config = config_of(built, tmp_path, lr=1e30, steps=8)
    with pytest.raises(TrainingError, match=r"loss is (nan|inf) at step \d+; the batch: .*#0"):
        train_in_process(resolve_parts(config)[1])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": "nosuch"}, "model = no model is named 'nosuch'; there are: bicubic, "),
        ({"model": "bicubic"}, "has nothing to train"),
        ({"dataset": "nowhere"}, "no built dataset there"),
    ],
)
def test_what_cannot_be_trained_is_refused_before_any_work(
    built: Path, tmp_path: Path, changes: dict[str, str], message: str
) -> None:
    config = config_of(built, tmp_path).model_dump() | changes
    with pytest.raises(ConfigError, match=message):
        resolve_parts(load(TrainConfig, config))
    assert not list(tmp_path.iterdir())


def test_the_cosine_rate_rises_then_falls_and_the_constant_one_stays() -> None:
    constant, cosine = Recipe(lr=1.0), Recipe(lr=1.0, lr_schedule="cosine", warm_up=0.05)
    assert {learning_rate(constant, s, 100) for s in range(100)} == {1.0}
    rates = [learning_rate(cosine, s, 100) for s in range(100)]
    assert rates[0] == pytest.approx(0.2)
    assert max(rates) == rates[5] == 1.0
    assert rates[99] == pytest.approx(0.5 * (1 + math.cos(math.pi * 94 / 95)))


def test_the_paper_s_recipe_is_the_default() -> None:
    recipe = Recipe()
    assert (recipe.batch_size, recipe.lr, recipe.betas, recipe.alpha) == (32, 2e-4, (0.9, 0.999), 0.1)
    assert recipe.lr_schedule == "constant"
    assert recipe.flip
    assert not recipe.identity_init


def test_progress_comes_from_the_training_process_which_trains_the_same_bits(
    built: Path, tmp_path: Path, trained: Training
) -> None:
    seen: list[tuple[int, int, Mapping[str, float]]] = []
    model = train_in_process(resolve_parts(config_of(built, tmp_path))[1], lambda *progress: seen.append(progress))
    assert sha256(model) == sha256(model_of(trained()))
    step, steps, figures = seen[-1]
    assert step == steps == 6
    assert set(figures) == {"images/s", "loss"}


def test_ufvnet_lite_has_no_stage_1_and_resumes_to_the_same_bits(built: Path, tmp_path: Path) -> None:
    undisturbed = train_all(config_of(built, tmp_path / "a", "ufvnet-lite"))
    stage1, whole = resolve_parts(config_of(built, tmp_path / "b", "ufvnet-lite"))
    assert stage1 == []
    with pytest.raises(Killed):
        train(whole, kill)
    assert sha256(train(whole)) == sha256(undisturbed)
    log = pd.read_parquet(undisturbed / "log.parquet")
    assert {"kl", "mae", "psnr"} <= set(log.columns)
    assert load_model(undisturbed)[1]["anchors"] == [2, 4, 8]


def test_ufvnet_real_learns_the_damage_and_resumes_to_the_same_bits(built: Path, tmp_path: Path) -> None:
    recipe = {"damage": {"clean": 0.25}, "between": 0.75}
    undisturbed = train_all(config_of(built, tmp_path / "a", "ufvnet-real", **recipe))
    stage1, whole = resolve_parts(config_of(built, tmp_path / "b", "ufvnet-real", **recipe))
    assert stage1 == []
    with pytest.raises(Killed):
        train(whole, kill)
    assert sha256(train(whole)) == sha256(undisturbed)
    untold = train_all(config_of(built, tmp_path / "c", "ufvnet-real", **(recipe | {"damage": {"alpha": 0.0}})))
    told, other = (load_file(f / "model.safetensors")["estimate.weight"] for f in (undisturbed, untold))
    assert not torch.equal(told, other)
    card = json.loads((undisturbed / "model.json").read_text())
    assert card["recipe"]["damage"]["quality"] == [20, 95]
    assert card["anchors"] == [2, 4, 8]


def test_the_newest_state_of_a_running_training_is_a_model_that_others_start_from(built: Path, tmp_path: Path) -> None:
    config = config_of(built, tmp_path, "ufvnet-real", ema=0.9, damage={})
    _, whole = resolve_parts(config)
    with pytest.raises(TrainingError, match="no checkpoint yet"):
        keep(config, tmp_path / "kept")
    with pytest.raises(Killed):
        train(whole, kill)
    last = checkpoints(whole.folder)[-1]
    network, card = load_model(keep(config, tmp_path / "kept"))
    average = load_file(last / "ema.safetensors")
    for name, weight in network.state_dict().items():
        assert torch.equal(weight, average[f"module.{name}"].half().float())
    assert f"step-{card['steps']:08d}" == last.name
    assert not whole.done()
    again = config_of(built, tmp_path / "b", "ufvnet-real", lr=1e-9).model_copy(update={"start": tmp_path / "kept"})
    assert (train_all(again) / "model.safetensors").is_file()


def test_finished_parts_are_carried_to_another_machine_where_the_training_goes_on_after_them(
    built: Path, tmp_path: Path
) -> None:
    here, there = (config_of(built, tmp_path / machine, "ufvnet-nw") for machine in "ab")
    stage1, _ = resolve_parts(here)
    for anchor in stage1:
        train(anchor)
    carried = tmp_path / "carried"
    assert [p.name for p in carry_out([here], carried)] == [p.folder.name for p in stage1]
    assert not list(carry_out([here], carried))
    assert len(list(carry_in([there], carried))) == len(stage1)
    for anchor in resolve_parts(there)[0]:
        assert anchor.done()
        assert read_card(anchor.model_folder)["precision"] == "half"
        original = load_file(tmp_path / "a" / anchor.model_folder.relative_to(tmp_path / "b") / "model.safetensors")
        for name, weight in load_file(anchor.model_folder / "model.safetensors").items():
            assert torch.equal(weight, original[name].half().float())
    assert not list(carry_in([there], carried))
    assert (train_all(there) / "model.safetensors").is_file()


def test_damage_is_part_of_the_fingerprint_of_the_whole_and_of_no_anchor(built: Path, tmp_path: Path) -> None:
    plain, damaged, other = (
        resolve_parts(config_of(built, tmp_path, "ufvnet", damage=damage)) for damage in (None, {}, {"clean": 0.5})
    )
    _, moved = resolve_parts(config_of(built, tmp_path, "ufvnet", recut=0.5))
    assert moved.fingerprint != plain[1].fingerprint
    assert len({whole.fingerprint for _, whole in (plain, damaged, other)}) == 3
    assert len({part.fingerprint for stage1, _ in (plain, damaged, other) for part in stage1}) == len(plain[0])


def test_training_starts_from_a_finished_model(built: Path, tmp_path: Path, trained: Training) -> None:
    first = model_of(trained("ufvnet"), "ufvnet")
    anew = config_of(built, tmp_path / "b", "ufvnet", lr=1e-9, steps=2)
    again = anew.model_copy(update={"start": first})
    stage1, whole = resolve_parts(again)
    assert stage1 == []
    before, after = (load_file(folder / "model.safetensors") for folder in (first, train(whole)))
    assert all(
        torch.allclose(before[k], after[k], atol=1e-6) for k in before if "running" not in k and "num_b" not in k
    )
    assert whole.fingerprint != resolve_parts(anew)[1].fingerprint
    for change, message in (({"model": "twosrg"}, "its model is ufvnet"), ({"preset": "small"}, "its preset is tiny")):
        with pytest.raises(ConfigError, match=message):
            resolve_parts(again.model_copy(update=change))


def damage(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


@pytest.mark.parametrize("name", ["model.safetensors", "state.json", "log.parquet", "random-0.json"])
def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(
    built: Path, tmp_path: Path, killed: Path, name: str
) -> None:
    _, whole = resolve_parts(config_of(built, copied(killed, tmp_path)))
    undamaged = sorted((whole.folder / "checkpoints").iterdir())
    damage(undamaged[-1] / name)
    assert last_whole(whole.folder) == undamaged[-2]


def test_training_goes_on_from_the_checkpoint_before_a_damaged_one(built: Path, tmp_path: Path) -> None:
    undisturbed = train_all(config_of(built, tmp_path / "a", keep="best"))
    _, whole = resolve_parts(config_of(built, tmp_path / "b", keep="best"))
    with pytest.raises(Killed):
        train(whole, kill)
    damage(whole.folder / "best.safetensors")
    damage(whole.folder / "checkpoints" / "step-00000004" / "optimizer.safetensors")
    assert sha256(train(whole)) == sha256(undisturbed)
    (whole.model_folder / "model.safetensors").unlink()
    assert not whole.done()
    for checkpoint in (whole.folder / "checkpoints").iterdir():
        damage(checkpoint / "model.safetensors")
    with pytest.raises(TrainingError, match="every checkpoint is damaged"):
        train(whole)


def test_the_best_needs_faces_to_measure_it_on(built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ufvnet.training.stages.SPLIT", "nosuch")
    with pytest.raises(ConfigError, match=r"recipe\.keep = best: no dataset has a split 'nosuch'"):
        resolve_parts(config_of(built, tmp_path, keep="best"))


def test_what_another_process_finished_meanwhile_is_not_trained_again(
    built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, whole = resolve_parts(config_of(built, tmp_path))
    problems = iter(["", None])  # not there before the lock, there after it
    monkeypatch.setattr(Part, "problem", lambda self: next(problems))
    monkeypatch.setattr("ufvnet.training.engine._Run", None)
    assert train(whole) == whole.model_folder


def test_two_processes_never_train_one_part_at_a_time(
    built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ufvnet.training.engine.LOCK_WAIT", 0.1)
    _, whole = resolve_parts(config_of(built, tmp_path))
    whole.folder.mkdir(parents=True)
    with FileLock(whole.folder / "lock"), pytest.raises(TrainingError, match="another process trains"):
        train(whole)


def test_a_model_half_replaced_by_another_is_not_finished(
    built: Path, tmp_path: Path, trained: Training, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = resolve_parts(config_of(built, copied(trained(), tmp_path)))[1]
    assert first.done()

    def full_disk(path: Path, data: object) -> None:
        raise OSError("no space")

    monkeypatch.setattr("ufvnet.training.publish.write_json", full_disk)
    with pytest.raises(OSError, match="no space"):
        train(resolve_parts(config_of(built, tmp_path, lr=0.01))[1])
    assert not first.done()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": "anchor-2"}, "name = 'anchor-2': .*part of stage 1"),
        ({"dataset": []}, "dataset = .*one or more"),
        ({"recipe": {"betas": [1.5, 0.9]}}, "recipe.betas = .*below 1"),
        ({"recipe": {"batch_size": 8}, "processes": 3}, "multiple of processes"),
        ({"model": "ufvnet-nw", "regressor_scales": [2, 4]}, "regressor_scales = .*ufvnet-nw"),
        ({"device": "mps"}, "device = mps: not found here"),
        ({"runs": __file__}, "runs = .*not a folder"),
    ],
)
def test_what_cannot_be_is_refused_before_any_work(
    built: Path, tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    given = {"name": "x", "dataset": built, "model": "onesrg", "preset": "tiny", "out": tmp_path, "runs": tmp_path}
    with pytest.raises(ConfigError, match=message):
        resolve_parts(load(TrainConfig, given | change))

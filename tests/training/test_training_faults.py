"""Trainings that meet damage, full disks, killed helpers, foreign files: nothing is lost, and one line says why."""

from __future__ import annotations

import dataclasses
import json
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
import torch

from ufvnet import children
from ufvnet.config import ConfigError, TrainConfig, load
from ufvnet.errors import TrainingError
from ufvnet.files import MARKER, seal, sha256, unseal, write_json
from ufvnet.models.store import CARD, WEIGHTS, damage, read_card
from ufvnet.training import engine, launch, stages
from ufvnet.training.checkpoints import checkpoints, last_whole, read_state
from ufvnet.training.engine import Interrupted, train
from ufvnet.training.launch import train_in_process
from ufvnet.training.part import Part
from ufvnet.training.running import RUNNING, stop_running
from ufvnet.training.stages import resolve_parts

RECIPE = {
    "batch_size": 4, "steps": 6, "anchor_steps": 1, "regressor_steps": 1, "checkpoint_every": 2,
    "validate_every": 3, "validation_faces": 2, "threads": 1,
}  # fmt: skip


def config_of(built: Path, out: Path, model: str = "onesrg", **recipe: Any) -> TrainConfig:
    return load(
        TrainConfig,
        {
            "name": "mine", "dataset": built, "model": model, "preset": "tiny", "device": "cpu",
            "out": out / "models", "runs": out / "runs", "recipe": RECIPE | recipe,
        },
    )  # fmt: skip


def whole_of(built: Path, out: Path, model: str = "onesrg", **recipe: Any) -> Part:
    return resolve_parts(config_of(built, out, model, **recipe))[1]


def flip(file: Path, rng: random.Random) -> None:
    data = bytearray(file.read_bytes())
    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    file.write_bytes(data)


@pytest.fixture(scope="module")
def finished(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished training of the best weights; tests copy it."""
    folder = tmp_path_factory.mktemp("finished")
    train(whole_of(built, folder, keep="best"))
    return folder


@pytest.fixture
def part(built: Path, finished: Path, tmp_path: Path) -> Part:
    """A copy of the finished training that a test may damage."""
    shutil.copytree(finished, tmp_path, dirs_exist_ok=True)
    found = whole_of(built, tmp_path, keep="best")
    assert found.done()
    return found


# What is taken up again is proven first


def test_a_flipped_bit_in_any_file_of_a_checkpoint_is_noticed(part: Part) -> None:
    rng = random.Random(0)
    last = checkpoints(part.folder)[-1]
    names = sorted(p.name for p in last.iterdir())
    assert {"best.safetensors", "state.json", "log.parquet", "random-0.json"} <= {*names}
    for name in names:
        content = (last / name).read_bytes()
        for _ in range(20):
            flip(last / name, rng)
            assert read_state(last) is None, name
            (last / name).write_bytes(content)
    assert read_state(last) is not None


def test_a_damaged_newest_checkpoint_takes_no_place_of_a_whole_one(
    built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    part = whole_of(built, tmp_path, steps=8)

    def stop_after(step: int) -> None:
        def stop(done: int, *_: object) -> None:
            if done >= step:
                raise KeyboardInterrupt

        monkeypatch.setattr(engine, "LOG_EVERY", 1)
        with pytest.raises(KeyboardInterrupt):
            train(part, stop)

    stop_after(5)
    assert [c.name[-1] for c in checkpoints(part.folder)] == ["2", "4"]
    (checkpoints(part.folder)[-1] / "state.json").write_text("[]")
    part = whole_of(built, tmp_path, steps=8, checkpoint_every=1)
    stop_after(4)
    assert [c.name[-1] for c in checkpoints(part.folder)] == ["2", "3"]


@pytest.mark.parametrize("content", ["[]", "null", "3", "", "{}", '{"sha256": []}', "[" * 100_000])
def test_a_state_that_is_no_state_is_damage(part: Part, content: str, capsys: pytest.CaptureFixture[str]) -> None:
    before, last = checkpoints(part.folder)
    (last / "state.json").write_text(content)
    assert last_whole(part.folder) == before
    assert "step-00000006 is damaged: going back to the one before" in capsys.readouterr().err


def test_a_half_trained_model_is_not_finished_by_another_step_in_its_state(part: Part) -> None:
    checkpoint = checkpoints(part.folder)[0]
    state = unseal((checkpoint / "state.json").read_bytes())
    assert state is not None
    (checkpoint / "state.json").write_text(json.dumps(state | {"step": 6}))
    assert read_state(checkpoint) is None
    write_json(checkpoint / "state.json", seal(state | {"step": 6}))
    assert read_state(checkpoint) is None


def test_a_checkpoint_of_a_release_without_seals_is_still_taken(part: Part) -> None:
    checkpoint = checkpoints(part.folder)[-1]
    state = unseal((checkpoint / "state.json").read_bytes())
    assert state is not None
    write_json(checkpoint / "state.json", {k: v for k, v in state.items() if k not in ("version", "best")})
    assert last_whole(part.folder) == checkpoint


def test_damaged_weights_of_a_finished_part_are_published_again_with_a_line(
    part: Part, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = sha256(part.model_folder / WEIGHTS)
    for name in (WEIGHTS, CARD):
        flip(part.model_folder / name, random.Random(1))
        assert not part.done()
        train(part)
        assert part.done()
        assert sha256(part.model_folder / WEIGHTS) == whole
        assert "; made again" in capsys.readouterr().err


def test_damaged_best_weights_are_never_published(part: Part) -> None:
    whole = sha256(part.model_folder / WEIGHTS)
    rng = random.Random(0)
    for _ in range(5):
        flip(part.folder / "best.safetensors", rng)
    (part.model_folder / CARD).unlink()
    assert sha256(train(part) / WEIGHTS) == whole
    flip(checkpoints(part.folder)[-1] / "best.safetensors", rng)  # then from the checkpoint before, trained again
    (part.model_folder / CARD).unlink()
    assert sha256(train(part) / WEIGHTS) == whole


def test_damaged_parts_of_stage_1_are_noticed_before_stage_2(built: Path, tmp_path: Path) -> None:
    stage1, whole = resolve_parts(config_of(built, tmp_path, "ufvnet-nw"))
    anchor = stage1[0]
    train(anchor)
    flip(anchor.model_folder / WEIGHTS, random.Random(0))
    assert not anchor.done()
    given = whole.config.model_copy(update={"stage1": {anchor.name: anchor.model_folder}})
    with pytest.raises(ConfigError, match=rf"stage1\.{anchor.name} = .*damaged"):
        resolve_parts(given)


def test_a_start_whose_weights_are_damaged_is_refused(built: Path, part: Part) -> None:
    flip(part.model_folder / WEIGHTS, random.Random(0))
    config = config_of(built, part.config.out.parent / "again").model_copy(update={"start": part.model_folder})
    with pytest.raises(ConfigError, match=r"start = .*damaged"):
        resolve_parts(config)


# Only our own files are ever replaced or removed


@pytest.mark.parametrize("place", ["out", "runs"])
def test_a_training_writes_into_no_folder_of_somebody_else(place: str, built: Path, tmp_path: Path) -> None:
    part = whole_of(built, tmp_path)
    folder = part.model_folder if place == "out" else part.folder
    folder.mkdir(parents=True)
    (folder / "README.md").write_text("mine")
    for attempt in (lambda: whole_of(built, tmp_path), lambda: train(part), lambda: train_in_process(part)):
        with pytest.raises(ConfigError, match=f"{place} = .*ufvnet did not make it"):
            attempt()
    assert {p.name for p in folder.iterdir()} == {"README.md"}


def test_a_model_is_published_over_no_folder_that_came_meanwhile(built: Path, tmp_path: Path) -> None:
    part = whole_of(built, tmp_path)

    def put(*_: object) -> None:
        part.model_folder.mkdir(parents=True)
        (part.model_folder / "model.json").write_text("mine")

    with pytest.raises(ConfigError, match="ufvnet did not make it"):
        train(part, put)
    assert (part.model_folder / "model.json").read_text() == "mine"


def test_a_model_never_lies_in_what_it_is_trained_on(built: Path, tmp_path: Path, part: Part) -> None:
    config = config_of(built, tmp_path / "again")
    for changes in ({"out": built}, {"out": built.parent, "name": built.name}, {"runs": built / "faces"}):
        with pytest.raises(ConfigError, match="overlaps dataset = "):
            resolve_parts(config.model_copy(update=changes))
    with pytest.raises(ConfigError, match="overlaps start = "):
        resolve_parts(part.config.model_copy(update={"start": part.model_folder}))


def test_what_is_left_of_a_checkpoint_that_was_cut_off_is_removed(built: Path, tmp_path: Path) -> None:
    part = whole_of(built, tmp_path)
    left, foreign = (part.folder / "checkpoints" / f".step-0000000{i}.tmp" for i in (1, 9))
    for folder, name in ((left, "model.safetensors"), (foreign, "somebody-else-s.txt")):
        folder.mkdir(parents=True)
        (folder / name).write_text("half")
    train(part)
    assert not left.exists()
    assert foreign.exists()


def test_only_checkpoints_of_ours_are_removed_and_links_are_not_followed(built: Path, tmp_path: Path) -> None:
    part = whole_of(built, tmp_path)
    folder = part.folder / "checkpoints"
    (folder / "step-by-step").mkdir(parents=True)
    (folder / "step-00000001").mkdir()
    (folder / "step-00000001" / "notes.txt").write_text("mine")
    (folder / "step-00000000").symlink_to(tmp_path)
    found = train(part, lambda *_: None)
    assert found == part.model_folder
    assert (folder / "step-00000001" / "notes.txt").read_text() == "mine"
    assert {p.name for p in folder.iterdir()} >= {"step-by-step", "step-00000000", "step-00000006"}
    (part.folder / "samples").rename(tmp_path / "samples")
    (part.folder / "samples").symlink_to(tmp_path / "samples")
    with pytest.raises(ConfigError, match="samples: is a symbolic link"):
        whole_of(built, tmp_path)


def test_folders_carry_our_marker_and_the_card_its_weights_sha256(part: Part) -> None:
    assert json.loads((part.model_folder / MARKER).read_text())["kind"] == "model"
    assert json.loads((part.folder / MARKER).read_text())["kind"] == "run"
    assert read_card(part.model_folder)["sha256"] == sha256(part.model_folder / WEIGHTS)
    assert damage(part.model_folder) is None


# Nothing in the working directory is run


PLUGIN = """
import sys
open("plugin", "w")
class Watch:
    def find_spec(name, *_):
        if name in ("torch._dynamo", "sympy"):
            open("compiler", "w")
sys.meta_path.insert(0, Watch)
"""


@pytest.mark.parametrize(("processes", "workers"), [(1, 1), (2, 0)])
def test_a_training_runs_nothing_that_lies_in_the_working_directory(
    processes: int, workers: int, built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two processes are asked to stop as well, and write one checkpoint."""
    steps = 2 if processes == 1 else 4000
    recipe = {"steps": steps, "checkpoint_every": steps, "validate_every": steps}
    part = resolve_parts(config_of(built, tmp_path, "ufvnet-lite", **recipe))[1]
    config = part.config.model_copy(update={"processes": processes, "loader_workers": workers})
    for name in ("torch", "json", "ufvnet", "numpy", "accelerate"):
        (tmp_path / f"{name}.py").write_text("open('ran', 'w')")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "a_plugin.py").write_text(PLUGIN)
    monkeypatch.setenv("UFVNET_PLUGINS", "a_plugin")
    entries = [str(tmp_path / "elsewhere"), "", os.environ.get("PYTHONPATH", "")]  # an empty one is the current folder
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(entries))
    monkeypatch.chdir(tmp_path)
    part = dataclasses.replace(part, config=config)
    if processes == 1:
        train_in_process(part)
    else:

        def stop(*_: object) -> None:
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            train_in_process(part, stop)
        assert len(checkpoints(part.folder)) == 1
    assert not (tmp_path / "ran").exists()
    assert (tmp_path / "plugin").exists()  # what PYTHONPATH names is found
    if processes == 1:  # a part of its start that a training needs only to share tensors out
        assert not (tmp_path / "compiler").exists(), "torch's compiler or sympy was imported"


# One line, and a rerun goes on


def test_a_gradient_that_is_not_finite_ends_at_its_own_step(
    built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    part = whole_of(built, tmp_path, checkpoint_every=6)
    usual, calls = engine.sr_loss, []

    def poisoned(sr: torch.Tensor, *rest: Any) -> torch.Tensor:
        calls.append(1)
        if len(calls) == 3:  # the loss is finite, its gradient is not
            sr = sr + (sr * 0).abs().sqrt() * 0
        return usual(sr, *rest)

    monkeypatch.setattr(engine, "sr_loss", poisoned)
    with pytest.raises(TrainingError, match=r"mine: the gradient is nan at step 2; the batch: .*#0"):
        train(part)
    assert not checkpoints(part.folder)


def test_what_a_plugin_prints_is_nothing_that_a_training_says() -> None:
    assert launch._event('{"step": 3}') == {"step": 3}
    for line in ("{'a': 1}\n", "[1]\n", "{\n", "text"):
        assert launch._event(line) == {}


@pytest.mark.kills
def test_a_killed_loader_process_is_one_line_and_a_rerun_goes_on(built: Path, tmp_path: Path) -> None:
    part = whole_of(built, tmp_path, "ufvnet-lite", steps=24, checkpoint_every=10, validate_every=24)
    part = dataclasses.replace(part, config=part.config.model_copy(update={"loader_workers": 2}))

    def kill_one(*_: object) -> None:
        pid = multiprocessing.active_children()[0].pid
        assert pid
        os.kill(pid, signal.SIGKILL)

    with pytest.raises(TrainingError, match="a process that prepares batches was killed") as failure:
        train(part, kill_one)
    assert len(str(failure.value).splitlines()) == 1
    # Whoever holds the error holds no process: PyTorch would find the dead one in the middle of the next training.
    assert not multiprocessing.active_children()
    assert checkpoints(part.folder)
    assert train(part) == part.model_folder


@pytest.mark.parametrize("problem", [ConnectionResetError(104, "reset"), EOFError(), FileNotFoundError(2, "no socket")])
def test_a_loader_process_that_dies_while_it_hands_over_is_one_line_too(
    problem: Exception, built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PyTorch finds its socket gone before it finds that it is dead; which comes first is chance."""

    def hand_over(_: object) -> Iterator[None]:
        raise problem

    monkeypatch.setattr("ufvnet.training.batches.DataLoader.__iter__", hand_over)
    part = whole_of(built, tmp_path, steps=3, validate_every=3)
    part = dataclasses.replace(part, config=part.config.model_copy(update={"loader_workers": 1}))
    with pytest.raises(TrainingError, match=r"a process that prepares batches was killed after step 0 .*ended while"):
        train(part)


def test_what_this_process_does_at_its_end_is_not_a_loader_process_s_to_do(
    built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Prefect registers such hooks where a flow ran; in a forked child they fail, after a while."""

    def hook() -> None:
        time.sleep(0.5)
        raise RuntimeError("nothing to stop here")

    monkeypatch.setattr(threading, "_threading_atexits", [hook])
    part = whole_of(built, tmp_path, "ufvnet-lite", steps=3, validate_every=3)
    part = dataclasses.replace(part, config=part.config.model_copy(update={"loader_workers": 1}))
    assert train(part) == part.model_folder


@pytest.mark.kills
def test_a_killed_training_is_one_line(built: Path, tmp_path: Path) -> None:
    part = whole_of(built, tmp_path, "ufvnet-lite", steps=4000, validate_every=4000)

    def kill(*_: object) -> None:
        for child in psutil.Process().children(recursive=True):
            if "ufvnet.training.worker" in child.cmdline():
                child.send_signal(signal.SIGKILL)

    with pytest.raises(TrainingError, match=r"mine: training was killed \(SIGKILL\)") as failure:
        train_in_process(part, kill)
    assert len(str(failure.value).splitlines()) == 1


def test_batches_that_do_not_fit_into_shared_memory_are_refused_with_the_way_out(
    built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stages.shutil, "disk_usage", lambda _: SimpleNamespace(free=4096))
    config = config_of(built, tmp_path)
    resolve_parts(config)
    with pytest.raises(ConfigError, match=r"loader_workers = 2: /dev/shm, .* 0\.0 MiB free.*or 0, or make it"):
        resolve_parts(config.model_copy(update={"loader_workers": 2}))


FULL = """
set -e
for disk in {disks}; do mount -t tmpfs -o size=$(basename $disk) tmpfs $disk; done
exec {command}
"""
TRAIN = """
import contextlib, sys
from pathlib import Path
from ufvnet.cli import commands as cli
from ufvnet.config import TrainConfig, load
from ufvnet.training.launch import train_in_process
from ufvnet.training.stages import resolve_parts
for file in map(Path, sys.argv[1:]):
    cli.app = lambda **_: train_in_process(resolve_parts(load(TrainConfig, file))[1])
    with file.with_suffix(".stderr").open("w", buffering=1) as said, contextlib.redirect_stderr(said):
        try:
            cli.main()
        except SystemExit as end:
            file.with_suffix(".code").write_text(str(end.code))
"""


def test_a_full_disk_is_one_line_that_says_make_room(built: Path, tmp_path: Path) -> None:
    """Disks of these sizes in a mount namespace of their own: full at the first checkpoint, and at a later one."""
    if subprocess.run(["unshare", "-m", "true"], capture_output=True).returncode:
        pytest.skip("this user may not mount a small disk")
    disks = [tmp_path / size for size in ("300k", "1200k")]
    files = [disk.with_suffix(".yaml") for disk in disks]
    for disk, file in zip(disks, files):
        disk.mkdir()
        file.write_text(json.dumps(config_of(built, disk).model_dump(mode="json")))
    (tmp_path / "run.py").write_text(TRAIN)
    command = " ".join(children.python(str(tmp_path / "run.py"), *map(str, files)))
    shell = ["unshare", "-m", "sh", "-c", FULL.format(disks=" ".join(map(str, disks)), command=command)]
    done = subprocess.run(shell, capture_output=True, text=True, env=children.environment())
    assert done.returncode == 0, done.stderr
    for file in files:
        said = file.with_suffix(".stderr").read_text()
        assert file.with_suffix(".code").read_text() == "1", (file.stem, said)
        assert said.count("\n") == 1, said
        assert "No space left on device" in said
        assert "make room and run this again; what is finished stays" in said
    assert done.stderr == ""


def test_a_training_that_is_asked_to_stop_while_it_starts_was_not_killed(built: Path, tmp_path: Path) -> None:
    with ThreadPoolExecutor(1) as pool:
        training = pool.submit(train_in_process, whole_of(built, tmp_path))
        while not RUNNING:
            time.sleep(0.001)
        stop_running()
        with pytest.raises(Interrupted, match=r"^mine: asked to stop; run again to go on$"):
            training.result(60)

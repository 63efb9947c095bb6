"""Networks from outside train, resume, are measured and load again, whatever they are made of."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ufvnet.config import ConfigError, TrainConfig, load
from ufvnet.errors import TrainingError
from ufvnet.models import UFVNet, create, registry
from ufvnet.models import load as load_model
from ufvnet.models.srg import SROutput, Width
from ufvnet.models.store import save_half
from ufvnet.training.checkpoints import checkpoints
from ufvnet.training.curves import SETTLED, Curves
from ufvnet.training.engine import train
from ufvnet.training.launch import _failure, train_in_process
from ufvnet.training.publish import publish
from ufvnet.training.stages import resolve_parts


class Plain(nn.Module):
    """Corrects the enlargement by one layer."""

    def __init__(self, anchors: tuple[float, ...] = ()):
        super().__init__()
        self.anchors = anchors
        self.layer = nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, ls: Tensor, _: Tensor) -> SROutput:
        return SROutput(ls + self.layer(ls))


class Guessing(Plain):
    """Weighs its anchors, and does not say by what."""

    def forward(self, ls: Tensor, _: Tensor) -> SROutput:
        logits = self.layer(ls).mean((2, 3))[:, : len(self.anchors)]
        return SROutput(ls + self.layer(ls), logits.softmax(1), logits)


class Tied(nn.Module):
    """Uses one layer twice, under two names."""

    def __init__(self) -> None:
        super().__init__()
        self.first = self.second = nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, ls: Tensor, _: Tensor) -> SROutput:
        return SROutput(ls + self.second(self.first(ls)))


class OwnRegressor(nn.Module):
    """(N, 3, H, H) -> (N, 3), by the mean colour."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 3)

    def logits(self, x: Tensor) -> Tensor:
        return self.layer(x.mean((2, 3)))


class OtherRegressor(UFVNet):
    """UFVNet whose weights come from a regressor of its own."""

    def __init__(self, width: Width, hr_size: int):
        super().__init__((1 / 8, 1 / 4, 1 / 2), "ones", width, hr_size)
        self.regressor: Any = OwnRegressor()


@pytest.fixture
def plugin(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Registers a factory as ``mine`` for one test."""
    monkeypatch.setattr(registry, "_REGISTRY", dict(registry._REGISTRY))

    def add(factory: registry.Factory) -> None:
        registry._REGISTRY["mine"] = registry.ModelEntry("mine", factory, "")

    return add


def config_of(built: Path, out: Path, model: str = "mine", **recipe: Any) -> TrainConfig:
    recipe = {
        "batch_size": 4, "steps": 2, "anchor_steps": 1, "regressor_steps": 1, "checkpoint_every": 1,
        "validate_every": 2, "validation_faces": 2, "threads": 1,
    } | recipe  # fmt: skip
    return load(TrainConfig, {
        "name": "m", "dataset": built, "model": model, "preset": "tiny", "device": "cpu", "recipe": recipe,
        "out": out / "models", "runs": out / "runs",
    })  # fmt: skip


OURS = [name for name, entry in registry._REGISTRY.items() if "competitors" not in entry.factory.__module__]


@pytest.mark.parametrize("name", [name for name in OURS if name != "bicubic"])
def test_every_network_of_ours_loads_after_its_training(built: Path, tmp_path: Path, name: str) -> None:
    _, whole = resolve_parts(config_of(built, tmp_path, name))
    trained = create(name, "tiny", 64)
    publish(whole, trained, [{"step": 1}])
    network, _ = load_model(whole.model_folder)
    assert all(torch.equal(t, trained.state_dict()[key]) for key, t in network.state_dict().items())


def test_a_network_with_anchors_of_its_own_trains_and_loads(
    built: Path, tmp_path: Path, plugin: Callable[..., None]
) -> None:
    plugin(lambda *_: Plain((1 / 8, 1 / 2)))
    folder = train(resolve_parts(config_of(built, tmp_path))[1])
    assert load_model(folder)[1]["anchors"] == [2, 8]
    plugin(lambda *_: Plain((1 / 4,)))
    with pytest.raises(ConfigError, match=r"anchors = \[2, 8\]: mine has its own, \[4\]"):
        load_model(folder)


@pytest.mark.parametrize("anchors", [(0.09375, 0.5), (0.5, 0.5), (1 / 32,), (0.75,)])
def test_anchors_that_are_no_sixteenths_are_refused(
    built: Path, tmp_path: Path, plugin: Callable[..., None], anchors: tuple[float, ...]
) -> None:
    plugin(lambda *_: Plain(anchors))
    with pytest.raises(ConfigError, match=r"anchors = \[.*\]: must be different sixteenths from 1/16 to 8/16"):
        resolve_parts(config_of(built, tmp_path))


def test_a_regressor_of_one_s_own_is_kept_and_learns_in_stage_2(
    built: Path, tmp_path: Path, plugin: Callable[..., None]
) -> None:
    plugin(OtherRegressor)
    stage1, whole = resolve_parts(config_of(built, tmp_path))
    assert [part.name for part in stage1] == ["anchor-2", "anchor-4", "anchor-8"]
    for part in stage1:
        train(part)
    network, _ = load_model(train(whole))
    assert isinstance(network, UFVNet)
    assert isinstance(network.regressor, OwnRegressor)


def test_tied_weights_are_checkpointed(built: Path, tmp_path: Path, plugin: Callable[..., None]) -> None:
    plugin(lambda *_: Tied())
    _, whole = resolve_parts(config_of(built, tmp_path))
    network, _ = load_model(train(whole))
    assert isinstance(network, Tied)
    assert network.first is network.second
    assert len(checkpoints(whole.folder)) == 2


def test_the_weight_of_the_regressor_s_loss_counts_where_a_network_does_not_say_that_it_has_one(
    built: Path, tmp_path: Path, plugin: Callable[..., None]
) -> None:
    plugin(lambda *_: Guessing((1 / 8, 1 / 2)))
    one, other = (resolve_parts(config_of(built, tmp_path, alpha=alpha))[1].fingerprint for alpha in (0.1, 5.0))
    assert one != other
    plugin(lambda *_: Guessing((1 / 4,)))  # a share of one anchor says nothing
    assert train(resolve_parts(config_of(built, tmp_path))[1]).is_dir()


def test_a_loss_below_zero_has_not_diverged() -> None:
    falling, rising = Curves(None, []), Curves(None, [])
    for step in range(SETTLED + 2):
        falling.add(step, {"loss": -0.9 - 0.01 * step})
        rising.add(step, {"loss": 0.1 if step <= SETTLED else 2.0})
    assert (falling.diverged, rising.diverged) == (False, True)


def test_half_precision_names_a_weight_that_it_cannot_hold(
    built: Path, tmp_path: Path, plugin: Callable[..., None]
) -> None:
    plugin(lambda *_: Plain())
    _, whole = resolve_parts(config_of(built, tmp_path))
    network = Plain()
    publish(whole, network, [{"step": 1}])
    assert save_half(whole.model_folder, tmp_path / "half").is_dir()
    nn.init.constant_(network.layer.bias, 1e5)  # type: ignore[arg-type]
    publish(whole, network, [{"step": 1}])
    with pytest.raises(ConfigError, match=r"layer\.bias is too large for half precision"):
        save_half(whole.model_folder, tmp_path / "other")


# In several processes


def test_two_processes_train_in_half_precision_a_network_that_uses_not_all_its_weights(
    built: Path, tmp_path: Path, put_plugin: Callable[[str, str], None]
) -> None:
    put_plugin(
        "spare_models",
        "import ufvnet.models\nfrom torch import nn\nfrom ufvnet.models.srg import SRG\n\n\n"
        "class Spare(SRG):\n    def __init__(self, width, hr_size):\n        super().__init__(width, hr_size)\n"
        "        self.spare = nn.Linear(2, 2)\n\n\nufvnet.models.register('spare', Spare)\n",
    )
    config = config_of(built, tmp_path, "spare", steps=3, mixed_precision="bf16", identity_init=True)
    _, whole = resolve_parts(config.model_copy(update={"processes": 2}))
    assert train_in_process(whole).is_dir()


REPORT = """torch.distributed.elastic.multiprocessing.errors.ChildFailedError:
============================================================
Failures:
[1]:
  rank      : 1 (local_rank: 1)
  exitcode  : {second} (pid: 12)
Root Cause (first observed failure):
[0]:
  rank      : 0 (local_rank: 0)
  exitcode  : {first} (pid: 11)
"""


@pytest.mark.parametrize(
    ("text", "first", "second", "said"),
    [
        ("[rank0]: torch.OutOfMemoryError: CUDA out of memory\n", 1, -15, r"ended with code 1: .*CUDA out of memory"),
        ("[rank1]: ValueError: no\n", -15, 1, r"ended with code 1: .*ValueError: no"),
        ("", -9, -15, r"was killed \(SIGKILL\)"),
        ("", -15, -15, r"was killed \(SIGTERM\)"),
    ],
)
def test_what_went_wrong_in_one_of_several_processes_is_told(
    built: Path, tmp_path: Path, text: str, first: int, second: int, said: str
) -> None:
    _, whole = resolve_parts(config_of(built, tmp_path, "onesrg"))
    log = tmp_path / "stderr.log"
    log.write_text(text + REPORT.format(first=first, second=second))
    error = _failure(whole, 1, {}, log)
    assert isinstance(error, TrainingError)
    with pytest.raises(TrainingError, match=said):
        raise error

"""Training the competitors: what each is fed and learns from, its stages, resuming; and a method from outside."""

from __future__ import annotations

import hashlib
import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from torch import Tensor, nn

from ufvnet import data
from ufvnet.cli.models import show_model
from ufvnet.config import ConfigError, EvaluateConfig, TrainConfig, load
from ufvnet.data.dataset import FaceArrays
from ufvnet.errors import DivergedError, TrainingError
from ufvnet.models import registry
from ufvnet.models.competitors.arbsr import ArbSR
from ufvnet.models.competitors.dic import DIC
from ufvnet.models.competitors.eipnet import EIPNet
from ufvnet.models.competitors.kdfsrnet import KDFSRNet, KDFSRTeacher
from ufvnet.models.competitors.liif import LIIF
from ufvnet.models.competitors.mlgdn import MLGDN
from ufvnet.models.competitors.sisn import SISN
from ufvnet.models.competitors.wipa import WIPA
from ufvnet.models.feed import Feed
from ufvnet.models.srg import SROutput
from ufvnet.models.store import read_card
from ufvnet.models.supervision import Needs
from ufvnet.results.methods.configured import expand
from ufvnet.results.methods.faces import Faces
from ufvnet.results.methods.resolve import resolve_method, resolve_methods
from ufvnet.results.methods.restore import restore
from ufvnet.training.batches import TrainingLoader
from ufvnet.training.engine import train
from ufvnet.training.face_parts import MIRRORED, edges, masks, mirrored
from ufvnet.training.launch import train_in_process
from ufvnet.training.publish import publish_failure
from ufvnet.training.schedules import learning_rate
from ufvnet.training.stages import resolve_parts

RECIPE = {
    "batch_size": 4, "steps": 2, "landmark_steps": 1, "checkpoint_every": 1, "validate_every": 2,
    "validation_faces": 1, "threads": 1, "lr": 1e-3,
}  # fmt: skip

NARROW = {
    "dic": ("FR", lambda h: DIC(2, 2, h)),
    "mlgdn": ("FR", lambda h: MLGDN(2, 2, h)),
    "sisn": ("FR", lambda h: SISN(4, 4, 1, 1, h)),
    "wipa": ("FR", lambda h: WIPA(4, 4, h)),
    "eipnet": ("OR", lambda h: EIPNet(4, h)),
    "eipnet-gan": ("OR", lambda h: EIPNet(4, h, gan=True)),
    "wipa-gan": ("FR", lambda h: WIPA(4, 4, h, gan=True)),
    "kdfsrnet": ("OR", lambda h: KDFSRNet(4, h)),
    "kdfsrnet-teacher": ("OR", lambda h: KDFSRTeacher(4, h)),
    "liif": ("SASR", lambda h: LIIF(4, 1, 8, h)),
    "liif-mr": ("SASR", lambda h: LIIF(4, 1, 8, h, "sizes")),
    "liif-whole": ("SASR", lambda h: LIIF(4, 1, 8, h, "whole")),
    "arbsr": ("SASR", lambda h: ArbSR(8, 1, 1, 1, h)),
}
"""The networks as they are but for their widths and depths, on which training does not depend."""


@pytest.fixture(autouse=True)
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """The registry with the narrow networks in place of the others."""
    for name, (kind, build) in NARROW.items():
        entry = registry.ModelEntry(name, lambda _, h, build=build: build(h), "", kind)  # type: ignore[misc]
        monkeypatch.setitem(registry._REGISTRY, name, entry)


def config_of(built: Path, out: Path, model: str, recipe: dict[str, Any] | None = None, **keys: Any) -> TrainConfig:
    settings = {
        "name": f"{model}-test", "dataset": built, "model": model, "preset": "tiny", "device": "cpu",
        "out": out / "models", "runs": out / "runs", "recipe": RECIPE | (recipe or {}),
    }  # fmt: skip
    return load(TrainConfig, settings | keys)


def train_all(config: TrainConfig) -> Path:
    stage1, whole = resolve_parts(config)
    for part in stage1:
        train(part)
    return train(whole)


def sha256(folder: Path) -> str:
    return hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def faces(built: Path) -> FaceArrays:
    return data.open(built).view("MR8", "train").arrays(landmarks=True)


@pytest.mark.parametrize("model", [name for name in NARROW if name not in ("mlgdn", "kdfsrnet", "kdfsrnet-teacher")])
def test_every_row_trains_to_a_model_that_is_measured(built: Path, tmp_path: Path, model: str) -> None:
    card = read_card(train_all(config_of(built, tmp_path, model)))
    assert np.isfinite(card["validation"]["psnr"])
    own = {"dic": [2], "sisn": [4], "wipa": [4], "wipa-gan": [4]}.get(model)
    assert card["scales"] == (own or list(range(1, 9)))
    assert card["trained_on"]["view"] == (f"k={own}" if own else "MR8")


@pytest.mark.parametrize("model", ["liif", "wipa-gan"])
def test_a_killed_training_of_a_competitor_goes_on_with_the_same_bits(built: Path, tmp_path: Path, model: str) -> None:
    """LIIF's crops and points are drawn anew for every batch; they depend on the seed and the step alone. WIPA's critic
    is in the checkpoint, and so is the state of its noisy labels.
    """
    whole = train_all(config_of(built, tmp_path / "a", model, {"steps": 3}))
    killed = resolve_parts(config_of(built, tmp_path / "b", model, {"steps": 3}))[1]

    def kill(step: int, *_: object) -> None:
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ufvnet.training.engine.LOG_EVERY", 2)
        with pytest.raises(KeyboardInterrupt):
            train(killed, kill)
    assert sha256(train(killed)) == sha256(whole)


# What the loader hands over


def loader_of(faces: FaceArrays, feed: Feed, needs: Needs, ks: tuple[int, ...] = (2, 4, 8)) -> TrainingLoader:
    return TrainingLoader(faces, ks, batch_size=6, seed=0, feed=feed, needs=needs)


def test_a_fixed_resolution_is_the_stored_lr_bit_for_bit(faces: FaceArrays) -> None:
    loader = TrainingLoader(faces, (4,), batch_size=6, seed=0, flip=False, feed=Feed("FR", 16))
    batch = loader[0]
    for row, fed in zip(batch.rows, batch.fed):
        assert np.array_equal(fed.permute(1, 2, 0).numpy(), faces.lr[4][int(row)])


def test_faces_and_their_order_are_the_same_whatever_a_network_is_fed(faces: FaceArrays) -> None:
    feeds = [Feed(), Feed("FR", 16), Feed("SASR")]
    rows = [loader_of(faces, feed, Needs())[1].rows for feed in feeds]
    assert torch.equal(rows[0], rows[1])
    assert torch.equal(rows[0], rows[2])


def test_lr_images_as_they_are_have_one_size_a_batch_and_all_sizes_in_turn(faces: FaceArrays) -> None:
    loader = loader_of(faces, Feed("SASR"), Needs())
    assert {loader[step].fed.shape[-1] for step in range(3)} == {8, 16, 32}
    assert {loader[step].fed.shape[-1] for step in range(3, 6)} == {8, 16, 32}


@pytest.mark.parametrize("needs", [Needs(points=9), Needs(edges=True), Needs(landmarks=True, masks=True)])
def test_every_tensor_of_a_batch_can_be_pinned_for_a_gpu(needs: Needs, faces: FaceArrays) -> None:
    """PyTorch copies no tensor into pinned memory whose elements share places (an expanded one)."""
    batch = loader_of(faces, Feed("SASR" if needs.points else "OR"), needs, (8,))[0]
    tensors = [t for value in batch for t in (value if isinstance(value, tuple) else (value,)) if t is not None]
    assert len(tensors) > 7
    assert all(0 not in tensor.stride() for tensor in tensors)


@pytest.mark.parametrize(("squares", "side"), [("", 32), ("cut", 8), ("whole", 8)])
def test_points_have_the_colours_of_the_pictures_that_they_belong_to(
    faces: FaceArrays, squares: Any, side: int
) -> None:
    batch = loader_of(faces, Feed("SASR"), Needs(points=9, squares=squares), (8,))[0]
    assert batch.fed.shape[-2:] == (side, side)
    assert batch.points is not None
    assert batch.colours is not None
    assert batch.extent is not None
    if squares != "cut":  # the mirrored face's pixels at (nearly) these places
        places = ((batch.points + 1) * 32).long().clamp(0, 63)
        there = torch.stack([hr[:, p[:, 0], p[:, 1]].T for hr, p in zip(batch.hr, places)]).float() / 127.5 - 1
        assert (there - batch.colours).abs().mean() < (1e-6 if not squares else 0.15)
    pixels = (2 / batch.extent[:, 0]).round()
    assert ((pixels >= 16) & (pixels <= 64)).all()
    centres = (batch.points + 1) / 2 * pixels[:, None, None]
    assert torch.allclose(centres % 1, torch.tensor(0.5), atol=1e-3)


def test_landmarks_are_learned_at_one_rate(built: Path, tmp_path: Path) -> None:
    recipe = {"lr_drops": [0.1, 0.5], "lr_schedule": "constant"}
    (finder,), whole = resolve_parts(config_of(built, tmp_path, "dic", recipe))
    assert finder.role == "landmarks"
    assert {learning_rate(finder.recipe, step, 10) for step in range(10)} == {1e-3}
    assert learning_rate(whole.recipe, 9, 10) == 1e-3 / 4


def test_edges_are_where_the_sum_of_both_gradients_passes_canny_s_thresholds() -> None:
    """Sobel's filters give 3 times the height of a diagonal step in x and in y: 6 together, 4.2 as their norm."""
    x, y = np.meshgrid(np.arange(64), np.arange(64))
    for height, found in ((40, False), (45, True)):
        face = np.where(x > y, 100 + height, 100).astype(np.uint8)[..., None].repeat(3, 2)
        assert edges(face)[2].any() == found


def test_landmarks_masks_and_edges_follow_the_mirrored_face(faces: FaceArrays) -> None:
    batch = loader_of(faces, Feed(), Needs(landmarks=True, masks=True, edges=True))[0]
    assert batch.landmarks is not None
    assert batch.masks is not None
    assert batch.edges is not None
    assert [e.shape for e in batch.edges] == [(6, 1, 16, 16), (6, 1, 32, 32), (6, 1, 64, 64)]
    assert set(np.unique(batch.edges[2])) == {0, 255}
    eyes = batch.landmarks[:, 36:48]
    assert (eyes[:, :6, 0].mean(1) < eyes[:, 6:, 0].mean(1)).all()  # the first eye stays on the left when mirrored
    assert (batch.landmarks[:, 8, 1] > batch.landmarks[:, 27, 1]).all()  # the chin below the nose's root
    y, x = batch.landmarks[:, 30].round().long().clamp(0, 63).unbind(1)[::-1]
    assert batch.masks[range(6), 2, y, x].all()  # the tip of the nose
    assert not batch.masks[range(6), 1, y, x].any()


def test_mirroring_twice_changes_nothing() -> None:
    assert sorted(MIRRORED) == list(range(68))
    points = np.random.default_rng(0).uniform(0, 63, (68, 2))
    assert np.allclose(mirrored(mirrored(points, 64), 64), points)


def test_masks_are_of_the_face_its_eyes_and_its_mouth() -> None:
    angles = np.linspace(np.pi, 0, 17)
    points = np.zeros((68, 2))
    points[:17] = np.stack([32 + 24 * np.cos(angles), 28 + 30 * np.sin(angles)], 1)  # jaw
    points[17:27] = np.stack([np.linspace(12, 52, 10), np.full(10, 20.0)], 1)
    points[27:36] = np.stack([[32, 32, 32, 32, 26, 29, 32, 35, 38], [26, 30, 34, 38, 40, 41, 42, 41, 40]], 1)
    points[36:42] = [(18, 27), (20, 25), (24, 25), (26, 27), (24, 29), (20, 29)]
    points[42:48] = np.add(points[36:42], (20, 0))
    turn = np.arange(12) * np.pi / 6
    points[48:60] = np.stack([32 + 8 * np.cos(turn), 48 + 4 * np.sin(turn)], 1)
    face, eyes, middle = masks(points, 64)
    assert (face[35, 32], face[2, 32], face[62, 2]) == (1, 0, 0)
    assert (eyes[27, 22], eyes[27, 42], eyes[48, 32]) == (1, 1, 0)
    assert (middle[48, 32], middle[36, 32], middle[27, 22]) == (1, 1, 0)


# Stages, teachers, rates


def test_dic_starts_from_a_hourglass_that_learned_landmarks_and_then_stays_for_a_while(
    built: Path, tmp_path: Path
) -> None:
    stage1, whole = resolve_parts(config_of(built, tmp_path, "dic", {"steps": 1}))
    assert [part.name for part in stage1] == ["landmarks"]
    found = load_model_weights(train(stage1[0]))
    made = load_model_weights(train(whole))
    kept = {name: value for name, value in made.items() if name.startswith("hourglass.")}
    assert kept
    assert all(torch.equal(value, found[name]) for name, value in kept.items())  # one step: all of it frozen
    assert not torch.equal(made["shallow.0.0.weight"], whole.network().state_dict()["shallow.0.0.weight"])


def load_model_weights(folder: Path) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    return load_file(folder / "model.safetensors")


def test_a_student_learns_from_its_teacher(built: Path, tmp_path: Path) -> None:
    teacher = train_all(config_of(built, tmp_path, "kdfsrnet-teacher"))
    alone = train_all(config_of(built, tmp_path, "kdfsrnet", {"steps": 1}))
    taught = train_all(config_of(built, tmp_path, "kdfsrnet", {"steps": 1}, name="taught", teacher=teacher))
    assert read_card(taught)["teacher"] == read_card(teacher)["fingerprint"]
    loss = [pd.read_parquet(folder / "log.parquet")["loss"].iloc[0] for folder in (alone, taught)]
    assert loss[1] > loss[0] * 1.05  # the maps' errors on top


@pytest.mark.parametrize(
    ("model", "keys", "message"),
    [
        ("sisn", {"teacher": "models/t"}, "sisn learns from no teacher|no model folder there"),
        ("sisn", {"scales": [2]}, "trains at its own resolution"),
        ("sisn", {"recipe": {"between": 0.5}}, "recipe.between"),
        ("wipa", {"recipe": {"balance": 0.5}}, "recipe.balance"),
        ("dic", {"recipe": {"recut": 0.5}}, "recipe.recut"),
        ("liif", {"recipe": {"colour": 0.1}}, "recipe.colour"),
        ("eipnet", {"recipe": {"colour": 0.1}}, "recipe.colour"),
        ("liif", {"recipe": {"damage": {}}}, "recipe.damage"),
    ],
)
def test_an_option_that_does_not_fit_the_method_is_refused(
    built: Path, tmp_path: Path, model: str, keys: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        resolve_parts(config_of(built, tmp_path, model, **keys))


def test_a_method_may_train_at_chosen_scales(built: Path, tmp_path: Path) -> None:
    whole = resolve_parts(config_of(built, tmp_path, "kdfsrnet", scales=[4]))[1]
    assert whole.ks == (4,)
    assert whole.fingerprint != resolve_parts(config_of(built, tmp_path, "kdfsrnet"))[1].fingerprint


def test_a_rate_drops_where_the_recipe_says() -> None:
    recipe = load(TrainConfig, {"name": "x", "dataset": "d", "recipe": {"lr": 1, "lr_drops": [0.5, 0.75]}}).recipe
    assert [learning_rate(recipe, step, 4) for step in range(4)] == [1, 1, 0.5, 0.25]


# A method from outside


def test_an_eleventh_method_takes_the_file_and_the_recipe_of_the_page(
    repo: Path, built: Path, tmp_path: Path, put_plugin: Callable[[str, str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (repo / "docs" / "models.md").read_text().split("## A network of your own")[1]
    file, recipe = (page.split(f"```{language}\n")[1].split("```")[0] for language in ("python", "yaml"))
    put_plugin("my_models", file)
    settings = yaml.safe_load(recipe)
    settings |= {"dataset": built, "out": tmp_path, "runs": tmp_path / "runs", "recipe": settings["recipe"] | RECIPE}
    config = load(TrainConfig, settings)
    model = train_all(config)
    row = resolve_method(expand(str(model)))
    assert resolve_parts(config)[1].done()
    arrays = data.open(built).view("MR8", "test").arrays()
    restored = restore(row, Faces(arrays.lr[4][:2], 0.25, 64, ("a", "b"), "A", 16), 2, "cpu")
    (tmp_path / "my_models.py").write_text(f"{file}# changed\n")
    monkeypatch.setitem(
        registry._REGISTRY,
        "mine",
        registry.ModelEntry("mine", lambda w, _: nn.Conv2d(3, w.channels[0], 1), "", version="2"),
    )
    assert not resolve_parts(config)[1].done()
    assert resolve_method(expand(str(model))).fingerprint != row.fingerprint
    monkeypatch.delitem(registry._REGISTRY, "mine")
    monkeypatch.delenv(registry.PLUGINS)
    with pytest.raises(ConfigError, match=r"no model is named 'mine'.*; UFVNET_PLUGINS, .* is not set"):
        resolve_method(expand(str(model)))
    assert row.label == "mine (MR8)"
    assert restored.sr.shape == (2, 64, 64, 3)
    assert restored.reasons == ["", ""]


def test_a_network_s_version_is_the_file_of_its_factory_unless_it_says_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "_REGISTRY", dict(registry._REGISTRY))
    file = tmp_path / "versioned.py"
    file.write_text("def factory(width, hr_size):\n    return None\n")
    monkeypatch.syspath_prepend(tmp_path)
    factory = importlib.import_module("versioned").factory
    registry.register("by-file", factory)
    registry.register("by-hand", factory, version="3")
    assert registry.describe("by-file").version == hashlib.sha256(file.read_bytes()).hexdigest()
    assert registry.describe("by-hand").version == "3"
    assert registry.describe("ufvnet").version == ""


class _Odd(nn.Module):
    """A network that gives what a test asks of it."""

    def __init__(self, give: Callable[[Tensor], Any]):
        super().__init__()
        self.layer, self.give = nn.Conv2d(3, 3, 1), give

    def forward(self, ls: Tensor, rate: Tensor) -> Any:
        return self.give(self.layer(ls))


@pytest.mark.parametrize(
    ("give", "reason"),
    [
        (lambda x: SROutput(x[:, :1]), r"model = odd: the network gave \(4, 1, 64, 64\) instead of \(4, 3, 64, 64\)"),
        (lambda x: SROutput(x[:1]), r"model = odd: the network gave \(1, 3, 64, 64\) instead of"),
        (lambda x: x, "model = odd: the network gave Tensor, not an SROutput"),
        (lambda x: SROutput(x * (1 if torch.is_grad_enabled() else np.nan)), r"NaN or infinity for 1 of 1 validation"),
    ],
    ids=["grey", "one for all", "a tensor", "NaN when it is measured"],
)
def test_what_is_no_picture_ends_a_training_at_once(
    give: Callable[[Tensor], Any], reason: str, built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(registry._REGISTRY, "odd", registry.ModelEntry("odd", lambda *_: _Odd(give), ""))
    with pytest.raises(TrainingError, match=reason):
        train_all(config_of(built, tmp_path, "odd"))


def test_a_factory_that_fails_is_one_line(built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry._REGISTRY, "odd", registry.ModelEntry("odd", lambda *_: 1 / 0, ""))  # type: ignore[arg-type, return-value]
    with pytest.raises(ConfigError, match=r"model = odd: cannot be created \(ZeroDivisionError: division by zero\)"):
        resolve_parts(config_of(built, tmp_path, "odd"))


class _Reading(_Odd):
    """Reads a tensor while it is created, as rates of stochastic depth often are; torch's meta device has no values."""

    def __init__(self) -> None:
        super().__init__(SROutput)
        self.rates = [rate.item() for rate in torch.linspace(0, 0.1, 4)]


def test_a_network_that_cannot_be_created_without_values_is_trained(
    built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(registry._REGISTRY, "odd", registry.ModelEntry("odd", lambda *_: _Reading(), ""))
    assert read_card(train_all(config_of(built, tmp_path, "odd")))["steps"] == 2


@pytest.mark.parametrize(
    ("factory", "reason"),
    [
        (lambda *_: 1 / 0, r"cannot be created \(ZeroDivisionError"),
        (lambda width: None, r"cannot be created \(TypeError"),
        (lambda *_: None, r"cannot be created \(AttributeError"),
        (lambda *_: sys.exit(0), r"cannot be created \(SystemExit: 0"),
        (lambda *_: _Odd(lambda x: SROutput(x * x.sum().item())), r"cannot be counted .*item\(\)"),
        (lambda *_: _Odd(lambda x: 1 / 0), r"cannot be counted on torch's meta device \(ZeroDivisionError"),
    ],
    ids=["raises", "another signature", "nothing", "exits", "reads a value", "forward raises"],
)
def test_models_show_says_in_a_line_why_a_plugin_is_not_counted(
    factory: Any, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(registry._REGISTRY, "odd", registry.ModelEntry("odd", factory, ""))
    with pytest.raises(ConfigError, match=f"model = odd: {reason}"):
        show_model("odd", "tiny", 64)


def test_a_training_process_that_exits_with_code_0_has_not_trained(
    built: Path, tmp_path: Path, put_plugin: Callable[[str, str], None]
) -> None:
    put_plugin(
        "leaves",
        "import sys\nfrom torch import nn\nimport ufvnet.models\n"
        "class Leaves(nn.Conv2d):\n    def forward(self, *_):\n        sys.exit(0)\n"
        'ufvnet.models.register("leaves", lambda *_: Leaves(3, 3, 1))\n',
    )
    _, whole = resolve_parts(config_of(built, tmp_path, "leaves"))
    with pytest.raises(TrainingError, match="training ended early with code 0"):
        train_in_process(whole)


def test_a_method_that_diverged_is_left_out_with_the_reason(
    built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ufvnet.training.curves.DIVERGED", 1e-9)
    monkeypatch.setattr("ufvnet.training.curves.SETTLED", 0)
    config = config_of(built, tmp_path, "wipa")
    with pytest.raises(DivergedError) as raised:
        train_all(config)
    whole = resolve_parts(config)[1]
    assert publish_failure(whole, str(raised.value))
    evaluation = load(
        EvaluateConfig,
        {"name": "e", "missing": "skip", "models": ["bicubic", str(whole.model_folder)],
         "datasets": [{"name": "A", "path": built}]},
    )  # fmt: skip
    methods, left_out = resolve_methods(evaluation)
    assert [method.name for method in methods] == ["bicubic"]
    assert "its training failed: wipa-test: diverged at step 2" in left_out[0]
    monkeypatch.undo()
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(registry._REGISTRY, "wipa", registry.ModelEntry("wipa", lambda _, h: WIPA(4, 4, h), "", "FR"))
        assert resolve_method(expand(str(train_all(config)))).name == "wipa"  # a later success is what counts
        assert not publish_failure(resolve_parts(config)[1], "again")

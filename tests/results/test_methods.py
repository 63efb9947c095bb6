"""Methods of every kind as rows: networks' files, Python functions, folders of images, and what fails."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from tests.results.conftest import scored
from ufvnet import data
from ufvnet.config import ConfigError, EvaluateConfig, TrainConfig, load
from ufvnet.data.export import export
from ufvnet.results.methods.configured import expand, with_model
from ufvnet.results.methods.resolve import check_methods, resolve_method, resolve_methods
from ufvnet.results.tables.render import to_markdown
from ufvnet.results.tables.write import all_tables

FACES = 3

FUNCTIONS = '''
import functools
import numpy as np
from PIL import Image

def up(lr, side, how=Image.Resampling.BICUBIC):
    return np.stack([np.asarray(Image.fromarray(i).resize((side, side), how)) for i in lr])

def bright(lr, side):
    """Crashes on batches that hold the second face."""
    if any(i.mean() == BAD for i in lr):
        raise RuntimeError("no bright faces")
    return up(lr, side)

def inplace(lr, side):
    """Spoils what it is given before it crashes."""
    bad = any(i.mean() == BAD for i in lr)
    lr[:] = 255 - lr
    if bad:
        raise RuntimeError("no bright faces")
    return up(255 - lr, side)

@functools.wraps(np.stack)
def wrapped(lr, side):
    return up(lr, side)

def small(lr, side):
    return up(lr, side - 1)

def floats(lr, side):
    return up(lr, side) / 255
'''


@pytest.fixture
def table(built: Path, tmp_path: Path) -> Any:
    """A function: methods -> scores and tables of three faces."""

    def evaluate(models: list[Any], **more: Any) -> tuple[pd.DataFrame, dict[str, str]]:
        sets = [{"name": "A", "path": built, "limit": FACES}]
        config = load(EvaluateConfig, {"name": "e", "models": models, "datasets": sets, "out": tmp_path, **more})
        evaluation = scored(config)
        return evaluation.scores, {t.key: to_markdown(t) for t in all_tables(evaluation)}

    return evaluate


@pytest.fixture
def functions(built: Path, tmp_path: Path) -> str:
    second = data.open(built).view("MR8", "test").arrays().lr[1][1].mean()
    file = tmp_path / "functions.py"
    file.write_text(FUNCTIONS + f"\nBAD = {second!r}\n")
    return str(file)


class Upscale(torch.nn.Module):
    """Bicubic as a network of somebody else: LR in [0, 1] to SR in [0, 1]."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.interpolate(x, size=(64, 64), mode="nearest")


class Same(torch.nn.Module):
    """Gives I_LS back."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * 1.0


def _same_as_bicubic(scores: pd.DataFrame, name: str) -> None:
    psnr = {m: s.sort_values(["face_id", "k"])["psnr_rgb"].to_numpy() for m, s in scores.groupby("model")}
    np.testing.assert_array_equal(psnr[name], psnr["bicubic"])


def test_a_python_function_is_a_row(table: Any, functions: str) -> None:
    scores, tables = table(["bicubic", f"{functions}:up"])
    _same_as_bicubic(scores, "up")
    assert "| up |" in tables["table_1"]
    assert "+0.00 [+0.00, +0.00] n.s." in tables["gain_A"]


def test_a_torchscript_and_an_onnx_file_are_rows(table: Any, tmp_path: Path) -> None:
    torch.jit.script(Same()).save(str(tmp_path / "same.pt"))
    x = torch.rand(2, 3, 8, 8)
    batch = {"x": {0: torch.export.Dim("n"), 2: torch.export.Dim("h"), 3: torch.export.Dim("w")}}
    program = torch.onnx.export(Upscale(), (x,), dynamo=True, dynamic_shapes=batch, verbose=False)
    assert program is not None
    program.save(str(tmp_path / "nearest.onnx"))
    same = {"name": "same", "torchscript": tmp_path / "same.pt", "input": "ls"}
    signed = {**same, "name": "signed", "range": [-1, 1]}
    scores, _ = table(["bicubic", same, signed, str(tmp_path / "nearest.onnx")])
    _same_as_bicubic(scores, "same")
    _same_as_bicubic(scores, "signed")
    nearest = scores[scores["model"] == "nearest"]
    assert (nearest["status"] == "ok").all()
    assert 5 < nearest["psnr_y"].mean() < scores[scores["model"] == "bicubic"]["psnr_y"].mean()


def test_a_folder_of_images_is_a_row_and_a_missing_one_a_reason(table: Any, built: Path, tmp_path: Path) -> None:
    assert export(data.open(built), tmp_path / "lr" / "A", hr=True) > 8 * FACES
    restored = tmp_path / "matlab"
    for file in (tmp_path / "lr" / "A").glob("[0-9]*/*.png"):
        target = restored / "A" / file.relative_to(tmp_path / "lr" / "A")
        target.parent.mkdir(parents=True, exist_ok=True)
        Image.open(file).resize((64, 64), Image.Resampling.BICUBIC).save(target)
    method = {"name": "matlab", "images": restored}
    scores, _ = table(["bicubic", method])
    _same_as_bicubic(scores, "matlab")
    first = scores["face_id"].iloc[0]
    (restored / "A" / "4" / f"{first}.png").unlink()
    scores, _ = table(["bicubic", method])
    failed = scores[scores["status"] == "failed"]
    assert failed[["face_id", "px"]].to_numpy().tolist() == [[first, 4]]
    assert "is not there" in failed["reason"].iloc[0]


def test_a_method_that_fails_on_one_image_leaves_the_others_and_says_so(table: Any, functions: str) -> None:
    scores, tables = table(["bicubic", f"{functions}:bright", f"{functions}:up"])
    bright = scores[scores["model"] == "bright"]
    assert bright["status"].value_counts().to_dict() == {"ok": 8 * FACES - 1, "failed": 1}
    assert bright.loc[bright["status"] == "failed", "reason"].item() == "RuntimeError: no bright faces"
    assert bright.loc[bright["status"] == "failed", ["psnr_y", "ssim_rgb", "identity"]].isna().all(None)
    assert "† Failed, and left out of the mean: bright on 1 of 24 images" in tables["scales_A_y"]
    line = next(line for line in tables["scales_A_y"].splitlines() if line.startswith("| bright"))
    assert line.count("†") == 2  # its size and the mean
    _same_as_bicubic(scores, "up")


def test_a_method_that_spoils_its_input_and_fails_spoils_no_other_image(table: Any, functions: str) -> None:
    scores, tables = table(["bicubic", f"{functions}:inplace"])
    inplace = scores[scores["model"] == "inplace"].set_index(["face_id", "k"])
    good = inplace.index[inplace["status"] == "ok"]
    bicubic = scores[scores["model"] == "bicubic"].set_index(["face_id", "k"])
    assert len(good) == 8 * FACES - 1
    np.testing.assert_array_equal(inplace.loc[good, "psnr_y"], bicubic.loc[good, "psnr_y"])
    assert "**" not in next(line for line in tables["table_1"].splitlines() if line.startswith("| inplace"))


def test_a_changed_function_is_scored_anew_though_it_is_wrapped(functions: str) -> None:
    before = resolve_method(expand(f"{functions}:wrapped")).fingerprint
    Path(functions).write_text(Path(functions).read_text() + "\n# changed\n")
    assert resolve_method(expand(f"{functions}:wrapped")).fingerprint != before


OBJECTS = """
import functools
from theirs import Up

up = Up(1)
part = functools.partial(Up(2), side=64)
"""
THEIRS = """
class Up:
    def __init__(self, by):
        self.by = by

    def __call__(self, lr, side):
        return lr
"""


@pytest.mark.parametrize("changed", ["ours", "theirs"])
@pytest.mark.parametrize("name", ["up", "part"])
def test_a_changed_object_that_is_called_is_scored_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, changed: str
) -> None:
    for module, text in (("ours", OBJECTS), ("theirs", THEIRS)):
        (tmp_path / f"{module}.py").write_text(text)
        monkeypatch.delitem(sys.modules, module, raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    before = resolve_method(expand(f"ours:{name}")).fingerprint
    with (tmp_path / f"{changed}.py").open("a") as file:
        file.write("# changed")
    assert resolve_method(expand(f"ours:{name}")).fingerprint != before


def test_a_file_may_have_dataclasses_and_import_its_neighbours(table: Any, tmp_path: Path) -> None:
    folder = tmp_path / "theirs"
    folder.mkdir()
    (folder / "neighbour_of_mine.py").write_text(FUNCTIONS)
    (folder / "json.py").write_text("raise RuntimeError('hides the true json')")
    (folder / "mine.py").write_text(
        "from __future__ import annotations\n"
        "import json\n"
        "from dataclasses import dataclass\n"
        "@dataclass\n"
        "class Options:\n"
        "    gain: float = 1.0\n"
        "def restore(lr, side):\n"
        "    from neighbour_of_mine import up\n"
        "    return up(lr, side)\n"
    )
    scores, _ = table(["bicubic", f"{folder}/mine.py:restore"])
    _same_as_bicubic(scores, "restore")


@pytest.mark.parametrize("name", ["../../out", "..", ".hidden", "a/b"])
def test_names_of_test_sets_are_no_paths_and_differ(built: Path, name: str) -> None:
    with pytest.raises(ConfigError, match=r"datasets"):
        load(EvaluateConfig, {"name": "e", "datasets": [{"name": name, "path": built}]})
    with pytest.raises(ConfigError, match="is there twice"):
        load(EvaluateConfig, {"name": "e", "datasets": [{"name": n, "path": built} for n in ("a", "A")]})


@pytest.mark.parametrize(("name", "reason"), [("small", "gave (1, 63, 63, 3)"), ("floats", "gave float64")])
def test_a_method_that_gives_no_sr_image_has_a_row_that_says_so(
    table: Any, functions: str, name: str, reason: str
) -> None:
    scores, tables = table(["bicubic", f"{functions}:{name}"])
    failed = scores[scores["model"] == name]
    assert (failed["status"] == "failed").all()
    assert failed["reason"].str.startswith(reason).all()
    assert f"| {name} | failed†" in tables["scales_A_y"]
    assert "| failed†" in tables["table_1"]


def test_a_network_that_gives_nan_fails(table: Any, tmp_path: Path) -> None:
    torch.jit.script(torch.nn.Sequential(Same(), torch.nn.Threshold(2.0, float("nan")))).save(str(tmp_path / "n.pt"))
    scores, _ = table([{"name": "nan", "torchscript": tmp_path / "n.pt", "input": "ls"}])
    assert set(scores["reason"]) == {"gave NaN or infinity"}


def test_a_fixed_resolution_method_sees_every_image_at_its_size(table: Any, tmp_path: Path) -> None:
    file = tmp_path / "fixed.py"
    file.write_text(FUNCTIONS + "\ndef fr(lr, side):\n    assert lr.shape[1:3] == (16, 16)\n    return up(lr, side)\n")
    scores, _ = table(["bicubic", {"name": "fr", "python": f"{file}:fr", "input_px": 16}])
    fr, bicubic = (scores[scores["model"] == m].set_index(["px", "face_id"])["psnr_y"] for m in ("fr", "bicubic"))
    np.testing.assert_array_equal(fr.loc[16], bicubic.loc[16])
    assert (fr.loc[32] < bicubic.loc[32]).all()  # it lost what 16 pixels cannot hold


def test_identity_is_high_for_fine_images_and_lower_for_coarse_ones(table: Any) -> None:
    scores, tables = table(["bicubic"], identity_faces=2)
    by_size = scores.groupby("px")["identity"]
    assert (by_size.count() == 2).all()
    means = by_size.mean()
    assert 1 >= means.loc[32] > means.loc[4]
    assert means.loc[32] > 0.95
    assert "cosine of the descriptors" in tables["identity_A"]


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"name": "x"}, "give one of model, onnx, torchscript, python, images"),
        ({"images": "there"}, "images needs a name"),
        ({"name": "x", "images": "nowhere"}, "nowhere is not there"),
        ({"name": "a/b", "images": "there"}, "name"),
        ("no.such.module:f", "cannot be imported"),
        ("absent.onnx", "absent.onnx is not there"),
        ("math:pi", "math:pi: is float; it must be a function"),
        ({"name": "x", "onnx": __file__}, "cannot be loaded"),
        ({"name": "x", "torchscript": __file__}, "cannot be loaded"),
    ],
)
def test_a_wrong_method_fails_before_any_work(table: Any, entry: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        table([entry])


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"name": "bicubic", "images": "."}, "bicubic: the name of the method that gains are over"),
        ({"name": "bicubic", "model": "ufvnet-lite"}, "bicubic: the name of the method that gains are over"),
        ({"model": "bicubic", "input_px": 16}, "bicubic: the name of the method that gains are over"),
        ({"name": "cubic", "model": "bicubic"}, "cubic: bicubic keeps its name"),
    ],
)
def test_gains_are_over_bicubic_and_nothing_else(built: Path, entry: Any, message: str) -> None:
    settings = {"name": "e", "models": [entry], "datasets": [{"name": "A", "path": built}]}
    with pytest.raises(ConfigError, match=message):
        resolve_methods(load(EvaluateConfig, settings))
    training = TrainConfig.model_validate({"name": "later", "dataset": built, "model": "onesrg"})
    planned = settings | {"models": [{"name": "bicubic", "model": training.out / "later"}]}
    with pytest.raises(ConfigError, match="bicubic: the name of the method"):
        check_methods(load(EvaluateConfig, planned), [training], {})
    smaller = {"name": "bicubic of 16 px", "model": "bicubic", "input_px": 16}
    assert len(resolve_methods(load(EvaluateConfig, settings | {"models": ["bicubic", smaller]}))[0]) == 2


def test_methods_that_are_not_there_may_be_named_and_skipped(table: Any, built: Path) -> None:
    scores, tables = table(["bicubic", "models/nowhere"], missing="skip")
    assert set(scores["model"]) == {"bicubic"}
    assert "Left out (model = models/nowhere: no model folder there" in tables["table_2"]
    settings = {"name": "e", "models": ["m:f"], "datasets": [{"name": "A", "path": built}], "missing": "skip"}
    methods, left_out = resolve_methods(load(EvaluateConfig, settings))
    assert (len(methods), len(left_out)) == (0, 1)


def test_an_experiment_s_methods_are_checked_before_its_models_are_there(built: Path, tmp_path: Path) -> None:
    def check(*models: str) -> None:
        sets = [{"name": "A", "path": built}]
        config = load(EvaluateConfig, {"name": "e", "models": models, "datasets": sets})
        check_methods(config, [training], {})

    training = TrainConfig.model_validate({"name": "later", "dataset": built, "model": "onesrg", "out": tmp_path})
    check("bicubic", str(tmp_path / "later"))
    for wrong in ("absent.onnx", "absent.pt", "no.such.module:f", str(tmp_path / "never")):
        with pytest.raises(ConfigError, match=r"not there|cannot be imported|no model folder"):
            check("bicubic", str(tmp_path / "later"), wrong)


def test_labels_and_sizes_of_models_to_be_trained_are_checked_before_they_are(built: Path, tmp_path: Path) -> None:
    def check(*models: Any, sizes: dict[Path, int], **keys: Any) -> None:
        common = {"dataset": built, "model": "onesrg", "out": tmp_path}
        trainings = [TrainConfig.model_validate(common | {"name": name} | keys) for name in "ab"]
        sets = [{"name": "A", "path": tmp_path / "test"}]
        config = load(EvaluateConfig, {"name": "e", "models": models, "datasets": sets})
        check_methods(config, trainings, sizes)

    one, two = str(tmp_path / "a"), str(tmp_path / "b")
    fit = {built.resolve(): 64, (tmp_path / "test").resolve(): 64}
    check(one, {"name": "other", "model": two}, sizes=fit)
    with pytest.raises(ConfigError, match=r"models: onesrg \(MR8\) is there twice"):
        check(one, two, sizes=fit)
    with pytest.raises(ConfigError, match=r"models: sisn is there twice"):
        check(one, two, sizes=fit, model="sisn")
    with pytest.raises(ConfigError, match=r"a will make 64-pixel faces, .*test holds 128-pixel ones"):
        check(one, sizes=fit | {(tmp_path / "test").resolve(): 128})


def test_a_trained_model_is_evaluated_once_with_the_others(tmp_path: Path) -> None:
    config = EvaluateConfig.model_validate({"name": "x", "datasets": [{"name": "a", "path": "a"}]})
    both = with_model(config, tmp_path / "ufvnet")
    assert both.models == ("bicubic", str(tmp_path / "ufvnet"))
    assert with_model(both, tmp_path / "ufvnet") is both

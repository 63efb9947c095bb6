"""Exported models and the back ends that run them: the same outputs, files that explain themselves, clear refusals."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_model
from torch import Tensor, nn

from tests.training.test_competitors import NARROW
from ufvnet import Restorer
from ufvnet.children import environment, python
from ufvnet.cli import commands as cli
from ufvnet.errors import ConfigError
from ufvnet.files import sha256, write_bytes, write_json
from ufvnet.models import SROutput, create, load, registry
from ufvnet.models import export as exporting
from ufvnet.models.competitors.dic import DIC
from ufvnet.models.export import TOLERANCE, export
from ufvnet.models.feed import Feed, feed_of
from ufvnet.models.onnx_network import OnnxNetwork, _seal_of
from ufvnet.models.store import CARD, WEIGHTS

pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")


def put_model(folder: Path, name: str) -> Path:
    """A model folder of random weights, norms with statistics of their own."""
    torch.manual_seed(0)
    network = create(name, "tiny", 64)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.5, 2)
    for parameter in network.parameters():
        if not parameter.any():
            nn.init.normal_(parameter, std=0.02)
    folder.mkdir()
    save_model(network, str(folder / WEIGHTS))
    write_json(folder / CARD, {"model": name, "preset": "tiny", "hr_size": 64, "fingerprint": f"of {name}"})
    return folder


@pytest.fixture(scope="module")
def lite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return put_model(tmp_path_factory.mktemp("lite") / "small-lite", "ufvnet-lite")


@pytest.fixture(scope="module")
def file(lite: Path) -> Iterator[Path]:
    """The lite model's ONNX file as a Restorer makes it, in a cache folder of its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(lite.parent / "cache"))
        Restorer.load(lite, "cpu", "onnx")
        (found,) = (lite.parent / "cache" / "ufvnet" / "onnx").glob("*.onnx")
        yield found


def example(count: int, side: int = 64) -> tuple[Tensor, Tensor]:
    random = torch.Generator().manual_seed(7)
    return torch.rand(count, 3, side, side, generator=random) * 2 - 1, torch.linspace(0.07, 0.49, count)


def faces() -> list[Image.Image]:
    """Noise of medium levels: no output is clipped."""
    random = np.random.default_rng(0)
    return [
        Image.fromarray(random.integers(90, 160, (h, w, 3), dtype=np.uint8)) for h, w in ((8, 8), (20, 28), (33, 32))
    ]


def test_an_onnx_file_gives_what_the_network_gives_for_any_batch_and_rates_by_axis(lite: Path, file: Path) -> None:
    network, exported = load(lite)[0], OnnxNetwork(file, "cpu")
    for count in (1, 4, 7):
        ls, rate = example(count)
        both = torch.stack([rate, rate.flip(0)], 1)
        with torch.inference_mode():
            ours, theirs = network(ls, both), exported(ls, both)
        assert (ours.sr - theirs.sr).abs().max() < TOLERANCE
        assert (ours.weights - theirs.weights).abs().max() < TOLERANCE
        assert (ours.sr - ls).abs().max() > 0.01  # it does something


def test_a_network_with_norms_and_without_weights_exports_too(tmp_path: Path) -> None:
    folder = put_model(tmp_path / "one", "onesrg")
    file = export(folder, "onnx", tmp_path / "one.onnx")
    exported = OnnxNetwork(file, "cpu")
    ls, rate = example(3)
    with torch.inference_mode():
        assert (load(folder)[0](ls, rate).sr - exported(ls, rate).sr).abs().max() < TOLERANCE
    assert exported.outputs == ["sr"]
    assert not exported.rate_by_axis


@pytest.mark.parametrize("format", exporting.SUFFIXES)
def test_attention_steered_fusion_and_a_choice_of_experts_export_too(format: str, tmp_path: Path) -> None:
    folder = put_model(tmp_path / "real", "ufvnet-routed")
    file = export(folder, format, tmp_path / f"real{exporting.SUFFIXES[format]}")  # which compares several batches
    if format == "onnx":
        exported = OnnxNetwork(file, "cpu")
        assert exported.outputs == ["sr", "weights"]
        assert exported.rate_by_axis


def test_a_network_of_fixed_resolution_is_exported_for_the_faces_that_it_takes(tmp_path: Path) -> None:
    folder = put_model(tmp_path / "wipa", "wipa")
    network = OnnxNetwork(export(folder, "onnx", tmp_path / "wipa.onnx"), "cpu")
    assert feed_of(network) == Feed("FR", 16)
    by_file, by_model = (Restorer(n, 64, "f", torch.device("cpu")).batch(faces()) for n in (network, load(folder)[0]))
    for a, b in zip(by_file, by_model):
        assert np.abs(np.asarray(a.image, int) - np.asarray(b.image, int)).max() <= 1


@pytest.mark.parametrize(
    ("network", "format"),
    [
        *((name, "onnx") for name in ("dic", "mlgdn", "sisn", "eipnet", "kdfsrnet")),
        *(("dic-nolm", format) for format in exporting.SUFFIXES),
    ],
)
def test_every_network_that_takes_one_size_is_exported(
    network: str, format: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind, build = NARROW.get(network, ("FR", lambda h: DIC(2, 2, h, landmarks=False)))
    entry = registry.ModelEntry(network, lambda _, h: build(h), "", kind)
    monkeypatch.setitem(registry._REGISTRY, network, entry)
    export(put_model(tmp_path / "model", network), format, tmp_path / f"model{exporting.SUFFIXES[format]}")  # compares


def test_a_scale_arbitrary_network_is_not_exported(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="takes LR images of any size"):
        export(put_model(tmp_path / "liif", "liif"), "onnx", tmp_path / "liif.onnx")


def test_an_onnx_file_explains_itself(file: Path) -> None:
    import onnx

    model = onnx.load(file)
    told = {p.key: p.value for p in model.metadata_props}
    assert told["model"] == "ufvnet-lite"
    assert told["hr_size"] == "64"
    assert told["fingerprint"] == "of ufvnet-lite"
    assert json.loads(told["anchor_rates"]) == [1 / 8, 1 / 4, 1 / 2]
    assert "never identify a person" in told["terms"]
    assert json.loads(told["ufvnet.card"])["preset"] == "tiny"
    assert [i.name for i in model.graph.input] == ["ls", "rate"]
    assert [o.name for o in model.graph.output] == ["sr", "weights"]
    assert "BatchNormalization" not in {node.op_type for node in model.graph.node}


@pytest.mark.filterwarnings("ignore:.torch.jit.load. is deprecated")
@pytest.mark.parametrize("format", ["torchscript", "torch-export"])
def test_torch_s_own_formats_carry_the_card(format: str, lite: Path, tmp_path: Path) -> None:
    file = export(lite, format, tmp_path / f"model{exporting.SUFFIXES[format]}")
    card = {"ufvnet.card": ""}
    if format == "torchscript":
        torch.jit.load(str(file), _extra_files=card)
    else:
        torch.export.load(file, extra_files=card)
    assert json.loads(card["ufvnet.card"])["fingerprint"] == "of ufvnet-lite"


def test_the_file_s_name_is_the_model_s_unless_given(
    lite: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["ufvnet", "models", "export", str(lite), "--format", "torchscript"])
    with pytest.raises(SystemExit) as done:
        cli.main()
    assert not done.value.code
    assert [p.name for p in tmp_path.iterdir()] == ["small-lite.pt"]
    assert "small-lite.pt: " in capsys.readouterr().out


def test_an_export_that_differs_is_refused_and_nothing_is_left(
    lite: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def spoil(network: nn.Module) -> nn.Module:
        with torch.no_grad():
            network.get_submodule("head").get_parameter("bias").add_(0.001)
        return network

    monkeypatch.setattr(exporting, "fold_norms", spoil)
    with pytest.raises(ConfigError, match=r"torchscript export differs from it by 0\.001, over 0\.0005; not kept"):
        export(lite, "torchscript", tmp_path / "model.pt")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("expert", ["clean", "damaged"])
def test_an_export_with_one_broken_expert_is_refused(
    expert: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def spoil(network: nn.Module) -> nn.Module:
        with torch.no_grad():
            network.get_submodule(expert).get_submodule("head").get_parameter("bias").add_(0.1)
        return network

    folder = put_model(tmp_path / "routed", "ufvnet-routed")
    monkeypatch.setattr(exporting, "fold_norms", spoil)
    with pytest.raises(ConfigError, match=r"export differs from it by 0\.1, over 0\.0005; not kept"):
        export(folder, "torchscript", tmp_path / "model.pt")


def test_an_export_whose_router_leaves_an_expert_unchecked_is_refused(tmp_path: Path) -> None:
    folder = put_model(tmp_path / "routed", "ufvnet-routed")
    network, _ = load(folder)
    torch.nn.init.constant_(network.get_submodule("router.layers.4").get_parameter("bias"), -9)
    save_model(network, str(folder / WEIGHTS))
    with pytest.raises(ConfigError, match="its router chose one of its experts alone"):
        export(folder, "torchscript", tmp_path / "model.pt")


def test_a_network_that_cannot_be_exported_is_a_clear_refusal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Branching(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gain = nn.Parameter(torch.ones(1))

        def forward(self, ls: Tensor, rate: Tensor) -> SROutput:
            return SROutput(ls * self.gain if ls.mean().item() > 0 else ls)

    monkeypatch.setattr(registry, "_REGISTRY", dict(registry._REGISTRY))
    registry.register("branching", lambda *_: Branching())
    folder = put_model(tmp_path / "branching", "branching")
    with pytest.raises(ConfigError, match="cannot be exported as torch-export"):
        export(folder, "torch-export", tmp_path / "model.pt2")
    assert not list(tmp_path.glob("*.pt2*"))


def test_a_restorer_gives_the_same_by_either_back_end(lite: Path, file: Path) -> None:
    by_torch, by_onnx = Restorer.load(lite, "cpu"), Restorer.load(file, "cpu", "onnx")
    assert by_onnx.hr_size == by_torch.hr_size
    assert by_onnx.fingerprint == sha256(file) != by_torch.fingerprint  # of what lies there, not of a card alone
    for ours, theirs in zip(by_torch.batch(faces()), by_onnx.batch(faces())):
        assert np.abs(np.asarray(ours.image).astype(int) - np.asarray(theirs.image)).max() <= 1
        assert ours.weights == pytest.approx(theirs.weights, abs=TOLERANCE)
        assert ours.rate == theirs.rate


def test_a_folder_is_exported_once(lite: Path, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> Path:
        raise AssertionError("exported again")

    monkeypatch.setattr(exporting, "export", fail)
    assert exporting.cached(lite) == file
    with monkeypatch.context() as changed:
        entry = replace(registry.describe("ufvnet-lite"), version="the sha256 of a changed plugin")
        changed.setitem(registry._REGISTRY, "ufvnet-lite", entry)
        with pytest.raises(AssertionError, match="exported again"):
            exporting.cached(lite)
    (lite / WEIGHTS).touch()
    with pytest.raises(AssertionError, match="exported again"):
        exporting.cached(lite)


def test_onnx_runtime_takes_as_many_threads_as_torch(file: Path) -> None:
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        assert OnnxNetwork(file, "cpu").session.get_session_options().intra_op_num_threads == 2
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("backend", ["torch", "onnx"])
def test_self_ensemble_is_the_mean_with_the_mirrored_face(backend: str, lite: Path, file: Path) -> None:
    model = file if backend == "onnx" else lite
    plain = Restorer.load(model, "cpu", backend)
    both = Restorer.load(model, "cpu", backend, self_ensemble=True)
    face = faces()[1]
    mirror = face.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    one, other = (np.asarray(plain(image)).astype(float) for image in (face, mirror))
    got = np.asarray(both(face)).astype(float)
    assert np.abs(got - (one + other[:, ::-1]) / 2).max() <= 1.5  # each is rounded
    assert np.array_equal(np.asarray(both(mirror)), got.astype(np.uint8)[:, ::-1])
    a, b, mean = (r.batch([image])[0].weights for r, image in ((plain, face), (plain, mirror), (both, face)))
    assert mean == pytest.approx(np.mean([a, b], axis=0), abs=1e-5)


def test_bf16_is_within_a_level_or_two(lite: Path) -> None:
    exact, fast = (Restorer.load(lite, "cpu", precision=p).batch(faces()) for p in ("fp32", "bf16"))
    for ours, theirs in zip(exact, fast):
        assert np.abs(np.asarray(ours.image).astype(int) - np.asarray(theirs.image)).max() <= 2


def test_wrong_requests_are_refused(lite: Path, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="format = tflite: must be one of onnx, torchscript, torch-export"):
        export(lite, "tflite")
    with pytest.raises(ConfigError, match=r"must be a file that ends in \.onnx"):
        export(lite, "onnx", tmp_path / "model.bin")
    with pytest.raises(ConfigError, match="no model folder there"):
        export(tmp_path / "nowhere")
    with pytest.raises(ConfigError, match="backend = tensorrt: must be one of torch, onnx"):
        Restorer.load(lite, backend="tensorrt")
    with pytest.raises(ConfigError, match="precision = bf16: must be fp32, or with backend = torch bf16 or fp16"):
        Restorer.load(file, backend="onnx", precision="bf16")
    with pytest.raises(ConfigError, match="which backend = onnx runs, not torch"):
        Restorer.load(file)
    with pytest.raises(ConfigError, match=r"nowhere\.onnx: no such file"):
        Restorer.load(tmp_path / "nowhere.onnx", backend="onnx")
    with pytest.raises(ConfigError, match="device = mars: the installed ONNX Runtime has no provider for it; it has: "):
        Restorer.load(file, "mars", "onnx")
    with pytest.raises(ConfigError, match="device = mars: not found here"):
        Restorer.load(lite, "mars")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    for request in (lambda: export(lite), lambda: Restorer.load(file, backend="onnx")):
        with pytest.raises(ConfigError, match=r'pip install "ufvnet\[onnx\]"'):
            request()


def test_other_onnx_files_are_refused(tmp_path: Path) -> None:
    import onnx
    from onnx import TensorProto, helper

    shape = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in ("ls", "sr")]
    graph = helper.make_graph([helper.make_node("Identity", ["ls"], ["sr"])], "other", shape[:1], shape[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, tmp_path / "other.onnx")
    with pytest.raises(ConfigError, match="that `ufvnet models export` did not write"):
        Restorer.load(tmp_path / "other.onnx", "cpu", "onnx")
    (tmp_path / "broken.onnx").write_bytes(b"no protobuf at all")
    with pytest.raises(ConfigError, match="ONNX Runtime cannot load it"):
        Restorer.load(tmp_path / "broken.onnx", "cpu", "onnx")


@pytest.mark.parametrize("make", ["file", "folder", "link", "pipe"])
def test_an_export_replaces_no_file_of_somebody_else(make: str, lite: Path, tmp_path: Path) -> None:
    out = tmp_path / "model.pt"
    if make == "file":
        out.write_text("my notes")
    elif make == "folder":
        out.mkdir()
    elif make == "link":
        (tmp_path / "elsewhere").write_text("my notes")
        out.symlink_to(tmp_path / "elsewhere")
    else:
        os.mkfifo(out)
    with pytest.raises(ConfigError, match="ufvnet did not export it; name another file"):
        export(lite, "torchscript", out)
    assert make != "file" or out.read_text() == "my notes"


def test_an_export_of_ours_is_replaced(lite: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "model.pt"
    out.touch()
    assert export(lite, "torchscript", out).stat().st_size
    made = out.stat().st_ino
    assert export(lite, "torchscript", out).stat().st_ino != made


def test_a_flipped_bit_in_an_exported_file_is_refused(file: Path, tmp_path: Path) -> None:
    whole, rng = file.read_bytes(), random.Random(0)
    copy = tmp_path / "copy.onnx"
    for _ in range(40):
        data = bytearray(whole)
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        copy.write_bytes(data)
        with pytest.raises(ConfigError, match=r"^model = "):
            OnnxNetwork(copy, "cpu")
    copy.write_bytes(whole)
    OnnxNetwork(copy, "cpu")


def test_a_damaged_export_in_the_cache_is_made_again(
    lite: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def copy_of(model: Path | str, format: str, out: Path) -> Path:
        write_bytes(out, content + seal)
        return out

    content, seal = b"not much", _seal_of(b"not much")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(exporting, "export", copy_of)
    found = exporting.cached(lite)
    found.write_bytes(b"Not much" + seal)
    assert exporting.cached(lite).read_bytes() == content + seal
    assert "is damaged: exported again" in capsys.readouterr().err


def test_onnx_runtime_leaves_nothing_in_the_user_s_folders(tmp_path: Path) -> None:
    """Its telemetry would write a device's number there, and send it."""
    code = "from ufvnet.models.onnx_network import import_onnxruntime; import_onnxruntime()"
    folders = {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    subprocess.run(python("-c", code), env=environment() | folders, check=True)
    assert not list(tmp_path.iterdir())


def test_an_export_runs_nothing_that_lies_in_the_working_directory(lite: Path, tmp_path: Path) -> None:
    for name in ("torch", "json", "ufvnet", "onnx"):
        (tmp_path / f"{name}.py").write_text(f"open('ran-{name}', 'w')")
    command = python("-m", "ufvnet.cli", "models", "export", str(lite), "--format", "torchscript")
    subprocess.run(command, cwd=tmp_path, env=environment(), check=False, capture_output=True)
    assert not list(tmp_path.glob("ran-*"))
    assert (tmp_path / f"{lite.name}.pt").is_file()

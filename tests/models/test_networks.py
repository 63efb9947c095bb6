"""The networks of docs/method.md section 2, to the parameter and the multiply-accumulate; and their registry."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from ufvnet.models import SRG, SROutput, UFVNet, create, describe, names, register, registry, to_network, to_pixels
from ufvnet.models.complexity import Block, complexity
from ufvnet.models.fau import FAU, Attention, ConvLayer, HourglassLevel, init_as_identity
from ufvnet.models.inference import super_resolve
from ufvnet.models.regressor import anchor_weights

# docs/method.md section 2: block, output, parameters, MMAC.
SRG_TABLE = [
    ("encoder.stem", (32, 128, 128), 896, 14.16),
    ("encoder.enc1", (64, 64, 64), 591_936, 1131.28),
    ("encoder.enc2", (128, 32, 32), 813_184, 763.23),
    ("encoder.enc3", (128, 16, 16), 849_792, 284.30),
    ("latent", (128, 16, 16), 702_208, 133.30),
    ("decoder.dec1", (128, 32, 32), 960_768, 687.73),
    ("decoder.dec2", (64, 64, 64), 702_720, 1357.77),
    ("decoder.dec3", (32, 128, 128), 619_840, 2490.24),
    ("decoder.head", (3, 128, 128), 867, 14.16),
]
NETWORKS = ["sparnet", "onesrg", "twosrg", "ufvnet", "foursrg", "ufvnet-nw", "ufvnet-fm"]
ANCHORS = {"twosrg": 2, "ufvnet": 3, "foursrg": 4, "ufvnet-fm": 3}


@pytest.fixture(scope="module")
def srg_blocks() -> dict[str, Block]:
    return _blocks("sparnet", [row[0] for row in SRG_TABLE])


@pytest.fixture(scope="module")
def ufvnet_blocks() -> dict[str, Block]:
    return _blocks("ufvnet")


@pytest.fixture(scope="module")
def srg_shapes() -> dict[str, tuple[int, ...]]:
    """Output (C, H, W) of every submodule of the paper's SRG, without computing anything."""
    return _shapes(create("sparnet"), 128)


def _blocks(name: str, blocks: list[str] | None = None) -> dict[str, Block]:
    with torch.device("meta"):
        network = create(name)
    return {block.name: block for block in complexity(network, 128, blocks)}


def _shapes(network: nn.Module, hr_size: int) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {}

    def note(name: str):
        def hook(_module: nn.Module, _inputs: object, output: object) -> None:
            if isinstance(output, Tensor):
                shapes[name] = tuple(output.shape[1:])

        return hook

    network = network.to("meta").eval()
    for name, module in network.named_modules():
        module.register_forward_hook(note(name))
    with torch.no_grad():
        network(torch.empty(1, 3, hr_size, hr_size, device="meta"), torch.empty(1, device="meta"))
    return shapes


def _faces(n: int, hr_size: int) -> Tensor:
    return torch.rand(n, 3, hr_size, hr_size, generator=torch.Generator().manual_seed(n)) * 2 - 1


def _small(name: str, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return create(name, "tiny", 64).eval()


@pytest.mark.parametrize(("name", "shape", "params", "mmac"), SRG_TABLE, ids=[row[0] for row in SRG_TABLE])
def test_each_block_of_the_srg_has_the_size_of_the_method(
    name: str,
    shape: tuple[int, ...],
    params: int,
    mmac: float,
    srg_blocks: dict[str, Block],
    srg_shapes: dict[str, tuple[int, ...]],
) -> None:
    assert srg_blocks[name].params == params
    assert round(srg_blocks[name].macs / 1e6, 2) == mmac
    assert srg_shapes[name] == shape


def test_the_srg_has_the_total_of_the_method(srg_blocks: dict[str, Block]) -> None:
    assert srg_blocks["total"].params == 5_242_211
    assert round(srg_blocks["total"].macs / 1e6, 1) == 6876.2


def test_the_blocks_of_the_srg_add_up_to_the_whole(srg_blocks: dict[str, Block]) -> None:
    parts = [block for name, block in srg_blocks.items() if name != "total"]
    assert sum(b.params for b in parts) == srg_blocks["total"].params
    assert sum(b.macs for b in parts) == srg_blocks["total"].macs


def test_ufvnet_has_the_total_of_the_method(ufvnet_blocks: dict[str, Block]) -> None:
    assert ufvnet_blocks["total"].params == 71_595_590
    assert round(ufvnet_blocks["total"].macs / 1e9, 3) == 12.117


def test_the_regressor_has_the_size_of_the_method(ufvnet_blocks: dict[str, Block]) -> None:
    assert ufvnet_blocks["regressor"].params == 61_103_843
    assert round(ufvnet_blocks["regressor"].macs / 1e9, 3) == 0.666


def test_the_feature_extraction_has_the_size_of_the_method(ufvnet_blocks: dict[str, Block]) -> None:
    assert ufvnet_blocks["fe"].params == 1_440_128
    assert round(ufvnet_blocks["fe"].macs / 1e6) == 322


def test_three_encoders_and_one_decoder_of_the_srg_make_up_ufvnet(
    ufvnet_blocks: dict[str, Block], srg_blocks: dict[str, Block]
) -> None:
    encoder = [srg_blocks[f"encoder.{part}"] for part in ("stem", "enc1", "enc2", "enc3")]
    decoder = [srg_blocks[f"decoder.{part}"] for part in ("dec1", "dec2", "dec3", "head")]
    assert ufvnet_blocks["encoders"].params == 3 * sum(b.params for b in encoder)
    assert ufvnet_blocks["encoders"].macs == 3 * sum(b.macs for b in encoder)
    assert ufvnet_blocks["decoder"].params == sum(b.params for b in decoder)
    assert ufvnet_blocks["decoder"].macs == sum(b.macs for b in decoder)


def test_the_sr_path_alone_is_ufvnet_without_its_regressor(ufvnet_blocks: dict[str, Block]) -> None:
    alone = _blocks("ufvnet-nw")["total"]
    assert alone.params == 10_491_747
    assert round(alone.macs / 1e9, 3) == 11.451
    assert alone.params == ufvnet_blocks["total"].params - ufvnet_blocks["regressor"].params


def test_the_anchors_features_join_to_384_channels_at_16x16() -> None:
    shapes = _shapes(create("ufvnet-nw"), 128)
    assert [shapes[f"encoders.{i}"] for i in range(3)] == [(128, 16, 16)] * 3
    assert shapes["fe.pre"] == (384, 16, 16)
    assert shapes["fe"] == (128, 16, 16)


@pytest.mark.parametrize("hr_size", [64, 128])
def test_every_hourglass_bottoms_out_at_4x4(hr_size: int) -> None:
    network = create("ufvnet-nw", "tiny", hr_size)
    deepest = [
        n for n, m in network.named_modules() if isinstance(m, HourglassLevel) and isinstance(m.inner, ConvLayer)
    ]
    shapes = _shapes(network, hr_size)
    assert len(deepest) == 3 * 3 + 1 + 3
    assert {shapes[f"{name}.inner"][1:] for name in deepest} == {(4, 4)}


@pytest.mark.parametrize(
    ("name", "depths"),
    [("encoder", [4, 3, 2]), ("latent", [2]), ("decoder", [3, 4, 5])],
)
def test_hourglasses_are_as_deep_as_the_method_says(name: str, depths: list[int]) -> None:
    units = [m for m in create("sparnet", "tiny").get_submodule(name).modules() if isinstance(m, FAU)]
    levels = [sum(isinstance(m, HourglassLevel) for m in unit.modules()) for unit in units]
    assert levels == depths


def test_a_convolution_has_a_bias_only_where_no_norm_follows() -> None:
    layers = [m for m in create("ufvnet-nw", "tiny", 64).modules() if isinstance(m, ConvLayer)]
    assert {layer.norm is None for layer in layers} == {True, False}
    assert all((layer.conv.bias is None) == (layer.norm is not None) for layer in layers)


@pytest.mark.parametrize(("scale", "side"), [("same", 16), ("down", 8), ("up", 32)])
def test_a_fau_changes_the_side_as_its_scale_says(scale: str, side: int) -> None:
    unit = FAU(6, 10, 1, scale, c_mid=4)  # pyright: ignore[reportArgumentType]
    assert unit(torch.zeros(2, 6, 16, 16)).shape == (2, 10, side, side)


def test_a_fau_of_one_scale_and_width_has_an_identity_shortcut() -> None:
    assert isinstance(FAU(8, 8, 1).shortcut, nn.Identity)
    assert isinstance(FAU(8, 16, 1).shortcut, ConvLayer)
    assert isinstance(FAU(8, 8, 1, "up").shortcut, ConvLayer)


def test_a_fau_adds_its_attended_features_to_its_shortcut() -> None:
    torch.manual_seed(0)
    unit, x = FAU(8, 12, 2, "down", c_mid=4).eval(), torch.randn(2, 8, 32, 32)
    norm = unit.pre[0]
    rested = (x - norm.running_mean[:, None, None]) / torch.sqrt(norm.running_var[:, None, None] + norm.eps)  # pyright: ignore
    features = unit.conv2(unit.conv1(torch.where(rested > 0, rested, 0.2 * rested)))
    gate = torch.sigmoid(unit.attention.out(unit.attention.hourglass(features)))
    assert gate.shape == features.shape == (2, 12, 16, 16)
    torch.testing.assert_close(unit(x), unit.shortcut(x) + features * gate)


def test_attention_only_ever_weakens_its_input() -> None:
    torch.manual_seed(0)
    block, x = Attention(8, 2, 4).eval(), torch.randn(2, 8, 16, 16)
    y = block(x)
    assert (y.abs() <= x.abs()).all()
    assert (y.sign() == x.sign()).all()
    assert not torch.equal(y, x)


def test_identity_init_makes_every_fau_its_shortcut() -> None:
    torch.manual_seed(0)
    first, second = FAU(8, 16, 3, "down", c_mid=4), FAU(16, 8, 2, "up", c_mid=4)
    chain, x = nn.Sequential(first, second).eval(), torch.randn(2, 8, 32, 32)
    assert not torch.allclose(chain(x), second.shortcut(first.shortcut(x)))
    init_as_identity(chain)
    torch.testing.assert_close(chain(x), second.shortcut(first.shortcut(x)))


@pytest.mark.parametrize("name", ["onesrg", "ufvnet-nw"])
def test_identity_init_lets_a_picture_through_the_untrained_network(name: str) -> None:
    network, picture = _small(name), nn.functional.interpolate(_faces(4, 8), size=64, mode="bicubic")

    def likeness() -> float:
        with torch.inference_mode():
            return float(torch.corrcoef(torch.stack([picture.flatten(), network(picture).sr.flatten()]))[0, 1])

    assert likeness() < 0.1
    init_as_identity(network)
    assert likeness() > 0.2


def test_identity_init_leaves_attention_and_regressor_as_they_are() -> None:
    network = _small("ufvnet")
    kept = {n: p.detach().clone() for n, p in network.named_parameters() if ".attention." in n or "regressor" in n}
    init_as_identity(network)
    changed = [n for n, p in network.named_parameters() if n in kept and not torch.equal(p, kept[n])]
    assert not changed


@pytest.mark.parametrize("preset", ["small", "tiny"])
@pytest.mark.parametrize("hr_size", [64, 128])
def test_smaller_presets_keep_the_shapes_of_input_and_output(preset: str, hr_size: int) -> None:
    torch.manual_seed(0)
    network = create("ufvnet", preset, hr_size).eval()
    with torch.inference_mode():
        sr, weights, logits, _ = network(_faces(2, hr_size))
    assert sr.shape == (2, 3, hr_size, hr_size)
    assert weights.shape == logits.shape == (2, 3)
    assert torch.isfinite(sr).all()
    torch.testing.assert_close(weights, logits.softmax(1))


@pytest.mark.parametrize(("preset", "share"), [("small", 1 / 4), ("tiny", 1 / 16)])
def test_a_preset_of_less_width_has_the_square_of_it_in_parameters(preset: str, share: float) -> None:
    paper, smaller = (_params("ufvnet", p) for p in ("paper", preset))
    assert smaller / paper == pytest.approx(share, rel=0.01)


def _params(name: str, preset: str) -> int:
    with torch.device("meta"):
        return sum(p.numel() for p in create(name, preset).parameters())


@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_restores_a_batch_of_faces(name: str) -> None:
    with torch.inference_mode():
        output = _small(name)(_faces(2, 64), torch.tensor([0.25, 0.5]))
    assert isinstance(output, SROutput)
    assert output.sr.shape == (2, 3, 64, 64)
    assert torch.isfinite(output.sr).all()
    if name in ANCHORS:
        assert output.weights.shape == (2, ANCHORS[name])
        torch.testing.assert_close(output.weights.sum(1), torch.ones(2))
    else:
        assert output.weights is None
    assert (output.logits is not None) == (name in {"twosrg", "ufvnet", "foursrg"})


def test_every_network_can_be_trained_end_to_end() -> None:
    for name in NETWORKS:
        network = create(name, "tiny", 64).train()
        output = network(_faces(2, 64), torch.tensor([0.25, 0.5]))
        loss = output.sr.square().mean() + (output.logits.square().mean() if output.logits is not None else 0)
        loss.backward()
        without = [n for n, p in network.named_parameters() if p.grad is None or not torch.isfinite(p.grad).all()]
        assert not without, f"{name}: no gradient reaches {without}"


@pytest.mark.parametrize("name", ["bicubic", *NETWORKS])
@pytest.mark.parametrize("shape", [(1, 3, 32, 32), (1, 3, 64, 48), (1, 1, 64, 64), (3, 64, 64)])
def test_an_input_of_another_size_is_refused_by_a_message_that_says_the_size(name: str, shape: tuple[int, ...]) -> None:
    network = create(name, "tiny", 64).eval()
    with pytest.raises(ValueError, match="64") as refusal:
        network(torch.zeros(shape), torch.ones(1))
    assert "(N, 3, 64, 64)" in str(refusal.value)
    assert str(shape) in str(refusal.value)


@pytest.mark.parametrize("name", NETWORKS)
def test_an_unknown_hr_size_is_refused_by_a_message_that_says_what_there_is(name: str) -> None:
    with pytest.raises(ValueError, match=r"\(64, 128\), got 96"):
        create(name, "tiny", 96)


def test_ufvnet_nw_weighs_every_anchor_by_one() -> None:
    network, ls = _small("ufvnet-nw"), _faces(2, 64)
    assert isinstance(network, UFVNet)
    with torch.inference_mode():
        torch.testing.assert_close(network(ls).sr, network.decode(ls, torch.ones(2, 3)))


def test_ufvnet_fm_weighs_its_anchors_by_the_true_rate() -> None:
    network, ls, rate = _small("ufvnet-fm"), _faces(2, 64), torch.tensor([1 / 16, 1 / 2])
    assert isinstance(network, UFVNet)
    with torch.inference_mode():
        output = network(ls, rate)
        torch.testing.assert_close(output.weights, anchor_weights(rate, (1 / 8, 1 / 4, 1 / 2)))
        torch.testing.assert_close(output.sr, network.decode(ls, output.weights))


def test_ufvnet_fm_without_a_rate_says_what_is_missing() -> None:
    with pytest.raises(ValueError, match="give rate"):
        _small("ufvnet-fm")(_faces(1, 64))


def test_ufvnet_restores_alike_whatever_rate_it_is_told() -> None:
    network, ls = _small("ufvnet"), _faces(2, 64)
    with torch.inference_mode():
        assert torch.equal(network(ls, torch.tensor([1 / 16, 1 / 2])).sr, network(ls).sr)


def test_the_weights_gate_the_anchors_features() -> None:
    network = _small("ufvnet")
    assert isinstance(network, UFVNet)
    a, b = _faces(1, 64), -_faces(1, 64)
    with torch.inference_mode():
        assert torch.equal(network.decode(a, torch.zeros(1, 3)), network.decode(b, torch.zeros(1, 3)))
        each = [network.decode(a, torch.eye(3)[i : i + 1]) for i in range(3)]
    assert not any(torch.equal(each[i], each[j]) for i, j in [(0, 1), (0, 2), (1, 2)])


def test_a_face_is_restored_alike_whatever_stands_beside_it_in_the_batch() -> None:
    network, ls = _small("ufvnet"), _faces(3, 64)
    with torch.inference_mode():
        torch.testing.assert_close(network(ls).sr[1:2], network(ls[1:2]).sr, rtol=1e-4, atol=1e-4)


def test_sparnet_and_onesrg_are_the_same_network() -> None:
    ls = _faces(1, 64)
    with torch.inference_mode():
        assert torch.equal(_small("sparnet")(ls).sr, _small("onesrg")(ls).sr)


def test_the_anchor_encoders_of_ufvnet_take_the_weights_of_an_srg() -> None:
    srg, network = _small("onesrg", seed=1), _small("ufvnet", seed=2)
    assert isinstance(srg, SRG)
    assert isinstance(network, UFVNet)
    ls = _faces(1, 64)
    with torch.inference_mode():
        assert not torch.equal(network.encoders[0](ls), srg.encoder(ls))
        network.encoders[0].load_state_dict(srg.encoder.state_dict())
        assert torch.equal(network.encoders[0](ls), srg.encoder(ls))


def test_pixels_come_back_from_the_network_s_range_unchanged() -> None:
    pixels = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16).expand(1, 3, 16, 16)
    inside = to_network(pixels)
    assert (inside.min(), inside.max()) == (-1, 1)
    assert torch.equal(to_pixels(inside), pixels)


def test_pixels_out_of_range_are_clipped_and_others_rounded() -> None:
    values = torch.tensor([-3.0, -1.0, -1 + 0.9 / 127.5, 1 - 0.9 / 127.5, 1.0, 7.0])
    assert to_pixels(values).tolist() == [0, 0, 1, 254, 255, 255]


def test_super_resolving_with_bicubic_is_the_upscaling_of_pil() -> None:
    lr = np.random.default_rng(0).integers(0, 256, (3, 20, 12, 3), dtype=np.uint8)
    sr, weights = super_resolve(create("bicubic", hr_size=64), lr, 64, 0.25, batch_size=2)
    assert weights is None
    for got, image in zip(sr, lr, strict=True):
        np.testing.assert_array_equal(
            got, np.asarray(Image.fromarray(image).resize((64, 64), Image.Resampling.BICUBIC))
        )


def test_super_resolving_gives_every_face_its_weights_whatever_the_batch_size() -> None:
    lr = np.random.default_rng(0).integers(0, 256, (5, 16, 16, 3), dtype=np.uint8)
    sr, weights = super_resolve(_small("ufvnet"), lr, 64, 0.25, batch_size=2)
    at_once, weights_at_once = super_resolve(_small("ufvnet"), lr, 64, 0.25, batch_size=5)
    assert sr.shape == (5, 64, 64, 3)
    assert sr.dtype == np.uint8
    assert np.abs(sr.astype(int) - at_once.astype(int)).max() <= 1
    assert weights is not None
    assert weights_at_once is not None
    np.testing.assert_allclose(weights, weights_at_once, atol=1e-5)


def test_the_registry_lists_the_rows_of_the_paper_s_tables() -> None:
    assert set(names()) >= {"bicubic", *NETWORKS}
    assert all(describe(name).name == name and describe(name).summary for name in names())


def test_a_registered_network_is_created_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_REGISTRY", dict(registry._REGISTRY))
    register("mine", lambda width, hr_size: SRG(width, hr_size), "my own network")
    network = create("mine", "tiny", 64)
    assert names()[-1] == "mine"
    assert describe("mine").summary == "my own network"
    assert isinstance(network, SRG)
    assert network.hr_size == 64
    assert network.encoder[0].conv.out_channels == 8  # the tiny preset reaches the factory


def test_a_name_is_registered_only_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_REGISTRY", dict(registry._REGISTRY))
    with pytest.raises(ValueError, match="'ufvnet' is registered already"):
        register("ufvnet", lambda width, hr_size: SRG(width, hr_size))


def test_an_unknown_name_is_refused_by_a_message_that_lists_the_names() -> None:
    with pytest.raises(ValueError, match="'ufvnett'") as refusal:
        create("ufvnett")
    assert all(name in str(refusal.value) for name in names())


def test_an_unknown_preset_is_refused_by_a_message_that_lists_the_presets() -> None:
    with pytest.raises(ValueError, match="'huge'; there are: paper, small, tiny"):
        create("ufvnet", "huge")


def test_a_plugin_module_s_model_is_known_in_every_process(tmp_path: Path) -> None:
    (tmp_path / "my_models.py").write_text(
        "import ufvnet.models\n"
        "from ufvnet.models import SRG\n"
        'ufvnet.models.register("mine", lambda width, hr_size: SRG(width, hr_size), "a plugin")\n'
    )
    environment = os.environ | {"UFVNET_PLUGINS": "my_models", "PYTHONPATH": str(tmp_path)}
    command = [sys.executable, "-c", "from ufvnet import models; print(models.create('mine', 'tiny', 64).hr_size)"]
    assert subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout == "64\n"
    wrong = subprocess.run(
        command, env=environment | {"UFVNET_PLUGINS": "nosuch"}, capture_output=True, text=True, check=False
    )
    assert "UFVNET_PLUGINS = nosuch: cannot be imported" in wrong.stderr
    (tmp_path / "leaves.py").write_text("raise SystemExit(0)")
    left = subprocess.run(
        command, env=environment | {"UFVNET_PLUGINS": "leaves"}, capture_output=True, text=True, check=False
    )
    assert "UFVNET_PLUGINS = leaves: cannot be imported (SystemExit: 0)" in left.stderr

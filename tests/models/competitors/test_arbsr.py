"""ArbSR: counts, positions, the values of its fill check, and its mixed experts against a map of filters."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.models.competitors.fill import TOLERANCE, at, deviation, fill, from_255, maps, p, picture, q, run, to_255
from ufvnet.models.competitors.arbsr import RCAB, Adaption, ArbSR, Experts, Upsampling, positions
from ufvnet.models.complexity import complexity

MMAC = {64: 64_197, 56: 49_196, 48: 36_195, 40: 25_194, 32: 16_193, 24: 9_191, 16: 4_190}


def _count(module: nn.Module) -> int:
    return sum(x.numel() for x in module.parameters())


@pytest.fixture(scope="module")
def network() -> ArbSR:
    return ArbSR()


def _picture(network: ArbSR, side: int, ramp: bool = False, dtype: torch.dtype = torch.float64) -> Tensor:
    fill(network, 0.1, ramp)
    return to_255(run(network, from_255(picture(side, 100.0, 127.5)).to(dtype)).sr)


def test_parameters_are_the_tables(network):
    counts = {name: _count(part) for name, part in network.named_children()}
    assert counts == {
        "head": 1_792,
        "groups": 15_256_480,
        "adaptions": 1_620_230,
        "end": 36_928,
        "upsampling": 8_966,
        "tail": 1_731,
    }
    assert sum(counts.values()) == _count(network) == 16_926_127
    assert (_count(RCAB(64, 4)), _count(RCAB(64, 4).attention)) == (74_436, 580)
    assert (_count(network.groups[0]), _count(network.adaptions[0])) == (1_525_648, 162_023)
    adaption, up = network.adaptions[0], network.upsampling
    assert [_count(x) for x in (adaption.mask, adaption.experts, adaption.routing)] == [14_115, 147_456, 452]
    parts = (up.embed, up.offset, up.routing, up.compress, up.expand)
    assert [_count(x) for x in parts] == [4_480, 130, 260, 2_048, 2_048]


def test_multiply_accumulates_with_what_the_shortcut_saves_are_the_tables():
    with torch.device("meta"):
        network = ArbSR()
    blocks = ["groups.0", "adaptions.0", "upsampling", "end", "tail"]
    for side, mmac in MMAC.items():
        *parts, total = complexity(network, side, blocks)
        assert total.macs / 1e6 == pytest.approx(mmac, rel=1e-3)
    found = {part.name: part.macs / 1e6 for part in parts}  # at 16 px
    found["upsampling"] += network.saved_macs(16, 16) / 1e6
    expected = {"groups.0": 386.93, "adaptions.0": 12.13, "upsampling": 161.48, "end": 9.44, "tail": 28.31}
    assert found == pytest.approx(expected, rel=2e-2)


def test_relative_positions_are_those_that_a_hand_computes():
    like = torch.zeros((), dtype=torch.float64)
    for lr, places in (
        (16, {0: -0.4375, 7: 0.4375}),
        (24, {0: -0.40625, 5: -0.46875, 127: 0.40625}),
        (40, {1: -0.03125}),
    ):
        _, relative = positions(128, lr, like)
        assert {u: relative[u].item() for u in places} == pytest.approx(places, abs=1e-12)
    for lr in range(8, 65, 8):
        assert positions(128, lr, like)[1].abs().max() <= 0.5
        exact, single = positions(128, lr, like)[1], positions(128, lr, like.float())[1]
        torch.testing.assert_close(single, exact.float(), rtol=0, atol=2e-5)


def test_without_offsets_and_filters_the_upsampling_is_bilinear_and_its_rim_is_dark():
    layer = Upsampling(8).double()
    for parameter in (*layer.offset.parameters(), layer.expand.weight):
        nn.init.zeros_(parameter)
    x = torch.rand(1, 8, 16, 16, dtype=torch.float64)
    with torch.no_grad():
        y = layer(x, (128, 128))
    expected = F.interpolate(x, scale_factor=8, mode="bilinear", align_corners=False)
    inside = (..., slice(4, -4), slice(4, -4))
    torch.testing.assert_close(y[inside], expected[inside], rtol=0, atol=1e-14)
    torch.testing.assert_close(y[..., 0, 0], 0.31640625 * expected[..., 0, 0], rtol=0, atol=1e-14)


def test_experts_mixed_after_one_convolution_equal_a_map_of_mixed_filters():
    torch.manual_seed(0)
    layer = Upsampling(16).double()
    f = torch.randn(2, 16, 9, 7, dtype=torch.float64)
    r = torch.rand(1, 4, 9, 7, dtype=torch.float64)
    filters = [torch.einsum("ehw,eoi->oihw", r[0], m.weight[..., 0, 0]) for m in (layer.compress, layer.expand)]
    t = torch.einsum("oihw,nihw->nohw", filters[0], f)
    expected = torch.einsum("oihw,nihw->nohw", filters[1], t)
    with torch.no_grad():
        found = layer.expand.per_pixel(layer.compress.per_pixel(f, r), r)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-13)


def test_each_expert_starts_as_a_layer_of_its_own():
    for experts, bound in ((Experts(4, 64, 64, 3), 1 / 24), (Experts(4, 64, 8), 1 / 8), (Experts(4, 8, 64), 8**-0.5)):
        for expert in experts.weight:
            assert 0.9 * bound < expert.abs().max() <= bound


def test_any_even_size_is_taken_and_an_odd_one_is_refused():
    network = ArbSR(channels=16, groups=1, blocks=1, hr_size=64)
    for shape in ((8, 8), (28, 20), (64, 64)):
        assert run(network, torch.zeros(2, 3, *shape)).sr.shape == (2, 3, 64, 64)
    with pytest.raises(ValueError, match="even sides, got 16 x 15"):
        network(torch.zeros(1, 3, 16, 15))


def test_every_parameter_learns():
    torch.manual_seed(0)
    network = ArbSR(channels=16, groups=2, blocks=1, hr_size=32)
    network(torch.rand(2, 3, 12, 12) * 2 - 1).sr.square().sum().backward()
    assert all(x.grad is not None for x in network.parameters())


FLAT_16 = [109.86657, 114.53774, 114.5276, 115.29437, 114.14111, 114.46917, 103.87037]
FLAT_24 = [109.90318, 114.55502, 114.46184, 114.14174, 115.57257, 114.48097]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_flat_fill_gives_the_known_picture(network, dtype):
    sr = _picture(network, 16, dtype=dtype)
    assert deviation([*p(sr), *at(sr, 2, (63, 64))], FLAT_16) < TOLERANCE[dtype]


def test_flat_fill_gives_the_known_picture_at_24_px(network):
    assert deviation(p(_picture(network.double(), 24)), FLAT_24) < 1e-6


def test_ramp_fill_gives_the_known_picture(network):
    sr = _picture(network.double(), 16, ramp=True)
    assert deviation(q(sr), [109.866564, 114.537807, 112.310351, 102.717377]) < 1e-6


def test_flat_fill_of_the_parts_gives_the_known_maps():
    x = maps(64, 16)
    for part, inputs, places, expected in (
        (
            Upsampling(64),
            ((128, 128),),
            ((0, 0), (40, 41), (63, 64), (127, 127)),
            [0.066048026, 0.0, -2.7194941, -1.002199, -0.21442262],
        ),
        (
            Adaption(64),
            (torch.full((2,), 1 / 8, dtype=torch.float64),),
            ((0, 0), (7, 8), (15, 15)),
            [0.033462273, 0.087114249, -0.27518135, -0.71464915],
        ),
        (RCAB(64, 4), (), ((0, 0), (7, 8), (15, 15)), [0.17053304, 0.10359763, -0.11590351, -0.53084911]),
    ):
        fill(part, 1.0)
        y = run(part, x, *inputs)
        assert deviation([y.mean().item(), *at(y, 0, *places)], expected) < 1e-6

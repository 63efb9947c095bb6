"""SISN: counts, its attention over splits and the values of its fill check."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from tests.models.competitors.fill import TOLERANCE, at, deviation, fill, from_255, maps, p, picture, q, run, to_255
from ufvnet.models.competitors.sisn import ISAB, SISN, ColourShift
from ufvnet.models.complexity import complexity

# scale, parameters and MMAC of: shifts and head, groups and end, upsampler and tail, all
TABLE = [
    (4, (12 + 27_712, 7_712_000 + 36_928, 295_424 + 1_731, 8_073_819), (28.31, 5492.6, 783.3, 6304)),
    (8, (12 + 110_656, 7_712_000 + 36_928, 443_136 + 1_731, 8_304_475), (28.31, 1374.8, 821.0, 2224)),
]


def _filled(scale: int, ramp: bool = False, dtype: torch.dtype = torch.float64) -> Tensor:
    network = SISN(scale)
    fill(network, 0.1, ramp, keep=(ColourShift,))
    return to_255(run(network, from_255(picture(128 // scale, 100.0, 127.5)).to(dtype)).sr)


@pytest.mark.parametrize(("scale", "params", "mmac"), TABLE)
def test_parameters_and_multiply_accumulates_are_the_tables(scale, params, mmac):
    network = SISN(scale)
    parts = {part.name: part for part in complexity(network, 128 // scale)}
    sums = [("shift_in", "head"), ("groups", "end"), ("up", "tail"), ("total",)]
    assert [sum(parts[name].params for name in names) for names in sums] == list(params)
    assert [sum(parts[name].macs for name in names) / 1e6 for names in sums] == pytest.approx(mmac, rel=2e-3)
    groups = [sum(x.numel() for x in group.parameters()) for group in network.groups]
    assert groups == [771_200] * 10


def test_a_block_has_the_tables_parameters_and_cost_and_the_upsampler_follows_the_scale():
    isab = complexity(SISN(4), 32, ["groups.0.side"])[0]
    assert isab.params == 66_752
    assert isab.macs / 1e6 == pytest.approx(46.16, rel=1e-3)
    for scale, hr_size in ((4, 128), (8, 64), (2, 64)):
        lr = torch.zeros(2, 3, hr_size // scale, hr_size // scale)
        sr = run(SISN(scale, channels=8, groups=1, blocks=1, hr_size=hr_size), lr).sr
        assert sr.shape == (2, 3, hr_size, hr_size)


def test_with_equal_attention_a_block_takes_the_mean_of_its_splits():
    torch.manual_seed(0)
    block = ISAB(8)
    for parameter in block.attend.parameters():
        nn.init.zeros_(parameter)
    x = torch.randn(2, 8, 6, 6)
    with torch.no_grad():
        block.eval()
        u = torch.relu(block.bn_split(block.split(torch.relu(block.bn_reduce(block.reduce(x))))))
        expected = torch.relu(x + block.bn_expand(block.expand(u.view(2, 4, 8, 6, 6).mean(1))))
        torch.testing.assert_close(block(x), expected)


def test_with_a_tail_of_zeros_the_picture_is_the_mean_colour():
    network = SISN(4, channels=8, groups=1, blocks=1)
    for parameter in network.tail.parameters():
        nn.init.zeros_(parameter)
    sr = to_255(run(network, torch.rand(1, 3, 32, 32, dtype=torch.float64)).sr)
    expected = torch.tensor([114.444, 111.4605, 103.02], dtype=torch.float64).view(1, 3, 1, 1)
    torch.testing.assert_close(sr, expected.expand_as(sr), rtol=1e-6, atol=0)


def test_colour_shifts_are_trained():
    network = SISN(4, channels=8, groups=1, blocks=1)
    network(torch.rand(2, 3, 32, 32)).sr.square().sum().backward()
    for shift in (network.shift_in, network.shift_out):
        assert all(x.requires_grad and x.grad is not None and x.grad.any() for x in shift.parameters())


FLAT = {
    4: [109.65481, 114.45503, 114.45435, 114.46223, 114.45306, 114.4546, 103.03823],
    8: [109.65279, 114.45449, 114.45449, 114.45577, 114.45494, 114.45447],
}


@pytest.mark.parametrize(("scale", "dtype"), [(4, torch.float64), (4, torch.float32), (8, torch.float64)])
def test_flat_fill_gives_the_known_picture(scale, dtype):
    sr = _filled(scale, dtype=dtype)
    found = [*p(sr), *at(sr, 2, (63, 64))][: len(FLAT[scale])]
    assert deviation(found, FLAT[scale]) < TOLERANCE[dtype]


def test_ramp_fill_gives_the_known_picture():
    assert deviation(q(_filled(4, ramp=True)), [109.654807, 114.455031, 111.478726, 103.029064]) < 1e-6


def test_flat_fill_of_one_block_gives_the_known_maps():
    block = ISAB(64)
    fill(block, 1.0)
    y = run(block, maps(64, 16))
    expected = [0.62262239, 0.16580883, 0.0, 0.0]
    assert deviation([y.mean().item(), *at(y, 0, (0, 0), (7, 8), (15, 15))], expected) < 1e-6

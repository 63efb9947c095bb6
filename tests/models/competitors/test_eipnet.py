"""EIPNet: its counts, its values under known weights, its means at the border."""

from __future__ import annotations

import pytest
import torch

from tests.models.competitors.fill import TOLERANCE, at, deviation, fill, from_255, p, picture, q, run, to_255
from ufvnet.models.competitors.eipnet import EdgeBlock, EIPNet, EIPNetOutput, box_mean, to_yuv
from ufvnet.models.complexity import complexity

TIGHT = TOLERANCE[torch.float64]
BLOCKS = {  # parameters, and millions of multiply-accumulates
    "stem": (14_336, 3.54),
    "pairs.0": (2 * 2_359_808, 1_207.96),
    "ups.0": (2_097_408, 536.87),
    "edge_blocks.0": (257, 0.26),
    "pairs.1": (3_539_712, 3_623.88),
    "ups.1": (524_416, 536.87),
    "edge_blocks.1": (129, 0.52),
    "pairs.2": (590_080 + 295_040, 3_623.88),
    "ups.2": (131_136, 536.87),
    "edge_blocks.2": (65, 1.05),
    "rgb": (387, 6.29),
    "total": (11_912_582, 10_078),
}


def filled(ramp: bool = False) -> EIPNetOutput:
    network = EIPNet()
    fill(network, 1, ramp)
    return run(network, from_255(picture(16, 100, 127.5)))


def test_every_block_has_its_parameters_and_costs_what_the_page_says() -> None:
    with torch.device("meta"):
        network = EIPNet()
    for block in complexity(network, 16, list(BLOCKS)[:-1]):
        params, mmac = BLOCKS[block.name]
        assert block.params == params, block
        assert block.macs / 1e6 == pytest.approx(mmac, rel=0.01), block


def test_flat_weights_give_the_known_values() -> None:
    output = filled()
    expected = [239.22729, 3.0749291, 2.9747025, 367.23596, 197.25626, 1.8828153]
    assert deviation(p(to_255(output.sr)), expected) < TIGHT
    e1, e2, e3 = output.edges
    found = [e1.mean().item(), e2.mean().item(), *at(e2, 0, (5, 9)), e3.mean().item(), *at(e3, 0, (5, 9))]
    assert deviation(found, [7.6430868, 7.6931283, 30.041453, 7.7690725, 28.693796]) < TIGHT


def test_ramp_weights_give_the_known_values() -> None:
    assert deviation(q(to_255(filled(ramp=True).sr)), [239.174527, 3.07759938, 370.051934, 195.490044]) < TIGHT


@pytest.mark.parametrize(("window", "corner"), [(5, 9), (7, 16), (10, 36)])
def test_a_mean_at_the_corner_is_of_the_pixels_inside(window: int, corner: int) -> None:
    x = torch.rand(1, 2, 16, 16, generator=torch.Generator().manual_seed(0))
    side = round(corner**0.5)
    assert torch.allclose(box_mean(x, window)[..., 0, 0], x[..., :side, :side].mean((2, 3)))
    assert torch.allclose(box_mean(x, window)[..., 8, 8], x[..., 8 - (window - 1) // 2 :, 8 - (window - 1) // 2 :][
        ..., :window, :window
    ].mean((2, 3)))  # fmt: skip


def test_yuv_of_white_and_red() -> None:
    white, red = torch.full((1, 3, 1, 1), 255.0), torch.tensor([255.0, 0, 0]).view(1, 3, 1, 1)
    assert torch.allclose(to_yuv(white).flatten(), torch.tensor([255.0, 0, 0]), atol=1e-4)
    assert torch.allclose(to_yuv(red).flatten(), torch.tensor([76.245, -37.521, 156.819]), atol=1e-3)


def test_a_constant_map_has_no_edges() -> None:
    block = EdgeBlock(4, 10)
    s, edge = block(torch.full((1, 4, 16, 16), 3.7))
    assert s.abs().max() < 1e-5
    assert torch.allclose(edge, block.edge.bias.relu().expand_as(edge), atol=1e-5)


@pytest.mark.parametrize("hr_size", [64, 128])
def test_it_takes_an_eighth_of_the_output_s_side_or_with_full_all_of_it(hr_size: int) -> None:
    small = EIPNet(channels=4, hr_size=hr_size)
    output = run(small, torch.zeros(2, 3, hr_size // 8, hr_size // 8))
    assert output.sr.shape == (2, 3, hr_size, hr_size)
    assert [edge.shape[-1] for edge in output.edges] == [hr_size // 4, hr_size // 2, hr_size]
    full = EIPNet(channels=4, hr_size=hr_size, full=True)
    assert run(full, torch.zeros(2, 3, hr_size, hr_size)).sr.shape == (2, 3, hr_size, hr_size)
    with pytest.raises(ValueError, match="the network takes"):
        small(torch.zeros(2, 3, hr_size, hr_size))
    with pytest.raises(ValueError, match="hr_size must be one of"):
        EIPNet(hr_size=96)

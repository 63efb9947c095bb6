"""DIC: counts, values under known weights at each step, components, what flows from step to step."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from tests.models.competitors.fill import TOLERANCE, at, deviation, fill, from_unit, maps, p, picture, q, run, to_unit
from ufvnet.models.competitors.dic import COMPONENTS, DIC, CoarseBlock, Hourglass, landmark_maps, merge, reduced
from ufvnet.models.complexity import complexity

TIGHT = TOLERANCE[torch.float64]
BLOCKS = {  # parameters, and millions of multiply-accumulates of all four steps
    "shallow": (5_377, 1.33),
    "coarse": (4_090_776, 7_160.5),
    "feedback": (5_559_720, 3 * 8_661.0),
    "reconstruct": (147_505 + 1_299, 4 * 172.2),
    "hourglass": (11_999_172, 4 * 2_875.7),
    "total": (21_803_849, 45_337),
}
PARTS = {
    "coarse.compress_in": 2_353,
    "coarse.up": 1_990_950,
    "coarse.down": 1_990_950,
    "coarse.reduce_low": 46_325,
    "coarse.reduce_high": 46_325,
    "coarse.compress_out": 13_873,
    "feedback.compress_in": 4_657,
    "feedback.fusion": 1_466_640,
    "feedback.fusion.expand": 11_760,
    "feedback.fusion.blocks.0": 207_840,
    "hourglass.front": 350_848,
    "hourglass.join": 262_656,
    "hourglass.levels": 11_088_896,
    "hourglass.levels.same": 852_992,
    "hourglass.heat": 296_772,
}


def small(seed: int = 0, **options: bool) -> DIC:
    torch.manual_seed(seed)
    return DIC(features=4, channels=4, hr_size=64, **options)


def lr(n: int = 2, side: int = 8) -> Tensor:
    return torch.rand(n, 3, side, side, generator=torch.Generator().manual_seed(1)) * 2 - 1


def filled(network: DIC, ramp: bool) -> tuple[list[Tensor], tuple[Tensor, ...]]:
    """Pictures in the network's range (mean subtracted) and heat maps of every step."""
    fill(network, 0.5, ramp)
    mean = torch.tensor([0.509, 0.424, 0.378]).double()[:, None, None]  # as float32, as the network holds it
    output = run(network, from_unit(picture(16, 0.5, 0) + mean))
    return [to_unit(sr) - mean for sr in output.pictures], output.heat_maps


def test_every_block_has_its_parameters_and_costs_what_the_page_says() -> None:
    with torch.device("meta"):
        network = DIC()
    for block in complexity(network, 16, list(BLOCKS)[:-1]):
        params, mmac = BLOCKS[block.name]
        assert block.params == params, block
        assert block.macs / 1e6 == pytest.approx(mmac, rel=0.01), block
    for name, params in PARTS.items():
        assert sum(w.numel() for w in network.get_submodule(name).parameters()) == params, name


def test_without_landmarks_there_is_no_hourglass() -> None:
    with torch.device("meta"):
        assert sum(w.numel() for w in DIC(landmarks=False).parameters()) == 9_804_677
    output = run(small(landmarks=False), lr())
    assert output.heat_maps == ()
    assert len(output.pictures) == 4


def test_flat_weights_give_the_known_values() -> None:
    pictures, heat = filled(DIC(), ramp=False)
    first = [0.012754658, 0.48175105, -0.10723679, -0.45067414, -0.25555802]
    assert deviation(p(pictures[0])[1:], first) < TIGHT
    assert deviation(at(pictures[1], 0, (63, 64)), [-0.10293433]) < TIGHT
    last = [0.011562235, 0.012866024, 0.48186378, -0.1027864, -0.44638624, -0.25543944]
    assert deviation(p(pictures[3]), last) < TIGHT
    assert deviation(at(heat[0], 0, (0, 0), (12, 20)), [0.25976729, 0.34764465]) < TIGHT
    assert deviation(at(heat[3], 0, (0, 0), (12, 20)), [3.8333621, 5.6766845]) < TIGHT


def test_ramp_weights_give_the_known_values() -> None:
    pictures, heat = filled(DIC(), ramp=True)
    assert deviation(q(pictures[1]), [0.0114436757, 0.0128652007, 0.344609779, 0.11123172]) < TIGHT
    assert deviation(q(pictures[3]), [0.0115656402, 0.0128669691, 0.344757803, 0.11137034]) < TIGHT
    assert deviation(at(heat[3], 50, (12, 20)), [5.67970437]) < TIGHT


def test_the_coarse_block_alone_gives_the_known_values() -> None:
    block = CoarseBlock(48)
    fill(block, 1)
    y = run(block, maps(48, 32))
    expected = [0.45905126, 0.19871118, 0.22473862, 0.024595403]
    assert deviation([y.mean().item(), *at(y, 0, (0, 0), (15, 16), (31, 31))], expected) < TIGHT


def test_the_hourglass_alone_gives_the_known_values_and_remembers() -> None:
    network, x = Hourglass(), picture(128, 0.5, 0)
    fill(network, 0.5)
    heat, state = run(network, x)
    assert heat.shape == (1, 68, 32, 32)
    assert deviation([heat.mean().item(), *at(heat, 0, (12, 20))], [0.2803798, 0.29329771]) < TIGHT
    assert deviation(at(run(network, x, state)[0], 0, (12, 20)), [0.85385244]) < TIGHT


def test_without_reconstruction_every_step_is_the_bilinear_enlargement() -> None:
    network, x = small(), lr()
    for parameter in network.reconstruct[1].parameters():
        torch.nn.init.zeros_(parameter)
    bilinear = F.interpolate(x, scale_factor=8, mode="bilinear", align_corners=False)
    pictures = run(network, x).pictures
    assert len(pictures) == 4
    assert all(torch.allclose(sr, bilinear, atol=1e-6) for sr in pictures)


def test_the_last_picture_is_the_one_that_is_scored() -> None:
    output = run(small(), lr())
    assert output.sr is output.pictures[3]
    assert output.sr.shape == (2, 3, 64, 64)
    assert [heat.shape for heat in output.heat_maps] == [(2, 68, 16, 16)] * 4


def test_components_are_sums_of_maps_brought_to_a_peak_of_1() -> None:
    heat = torch.full((1, 68, 32, 32), -1.0)
    heat[0, 36:42] = 0
    heat[0, 36, 5, 5], heat[0, 37, 5, 5] = 2.0, 0.01
    merged = merge(heat, COMPONENTS)
    assert merged[0, 0, 5, 5].item() == pytest.approx(1 + 0.01 / 0.05)
    assert merged[0, 1, 5, 5].item() == pytest.approx(-6 / 0.05)  # a peak below 0.05 counts as 0.05
    assert sorted(i for points in COMPONENTS for i in points) == list(range(68))


def test_a_landmark_s_target_has_the_known_value() -> None:
    landmarks = torch.full((2, 68, 2), 64.0, dtype=torch.float64)
    landmarks[1, 7] = torch.tensor([41.0, 50.0])
    target = landmark_maps(landmarks, 128)
    assert target.shape == (2, 68, 32, 32)
    assert target[1, 7, 12, 10].item() == pytest.approx(0.85534533, abs=1e-8)
    assert target[0, 7, 16, 16] == 1


def test_no_state_is_left_from_one_call_to_the_next() -> None:
    network, x = small(), lr(3).double()
    first = run(network, x).sr
    assert torch.allclose(run(network, x[:1]).sr, first[:1])  # faces do not see each other
    assert torch.equal(run(network, x).sr, first)


def test_untrained_heat_maps_do_not_grow_from_step_to_step() -> None:
    assert all(heat.std() < 10 for heat in run(small(), lr()).heat_maps)


def test_pictures_teach_the_hourglass_and_heat_maps_teach_the_pictures() -> None:
    network = small()
    network(lr()).pictures[1].square().sum().backward()
    assert network.hourglass.heat[3].weight.grad.abs().sum() > 0
    network.zero_grad()
    network(lr()).heat_maps[0].sum().backward()
    assert network.coarse.compress_in[0].weight.grad.abs().sum() > 0


def test_other_sides_are_refused() -> None:
    with pytest.raises(ValueError, match="the network takes"):
        small()(lr(side=16))
    with pytest.raises(ValueError, match="hr_size must be one of"):
        DIC(hr_size=32)


def test_a_reduction_map_by_map_is_the_layer_on_all_of_them() -> None:
    layer = CoarseBlock(3).reduce_high[1].double()
    x = [torch.randn(2, 3, 4, 5, dtype=torch.float64) for _ in range(3)]
    torch.testing.assert_close(reduced(layer, x), layer(torch.cat(x, 1)))

"""WIPA: counts, Haar details and the values of its fill check."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from tests.models.competitors.fill import TOLERANCE, at, deviation, fill, p, picture, q, run
from ufvnet.models.competitors.wipa import WIPA, WIPAOutput, haar, wavelet_targets
from ufvnet.models.complexity import complexity
from ufvnet.models.supervision import Target

# scale, parameters, MMAC of each stage, of all
TABLE = [
    (4, 679_040, [420.6, 1078.2], 1528.8),
    (8, 1_386_688, [180.6, 420.6, 1078.2], 1708.1),
    (16, 2_686_208, [82.9, 180.6, 420.6, 1078.2], 1790.7),
]
PLACES = (0, 0), (3, 5)


def _filled(scale: int, ramp: bool = False, dtype: torch.dtype = torch.float64) -> WIPAOutput:
    network = WIPA(scale)
    fill(network, 0.5, ramp)
    return run(network, picture(128 // scale, 0.5, 0.0).to(dtype))


@pytest.mark.parametrize(("scale", "params", "stages", "mmac"), TABLE)
def test_parameters_and_multiply_accumulates_are_the_tables(scale, params, stages, mmac):
    network = WIPA(scale)
    blocks = [f"stages.{i}" for i in range(len(stages))]
    *parts, total = complexity(network, 128 // scale, blocks)
    assert total.params == params
    assert total.macs / 1e6 == pytest.approx(mmac, rel=1e-4)
    assert [part.macs / 1e6 for part in parts] == pytest.approx(stages, rel=1e-3)
    residual = [sum(x.numel() for x in stage.blocks.parameters()) for stage in network.stages]
    assert residual == [(scale >> i) * 73_984 for i in range(len(stages))]
    assert [part.params - r for part, r in zip(parts, residual)] == [115_776] * len(stages)


def test_predictions_come_finest_first_from_half_the_side_to_the_inputs():
    out = run(WIPA(8, channels=8), torch.zeros(2, 3, 16, 16))
    assert out.sr.shape == (2, 3, 128, 128)
    assert [w.shape for w in out.wavelets] == [(2, 9, n, n) for n in (64, 32, 16)]
    small = run(WIPA(8, channels=8, hr_size=64), torch.zeros(1, 3, 8, 8))
    assert small.sr.shape == (1, 3, 64, 64)
    assert [w.shape[-1] for w in small.wavelets] == [32, 16, 8]


def test_haar_of_a_ramp_has_the_details_that_a_hand_computes():
    x = (torch.arange(16, dtype=torch.float64) / 16).view(1, 1, 4, 4)
    a, h, v, d = haar(x)
    assert a.flatten().tolist() == [0.3125, 0.5625, 1.3125, 1.5625]
    assert h.unique().tolist() == [-0.25]
    assert v.unique().tolist() == [-0.0625]
    assert d.unique().tolist() == [0.0]
    _, h, v, d = haar(a)
    assert [h.item(), v.item(), d.item()] == [-1.0, -0.25, 0.0]


def test_wavelet_targets_go_colour_by_colour_and_deeper_levels_are_divided():
    x = (torch.arange(16, dtype=torch.float64) / 16).view(1, 1, 4, 4) * torch.tensor([1.0, 2.0, 4.0]).view(1, 3, 1, 1)
    fine, coarse = wavelet_targets(x, 2)
    assert fine.shape == (1, 9, 2, 2)
    assert fine[0, :, 1, 0].tolist() == [-0.25, -0.0625, 0, -0.5, -0.125, 0, -1, -0.25, 0]
    assert coarse.flatten().tolist() == [-0.5, -0.125, 0, -1, -0.25, 0, -2, -0.5, 0]


FLAT = {
    4: [0.012521872, 0.0023432214, 3.1530891e-05, 0.0284509, 0.0014020629, 0.00022865702],
    8: [0.031833599, 0.0028833798, 0.0029518518, 0.0719243, 0.0082504701, 2.4319906e-05],
}
FLAT_WAVELETS = {
    4: [0.0018954308, 0.0094678098, 0.013779874, 0.0020676737],
    8: [0.00052637247, 0.0069107766, 0.0045140298, 0.027102334, 0.023243158, 0.010261147],
}


@pytest.mark.parametrize(("scale", "dtype"), [(4, torch.float64), (4, torch.float32), (8, torch.float64)])
def test_flat_fill_gives_the_known_picture_and_predictions(scale, dtype):
    out = _filled(scale, dtype=dtype)
    assert deviation(p(out.sr), FLAT[scale]) < TOLERANCE[dtype]
    found = [value for w in out.wavelets for value in at(w, 0, *PLACES)]
    assert deviation(found, FLAT_WAVELETS[scale]) < TOLERANCE[dtype]


def test_flat_fill_gives_the_known_picture_at_8_px():
    sr = _filled(16).sr
    assert deviation([sr.mean().item(), *at(sr, 0, (63, 64))], [0.081917731, 0.1217132]) < 1e-6


def test_ramp_fill_gives_the_known_picture_and_predictions():
    out = _filled(4, ramp=True)
    assert deviation(q(out.sr), [0.0125265081, 0.00234288435, 0.028442622, 0.00140364393]) < 1e-6
    found = [value for w in out.wavelets for value in at(w, 8, (3, 5))]
    assert deviation(found, [0.00946034039, 0.0020671155]) < 1e-6


def test_a_picture_of_another_size_or_a_scale_that_it_lacks_is_refused():
    with pytest.raises(ValueError, match=r"takes \(N, 3, 32, 32\)"):
        WIPA(4, channels=8)(torch.zeros(1, 3, 16, 16))
    with pytest.raises(ValueError, match="scale must be one of"):
        WIPA(3)


def test_in_the_first_epoch_the_picture_alone_is_learned() -> None:
    network, hr = WIPA(4, 4, 64), torch.rand(2, 3, 64, 64) * 2 - 1
    fed, rate = torch.rand(2, 3, 16, 16) * 2 - 1, torch.full((2,), 0.25)
    weights = [*network.parameters()]
    picture_alone = torch.autograd.grad(F.mse_loss(network(fed).sr, hr) / 4, weights, allow_unused=True)
    losses = [network.loss(fed, rate, Target(hr, progress)) for progress in (0.0, 0.0049, 0.005)]
    assert losses[0] == losses[2], "a jump would be taken for divergence"
    for loss, same in zip(losses, (True, True, False)):
        gradients = torch.autograd.grad(loss, weights)
        equal = [
            torch.allclose(g, torch.zeros_like(g) if alone is None else alone)
            for g, alone in zip(gradients, picture_alone)
        ]
        assert all(equal) == same

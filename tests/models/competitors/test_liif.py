"""LIIF: counts, the geometry of its queries, the values of its fill check, and its shortcut against the plain form."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from tests.models.competitors.fill import TOLERANCE, at, deviation, fill, p, picture, q, run
from ufvnet.models.competitors.liif import LIIF, Neighbours, neighbours, pixel_centres
from ufvnet.models.complexity import complexity

PLAIN_MMAC = {16: 22_978, 24: 23_368, 32: 23_913, 40: 24_615, 48: 25_473, 56: 26_486, 64: 27_656}


def _filled(ramp: bool = False) -> LIIF:
    network = LIIF()
    fill(network, 1.0, ramp)
    fill(network.encoder, 0.3, ramp)
    return network


def _at_128(h: int) -> Neighbours:
    """The 128 x 128 pixels on h x h cells, (1, 128, 128, ...) each."""
    near = neighbours(pixel_centres(128, 128, torch.zeros((), dtype=torch.float64)), h, h)
    return Neighbours(*(x.unflatten(1, (128, 128)) for x in near))


@pytest.mark.parametrize("side", PLAIN_MMAC)
def test_multiply_accumulates_with_what_the_shortcut_saves_are_the_tables(side):
    network = LIIF()
    encoder, *_, total = complexity(network, side)
    assert encoder.macs / 1e6 == pytest.approx(1.21824 * side**2, rel=1e-6)
    assert total.macs / 1e6 == pytest.approx(PLAIN_MMAC[side], abs=0.6)
    if side == 16:
        assert (total.macs - network.saved_macs(side, side)) / 1e9 == pytest.approx(13.35, abs=0.005)


def test_parameters_are_the_tables():
    network = LIIF()
    counts = {name: sum(x.numel() for x in part.parameters()) for name, part in network.named_children()}
    assert counts == {"encoder": 1_220_416, "first": 148_736, "rest": 3 * 65_792 + 771}
    assert sum(counts.values()) == 1_567_299
    parts = [sum(x.numel() for x in part.parameters()) for part in (network.encoder.stem, *network.encoder.body)]
    assert parts == [1_792, *[73_856] * 16, 36_928]


def test_queries_find_the_cells_and_offsets_that_a_hand_computes():
    near = _at_128(16)
    row = near.cell[0, :, 0, [0, 2]] // 16  # for v_y = -1 and +1
    offset = near.offset[0, :, 0, [0, 2], 0]
    for i, cells, offsets in (
        (0, [0, 0], [-0.875, -0.875]),
        (5, [0, 1], [0.375, -1.625]),
        (63, [7, 8], [0.875, -1.125]),
    ):
        assert row[i].tolist() == cells
        assert offset[i].tolist() == offsets
    assert near.weight[0, 0, 0].tolist() == [0.25] * 4
    expected = [0.31640625, 0.24609375, 0.24609375, 0.19140625]
    assert near.weight[0, 63, 63].tolist() == pytest.approx(expected, abs=1e-8)


@pytest.mark.parametrize("h", [8, 16, 24, 40, 56, 64])
def test_inside_the_four_areas_sum_to_four_and_interpolation_is_unbiased(h):
    near = _at_128(h)
    margin = 128 // h  # beyond the outermost centres, the cells are one
    inside = slice(margin, -margin)
    areas = near.offset[0, inside, inside].prod(-1).abs().sum(-1)
    torch.testing.assert_close(areas, torch.full_like(areas, 4.0), rtol=0, atol=1e-9)
    mean = (near.weight[..., None] * near.offset)[0, inside, inside].sum(2)  # an MLP that returns the offset
    torch.testing.assert_close(mean, torch.zeros_like(mean), rtol=0, atol=1e-8)


def test_flat_fill_gives_the_known_picture_in_both_precisions():
    network = _filled()
    x = picture(16, 0.5, 0.0)
    features = run(network.encoder, x)
    assert deviation(at(features, 0, (0, 0), (8, 5)), [0.122698143, 0.0997911996]) < 1e-6
    expected = [0.17703107, 0.12857069, 0.1301317, 0.30561129, 0.10191707, 0.078471143]
    for dtype in (torch.float64, torch.float32):
        assert deviation(p(run(network, x.to(dtype)).sr), expected) < TOLERANCE[dtype]


def test_flat_fill_gives_the_known_picture_at_24_px():
    expected = [0.19113146, 0.12921725, 0.079432936, 0.11195056, 0.3516387, 0.083346848]
    assert deviation(p(run(_filled(), picture(24, 0.5, 0.0)).sr), expected) < 1e-6


def test_ramp_fill_gives_the_known_picture():
    sr = run(_filled(ramp=True), picture(16, 0.5, 0.0)).sr
    assert deviation(q(sr), [0.177070117, 0.128916296, 0.305811563, 0.101650696]) < 1e-6


def _plain(network: LIIF, lr: Tensor, points: Tensor, extent: Tensor) -> Tensor:
    """The paper's form: unfold, look up by grid_sample, the whole MLP for each of four cells."""
    h, w = lr.shape[2:]
    unfolded = F.unfold(network.encoder(lr), 3, padding=1).unflatten(2, (h, w))
    centres = pixel_centres(h, w, lr).view(1, h, w, 2).permute(0, 3, 1, 2).expand(len(lr), -1, -1, -1)
    sides = lr.new_tensor([h, w])
    predictions, areas = [], []
    for vy in (-1, 1):
        for vx in (-1, 1):
            shifted = (points + lr.new_tensor([vy / h, vx / w]) + 1e-6).clamp(-1 + 1e-6, 1 - 1e-6)
            grid = shifted.flip(-1)[:, :, None]  # (x, y)
            z, c = (F.grid_sample(m, grid, mode="nearest", align_corners=False)[..., 0].mT for m in (unfolded, centres))
            delta = (points - c) * sides
            size = (extent * sides)[:, None].expand_as(delta)
            predictions.append(network.rest(network.first(torch.cat([z, delta, size], -1))))
            areas.append(delta.prod(-1).abs() + 1e-9)
    total = sum(areas)
    return sum(y * (area / total)[..., None] for y, area in zip(predictions, reversed(areas)))


def test_the_first_layer_on_the_low_resolution_equals_the_plain_form():
    torch.manual_seed(0)
    network = LIIF(channels=8, blocks=2, hidden=16, hr_size=64).double().eval()
    for shape in ((16, 16), (24, 24), (10, 14)):
        lr = torch.randn(2, 3, *shape, dtype=torch.float64)
        points = torch.rand(2, 500, 2, dtype=torch.float64) * 2 - 1
        extent = torch.tensor([[2 / 40, 2 / 56], [2 / 64, 2 / 64]], dtype=torch.float64)
        expected = _plain(network, lr, points, extent)
        torch.testing.assert_close(network.query(lr, points, extent), expected, rtol=1e-10, atol=1e-12)
    whole = pixel_centres(64, 64, lr).expand(2, -1, -1)
    expected = _plain(network, lr, whole, extent[1:].expand(2, -1)).mT.reshape(2, 3, 64, 64)
    torch.testing.assert_close(network(lr).sr, expected, rtol=1e-10, atol=1e-12)


def test_points_alone_teach_every_parameter():
    network = LIIF(channels=8, blocks=2, hidden=16)
    points = torch.rand(2, 64, 2) * 2 - 1
    network.query(torch.randn(2, 3, 16, 16), points, torch.full((2, 2), 2 / 128)).square().sum().backward()
    assert all(x.grad is not None and x.grad.any() for x in network.parameters())

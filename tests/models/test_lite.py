"""UFVNet-Lite: cost, start, weights, anchors' independence."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from ufvnet.models import create
from ufvnet.models.complexity import complexity
from ufvnet.models.inference import channels_last, forward
from ufvnet.models.lite import LiteWidth, UFVNetLite, sampling_phase

RATE = torch.tensor([0.25, 0.3125])


def image(n: int = 2, side: int = 128) -> Tensor:
    return torch.rand(n, 3, side, side, generator=torch.Generator().manual_seed(0)) * 2 - 1


def trained_like() -> UFVNetLite:
    """A network whose output is not its input: the last layer starts at zero."""
    torch.manual_seed(0)
    network = UFVNetLite()
    torch.nn.init.normal_(network.head.weight, std=0.05)
    return network.eval()


def test_it_costs_less_than_one_gmac_and_is_a_row_of_the_tables() -> None:
    network = create("ufvnet-lite")
    total = complexity(network, 128)[-1]
    assert total.macs <= 1.0e9
    assert total.params * 2 <= 12e6  # the weights that ship, in half precision
    assert isinstance(network, UFVNetLite)


@pytest.mark.parametrize(("name", "side"), [("ufvnet-lite", 128), ("ufvnet-lite", 64), ("ufvnet-lite-nw", 128)])
def test_it_starts_as_bicubic(name: str, side: int) -> None:
    x = image(side=side)
    output = create(name, hr_size=side)(x, RATE)
    assert torch.equal(output.sr, x)
    assert output.weights is not None
    assert torch.allclose(output.weights.sum(1), torch.ones(2))


def test_weights_are_the_regressor_s_unless_given() -> None:
    network, x = trained_like(), image()
    output = network(x, RATE)
    assert output.logits is not None
    assert torch.allclose(output.weights, output.logits.softmax(1))
    third = torch.full((2, 3), 1 / 3)
    fixed = network(x, RATE, w=third)
    assert torch.equal(fixed.weights, third)
    assert not torch.allclose(fixed.sr, output.sr)
    assert torch.equal(network(x, RATE, w=output.weights).sr, output.sr)


def test_without_a_regressor_every_weight_is_a_third() -> None:
    output = create("ufvnet-lite-nw")(image(), RATE)
    assert output.logits is None
    assert torch.allclose(output.weights, torch.full((2, 3), 1 / 3))


def test_weighted_by_the_formula_it_takes_eq_4_at_the_true_rate() -> None:
    network = create("ufvnet-lite-fm")
    d = (RATE[:, None] - torch.tensor([0.125, 0.25, 0.5])).abs()
    expected = (1 - d / d.sum(1, keepdim=True)) / 2
    assert torch.allclose(network(image(), RATE).weights, expected)
    assert torch.allclose(network(image(), RATE[:, None].expand(-1, 2)).weights, expected)


@pytest.mark.parametrize("name", ["ufvnet-lite-one", "ufvnet-lite-wide"])
def test_with_one_encoder_it_weighs_nothing(name: str) -> None:
    assert create(name)(image(), RATE)[1:3] == (None, None)


def test_the_wide_encoder_costs_what_three_cost() -> None:
    three, wide = (complexity(create(name), 128)[-1] for name in ("ufvnet-lite-nw", "ufvnet-lite-wide"))
    assert (wide.params, wide.macs) == (pytest.approx(three.params, rel=0.005), pytest.approx(three.macs, rel=0.005))


def test_an_anchor_of_weight_0_has_no_say() -> None:
    network, x = trained_like(), image()
    w = torch.tensor([[1.0, 0.0, 0.0]] * 2)
    before = network(x, RATE, w=w).sr
    e = network.encoders
    with torch.no_grad():
        for parameter in [p for m in (*e.convs, *e.blocks) for p in m.parameters()]:
            parameter[len(parameter) // 3 :] += 0.1  # the other two anchors'
    assert torch.allclose(network(x, RATE, w=w).sr, before, atol=1e-6)
    e.convs[0].weight.data[0] += 1.0
    assert not torch.allclose(network(x, RATE, w=w).sr, before, atol=1e-3)


def test_presets_scale_its_channels() -> None:
    assert LiteWidth((32, 48, 64), (64, 128, 256)).scaled(0.5) == LiteWidth((16, 24, 32), (32, 64, 128))
    sizes = [
        sum(p.numel() for p in create("ufvnet-lite", preset).parameters()) for preset in ("paper", "small", "tiny")
    ]
    assert sizes == sorted(sizes, reverse=True)


def test_anchors_may_be_one_s_own() -> None:
    network = create("ufvnet-lite", "tiny", anchors=[1, 2, 4, 8])
    output = network(image(), RATE)
    assert output.weights.shape == (2, 4)


def test_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match="takes \\(N, 3, 128, 128\\)"):
        UFVNetLite()(image(side=64), RATE)
    with pytest.raises(ValueError, match="hr_size must be one of"):
        UFVNetLite(hr_size=32)
    with pytest.raises(ValueError, match="needs the down-sampling rate"):
        UFVNetLite()(image())


def test_the_phase_tells_where_hr_pixels_lie_between_lr_pixels() -> None:
    waves = sampling_phase(torch.tensor([[0.25, 5 / 16]]), 128)
    assert waves.shape == (1, 16, 32, 32)
    rows, columns = waves[:, :8], waves[:, 8:]
    assert torch.equal(rows, rows[..., :1].expand_as(rows))
    assert torch.equal(columns, columns[..., :1, :].expand_as(columns))
    assert torch.allclose(rows[..., :1, :], rows[..., 5:6, :], atol=1e-4)  # 4 HR pixels = 1 LR pixel: no change
    x = torch.arange(128) + 0.5
    angles = torch.stack([(2 * torch.pi * 5 / 16 * x).sin(), (2 * torch.pi * 5 / 16 * x).cos()])
    found = columns[0, :, 0].view(2, 4, 32).transpose(1, 2).reshape(2, 128)
    assert torch.allclose(found, angles, atol=1e-4)
    assert torch.equal(sampling_phase(torch.tensor([0.25]), 64), sampling_phase(torch.tensor([[0.25, 0.25]]), 64))


def test_rates_of_rows_and_columns_may_differ() -> None:
    network, x = trained_like(), image(1)
    square = network(x, torch.tensor([0.25])).sr
    assert torch.allclose(network(x, torch.tensor([[0.25, 0.25]])).sr, square, atol=1e-6)
    assert not torch.allclose(network(x, torch.tensor([[0.25, 0.3]])).sr, square, atol=1e-4)


@pytest.mark.parametrize("count", [2, 5, 16])
@torch.inference_mode()
def test_a_face_comes_out_alike_wherever_it_stands_in_its_batch(count: int) -> None:
    """What makes a resumed run's files equal those of one left alone."""
    network = channels_last(trained_like())
    ls, rate = image(count), torch.rand(count, 2, generator=torch.Generator().manual_seed(1))
    before = forward(network, ls, rate)
    for shift in {1, 3} & set(range(count)):
        after = forward(network, ls.roll(shift, 0), rate.roll(shift, 0))
        assert before.weights is not None
        assert after.weights is not None
        assert torch.equal(before.sr.roll(shift, 0), after.sr)
        assert torch.equal(before.weights.roll(shift, 0), after.weights)

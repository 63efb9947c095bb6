"""The weight regressor and Eq. 4, its ground truth (docs/method.md sections 2 and 3)."""

from __future__ import annotations

import pytest
import torch

from ufvnet.models import WeightRegressor, anchor_weights

ANCHORS = (1 / 8, 1 / 4, 1 / 2)
# docs/method.md section 3: LR side in pixels at HR 128 -> w1, w2, w3.
TABLE = {
    8: (0.4545, 0.3636, 0.1818),
    16: (0.5000, 0.3750, 0.1250),
    24: (0.4286, 0.4286, 0.1429),
    32: (0.3333, 0.5000, 0.1667),
    40: (0.2857, 0.4286, 0.2857),
    48: (0.2500, 0.3750, 0.3750),
    56: (0.2222, 0.3333, 0.4444),
    64: (0.2000, 0.3000, 0.5000),
}


@pytest.fixture(scope="module")
def mr8() -> torch.Tensor:
    """Eq. 4's weights at the eight resolutions, (8, 3)."""
    return anchor_weights(torch.arange(1, 9, dtype=torch.float64) / 16, ANCHORS)


@pytest.mark.parametrize("px", TABLE)
def test_eq_4_gives_the_weights_of_the_method(px: int) -> None:
    weights = anchor_weights(torch.tensor([px / 128], dtype=torch.float64), ANCHORS)
    assert weights.shape == (1, 3)
    assert weights[0].tolist() == pytest.approx(TABLE[px], abs=5e-5)


def test_eq_4_s_weights_sum_to_one_and_lie_between_zero_and_a_half() -> None:
    weights = anchor_weights(torch.linspace(0, 1, 1001), ANCHORS)
    torch.testing.assert_close(weights.sum(1), torch.ones(1001))
    assert (weights >= 0).all()
    assert (weights <= 0.5).all()


@pytest.mark.parametrize("anchors", [(1 / 8, 1 / 2), (1 / 16, 1 / 8, 1 / 4, 1 / 2)])
def test_eq_4_s_weights_sum_to_one_for_any_number_of_anchors(anchors: tuple[float, ...]) -> None:
    weights = anchor_weights(torch.linspace(0, 1, 101), anchors)
    assert weights.shape == (101, len(anchors))
    torch.testing.assert_close(weights.sum(1), torch.ones(101))
    assert (weights >= 0).all()


def test_eq_4_weighs_the_nearer_anchor_more() -> None:
    near, far = anchor_weights(torch.tensor([0.2]), (1 / 8, 1 / 2))[0].tolist()
    assert (near, far) == pytest.approx((0.8, 0.2))


def test_the_cross_entropy_s_floor_and_the_constant_predictor_s_are_those_of_the_method(mr8: torch.Tensor) -> None:
    floor = -(mr8 * mr8.log()).sum(1).mean()
    constant = -(mr8 * mr8.mean(0).log()).sum(1).mean()
    assert round(float(floor), 4) == 1.0347
    assert float(constant) == pytest.approx(1.0895, abs=1e-4)


@pytest.mark.parametrize("anchors", [(), (0.25,), (0.25, 0.25)])
def test_eq_4_refuses_anchors_that_it_cannot_tell_apart(anchors: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="two or more different anchors"):
        anchor_weights(torch.tensor([0.25]), anchors)


@pytest.mark.parametrize("hr_size", [64, 128])
def test_the_regressor_s_maps_have_the_sides_of_the_method(hr_size: int) -> None:
    maps, x = [], torch.empty(1, 3, hr_size, hr_size, device="meta")
    for layer in WeightRegressor(hr_size=hr_size, width=0.25).to("meta").features:
        x = layer(x)
        if isinstance(layer, torch.nn.MaxPool2d):
            maps.append(x.shape[-1])
    assert maps == [27, 13, 6]


def test_the_paper_s_regressor_has_61_103_843_parameters_at_either_size() -> None:
    with torch.device("meta"):
        sizes = {sum(p.numel() for p in WeightRegressor(hr_size=s).parameters()) for s in (64, 128)}
    assert sizes == {61_103_843}


@pytest.mark.parametrize("anchors", [2, 3, 4])
def test_the_regressor_gives_a_row_of_weights_that_sum_to_one(anchors: int) -> None:
    torch.manual_seed(0)
    regressor = WeightRegressor(anchors, 0.125, 64).eval()
    ls = torch.rand(4, 3, 64, 64) * 2 - 1
    with torch.inference_mode():
        weights, logits = regressor(ls), regressor(ls, logits=True)
    assert weights.shape == (4, anchors)
    torch.testing.assert_close(weights.sum(1), torch.ones(4))
    torch.testing.assert_close(weights, logits.softmax(1))
    assert not torch.equal(weights[0], weights[1])


def test_the_regressor_drops_out_only_while_it_trains() -> None:
    torch.manual_seed(0)
    regressor, ls = WeightRegressor(3, 0.125, 64), torch.rand(2, 3, 64, 64)
    with torch.inference_mode():
        assert not torch.equal(regressor.train()(ls), regressor.train()(ls))
        assert torch.equal(regressor.eval()(ls), regressor.eval()(ls))

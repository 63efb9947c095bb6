"""UFVNet-Real: cost, start, damage estimate, what steers it, places in a batch."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from ufvnet.data.damage.chain import KINDS
from ufvnet.models import create
from ufvnet.models.complexity import complexity
from ufvnet.models.inference import channels_last, forward
from ufvnet.models.real import UFVNetReal, WholeFaceBlock

RATE = torch.tensor([0.25, 0.3125])


def image(n: int = 2, side: int = 128) -> Tensor:
    return torch.rand(n, 3, side, side, generator=torch.Generator().manual_seed(0)) * 2 - 1


def trained_like() -> UFVNetReal:
    """A network in which nothing is zero that starts so."""
    torch.manual_seed(0)
    network = UFVNetReal()
    with torch.no_grad():
        for parameter in network.parameters():
            if not parameter.any():
                parameter.normal_(std=0.05)
    return network.eval()


def test_it_costs_less_than_one_gmac_and_its_weights_are_small_enough_to_keep_every_state() -> None:
    total = complexity(create("ufvnet-real"), 128)[-1]
    assert total.macs <= 1.0e9
    assert total.params * 2 <= 8e6


@pytest.mark.parametrize("side", [128, 64])
@pytest.mark.parametrize("preset", ["paper", "tiny"])
def test_it_starts_as_bicubic_and_estimates_weights_and_damage(preset: str, side: int) -> None:
    x = image(side=side)
    output = create("ufvnet-real", preset, side)(x, RATE)
    assert torch.equal(output.sr, x)
    assert torch.allclose(output.weights, output.logits.softmax(1))
    assert output.damage.shape == (2, len(KINDS))


def test_every_part_has_a_say_in_the_image() -> None:
    network = trained_like().train()
    output = network(image(), RATE)
    (output.sr.square().sum() + output.damage.sum()).backward()
    silent = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()]
    assert silent == []


def test_a_whole_face_block_starts_as_the_identity_and_then_mixes_all_places() -> None:
    block, x = WholeFaceBlock(64, 8), torch.randn(2, 64, 64)
    assert torch.equal(block(x), x)
    torch.nn.init.normal_(block.out.weight, std=0.1)
    moved = x.clone()
    moved[:, 0] += torch.randn(64)
    changed = (block(moved) - block(x)).abs().amax(2) > 0
    assert changed.all()


def test_rates_of_rows_and_columns_may_differ() -> None:
    network, x = trained_like(), image(1)
    square = network(x, torch.tensor([0.25])).sr
    assert torch.allclose(network(x, torch.tensor([[0.25, 0.25]])).sr, square, atol=1e-5)
    assert not torch.allclose(network(x, torch.tensor([[0.25, 0.3]])).sr, square, atol=1e-4)


def test_wrong_input_is_refused() -> None:
    with pytest.raises(ValueError, match="takes \\(N, 3, 128, 128\\)"):
        UFVNetReal()(image(side=64), RATE)
    with pytest.raises(ValueError, match="hr_size must be one of"):
        UFVNetReal(hr_size=32)
    with pytest.raises(ValueError, match="needs the down-sampling rate"):
        UFVNetReal()(image())


@pytest.mark.parametrize("count", [2, 5, 16])
@torch.inference_mode()
def test_a_face_comes_out_alike_wherever_it_stands_in_its_batch(count: int) -> None:
    """What makes a resumed run's files equal those of one left alone."""
    network = channels_last(trained_like())
    ls, rate = image(count), torch.rand(count, 2, generator=torch.Generator().manual_seed(1)) + 0.05
    before = forward(network, ls, rate)
    for shift in {1, 3} & set(range(count)):
        after = forward(network, ls.roll(shift, 0), rate.roll(shift, 0))
        assert before.weights is not None
        assert after.weights is not None
        assert torch.equal(before.sr.roll(shift, 0), after.sr)
        assert torch.equal(before.weights.roll(shift, 0), after.weights)

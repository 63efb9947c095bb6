"""UFVNet-Routed: which expert a face passes, training, places in a batch."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from ufvnet.models import create
from ufvnet.models.complexity import complexity
from ufvnet.models.inference import channels_last, forward
from ufvnet.models.routed import Router, UFVNetRouted


def image(n: int, side: int = 128) -> Tensor:
    return torch.rand(n, 3, side, side, generator=torch.Generator().manual_seed(0)) * 2 - 1


def network(preset: str = "tiny", side: int = 128) -> UFVNetRouted:
    """Both experts change the image, each in its own way."""
    torch.manual_seed(0)
    made = create("ufvnet-routed", preset, side)
    assert isinstance(made, UFVNetRouted)
    with torch.no_grad():
        for parameter in made.parameters():
            if not parameter.any():
                parameter.normal_(std=0.05)
    return made.eval()


class Told(Router):
    """A router that says what it is told."""

    def __init__(self, *is_clean: bool):
        super().__init__(1)
        self.is_clean = torch.tensor(is_clean)

    def forward(self, statistics: Tensor) -> tuple[Tensor, Tensor]:
        return self.is_clean.float() - 0.5, torch.zeros(len(statistics), 5)


def test_it_costs_less_than_one_gmac() -> None:
    blocks = {block.name: block for block in complexity(create("ufvnet-routed"), 128)}
    alone = {name: complexity(create(name), 128)[-1] for name in ("ufvnet-lite", "ufvnet-real")}
    assert blocks["total"].params == sum(part.params for part in alone.values()) + blocks["router"].params
    assert blocks["total"].macs == alone["ufvnet-real"].macs + blocks["router"].macs <= 1.0e9


@torch.inference_mode()
def test_each_face_passes_the_expert_that_the_router_chooses() -> None:
    routed, ls, rate = network(), image(5), torch.full((5, 2), 0.25)
    clean, damaged = routed.clean(ls, rate), routed.damaged(ls, rate)
    for choice in [(True,) * 5, (False,) * 5, (True, False, True, False, False)]:
        routed.router = Told(*choice)
        output = routed(ls, rate)
        for i, is_clean in enumerate(choice):
            expert = clean if is_clean else damaged
            assert torch.allclose(output.sr[i], expert.sr[i], atol=1e-5)
            assert torch.allclose(output.weights[i], expert.weights[i], atol=1e-5)
    assert not torch.allclose(clean.sr, damaged.sr, atol=1e-2)


def test_in_training_every_part_has_a_say() -> None:
    routed = network(side=64).train()
    output = routed(image(2, 64), torch.tensor([0.25, 0.5]))
    (output.sr.square().sum() + output.damage.sum() + output.logits[:, 0].sum()).backward()
    unheard = {"damaged.estimate.weight", "damaged.estimate.bias"}  # the router's estimate is the whole's
    assert {n for n, p in routed.named_parameters() if p.grad is None or not p.grad.any()} == unheard


@torch.inference_mode()
def test_a_face_comes_out_alike_whatever_shares_its_batch() -> None:
    routed, ls, rate = channels_last(network()), image(16), torch.full((16, 2), 0.25)
    routed.router = Told(*[i % 3 == 0 for i in range(16)])
    mixed = forward(routed, ls, rate).sr
    routed.router = Told(*[True] * 16)
    assert torch.equal(forward(routed, ls, rate).sr[0], mixed[0])
    routed.router = Told(*[False] * 16)
    assert torch.equal(forward(routed, ls, rate).sr[1], mixed[1])


def test_wrong_input_is_refused() -> None:
    with pytest.raises(ValueError, match="takes \\(N, 3, 128, 128\\)"):
        network()(image(1, 64), torch.tensor([0.25]))
    with pytest.raises(ValueError, match="needs the down-sampling rate"):
        network()(image(1))

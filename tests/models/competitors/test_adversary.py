"""The adversarial term: who learns from what, and the critics' counts."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from ufvnet.models import create
from ufvnet.models.competitors import eipnet, wipa
from ufvnet.models.competitors.adversary import adversarial_loss
from ufvnet.models.supervision import Target, with_critic, without_critic


@pytest.mark.parametrize(("critic", "params"), [(eipnet.Critic, 64_149_889), (wipa.Critic, 4_855_617)])
def test_the_critics_have_their_authors_parameters(critic: Callable[..., nn.Module], params: int) -> None:
    with torch.device("meta"):
        built = critic(64, 128)
        assert built(torch.empty(2, 3, 128, 128)).shape == (2, 1)
        assert critic(16, 64)(torch.empty(2, 3, 64, 64)).shape == (2, 1)
    assert sum(p.numel() for p in built.parameters()) == params


def test_each_learns_from_its_own_loss_alone() -> None:
    critic = nn.Sequential(nn.Flatten(), nn.Linear(12, 1))
    sr, hr = (torch.rand(4, 3, 2, 2, requires_grad=grad) for grad in (True, False))
    logits = critic(sr)
    cross_entropy = nn.functional.binary_cross_entropy_with_logits
    taught = cross_entropy(critic(hr), torch.full((4, 1), 0.9)) + cross_entropy(
        critic(sr.detach()), torch.full((4, 1), 0.1)
    )
    of_critic = torch.autograd.grad(taught, list(critic.parameters()))
    fooled = -0.5 * torch.sigmoid(logits).log().mean()
    (of_sr,) = torch.autograd.grad(fooled, sr)

    loss = adversarial_loss(critic, sr, hr, 0.5, 0.9, 0.1)
    loss.backward()
    torch.testing.assert_close(loss, fooled)
    torch.testing.assert_close(sr.grad, of_sr)
    for parameter, gradient in zip(critic.parameters(), of_critic, strict=True):
        torch.testing.assert_close(parameter.grad, gradient)


@pytest.mark.parametrize("name", ["eipnet-gan", "wipa-gan"])
def test_a_critic_learns_to_tell_and_the_network_is_what_it_is_without_one(name: str) -> None:
    torch.manual_seed(0)
    network = with_critic(create(name, "tiny", 64))
    side = network.lr_size
    fed, hr = torch.rand(4, 3, side, side) * 2 - 1, torch.rand(4, 3, 64, 64) * 2 - 1
    edges = tuple(torch.zeros(4, 1, s, s) for s in (16, 32, 64))
    critic = network.critic
    optimizer = torch.optim.Adam(critic.parameters(), 1e-3)
    scale = 127.5 if name == "eipnet-gan" else 1

    def told() -> float:
        with torch.no_grad():
            return (critic(hr * scale + scale * (scale > 1)) - critic(network(fed).sr * scale)).mean().item()

    before = told()
    for _ in range(5):
        optimizer.zero_grad()
        network.loss(fed, torch.zeros(4), Target(hr, 0.5, edges=edges)).backward()
        optimizer.step()
    assert told() > before + 0.5
    plain = without_critic(network).state_dict()
    assert plain.keys() == create(name.removesuffix("-gan"), "tiny", 64).state_dict().keys()


def test_wipa_s_critic_waits_and_its_word_counts_later() -> None:
    network = with_critic(create("wipa-gan", "tiny", 64))
    assert len(list(network.frozen(0.005))) == len(list(network.critic.parameters()))
    assert not list(network.frozen(0.015))
    plain = create("wipa", "tiny", 64)
    plain.load_state_dict({k: v for k, v in network.state_dict().items() if not k.startswith("critic")})
    fed, hr, rate = torch.zeros(2, 3, 16, 16), torch.ones(2, 3, 64, 64), torch.zeros(2)
    early, late = (network.loss(fed, rate, Target(hr, done)).item() for done in (0.015, 0.5))
    assert early == pytest.approx(plain.loss(fed, rate, Target(hr)).item())
    assert late > early

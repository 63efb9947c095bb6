"""MLGDN: its three changes to DIC, and its values under known weights."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from tests.models.competitors.fill import TOLERANCE, at, deviation, fill, from_unit, p, picture, q, run, to_unit
from ufvnet.models.competitors.dic import COMPONENTS as DIC_COMPONENTS
from ufvnet.models.competitors.dic import DIC
from ufvnet.models.competitors.mlgdn import COMPONENTS, MLGDN, Condition, Modulation
from ufvnet.models.complexity import complexity

TIGHT = TOLERANCE[torch.float64]


def zero(*modules: nn.Module) -> None:
    for parameter in [w for module in modules for w in module.parameters()]:
        torch.nn.init.zeros_(parameter)


def filled(ramp: bool) -> list[Tensor]:
    """Every step's picture, in the network's range (mean subtracted)."""
    network = MLGDN()
    fill(network, 0.5, ramp)
    mean = torch.tensor([0.509, 0.424, 0.378]).double()[:, None, None]  # as float32, as the network holds it
    return [to_unit(sr) - mean for sr in run(network, from_unit(picture(16, 0.5, 0) + mean)).pictures]


def test_every_block_has_its_parameters_and_costs_what_the_page_says() -> None:
    names = ["feedback.condition", "feedback.modulation", "hourglass"]
    with torch.device("meta"):
        network = MLGDN()
    condition, modulation, hourglass, total = complexity(network, 16, names)
    assert (condition.params, modulation.params, hourglass.params) == (13_344, 5_280, 11_999_172)
    assert condition.macs / 3e6 == pytest.approx(13.4, rel=0.01)  # a step, of three
    assert modulation.macs / 3e6 == pytest.approx(5.2, rel=0.01)
    assert total.params == 21_822_473
    assert total.macs / 1e6 == pytest.approx(45_393, rel=0.01)


def test_flat_weights_give_the_known_values() -> None:
    pictures = filled(ramp=False)
    first = [0.012754658, 0.48175105, -0.10723679, -0.45067414, -0.25555802]  # DIC's
    assert deviation(p(pictures[0])[1:], first) < TIGHT
    assert deviation([pictures[1].mean().item(), *at(pictures[1], 0, (63, 64))], [0.011547934, -0.10280545]) < TIGHT
    last = [0.011678007, 0.012869433, 0.48186733, -0.10264977, -0.44626338, -0.25543609]
    assert deviation(p(pictures[3]), last) < TIGHT


def test_the_release_s_shorter_parts_would_give_its_known_values(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its index ranges miss the first landmark of most parts."""
    parts = (
        (*range(37, 42), *range(18, 22)),
        (*range(43, 48), *range(23, 27)),
        range(28, 36),
        range(49, 68),
        range(17),
    )
    monkeypatch.setattr(MLGDN, "components", parts)
    last = filled(ramp=False)[3]
    assert deviation([last.mean().item(), *at(last, 0, (63, 64))], [0.011668748, -0.1026608]) < TIGHT


def test_ramp_weights_give_the_known_values() -> None:
    pictures = filled(ramp=True)
    assert deviation(q(pictures[1]), [0.0115513566, 0.0128688031, 0.344738806, 0.111341365]) < TIGHT
    assert deviation(q(pictures[3]), [0.0116814816, 0.0128703847, 0.344894602, 0.111492972]) < TIGHT


def test_without_modulation_and_with_dic_s_components_it_is_dic() -> None:
    torch.manual_seed(0)
    network, dic = MLGDN(features=4, channels=4, hr_size=64).eval(), DIC(features=4, channels=4, hr_size=64).eval()
    dic.load_state_dict(network.state_dict(), strict=False)
    zero(network.feedback.modulation)
    x = torch.rand(2, 3, 8, 8) * 2 - 1
    with torch.no_grad():
        assert not torch.equal(network(x).sr, dic(x).sr)
        network.components = DIC_COMPONENTS
        assert torch.equal(network(x).sr, dic(x).sr)


def test_a_modulation_of_zeros_is_the_identity() -> None:
    modulation, f = Modulation(48), torch.rand(2, 48, 8, 8)
    zero(modulation)
    with torch.no_grad():
        assert torch.equal(modulation(f, Condition()(torch.rand(2, 5, 8, 8))), f)


def test_components_are_the_full_parts() -> None:
    assert [len(points) for points in COMPONENTS] == [11, 11, 9, 20, 17]
    assert sorted(i for points in COMPONENTS for i in points) == list(range(68))


def test_it_scales_with_the_output_s_side() -> None:
    network = MLGDN(features=4, channels=4, hr_size=64)
    assert run(network, torch.zeros(1, 3, 8, 8)).sr.shape == (1, 3, 64, 64)

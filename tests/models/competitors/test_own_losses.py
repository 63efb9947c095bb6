"""Losses of the competitors, against the formulas of their papers written out here with every weight as a number."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from ufvnet.models.competitors.arbsr import ArbSR
from ufvnet.models.competitors.dic import DIC
from ufvnet.models.competitors.eipnet import EIPNet
from ufvnet.models.competitors.kdfsrnet import KDFSRNet, KDFSRTeacher
from ufvnet.models.competitors.liif import LIIF
from ufvnet.models.competitors.mlgdn import MLGDN
from ufvnet.models.competitors.sisn import SISN
from ufvnet.models.competitors.wipa import WIPA
from ufvnet.models.supervision import Target, with_critic

RATE = torch.ones(2, dtype=torch.float64)


def uniform(*shape: int, seed: int = 0) -> Tensor:
    """float64 in [0, 1)."""
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


HR = uniform(2, 3, 64, 64)
"""In [0, 1]."""
SHOWN = HR * 2 - 1


def lr(side: int) -> Tensor:
    return uniform(2, 3, side, side, seed=1) * 2 - 1


def in_eval(network: Any) -> Any:
    return network.double().eval()


def same(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=0)


def mse(a: Tensor, b: Tensor) -> Tensor:
    return ((a - b) ** 2).mean()


def mae(a: Tensor, b: Tensor) -> Tensor:
    return (a - b).abs().mean()


@pytest.mark.parametrize("network", [DIC, MLGDN])
def test_dic_sums_its_steps_and_takes_a_tenth_of_its_heat_maps(network: type[DIC]) -> None:
    torch.manual_seed(0)
    dic, x = in_eval(network(2, 2, 64)), lr(8)
    landmarks = uniform(2, 68, 2, seed=2) * 63
    across, down = torch.arange(16.0).double(), torch.arange(16.0).double()[:, None]
    column, row = (landmarks[..., i, None, None] / 4 for i in (0, 1))
    heat = torch.exp(-((across - column) ** 2 + (down - row) ** 2) / 2)
    out = dic(x)
    expected = sum(mae((sr + 1) / 2, HR) for sr in out.pictures) + 0.1 * sum(mse(h, heat) for h in out.heat_maps)
    same(dic.loss(x, RATE, Target(SHOWN, landmarks=landmarks)), expected)


def test_dic_without_landmarks_learns_from_pictures_alone() -> None:
    dic, x = in_eval(DIC(2, 2, 64, landmarks=False)), lr(8)
    same(dic.loss(x, RATE, Target(SHOWN)), sum(mae((sr + 1) / 2, HR) for sr in dic(x).pictures))


def yuv(x: Tensor) -> Tensor:
    r, g, b = x.unbind(1)
    y, u = 0.299 * r + 0.587 * g + 0.114 * b, -0.14714119 * r - 0.28886916 * g + 0.43601035 * b
    return torch.stack([y, u, 0.61497538 * r - 0.51496512 * g - 0.10001026 * b], 1)


def test_eipnet_is_that_of_its_authors_divided_by_255_squared() -> None:
    torch.manual_seed(0)
    network, x = with_critic(EIPNet(4, 64, gan=True)), lr(8)
    plain = in_eval(EIPNet(4, 64))
    plain.load_state_dict({k: v for k, v in network.state_dict().items() if not k.startswith("critic.")})
    edges = tuple((uniform(2, 1, side, side, seed=side) > 0.5).double() * 255 for side in (16, 32, 64))
    target = Target(SHOWN, edges=edges)
    out = plain(x)
    sr, hr = (out.sr + 1) * 127.5, HR * 255
    expected = mse(sr, hr) + mse(yuv(sr), yuv(hr)) + 0.3 * sum(mse(a, b) for a, b in zip(out.edges, edges))
    same(plain.loss(x, RATE, target), expected / 255**2)
    in_eval(network)
    fooled = -torch.log(torch.sigmoid(network.critic(sr))).mean()
    same(network.loss(x, RATE, target), (expected + 0.005 * fooled) / 255**2)


def details(hr: Tensor, levels: int) -> list[Tensor]:
    """Haar's horizontal, vertical and diagonal details, colour by colour, level l divided by 2^l."""
    found = []
    for level in range(levels):
        p, q, r, t = hr[..., ::2, ::2], hr[..., ::2, 1::2], hr[..., 1::2, ::2], hr[..., 1::2, 1::2]
        three = torch.stack([p + q - r - t, p - q + r - t, p - q - r + t], 2) / 2
        found.append(three.flatten(1, 2) / 2**level)
        hr = (p + q + r + t) / 2
    return found


@pytest.mark.parametrize("scale", [4, 8])
def test_wipa_weighs_a_coarser_level_a_quarter(scale: int) -> None:
    torch.manual_seed(0)
    network, x = with_critic(WIPA(scale, 4, 64, gan=True)), lr(64 // scale)
    in_eval(network)
    out = network(x)
    levels = len(out.wavelets)
    coarser = sum(mae(w, t) / 4**i for i, (w, t) in enumerate(zip(out.wavelets, details(HR, levels))))
    expected = mse((out.sr + 1) / 2, HR) + coarser / levels
    fooled = -torch.log(torch.sigmoid(network.critic(out.sr))).mean()
    for progress, weight in ((0.5, 0.001), (4 / 200, 0.001), (3.9 / 200, 0.0)):
        same(network.loss(x, RATE, Target(SHOWN, progress)), expected + weight * fooled)


@pytest.mark.parametrize(("epoch", "maps"), [(0, 10), (3, 7), (9, 1), (10, 0), (11, None)])
def test_kdfsrnet_s_teacher_counts_less_every_epoch_and_then_nothing(epoch: int, maps: int | None) -> None:
    torch.manual_seed(0)
    student, x = in_eval(KDFSRNet(4, 64)), lr(64)
    with torch.no_grad():
        taught = in_eval(KDFSRTeacher(4, 64))(x, RATE, uniform(2, 3, 64, 64, seed=3))
    out = student(x)
    expected = mae(out.sr, SHOWN) / 2
    if maps is not None:
        expected = expected + maps * sum(mae(a, b) for a, b in zip(out.maps, taught.maps)) / 9
        expected = expected + 0.1 * mae(out.sr, taught.sr) / 2
    same(student.loss(x, RATE, Target(SHOWN, (epoch + 0.5) / 400, taught=taught)), expected)


def test_kdfsrnet_without_a_teacher_has_an_absolute_error_alone() -> None:
    student, x = in_eval(KDFSRNet(4, 64)), lr(64)
    same(student.loss(x, RATE, Target(SHOWN)), mae((student(x).sr + 1) / 2, HR))


def test_kdfsrnet_s_teacher_learns_with_the_masks_beside_the_image() -> None:
    teacher, x, masks = in_eval(KDFSRTeacher(4, 64)), lr(64), (uniform(2, 3, 64, 64, seed=3) > 0.5).double()
    loss = teacher.loss(x, RATE, Target(SHOWN, masks=masks))
    same(loss, mae((teacher(x, RATE, masks).sr + 1) / 2, HR))
    assert loss != mae((teacher(x).sr + 1) / 2, HR)


def test_liif_has_the_absolute_error_of_its_points() -> None:
    network, x = in_eval(LIIF(4, 1, 8, 64)), lr(8)
    points, colours = uniform(2, 9, 2, seed=4) * 2 - 1, uniform(2, 9, 3, seed=5) * 2 - 1
    extent = torch.full((2, 2), 2 / 40, dtype=torch.float64)
    target = Target(SHOWN, points=points, colours=colours, extent=extent)
    same(network.loss(x, RATE, target), mae(network.query(x, points, extent), colours))


def test_sisn_and_arbsr_have_no_loss_of_their_own() -> None:
    """They learn by the trainer's mean absolute error, as their authors'."""
    assert not any(hasattr(network, "loss") for network in (SISN, ArbSR))

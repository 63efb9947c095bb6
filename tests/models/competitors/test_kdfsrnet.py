"""KDFSRNet: counts of student and teacher, their values under known weights, the maps that they share."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tests.models.competitors.fill import TOLERANCE, at, deviation, fill, from_unit, p, picture, q, run, to_unit
from ufvnet.models.competitors.kdfsrnet import KDFSRNet, KDFSRTeacher, Stage
from ufvnet.models.complexity import complexity

TIGHT = TOLERANCE[torch.float64]
DOWN, UP, SIX, TWO = 147_520, 147_712, 446_616, 148_872
STUDENT = {  # parameters, and millions of multiply-accumulates
    "head": (1_792, 28.3),
    **{f"down.{i}": (DOWN, mmac) for i, mmac in enumerate((604.0, 151.0, 37.8, 9.4))},
    **{f"encoder.{i}": (SIX, mmac) for i, mmac in enumerate((1_811.9, 453.0, 113.3, 28.3))},
    "bottleneck": (SIX, 28.3),
    **{f"up.{i}": (UP, mmac) for i, mmac in enumerate((9.4, 37.8, 151.0, 604.0))},
    **{f"decoder.{i}": (SIX, mmac) for i, mmac in enumerate((113.3, 453.0, 1_811.9, 7_247.8))},
    "tail": (1_731, 28.3),
    "total": (5_203_995, 13_722),
}
TEACHER = STUDENT | {
    "head": (3_520, 56.6),
    **{f"encoder.{i}": (TWO, mmac) for i, mmac in enumerate((604.0, 151.0, 37.8, 9.4))},
    "bottleneck": (TWO, 9.4),
    **{f"decoder.{i}": (TWO, mmac) for i, mmac in enumerate((37.8, 151.0, 604.0, 2_415.9))},
    "total": (2_526_027, 5_710),
}
SIDES = [64, 32, 16, 8, 8, 16, 32, 64, 128]


@pytest.mark.parametrize(("network", "blocks"), [(KDFSRNet, STUDENT), (KDFSRTeacher, TEACHER)])
def test_every_block_has_its_parameters_and_costs_what_the_page_says(
    network: type[KDFSRNet], blocks: dict[str, tuple[int, float]]
) -> None:
    for block in complexity(network(), 128, list(blocks)[:-1]):
        params, mmac = blocks[block.name]
        assert block.params == params, block
        assert block.macs / 1e6 == pytest.approx(mmac, rel=0.01), block


def test_flat_weights_give_the_student_s_known_values() -> None:
    network = KDFSRNet()
    fill(network, 0.5)
    output = run(network, from_unit(picture(128, 0.5, 0.5)))
    expected = [0.54623553, 0.036490848, 0.03649124, 0.86758053, 0.50540091, 0.036490862]
    assert deviation(p(to_unit(output.sr)), expected) < TIGHT
    found = [at(m, 0, (1, 2))[0] for m in output.maps]
    expected = [0.2462786, 0.35757854, 0.42516072, 0.49573273, 0.95578931, 0.49442109, 0.30562867]
    assert deviation(found, [*expected, 0.22177406, 0.18610831]) < TIGHT
    assert [m.shape for m in output.maps] == [(1, 64, side, side) for side in SIDES]


def test_ramp_weights_give_the_student_s_known_values() -> None:
    network = KDFSRNet()
    fill(network, 0.5, ramp=True)
    found = q(to_unit(run(network, from_unit(picture(128, 0.5, 0.5))).sr))
    assert deviation(found, [0.546468142, 0.0365160507, 0.867424291, 0.505136197]) < TIGHT


def taught(ramp: bool, squared: bool = False) -> Tensor:
    """The filled teacher's picture in [0, 1], of parsing = 1 - x or x^2."""
    network, x = KDFSRTeacher(), picture(128, 0.5, 0.5)
    fill(network, 0.5, ramp)
    return to_unit(run(network, from_unit(x), None, x**2 if squared else 1 - x).sr)


def test_flat_weights_give_the_teacher_s_known_values() -> None:
    for squared, expected in ((False, [0.049185965, 0.055150179]), (True, [0.048890956, 0.054646558])):
        sr = taught(ramp=False, squared=squared)
        assert deviation([sr.mean().item(), *at(sr, 0, (63, 64))], expected) < TIGHT


def test_ramp_weights_give_the_teacher_s_known_values() -> None:
    assert deviation(q(taught(ramp=True)), [0.049186699, 0.0177767988, 0.0551219667, 0.0501341146]) < TIGHT


def test_a_teacher_without_a_parsing_map_takes_an_empty_one() -> None:
    torch.manual_seed(0)
    teacher, x = KDFSRTeacher(channels=4, hr_size=64), torch.rand(2, 3, 64, 64) * 2 - 1
    empty = run(teacher, x)
    assert torch.equal(empty.sr, run(teacher, x, None, torch.zeros_like(x)).sr)
    assert not torch.equal(empty.sr, run(teacher, x, None, torch.ones_like(x)).sr)


def test_student_and_teacher_share_the_shapes_of_their_maps_at_every_width() -> None:
    x = torch.zeros(1, 3, 64, 64)
    student, teacher = (run(network(channels=16, hr_size=64), x) for network in (KDFSRNet, KDFSRTeacher))
    assert [m.shape for m in student.maps] == [m.shape for m in teacher.maps]
    assert [m.shape[-1] for m in student.maps] == [side // 2 for side in SIDES]
    assert student.sr.shape == x.shape


def test_a_stage_of_six_has_the_page_s_parameters() -> None:
    assert sum(w.numel() for w in Stage(64, 6).parameters()) == SIX


def test_other_sides_are_refused() -> None:
    with pytest.raises(ValueError, match="the network takes"):
        KDFSRNet(channels=4)(torch.zeros(1, 3, 64, 64))
    with pytest.raises(ValueError, match="hr_size must be one of"):
        KDFSRNet(hr_size=100)

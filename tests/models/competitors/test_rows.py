"""The competitors by name: parameters, multiply-accumulates, kinds, presets, and what `models show` prints."""

from __future__ import annotations

import pytest
import torch

from ufvnet.cli.models import show_model
from ufvnet.models import create, describe
from ufvnet.models.competitors.rows import ROWS
from ufvnet.models.complexity import complexity

COUNTS = {
    "liif": ("SASR", 1_567_299, 22_978), "arbsr": ("SASR", 16_926_127, 4_190), "sisn": ("FR", 8_073_819, 6_304),
    "sisn-x8": ("FR", 8_304_475, 2_224), "wipa": ("FR", 679_040, 1_529), "wipa-x8": ("FR", 1_386_688, 1_708),
    "wipa-x16": ("FR", 2_686_208, 1_791), "wipa-gan": ("FR", 679_040, 1_529), "eipnet-gan": ("OR", 11_912_582, 10_078),
    "eipnet": ("OR", 11_912_582, 10_078), "kdfsrnet": ("OR", 5_203_995, 13_722),
    "kdfsrnet-teacher": ("OR", 2_526_027, 5_710), "dic": ("FR", 21_803_849, 45_337),
    "mlgdn": ("FR", 21_822_473, 45_393), "dic-nolm": ("FR", 9_804_677, None),
}  # fmt: skip
"""Kind, parameters and MMAC of the authors' networks, SASR at 16 px."""


@pytest.mark.parametrize("name", COUNTS)
def test_counts_are_those_of_the_authors_networks(name: str) -> None:
    kind, params, mmac = COUNTS[name]
    with torch.device("meta"):
        network = create(name)
    total = complexity(network, 128)[-1]
    assert (describe(name).kind, total.params) == (kind, params)
    if mmac is not None:
        assert total.macs / 1e6 == pytest.approx(mmac, rel=0.01)


@pytest.mark.parametrize("name", [row.name for row in ROWS if row.name != "sisn-x8"])
def test_presets_are_narrower_and_serve_both_sizes(name: str) -> None:
    with torch.device("meta"):
        paper, tiny = (sum(p.numel() for p in create(name, *how).parameters()) for how in ((), ("tiny", 64)))
    assert 0.9 / 16 < tiny / paper < 1.25 / 16


def test_show_prints_the_kind_the_counts_and_what_the_release_counts(capsys: pytest.CaptureFixture[str]) -> None:
    show_model("sisn")
    printed = capsys.readouterr().out
    assert "sisn (FR), preset paper, 32x32 -> 128x128" in printed
    assert "8,073,819 parameters    6.304 GMAC" in printed
    assert "8,524,379" in printed

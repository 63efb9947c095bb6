"""docs/method.md: its numbers are those that the code has."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from ufvnet.data.damage.named import NAMES, UNSEEN
from ufvnet.models.regressor import anchor_weights
from ufvnet.results.tables.paper import TABLES, PaperTable

LABELS = {
    "bicubic": "Bicubic", "sparnet": "SPARNet", "onesrg": "OneSRG", "twosrg": "TwoSRG", "foursrg": "FourSRG",
    "arbsr": "ArbSR", "kdfsrnet": "KDFSRNet", "eipnet": "EIPNet", "ufvnet": "UFVNet", "ufvnet-nw": "UFVNet-NW",
    "ufvnet-fm": "UFVNet-FM",
}  # fmt: skip


@pytest.fixture(scope="module")
def method(repo: Path) -> str:
    return (repo / "docs" / "method.md").read_text()


@pytest.mark.parametrize("table", TABLES, ids=lambda t: f"table {t.number}")
def test_the_method_page_has_the_papers_numbers(method: str, table: PaperTable) -> None:
    lines = [line for line in method.splitlines() if line.startswith("|")]
    for name, numbers in table.rows.items():
        label = LABELS.get(name, name.upper())
        printed = " | ".join(f"{psnr:.2f} / {ssim:.4f}".replace("/ 0.", "/ .") for psnr, ssim in numbers)
        assert any(re.match(rf"\| ([\w-]+ = )?{re.escape(label)}\b", line) and printed in line for line in lines), name


def test_the_method_page_has_the_weights_of_eq_4(method: str) -> None:
    rates = torch.arange(1, 9) / 16
    weights = anchor_weights(rates, [1 / 8, 1 / 4, 1 / 2])
    for i in range(3):
        row = next(line for line in method.splitlines() if line.startswith(f"| w{i + 1} "))
        assert [float(v) for v in re.findall(r"\.\d{4}", row)] == pytest.approx(weights[:, i].tolist(), abs=5e-5)


def test_the_method_page_names_every_damage(method: str) -> None:
    section = method[method.index("## 8. Damage") :]
    names = {n for line in re.findall(r"^\| (`.*?`) \|", section, re.M) for n in re.findall(r"`([\w-]+)`", line)}
    assert names == {*NAMES, *UNSEEN, "crop"}

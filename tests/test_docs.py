"""The pages below docs/: numbers and modules that they name are those of the code."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from ufvnet.config.lr_images import NAMES, UNSEEN
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
    assert names == {*NAMES, *UNSEEN}


@pytest.fixture(scope="module")
def architecture(repo: Path) -> str:
    return (repo / "docs" / "architecture.md").read_text()


ROOMS = ("cli", "config", "restore", "results", "training", "metrics", "models", "data", "faces", "imaging")


def test_every_module_that_the_architecture_page_names_is_there(repo: Path, architecture: str) -> None:
    modules = {name for name in re.findall(r"`([a-z_0-9/]+)`", architecture) if name.split("/")[0] in ROOMS}
    assert len(modules) > 40
    for name in modules:
        assert (repo / "ufvnet" / name).is_dir() or (repo / "ufvnet" / f"{name}.py").is_file(), name


def test_every_room_of_the_library_is_on_the_architecture_page(repo: Path, architecture: str) -> None:
    for folder in (repo / "ufvnet").iterdir():
        if (folder / "__init__.py").is_file():
            assert re.search(rf"^  {folder.name}/ ", architecture, re.MULTILINE), folder.name


@pytest.mark.parametrize("way", ["in", "out"])
def test_a_picture_passes_each_module_at_most_once_on_its_way(architecture: str, way: str) -> None:
    table = architecture.partition(f"| way {way} |")[2].partition("\n\n")[0]
    modules = re.findall(r"`((?:restore|faces)/[a-z_/]+)`", table)
    assert len(modules) > 5
    assert len(modules) == len(set(modules))

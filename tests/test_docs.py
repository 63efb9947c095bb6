"""The pages below docs/: numbers, modules and links are right, and docs/reference/ says what the code says."""

from __future__ import annotations

import importlib.util
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import yaml

from benchmarks import leaderboard
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


def test_the_reference_pages_say_what_the_code_says(repo: Path) -> None:
    spec = importlib.util.spec_from_file_location("make_reference", repo / "docs" / "make_reference.py")
    assert spec is not None
    assert spec.loader is not None
    make_reference = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(make_reference)
    for name, text in make_reference.pages().items():
        file = repo / "docs" / "reference" / name
        assert file.read_text() == text, f"{name} is of an earlier state of the code: make reference"
        for line in text.splitlines():
            assert not line.startswith("|") or not line.endswith("|  |"), f"{name}: nothing says what this is: {line}"


def test_the_results_page_collects_what_its_files_say(repo: Path) -> None:
    text = leaderboard.PAGE.read_text()
    costs = text[text.index("## Cost") :].rstrip().splitlines()[-len(leaderboard.MODELS) :]  # counted by test_networks
    assert text == leaderboard.page(costs), "make reference"
    for model in leaderboard.MODELS:
        for field, file in model.files:
            assert getattr(model, field) in (repo / file).read_text(), f"{file}: {model.name}, {field}"


def _pages(repo: Path) -> list[Path]:
    folders = ("", "docs", "docs/reference", "results", "benchmarks", "ufvnet/weights/ufvnet-lite")
    return [page for folder in folders for page in sorted((repo / folder).glob("*.md"))]


def _without_code(text: str) -> str:
    return re.sub(r"`[^`\n]+`", "", re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE))


def _anchors(page: Path) -> Iterator[str]:
    """The anchors that GitHub and the docs site give to headings."""
    for heading in re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE):
        yield re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def test_every_link_to_a_file_or_a_heading_leads_there(repo: Path) -> None:
    links = 0
    for page in _pages(repo):
        for target in re.findall(r"\]\(([^)\s]+)\)", _without_code(page.read_text())):
            if target.startswith(("http://", "https://")):
                continue
            name, _, anchor = target.partition("#")
            file = page.parent / name if name else page
            assert file.exists(), f"{page.relative_to(repo)}: {target}"
            assert not anchor or anchor in _anchors(file), f"{page.relative_to(repo)}: {target}"
            links += 1
    assert links > 40


def test_citation_issue_forms_and_hooks_are_what_their_readers_expect(repo: Path) -> None:
    citation = yaml.safe_load((repo / "CITATION.cff").read_text())
    assert citation["preferred-citation"]["url"].endswith("2306.03380")
    assert citation["version"] == tomllib.loads((repo / "pyproject.toml").read_text())["project"]["version"]
    forms = [path for path in (repo / ".github" / "ISSUE_TEMPLATE").glob("*.yml") if path.stem != "config"]
    assert len(forms) == 3
    for path in forms:
        form = yaml.safe_load(path.read_text())
        assert {"name", "description", "body"} <= form.keys()
        assert len({part["id"] for part in form["body"]}) == len(form["body"])
    (hooks,) = yaml.safe_load((repo / ".pre-commit-config.yaml").read_text())["repos"]
    lint = (repo / "Makefile").read_text()
    for hook in hooks["hooks"]:
        assert hook["entry"].split()[0].removeprefix(".venv/bin/") in lint

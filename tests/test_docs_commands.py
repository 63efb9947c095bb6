"""Commands and examples of README, CONTRIBUTING and docs/ are run; those marked ``not run`` are parsed and checked."""

from __future__ import annotations

import contextlib
import re
import shlex
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import typer
import yaml
from PIL import Image
from typer.testing import CliRunner

from ufvnet import data, models
from ufvnet.cli import commands as cli
from ufvnet.config import BuildConfig, EvaluateConfig, ExperimentConfig, TrainConfig, load
from ufvnet.data.sample import jittered_photos
from ufvnet.extras import EXTRAS
from ufvnet.models import registry
from ufvnet.restore import supervise
from ufvnet.restore.console import restore_here

REPO = Path(__file__).parents[1]
PAGES = ["README.md", "CONTRIBUTING.md", *(f"docs/{page.name}" for page in sorted((REPO / "docs").glob("*.md")))]
CONFIGS = {"build": BuildConfig, "train": TrainConfig, "evaluate": EvaluateConfig, "reproduce": ExperimentConfig}
ADMINISTRATION = ("useradd", "install", "runuser", "systemctl", "journalctl")
BLOCK = re.compile(r"(?:<!-- not run: (.+?) -->\n)?```(console|python|yaml)\n(.*?)```", re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A block of a page; ``marked``: why it is not run."""

    language: str
    text: str
    marked: str

    def commands(self) -> Iterator[list[str]]:
        """The words of each line, without comments and the variables that are set before a command."""
        for line in self.text.splitlines():
            words = shlex.split(line, comments=True)
            while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
                del words[0]
            if words:
                yield words


def _blocks(page: str) -> list[Block]:
    return [Block(language, text, mark or "") for mark, language, text in BLOCK.findall((REPO / page).read_text())]


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory, built: Path) -> Path:
    """The files that the examples name: small faces, photos, a table, a built dataset."""
    folder = tmp_path_factory.mktemp("material")
    faces = next(data.open(built).view("MR3", "test").column("hr"))
    face = Image.fromarray(faces)
    for name, side in (
        ("small-face.png", 24),
        ("small.png", 16),
        ("b.png", 20),
        ("a/x.jpg", 28),
        ("small-faces/sub/c.png", 12),
    ):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        face.resize((side, side)).save(folder / name)
    pd.DataFrame({"image": [(folder / "b.png").read_bytes()]}).to_parquet(folder / "faces.parquet")
    (photo,) = jittered_photos(folder / "photos", 1).iterdir()
    small = Image.open(photo).resize((80, 96))
    for name in ("group.jpg", "photos/photo-000.jpg"):
        small.save(folder / name)
    shutil.copytree(built, folder / "data" / "mine")
    return folder


@pytest.fixture
def workplace(material: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the material, which is the working directory; restoring happens in this process."""
    shutil.copytree(material, tmp_path / "work")
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setattr(supervise, "supervise", lambda config, *_: restore_here(config, None))
    monkeypatch.setattr("ufvnet.cli.restore.leave_on_signals", lambda _: None)
    monkeypatch.setattr(registry, "_REGISTRY", dict(registry._REGISTRY))
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "work"


@pytest.fixture(scope="module")
def done() -> list[list[str]]:
    """Commands that were run for an earlier page."""
    return []


def test_the_pages_have_commands_and_examples() -> None:
    kinds = [(block.language, bool(block.marked)) for page in PAGES for block in _blocks(page)]
    for language in ("console", "python"):
        assert kinds.count((language, False)) >= 5


@pytest.mark.parametrize("page", [page for page in PAGES if any(b.language == "console" for b in _blocks(page))])
def test_every_command_of_a_page_runs_or_is_one_that_would(page: str, workplace: Path, done: list[list[str]]) -> None:
    for block in _blocks(page):
        for words in block.commands() if block.language == "console" else ():
            _check(words)
            if words[0] == "ufvnet" and not block.marked and words not in done:
                done.append(words)
                result = CliRunner().invoke(cli.app, words[1:])
                assert result.exit_code == 0, f"{words}: {result.output} {result.exception}"


def _check(words: list[str]) -> None:
    """A command that is not run: its program, options, configuration, extras, target or files of deploy/ exist."""
    program, *arguments = words
    if program == "ufvnet":
        _check_ufvnet(arguments)
    elif program == "make":
        assert f"\n{arguments[0]}:" in (REPO / "Makefile").read_text(), words
    elif program == "pip":
        extras = re.findall(r"\[(.+)\]", " ".join(arguments))
        assert {*",".join(extras).split(",")} <= {*EXTRAS, "docs", "dev", ""}, words
    else:
        assert program in {"export", "prefect", "curl", "ffmpeg", "mkdir", *ADMINISTRATION}, words
        files = [word.rpartition("=")[2] for word in words if "deploy/" in word]
        assert all(any(REPO.glob(file)) for file in files), words
        units = [word.partition("@")[0] for word in words if word.startswith("ufvnet-")]
        assert all(any(REPO.glob(f"deploy/systemd/{unit}*.service")) for unit in units), words


def _check_ufvnet(arguments: list[str]) -> None:
    command: Any = typer.main.get_command(cli.app)
    while hasattr(command, "commands"):
        name, *arguments = arguments
        command = command.commands[name]
    values = command.make_context(name, list(arguments)).params
    if name in CONFIGS:
        with contextlib.chdir(REPO):  # experiments name their parts relative to it
            load(CONFIGS[name], values["config"], [*values["overrides"], *_roots(name, values)])


def _roots(name: str, values: dict[str, Any]) -> list[str]:
    """configs/datasets/folder.yaml leaves its root to the command line, which ``--verify`` does not need."""
    return ["source.root=photos"] if name == "build" and values["verify"] else []


@pytest.mark.parametrize("page", [page for page in PAGES if any(b.language == "python" for b in _blocks(page))])
def test_the_python_examples_of_a_page_run(page: str, workplace: Path) -> None:
    for block in _blocks(page):
        if block.language == "python" and not block.marked:
            names: dict[str, Any] = {"__name__": "example"}
            exec(compile(block.text, page, "exec"), names)
            if page == "docs/evaluation.md":
                assert names["restore"](np.zeros((2, 8, 8, 3), np.uint8), 64).shape == (2, 64, 64, 3)
            if page == "docs/models.md":
                output = models.create("mine", "tiny", 64)(torch.zeros(1, 3, 64, 64), torch.tensor([0.5]))
                assert output.sr.shape == (1, 3, 64, 64)


@pytest.mark.parametrize("page", [page for page in PAGES if any(b.language == "yaml" for b in _blocks(page))])
def test_the_configurations_of_a_page_are_valid(page: str) -> None:
    for block in _blocks(page):
        if block.language == "yaml":
            values = yaml.safe_load(block.text)
            if "models" in values:
                load(EvaluateConfig, {"name": "e", "datasets": [{"name": "A", "path": "data/mine"}]} | values)
            else:
                load(TrainConfig, values)

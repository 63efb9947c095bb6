"""The command line: help, exit codes, messages."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from ufvnet.data.sample import jittered_photos
from ufvnet.faces.detect import find_faces

ROOT = Path(__file__).parents[1]


def ufvnet(*arguments: str | Path, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "ufvnet.cli", *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    "command", ["demo", "build", "train", "evaluate", "reproduce", "restore", "models", "doctor", "run"]
)
def test_help_names_every_command(command: str) -> None:
    assert command in ufvnet("--help").stdout


def test_models_show_prints_the_paper_s_sizes() -> None:
    shown = ufvnet("models", "show", "ufvnet", "--preset", "paper").stdout
    for number in ("71,595,590", "12.117 GMAC", "61,103,843", "0.666 GMAC", "5,242,211", "6.876 GMAC"):
        assert number in shown
    shown = ufvnet("models", "show", "onesrg", "--preset", "paper").stdout
    assert "5,242,211" in shown
    assert "6.876 GMAC" in shown


def test_models_list_names_every_row_of_table_iv() -> None:
    listed = {line.split()[0] for line in ufvnet("models", "list").stdout.splitlines()}
    assert {"bicubic", "sparnet", "onesrg", "twosrg", "ufvnet", "foursrg", "ufvnet-nw", "ufvnet-fm"} <= listed


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("models", "show", "nosuch"), "no model is named 'nosuch'"),
        (("models", "show", "ufvnet", "--hr-size", "100"), "hr_size must be one of (64, 128)"),
        (("build", "nowhere.yaml"), "nowhere.yaml: cannot be read"),
        (("build", "configs/datasets/aaf.yaml", "-s", "hr_size=100"), "hr_size = 100"),
        (("train", "configs/recipes/ufvnet-paper.yaml", "-s", "recipe.lr=-1"), "recipe.lr = -1"),
        (("train", "configs/recipes/ufvnet-paper.yaml", "-s", "recip.lr=1"), "recip"),
        (("restore", "nowhere", "out", "--model", "nomodel"), "no model folder there"),
        (
            ("build", "configs/datasets/celeba.yaml", "-s", "source.root=nowhere"),
            "source.root = nowhere: no such folder",
        ),
        (("train", "configs/recipes/onesrg-tiny.yaml", "-s", "dataset=nowhere"), "no built dataset there"),
        (("evaluate", "configs/evaluations/tiny-congress.yaml", "-s", "models=['nowhere']"), "no model folder there"),
        (
            (
                "reproduce",
                "configs/experiments/tiny-aaf.yaml",
                "-s",
                "evaluate={name: e, models: [no.module:f], datasets: [{name: a, path: data/a}]}",
            ),
            "no.module:f: cannot be imported",
        ),
        (
            (
                "reproduce",
                "configs/experiments/tiny-aaf.yaml",
                "-s",
                "evaluate={name: e, datasets: [{name: a, path: data/a}], cluster: {address: 'nonsense://host'}}",
            ),
            "cluster.address = nonsense://host: no scheduler answers",
        ),
        (("demo", "--photos", "nowhere"), "photos = nowhere: no such folder"),
    ],
)
def test_wrong_use_is_one_message_and_exit_code_2(arguments: tuple[str, ...], message: str) -> None:
    done = ufvnet(*arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert "Flow run" not in done.stdout + done.stderr  # Prefect was not even started


def test_doctor_finds_everything_in_a_working_installation() -> None:
    done = ufvnet("doctor")
    assert done.returncode == 0, done.stdout
    assert "torch" in done.stdout
    assert "NO " not in done.stdout


def test_the_demo_s_sample_photos_hold_a_face_that_dlib_finds(tmp_path: Path) -> None:
    from PIL import Image

    folder = jittered_photos(tmp_path, count=6, seed=3)
    photos = sorted(folder.iterdir())
    assert len(photos) == 6
    assert all(len(find_faces(Image.open(p).convert("RGB"))) >= 1 for p in photos)

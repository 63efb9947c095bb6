"""The wheel with base dependencies alone: what works, and what the other commands say."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ufvnet.children import python
from ufvnet.extras import EXTRAS

HOOK = """
import sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {modules}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Missing())
"""

PIPELINE = {
    "build": ("missing.yaml",),
    "train": ("missing.yaml",),
    "evaluate": ("missing.yaml",),
    "reproduce": ("missing.yaml",),
    "demo": (),
    "run": ("build-datasets",),
}


@pytest.fixture(scope="module")
def wheel(repo: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, unpacked as pip would."""
    pytest.importorskip("hatchling", reason="hatchling, which builds the wheel, is not installed")
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)]
    subprocess.run(command, cwd=repo, capture_output=True, check=True)
    (file,) = folder.glob("*.whl")
    zipfile.ZipFile(file).extractall(folder / "site")
    return folder / "site"


def run(
    wheel: Path, folder: Path, *arguments: str | Path, without: str = "pipeline"
) -> subprocess.CompletedProcess[str]:
    """A command of the wheel where the packages of an extra cannot be imported, and no checkout is near."""
    hook = folder / "hook" / "sitecustomize.py"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(HOOK.format(modules=set(EXTRAS[without].values())))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(hook.parent), str(wheel)])}
    command = python("-m", "ufvnet.cli", *map(str, arguments))
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def test_the_wheel_holds_the_library_its_data_and_its_types(wheel: Path) -> None:
    assert {path.name for path in wheel.iterdir()} - {"ufvnet"} == {"ufvnet-0.1.0.dist-info"}
    for file in ("py.typed", "restore/server/page.html", "weights/ufvnet-lite/model.safetensors"):
        assert (wheel / "ufvnet" / file).is_file()


def test_the_base_restores_a_folder(wheel: Path, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (20, 20, 3), dtype=np.uint8)
    (tmp_path / "small").mkdir()
    Image.fromarray(noise).save(tmp_path / "small" / "face.png")
    done = run(wheel, tmp_path, "restore", "small", "restored", "--mode", "aligned")
    assert done.returncode == 0, done.stderr
    assert Image.open(tmp_path / "restored" / "face.png").size == (128, 128)


def test_the_base_lists_and_shows_models_and_datasets(wheel: Path, tmp_path: Path, built: Path) -> None:
    assert "ufvnet-lite" in run(wheel, tmp_path, "models", "list").stdout
    assert "GMAC" in run(wheel, tmp_path, "models", "show", "ufvnet-lite", "--preset", "tiny").stdout
    assert "contact sheet" in run(wheel, tmp_path, "data", "show", built, "--sheet", "sheet.png").stdout
    assert (tmp_path / "sheet.png").is_file()


def test_the_doctor_names_the_extras_that_are_missing(wheel: Path, tmp_path: Path) -> None:
    done = run(wheel, tmp_path, "doctor")
    assert done.returncode == 0, done.stdout
    assert "--  extra pipeline: without accelerate, dask, distributed, jinja2" in done.stdout
    assert 'pip install "ufvnet[pipeline]"' in done.stdout
    assert "--  extra serve: without jinja2" in done.stdout
    assert "ok  extra onnx: onnx" in done.stdout
    assert "Prefect server" not in done.stdout


@pytest.mark.parametrize("command", PIPELINE)
def test_a_pipeline_command_of_the_wheel_says_that_it_needs_the_checkout(
    wheel: Path, tmp_path: Path, command: str
) -> None:
    done = run(wheel, tmp_path, command, *PIPELINE[command])
    assert done.returncode == 2
    assert "this command runs in a checkout of the repository" in done.stderr
    assert 'needs pip install "ufvnet[pipeline]"' in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "extra", "message"),
    [
        (
            ("build", "missing.yaml"),
            "pipeline",
            "this command: accelerate, dask, distributed, jinja2, matplotlib, numba",
        ),
        (("restore", ".", "out", "--cluster", "1"), "pipeline", "this command: accelerate, dask"),
        (("demo",), "demo", "the sample photo: scikit-image is not installed"),
        (("serve",), "serve", "serve: jinja2, starlette, uvicorn are not installed"),
        (("models", "export", "ufvnet-lite"), "onnx", "format = onnx: onnx, onnxruntime, onnxscript are not installed"),
        (("restore", ".", "out", "--backend", "onnx"), "onnx", "backend = onnx: onnxruntime is not installed"),
    ],
)
def test_a_command_whose_extra_is_missing_says_what_to_install(
    repo: Path, tmp_path: Path, arguments: tuple[str, ...], extra: str, message: str
) -> None:
    (tmp_path / "face.png").write_bytes(b"")
    done = run(repo, tmp_path, *arguments, without=extra)
    assert done.returncode == 2, done.stderr
    assert message in done.stderr
    assert f'; pip install "ufvnet[{extra}]" brings it\n' in done.stderr
    assert done.stderr.count("\n") == 1

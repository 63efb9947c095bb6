"""Batches that a device makes are those of the loader, byte for byte."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from ufvnet import data
from ufvnet.config import Damage, TrainConfig, load
from ufvnet.data.dataset import FaceArrays
from ufvnet.models.feed import Feed
from ufvnet.models.supervision import Needs
from ufvnet.training import engine
from ufvnet.training.batches import Batch, TrainingLoader
from ufvnet.training.curves import read_log
from ufvnet.training.device_batches import DeviceLoader, can_make
from ufvnet.training.engine import train
from ufvnet.training.stages import resolve_parts

MR8 = tuple(range(1, 9))
WAYS: dict[str, dict[str, Any]] = {
    "scales, mirrored, coloured": {"colour": 0.2},
    "sizes in between": {"between": 0.75},
    "damaged and cut anew": {"between": 0.5, "recut": 0.5, "damage": Damage(clean=0.2, grey=0.3)},
    "reduced I_LS": {"feed": Feed("OR", 32)},
    "a resolution of its own": {"ks": (4,), "feed": Feed("FR", 16), "needs": Needs(landmarks=True, masks=True)},
    "LR images as they are": {"ks": (2, 4, 8), "feed": Feed("SASR", multiple=2)},
    "every second face": {"rank": 1, "world": 2, "between": 0.5},
}


@pytest.fixture(scope="module")
def faces(built: Path) -> FaceArrays:
    dataset = data.open(built)
    return dataset.view("MR8", "train").arrays(dataset.photos, landmarks=True)


def same(a: Batch, b: Batch) -> bool:
    return all(x is y is None or torch.equal(x, y) for x, y in zip(a, b, strict=True))


@pytest.mark.parametrize("way", WAYS)
def test_a_device_makes_the_loader_s_bytes(faces: FaceArrays, way: str) -> None:
    loader = TrainingLoader(faces, **({"ks": MR8, "batch_size": 10, "seed": 3} | WAYS[way]))
    assert can_make(loader)
    made = [*DeviceLoader(loader, torch.device("cpu")).batches(1, 4)]
    assert len(made) == 3
    assert all(same(batch, loader[step]) for step, batch in enumerate(made, start=1))
    assert not same(made[0], made[1])


def test_loader_processes_can_prepare_the_drafts(faces: FaceArrays) -> None:
    loader = TrainingLoader(faces, MR8, 4, 1, between=0.75, damage=Damage(clean=0))
    batches = DeviceLoader(loader, torch.device("cpu")).batches(0, 3, workers=1)
    assert all(same(batch, loader[step]) for step, batch in enumerate(batches))


@pytest.mark.parametrize(
    "settings",
    [
        {"needs": Needs(points=5)}, {"needs": Needs(edges=True)},
        {"feed": Feed("FR", 16)}, {"feed": Feed("SASR", multiple=8)},
    ],
    ids=["points", "edges", "resized to a resolution", "resized to multiples"],
)  # fmt: skip
def test_what_a_device_cannot_make_exactly_is_left_to_the_processor(faces: FaceArrays, settings: Any) -> None:
    assert not can_make(TrainingLoader(faces, MR8, 4, 0, **settings))


def test_the_trainer_takes_a_device_s_batches_and_ends_with_the_same_bits(
    built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a processor the trainer does not do so by itself; curves tell how long it waited for them."""

    def trained(folder: Path) -> Path:
        recipe = {"batch_size": 4, "steps": 2, "validation_faces": 1, "threads": 1, "between": 0.5}
        settings = {"name": "m", "dataset": built, "model": "onesrg", "preset": "tiny", "device": "cpu"}
        places = {"out": folder / "models", "runs": folder / "runs", "recipe": recipe}
        return train(resolve_parts(load(TrainConfig, settings | places))[1])

    by_loader = trained(tmp_path / "a")
    monkeypatch.setattr(engine._Run, "_batches", lambda run: DeviceLoader(run.loader, run.accelerator.device))
    by_device = trained(tmp_path / "b")
    assert (by_loader / "model.safetensors").read_bytes() == (by_device / "model.safetensors").read_bytes()
    assert all(0 < read_log(folder)[-1]["waiting"] < 1 for folder in (by_loader, by_device))

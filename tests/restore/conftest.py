"""Models and small faces to restore."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from PIL import Image

from ufvnet import data
from ufvnet.files import write_json
from ufvnet.models import create
from ufvnet.models.store import sealed_card


def _put_model(folder: Path, name: str, hr_size: int, lively: bool = False) -> Path:
    from safetensors.torch import save_model

    torch.manual_seed(0)
    network = create(name, "tiny", hr_size)
    if lively:
        torch.nn.init.normal_(network.head.weight, std=0.02)
    folder.mkdir(parents=True, exist_ok=True)
    save_model(network, str(folder / "model.safetensors"))
    card = {"model": name, "preset": "tiny", "hr_size": hr_size, "fingerprint": folder.name}
    write_json(folder / "model.json", sealed_card(card, folder))
    return folder


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """ufvnet, tiny, 64 pixels, untrained."""
    return _put_model(tmp_path_factory.mktemp("model") / "ufvnet64", "ufvnet", 64)


@pytest.fixture(scope="session")
def lite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """ufvnet-lite, tiny, 128 pixels, that changes what it is given."""
    return _put_model(tmp_path_factory.mktemp("model") / "lite128", "ufvnet-lite", 128, lively=True)


@pytest.fixture
def crops(built: Path, tmp_path: Path) -> Path:
    """Small faces of many kinds, and files that are none."""
    folder = tmp_path / "in"
    (folder / "below").mkdir(parents=True)
    arrays = data.open(built).view("MR8", "train").arrays()
    lr = arrays.lr
    faces = [Image.fromarray(lr[k][i % len(lr[k])]) for i, k in enumerate((1, 2, 5, 8))]
    faces[0].save(folder / "a.png")
    faces[1].save(folder / "a.jpg", quality=95)
    faces[1].save(folder / "A.webp", lossless=True)
    faces[2].convert("L").save(folder / "grey.png")
    faces[3].resize((20, 28)).save(folder / "oblong.webp", lossless=True)
    faces[3].convert("CMYK").save(folder / "cmyk.tif")
    faces[3].save(folder / "below" / "a.png")
    Image.fromarray(arrays.hr[0]).resize((100, 90)).save(folder / "large.jpg")
    Image.new("RGB", (1, 1)).save(folder / "dot.png")
    (folder / "text.jpg").write_text("this is no picture")
    (folder / "notes.txt").write_text("nor is this")
    (folder / "empty.png").touch()
    (folder / "nowhere.png").symlink_to("gone.png")
    (folder / "below" / "loop").symlink_to(folder)
    os.mkfifo(folder / "pipe.png")
    (folder / "cut.jpg").write_bytes((folder / "large.jpg").read_bytes()[:300])
    return folder


@pytest.fixture
def few(tmp_path: Path) -> Path:
    """Three small pictures, one of them in a folder below."""
    folder = tmp_path / "in"
    (folder / "below").mkdir(parents=True)
    for number, name in enumerate(("a.png", "b.png", "below/c.png")):
        Image.new("RGB", (20, 20 + number), (200, 60 * number, 90)).save(folder / name)
    return folder

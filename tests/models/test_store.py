"""Model folders: in half precision, by name, and what is not one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_model

from ufvnet.config import ConfigError
from ufvnet.models import create, load, store


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "trained"
    folder.mkdir()
    network = create("ufvnet-lite", "tiny", 64)
    torch.nn.init.normal_(network.get_submodule("head").get_parameter("weight"), std=0.01)
    save_model(network, str(folder / store.WEIGHTS))
    card = {"model": "ufvnet-lite", "preset": "tiny", "hr_size": 64, "anchors": [2, 4, 8], "fingerprint": "f"}
    (folder / store.CARD).write_text(json.dumps(card))
    (folder / "README.md").write_text("# card")
    return folder


def test_half_precision_is_half_as_large_and_loads_as_any_other(folder: Path, tmp_path: Path) -> None:
    half = store.save_half(folder, tmp_path / "half")
    sizes = [(f / store.WEIGHTS).stat().st_size for f in (folder, half)]
    assert sizes[1] < 0.6 * sizes[0]
    x = torch.rand(2, 3, 64, 64) * 2 - 1
    with torch.inference_mode():
        whole, rounded = (load(f)[0](x, torch.tensor([0.25, 0.5])).sr for f in (folder, half))
    assert rounded.dtype == torch.float32
    assert torch.allclose(whole, rounded, atol=1e-3)
    assert not torch.equal(whole, x)


def test_a_name_is_what_ships_unless_a_folder_has_it(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "SHIPPED", tmp_path)
    monkeypatch.chdir(tmp_path.parent)
    assert store.shipped() == ["trained"]
    assert store.find("trained") == folder
    assert store.read_card(Path("trained"))["fingerprint"] == "f"
    own = tmp_path / "elsewhere" / "trained"
    own.mkdir(parents=True)
    monkeypatch.chdir(own.parent)
    assert store.find("trained") == folder  # a folder that happens to have the name, but holds no model
    (own / store.CARD).write_text("{}")
    assert store.find("trained") == Path("trained")


def test_what_is_no_model_is_refused_with_the_names_that_ship(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "SHIPPED", tmp_path)
    with pytest.raises(ConfigError, match=r"no model folder there .*by name: trained"):
        load(tmp_path / "nowhere")

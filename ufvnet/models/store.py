"""Model folders: ``model.safetensors`` + ``model.json`` (DESIGN.md, Storage); they load without pickle."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from torch import nn

from ufvnet.config import ConfigError, fingerprint
from ufvnet.files import write_json

from .registry import create

WEIGHTS, CARD = "model.safetensors", "model.json"
SHIPPED = Path(__file__).parents[1] / "weights"
"""Model folders that come with the package, by name."""


def find(ref: Path | str) -> Path:
    """The folder of a model: ``ref`` itself, or what ships under that name where no model lies in such a folder."""
    folder = Path(ref)
    return SHIPPED / folder if not (folder / CARD).is_file() and (SHIPPED / folder / CARD).is_file() else folder


def shipped() -> list[str]:
    """Names of the models that come with the package."""
    return sorted(p.parent.name for p in SHIPPED.glob(f"*/{CARD}"))


def read_card(folder: Path) -> dict[str, Any]:
    """The model.json of a model folder.

    Raises:
        ConfigError: the folder holds no model.
    """
    try:
        return json.loads((find(folder) / CARD).read_text())
    except (OSError, json.JSONDecodeError) as error:
        names = f"; by name: {', '.join(shipped())}" if shipped() else ""
        raise ConfigError(f"model = {folder}: no model folder there (it holds {CARD} and {WEIGHTS}){names}") from error


def load_weights(network: nn.Module, folder: Path) -> None:
    """Fill a network from a folder's model.safetensors, whatever precision it is in.

    Raises:
        ConfigError: the weights are missing or of another architecture.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_model

    try:
        load_model(network, find(folder) / WEIGHTS)
    except (OSError, SafetensorError, RuntimeError) as error:
        raise ConfigError(f"{folder / WEIGHTS}: cannot be loaded ({error})") from error


def save_half(folder: Path, out: Path) -> Path:
    """A copy of a model folder with its weights in half precision, which is half as large and loads as any other."""
    from safetensors.torch import load_file, save_file

    tensors = load_file(folder / WEIGHTS)
    half = {name: t.half() if t.is_floating_point() else t for name, t in tensors.items()}
    out.mkdir(parents=True, exist_ok=True)
    save_file(half, out / WEIGHTS)
    shutil.copyfile(folder / "README.md", out / "README.md")
    card = read_card(folder)
    write_json(out / CARD, card | {"precision": "half", "fingerprint": fingerprint(card["fingerprint"], "half")})
    return out


def load(folder: Path | str) -> tuple[nn.Module, dict[str, Any]]:
    """A trained network in evaluation mode and its card.

    Raises:
        ConfigError: no such model, or weights that do not fit.
    """
    folder = Path(folder)
    card = read_card(folder)
    network = create(card["model"], card["preset"], card["hr_size"], card.get("anchors"))
    load_weights(network, folder)
    return network.eval(), card

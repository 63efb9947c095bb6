"""Model folders: ``model.safetensors`` + ``model.json`` (DESIGN.md, Storage); they load without pickle."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from torch import nn

from ufvnet.config import ConfigError

from .registry import create

WEIGHTS, CARD = "model.safetensors", "model.json"


def read_card(folder: Path) -> dict[str, Any]:
    """The model.json of a model folder.

    Raises:
        ConfigError: the folder holds no model.
    """
    try:
        return json.loads((folder / CARD).read_text())
    except (OSError, json.JSONDecodeError) as error:
        raise ConfigError(f"model = {folder}: no model folder there (it holds {CARD} and {WEIGHTS})") from error


def load_weights(network: nn.Module, folder: Path) -> None:
    """Fill a network from a folder's model.safetensors.

    Raises:
        ConfigError: the weights are missing or of another architecture.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_model

    try:
        load_model(network, folder / WEIGHTS)
    except (OSError, SafetensorError, RuntimeError) as error:
        raise ConfigError(f"{folder / WEIGHTS}: cannot be loaded ({error})") from error


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

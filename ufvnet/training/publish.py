"""Writing the model folder of a finished training: weights, model.json, model card, curves."""

from __future__ import annotations

import math
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from safetensors.torch import save_model
from torch import nn

from ufvnet.config import fingerprint
from ufvnet.data.damage.chain import VERSION as DAMAGE_VERSION
from ufvnet.files import claim, write_atomically, write_json
from ufvnet.imaging.resize import VIEWS
from ufvnet.models.store import CARD, FAILED, WEIGHTS, check_model_folder, read_card, sealed_card, tensors_written

if TYPE_CHECKING:
    from .part import Part


def publish(part: Part, network: nn.Module, log: pd.DataFrame) -> None:
    """Write the model folder of a part; model.json comes last, with the weights' sha256, and marks it as finished.

    Raises:
        ConfigError: the folder holds files of another origin.
        OSError: a file cannot be written.
    """
    folder, config = part.model_folder, part.config
    datasets = part.datasets
    measured = [c for c in log.columns if c in ("psnr", "gain", "kl", "mae") or c.startswith("psnr_")]
    last = log.iloc[-1][measured].astype(float).to_dict() if len(log) else {}
    last = {name: value for name, value in last.items() if math.isfinite(value)}
    card: dict[str, Any] = {
        "name": part.name,
        "model": config.model if part.role == "whole" else part.role,
        "preset": config.preset,
        "hr_size": part.hr_size,
        "anchors": list(part.anchors) or None,
        "scales": list(part.ks),
        "params": sum(p.numel() for p in network.parameters()),
        "steps": part.steps,
        "stage1": {p.name: p.fingerprint for p in part.stage1},
        "teacher": read_card(config.teacher)["fingerprint"] if config.teacher and part.role == "whole" else None,
        "start": read_card(config.start)["fingerprint"] if config.start and part.role == "whole" else None,
        "trained_on": {
            "dataset": " + ".join(d.card["name"] for d in datasets),
            "view": config.view if part.ks == VIEWS[config.view] else f"k={list(part.ks)}",
            "faces": sum(d.card["faces"]["train"] for d in datasets),
            "fingerprint": part.trained_on,
        },
        "recipe": config.recipe.model_dump(mode="json"),
        "validation": last,
        "versions": {name: version(name) for name in ("ufvnet", "torch", "accelerate")},
        "fingerprint": part.fingerprint,
    }
    check_model_folder("out", folder)
    claim(folder, "model")
    (folder / FAILED).unlink(missing_ok=True)
    (folder / CARD).unlink(missing_ok=True)  # without it, the folder counts as unfinished
    with tensors_written(folder / WEIGHTS):
        write_atomically(folder / WEIGHTS, lambda p: save_model(network, str(p)))
    write_atomically(folder / "log.parquet", lambda p: log.to_parquet(p))
    write_atomically(folder / "README.md", lambda p: _write_card(p, card))
    write_json(folder / CARD, sealed_card(card, folder))


def publish_failure(part: Part, reason: str) -> bool:
    """Note in the model folder of a whole why there is no model; False if the folder holds one, which stays.

    Raises:
        ConfigError: the folder holds files of another origin.
        OSError: the file cannot be written.
    """
    folder = part.model_folder
    check_model_folder("out", folder)
    if (folder / CARD).exists():
        return False
    claim(folder, "model")
    write_json(folder / FAILED, {"reason": reason, "fingerprint": part.fingerprint})
    return True


CLEAN = (
    "Face crops made as `ufvnet build` makes them and reduced by bicubic interpolation are what it was trained for; "
    "other crops, blur, noise and compression are outside its training."
)
DAMAGED = (
    "Face crops made as `ufvnet build` makes them are what it was trained for, reduced in many ways, blurred, with "
    "noise and compressed (`ufvnet/data/damage/chain.py`, version {version}; ranges and shares: `recipe.damage` in "
    "model.json); other crops are outside its training."
)


def _trained_for(card: dict[str, Any]) -> str:
    return DAMAGED.format(version=DAMAGE_VERSION) if card["recipe"].get("damage") else CLEAN


def _write_card(path: Path, card: dict[str, Any]) -> None:
    on = card["trained_on"]
    measured = "\n".join(f"| {name} | {value:.4f} |" for name, value in card["validation"].items())
    path.write_text(
        f"# {card['name']}\n\n"
        f"`{card['model']}`, preset `{card['preset']}`, {card['hr_size']}x{card['hr_size']} output, "
        f"{card['params']:,} parameters.\n\n"
        f"Trained for {card['steps']:,} steps on {on['faces']:,} faces of `{on['dataset']}` "
        f"({on['view']}, fingerprint `{fingerprint(on['fingerprint'])[:16]}`). "
        "The terms of those photographs bind its use.\n\n"
        f"{_trained_for(card)} It invents plausible detail: never identify a person by it.\n\n"
        f"## Validation\n\nLast measurement (PSNR of Y in dB; gain over bicubic; KL in nats):\n\n"
        f"| quantity | value |\n|---|---|\n{measured}\n"
    )

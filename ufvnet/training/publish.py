"""Writing the model folder of a finished training: weights, model.json, model card, curves."""

from __future__ import annotations

import math
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import pandas as pd
from safetensors.torch import save_model
from torch import nn

from ufvnet.files import claim, write_atomically, write_json
from ufvnet.models.readme import model_readme
from ufvnet.models.store import CARD, WEIGHTS, check_model_folder, read_card, sealed_card, tensors_written

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
        "start": read_card(config.start)["fingerprint"] if config.start and part.role == "whole" else None,
        "trained_on": {
            "dataset": " + ".join(d.card["name"] for d in datasets),
            "view": config.view if part.role == "whole" else f"k={list(part.ks)}",
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
    (folder / CARD).unlink(missing_ok=True)  # without it, the folder counts as unfinished
    with tensors_written(folder / WEIGHTS):
        write_atomically(folder / WEIGHTS, lambda p: save_model(network, str(p)))
    write_atomically(folder / "log.parquet", lambda p: log.to_parquet(p))
    write_atomically(folder / "README.md", lambda p: p.write_text(model_readme(card)))
    write_json(folder / CARD, sealed_card(card, folder))

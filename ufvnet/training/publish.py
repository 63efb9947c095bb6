"""Writing the model folder of a finished training: weights, model.json, model card, curves."""

from __future__ import annotations

import math
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import save_model
from torch import nn

from ufvnet.files import claim, write_atomically, write_json
from ufvnet.imaging.resize import VIEWS
from ufvnet.models.readme import model_readme
from ufvnet.models.store import CARD, FAILED, WEIGHTS, check_model_folder, read_card, sealed_card, tensors_written
from ufvnet.models.supervision import without_critic

from .curves import LOGS, Log, log_name, write_log

if TYPE_CHECKING:
    from .part import Part


def publish(
    part: Part, network: nn.Module, log: Log, best_step: int | None = None, device: torch.device | None = None
) -> None:
    """Write the model folder of a part; model.json comes last, with the weights' sha256, and marks it as finished.

    Args:
        best_step: the step whose weights these are, and whose measurement the card tells; None: the last.
        device: on which it was trained; None if that is not known.

    With ``replace: better`` a model that is worse than the one in its place goes to ``part.kept_back_folder`` instead.

    Raises:
        ConfigError: the folder holds files of another origin.
        OSError: a file cannot be written.
    """
    config = part.config
    datasets = part.datasets
    network = without_critic(network)
    for tensor in (*network.parameters(), *network.buffers()):
        tensor.data = tensor.data.contiguous()  # tied weights in another layout cannot be written
    measured = next((row for row in reversed(log) if best_step in (None, row["step"])), {})
    last = {
        column: float(value)
        for column, value in measured.items()
        if (column in ("psnr", "gain", "kl", "mae") or column.startswith("psnr_")) and math.isfinite(value)
    }
    card: dict[str, Any] = {
        "name": part.name,
        "model": config.model if part.role == "whole" else part.role,
        "preset": config.preset,
        "hr_size": part.hr_size,
        "anchors": list(part.anchors) or None,
        "scales": list(part.ks),
        "params": sum(p.numel() for p in network.parameters()),
        "steps": part.steps,
        **({} if best_step is None else {"best_step": best_step}),
        "stage1": {p.name: p.fingerprint for p in part.stage1},
        "stage1_steps": {p.name: 0 if p.finished_model else p.steps for p in part.stage1},
        "teacher": read_card(config.teacher)["fingerprint"] if config.teacher and part.role == "whole" else None,
        "start": read_card(config.start)["fingerprint"] if config.start and part.role == "whole" else None,
        "trained_on": {
            "dataset": " + ".join(d.card["name"] for d in datasets),
            "view": config.view if part.ks == VIEWS[config.view] else f"k={list(part.ks)}",
            "faces": sum(d.card["faces"]["train"] for d in datasets),
            "fingerprint": part.trained_on,
            "validation": part.validated_on,
        },
        "recipe": config.recipe.model_dump(mode="json"),
        "validation": last,
        "versions": {name: _version(name) for name in ("ufvnet", "torch", "accelerate")},
        **({} if device is None else {"device": _name_of(device)}),
        "fingerprint": part.fingerprint,
    }
    folder = part.kept_back_folder if part.is_worse(card) else part.model_folder
    check_model_folder("out", folder)
    claim(folder, "model")

    def write_weights(path: Path) -> None:
        with tensors_written(folder / WEIGHTS):
            save_model(network, str(path))
        for earlier in (FAILED, CARD):  # without a card, the folder counts as unfinished from here on
            (folder / earlier).unlink(missing_ok=True)

    write_atomically(folder / WEIGHTS, write_weights)  # on a full disk the earlier model stays as it is
    for other in LOGS:
        (folder / other).unlink(missing_ok=True)
    write_atomically(folder / log_name(), lambda p: write_log(log, p, log_name()))
    write_atomically(folder / "README.md", lambda p: p.write_text(model_readme(card)))
    part.forget_announced()  # an equal model, whose place another may have had since
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


def _name_of(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:  # ufvnet in a checkout that is not installed
        return "not installed"

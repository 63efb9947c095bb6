"""Whether a build gives a training something to do: it may be of another dataset, or have changed nothing."""

from __future__ import annotations

from pathlib import Path

from ufvnet import data
from ufvnet.config import TrainConfig
from ufvnet.files import printed

from .stages import resolve_parts


def reason_to_skip(config: TrainConfig, dataset: Path, fingerprint: str | None) -> str | None:
    """Why a training that was started by a build is not needed; None if it is, or if its model was not announced yet.

    Args:
        config: the training.
        dataset: folder of the dataset that was built.
        fingerprint: that its training split had at the end of the build; none or empty if it has no such split.

    Raises:
        ConfigError: the dataset or the configuration cannot be used.
    """
    shown = printed(dataset)
    if dataset.resolve() not in (folder.resolve() for folder in config.datasets):
        others = " and ".join(printed(folder) for folder in config.datasets)
        return f"{config.name} is trained on {others}, not on {shown}"
    card = data.open(dataset).card
    if not fingerprint or not card["faces"].get("train"):
        return f"{shown} has no faces in a split train"
    if card["fingerprints"]["train"] != fingerprint:
        return f"{shown} was built again since; the run after that build trains on it"
    _, whole = resolve_parts(config)
    if not whole.is_announced():
        return None
    if whole.is_kept_back():
        return (
            f"nothing changed: the model of {fingerprint[:12]} is worse than {printed(whole.model_folder)}, which stays"
        )
    return f"nothing changed: {printed(whole.model_folder)} was trained on {fingerprint[:12]}" if whole.done() else None

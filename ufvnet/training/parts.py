"""What a training consists of: stage 1's anchors and regressor, then the whole (section III-D)."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import nn

from ufvnet import data
from ufvnet.config import ConfigError, TrainConfig, fingerprint
from ufvnet.data.bicubic import VIEWS
from ufvnet.models import PRESETS, SRG, UFVNet, WeightRegressor, create, names
from ufvnet.models.fau import init_as_identity
from ufvnet.models.store import CARD, load_weights

TRAINING_VERSION = 1
"""Raised when the same configuration no longer trains the same weights."""

Role = Literal["anchor", "regressor", "whole"]


@dataclass(frozen=True)
class Part:
    """One training: an anchor SRG or the regressor (stage 1), or the whole network.

    k: the anchor's scale in sixteenths, for role ``anchor``.
    anchors: the whole network's anchors, as sixteenths; empty for networks without.
    """

    role: Role
    config: TrainConfig
    k: int = 0
    anchors: tuple[int, ...] = ()
    regressor: bool = False

    @property
    def name(self) -> str:
        return {"anchor": f"anchor-{self.k}", "regressor": "regressor", "whole": self.config.name}[self.role]

    @property
    def stage1(self) -> list[Part]:
        """The parts that this one starts from."""
        if self.role != "whole":
            return []
        parts = [Part("anchor", self.config, k) for k in self.anchors]
        if self.regressor:
            parts.append(Part("regressor", self.config, anchors=self.anchors))
        return [p for p in parts if p.steps]

    @property
    def steps(self) -> int:
        recipe = self.config.recipe
        return {"anchor": recipe.anchor_steps, "regressor": recipe.regressor_steps, "whole": recipe.steps}[self.role]

    @property
    def ks(self) -> tuple[int, ...]:
        """Scales it trains on."""
        return (self.k,) if self.role == "anchor" else VIEWS[self.config.view]

    def fingerprint(self) -> str:
        """Of everything that decides the weights: data, network, recipe, and what it starts from."""
        config = self.config
        dataset = data.open(config.dataset)
        recipe = config.recipe.model_dump(
            exclude={"threads", "checkpoint_every", "validate_every", "validation_faces",
                     "anchor_steps", "regressor_steps", "steps", "alpha"}
        )  # fmt: skip
        network = (config.model if self.role == "whole" else self.role, config.preset, dataset.hr_size, self.anchors)
        alpha = config.recipe.alpha if self.role == "whole" and self.regressor else None
        start = [p.fingerprint() for p in self.stage1]
        train = dataset.select(self.ks).fingerprint
        return fingerprint(TRAINING_VERSION, network, self.ks, self.steps, recipe, alpha, train, start)

    @property
    def folder(self) -> Path:
        """Its run folder; those of stage 1 are shared by every model that trains them alike."""
        return self.config.runs / f"{self.name}-{self.fingerprint()[:12]}"

    @property
    def model_folder(self) -> Path:
        """Where its finished model lies."""
        return self.config.out / self.config.name if self.role == "whole" else self.folder / "model"

    def done(self) -> bool:
        """Whether its finished model is there, with this fingerprint."""
        try:
            return json.loads((self.model_folder / CARD).read_text())["fingerprint"] == self.fingerprint()
        except (OSError, json.JSONDecodeError, KeyError):
            return False

    def network(self) -> nn.Module:
        """The network to train; the whole one with the anchors' encoders and the regressor of stage 1."""
        config, hr_size = self.config, data.open(self.config.dataset).hr_size
        width = PRESETS[config.preset]
        if self.role == "regressor":
            return WeightRegressor(len(self.anchors), width.regressor, hr_size)
        network = SRG(width, hr_size) if self.role == "anchor" else create(config.model, config.preset, hr_size)
        if config.recipe.identity_init:
            init_as_identity(network)
        if self.role == "anchor":
            return network
        for part in self.stage1:
            assert isinstance(network, UFVNet)
            trained = part.network()
            load_weights(trained, part.model_folder)
            if isinstance(trained, SRG):  # its latent FAU and decoder are discarded
                network.encoders[self.anchors.index(part.k)] = trained.encoder
            elif isinstance(trained, WeightRegressor):
                network.regressor = trained
        return network


def parts_of(config: TrainConfig) -> tuple[list[Part], Part]:
    """Stage 1's parts (independent of each other) and the whole.

    Raises:
        ConfigError: unknown or untrainable model, or no built dataset.
    """
    if config.model not in names():
        raise ConfigError(f"model = {config.model}: must be one of {', '.join(names())}")
    with torch.device("meta"):  # only its shape is asked for
        network = create(config.model, config.preset, data.open(config.dataset).hr_size)
    if not any(p.requires_grad for p in network.parameters()):
        raise ConfigError(f"model = {config.model}: has nothing to train")
    data.open(config.dataset).view(config.view, "train")
    anchors: tuple[int, ...] = ()
    if isinstance(network, UFVNet):
        anchors = tuple(round(a * 16) for a in network.anchors)
    regressor = isinstance(network, UFVNet) and network.regressor is not None
    whole = Part("whole", config, anchors=anchors, regressor=regressor)
    return whole.stage1, whole

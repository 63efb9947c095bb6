"""Networks, by name: ``create("ufvnet", preset="paper")``, ``register(...)``, ``names()``."""

from .registry import PRESETS, create, describe, names, register
from .regressor import WeightRegressor, anchor_weights
from .srg import HR_SIZES, SRG, SROutput, to_network, to_pixels
from .store import load
from .ufvnet import UFVNet

__all__ = [
    "HR_SIZES", "PRESETS", "SRG", "SROutput", "UFVNet", "WeightRegressor", "anchor_weights",
    "create", "describe", "load", "names", "register", "to_network", "to_pixels",
]  # fmt: skip

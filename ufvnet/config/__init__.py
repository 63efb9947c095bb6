"""The one schema of every configuration file. Defaults live here alone; command-line options are made from it.

base, sources → build, train, evaluate, restore → experiment → reading; other modules import the names from here. Each
file is imported when a name of it is first used: to make the classes of all takes longer than to check what one says.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from ufvnet.errors import ConfigError

if TYPE_CHECKING:
    from .base import Cluster, Device, HRSize, Preset, Schema, View, fingerprint
    from .build import BuildConfig, Crop
    from .evaluate import EvaluateConfig, Method, TestSet
    from .experiment import ExperimentConfig
    from .reading import load
    from .restore import DEFAULT_MODEL, RestoreConfig
    from .sources import CelebASource, FolderSource, HelenSource, ManifestSource, Source, TableSource
    from .train import Damage, Recipe, TrainConfig

__all__ = [
    "DEFAULT_MODEL",
    "BuildConfig",
    "CelebASource",
    "Cluster",
    "ConfigError",
    "Crop",
    "Damage",
    "Device",
    "EvaluateConfig",
    "ExperimentConfig",
    "FolderSource",
    "HRSize",
    "HelenSource",
    "ManifestSource",
    "Method",
    "Preset",
    "Recipe",
    "RestoreConfig",
    "Schema",
    "Source",
    "TableSource",
    "TestSet",
    "TrainConfig",
    "View",
    "fingerprint",
    "load",
]

_FILES = {
    "base": ("Cluster", "Device", "HRSize", "Preset", "Schema", "View", "fingerprint"),
    "build": ("BuildConfig", "Crop"),
    "evaluate": ("EvaluateConfig", "Method", "TestSet"),
    "experiment": ("ExperimentConfig",),
    "reading": ("load",),
    "restore": ("DEFAULT_MODEL", "RestoreConfig"),
    "sources": ("CelebASource", "FolderSource", "HelenSource", "ManifestSource", "Source", "TableSource"),
    "train": ("Damage", "Recipe", "TrainConfig"),
}
_FILE_OF = {name: file for file, names in _FILES.items() for name in names}


def __getattr__(name: str) -> Any:
    """A name from its file."""
    if name not in _FILE_OF:
        raise AttributeError(f"module 'ufvnet.config' has no attribute {name!r}")
    value = getattr(importlib.import_module(f".{_FILE_OF[name]}", __name__), name)
    globals()[name] = value
    return value

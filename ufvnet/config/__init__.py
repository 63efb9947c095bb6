"""The one schema of every configuration file. Defaults live here alone; command-line options are made from it.

base, sources → build, train, evaluate, restore → experiment → load; other modules import the names from here.
"""

from ufvnet.errors import ConfigError

from .base import Cluster, Device, HRSize, Preset, Schema, View, fingerprint
from .build import BuildConfig, Crop
from .evaluate import EvaluateConfig, Method, TestSet
from .experiment import ExperimentConfig
from .load import load
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

"""ufvnet: super-resolution of face images of any low resolution.

The public names; everything else may change between releases. ``ufvnet --help`` lists the commands.

=================== ===============================================================================
``Restorer``        a trained model over PIL images: face crops of any size, and the faces of photos
``Restored``        a restored face: image, rate of its input, weights of the anchors
``RestoredPhoto``   a photo with its small faces restored, and where they are
``data.open``       a built dataset, to read its faces as arrays
``models.create``   an untrained network by its registered name
``models.register`` adds a network of your own to the registry, and so to every table
``ConfigError``     wrong use: the message names each key, its value and what is allowed
``PipelineError``   a step that cannot go on, with its kinds ``EvaluationError``, ``NothingUsableError`` and
                    ``OutputLostError``
``TrainingError``   a training that cannot go on
=================== ===============================================================================
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from ufvnet.errors import (
    ConfigError,
    EvaluationError,
    NothingUsableError,
    OutputLostError,
    PipelineError,
    TrainingError,
)

if TYPE_CHECKING:
    from ufvnet import data, models
    from ufvnet.restore import Restored, RestoredPhoto, Restorer

__all__ = [
    "ConfigError",
    "EvaluationError",
    "NothingUsableError",
    "OutputLostError",
    "PipelineError",
    "Restored",
    "RestoredPhoto",
    "Restorer",
    "TrainingError",
    "data",
    "models",
]


def __getattr__(name: str) -> Any:
    """Names that need torch or pandas are imported when they are first used, because these take seconds."""
    if name in ("data", "models"):
        return importlib.import_module(f"ufvnet.{name}")
    if name in ("Restored", "RestoredPhoto", "Restorer"):
        return getattr(importlib.import_module("ufvnet.restore"), name)
    raise AttributeError(f"module 'ufvnet' has no attribute {name!r}")

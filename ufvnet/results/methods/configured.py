"""Methods as the configuration writes them: what a short form stands for, and which files and folders are read."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ufvnet.config import ConfigError, EvaluateConfig, Method, load
from ufvnet.models.inference import BICUBIC
from ufvnet.models.store import find

TORCHSCRIPT = (".pt", ".ts", ".torchscript")
OTHER_KINDS = "; else FILE.onnx, FILE.pt, module:function, file.py:function, or a mapping (docs/evaluation.md)"
"""Added to the message about a model that is not there: its name may have been meant as another kind of method."""


def expand(entry: str | Method) -> Method:
    """The method that a string is short for; a mapping is one already.

    Raises:
        ConfigError: the string is short for none.
    """
    if isinstance(entry, Method):
        return entry
    if is_short_model(entry):
        return Method(model=Path(entry))
    if entry.endswith((".onnx", *TORCHSCRIPT)):
        return load(Method, {"name": Path(entry).stem, "onnx" if entry.endswith(".onnx") else "torchscript": entry})
    return load(Method, {"name": entry.rpartition(":")[2], "python": entry})


def is_short_model(entry: str | Method) -> bool:
    """True for a string that names a model: neither a network's file nor a Python function."""
    return isinstance(entry, str) and ":" not in entry and not entry.endswith((".onnx", *TORCHSCRIPT))


def paths_read(config: EvaluateConfig) -> Iterator[Path]:
    """Files and folders that the methods of a configuration are read from, whether they are there or not."""
    for entry in config.models:
        try:
            method = expand(entry)
        except ConfigError:  # reported when the methods are resolved
            continue
        if method.model and method.model != Path(BICUBIC):
            yield find(method.model)
        for source in (method.onnx, method.torchscript, method.images):
            if source:
                yield source
        if method.python and (file := method.python.rpartition(":")[0]).endswith(".py"):
            yield Path(file)


def with_model(config: EvaluateConfig, folder: Path) -> EvaluateConfig:
    """The configuration with a model folder among its methods, once."""
    models = (expand(entry).model for entry in config.models)
    if any(model is not None and model.resolve() == folder.resolve() for model in models):
        return config
    return config.model_copy(update={"models": (*config.models, str(folder))})

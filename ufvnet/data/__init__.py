"""Photos to multi-resolution Parquet, and back to arrays."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .dataset import Dataset, DatasetView, FaceArrays, decode, open

__all__ = ["Dataset", "DatasetView", "FaceArrays", "decode", "open"]


def __getattr__(name: str) -> Any:
    """The names of ``dataset``, imported on first use: pyarrow takes a third of a second."""
    if name in __all__:
        return getattr(import_module(".dataset", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

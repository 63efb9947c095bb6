"""Restoring images with a trained model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .restorer import Restored, RestoredPhoto, Restorer

__all__ = ["Restored", "RestoredPhoto", "Restorer"]


def __getattr__(name: str) -> Any:
    """Imported when asked for: the processes that search faces need no torch."""
    if name in __all__:
        from . import restorer

        return getattr(restorer, name)
    raise AttributeError(f"module 'ufvnet.restore' has no attribute {name!r}")

"""Restoring images with a trained model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .restorer import Restored, RestoredPhoto, Restorer

__all__ = ["Restored", "RestoredPhoto", "Restorer"]


def __getattr__(name: str) -> Any:
    """The public names, imported when they are first used: processes that only wait need no torch."""
    if name in __all__:
        from . import restorer

        return getattr(restorer, name)
    raise AttributeError(f"module 'ufvnet.restore' has no attribute {name!r}")

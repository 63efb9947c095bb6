"""ufvnet: super-resolution of face images of any low resolution."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ufvnet.restore import Restorer

__all__ = ["Restorer"]


def __getattr__(name: str) -> Any:
    """``ufvnet.Restorer``, imported when it is asked for: torch takes seconds."""
    if name == "Restorer":
        from ufvnet.restore import Restorer

        return Restorer
    raise AttributeError(f"module 'ufvnet' has no attribute {name!r}")

"""Restoring images with a trained model."""

from .restorer import Restored, Restorer

__all__ = ["Restored", "Restorer"]

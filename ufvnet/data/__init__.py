"""Photos to multi-resolution Parquet, and back to arrays."""

from .dataset import Dataset, DatasetView, FaceArrays, decode, open

__all__ = ["Dataset", "DatasetView", "FaceArrays", "decode", "open"]

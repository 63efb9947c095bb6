"""build-datasets: photos -> crops -> multi-resolution Parquet."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from prefect import flow

from tasks.build import build_shards, finish_dataset
from ufvnet.config import BuildConfig, load


@flow(name="build-datasets")
def build_datasets(config: BuildConfig | Path, overrides: list[str] | None = None) -> dict[str, Any]:
    """Build a dataset from a configuration or its file; returns its card."""
    settings = load(BuildConfig, config, overrides or ())
    return finish_dataset(settings, build_shards(settings))

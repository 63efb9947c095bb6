"""build-datasets: photos -> crops -> multi-resolution Parquet."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tasks.build import build_shards, finish_dataset
from tasks.runtime import flow, with_failures
from ufvnet.config import BuildConfig, load
from ufvnet.data.build.folder import dataset_root, locked
from ufvnet.data.build.shard_writer import failures
from ufvnet.errors import NothingUsableError

WITH_FAILURES = "CompletedWithFailures"
"""State of a run in which some photos could not be used: triggers that wait for Completed do not fire."""


@flow(name="build-datasets")
def build_datasets(config: BuildConfig | Path, overrides: list[str] | None = None) -> dict[str, Any]:
    """Build a dataset from a configuration or its file; returns its card.

    Raises:
        NothingUsableError: not one photo became a face; the dataset with all their rows is there.
        PipelineError: no worker passed its proof, or the rebuild would lose much of the dataset.
    """
    settings = load(BuildConfig, config, overrides or ())
    with locked(settings):
        card = finish_dataset(settings, build_shards(settings))
    told = ", ".join(f"{n:,} {status}" for status, n in card["counts"].items() if n)
    if not any(card["faces"].values()):
        raise NothingUsableError(f"{dataset_root(settings)}: none of {card['photos']:,} photos became a face ({told})")
    if failures(card):
        return with_failures(WITH_FAILURES, told, card)
    return card

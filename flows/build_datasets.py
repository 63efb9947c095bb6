"""build-datasets: photos -> crops -> multi-resolution Parquet."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from prefect import flow
from prefect.states import Completed

from tasks.build import build_shards, finish_dataset
from ufvnet.config import BuildConfig, load
from ufvnet.data.build.folder import locked
from ufvnet.data.build.resolved import resolve
from ufvnet.data.card import failures
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
    build = resolve(load(BuildConfig, config, overrides or ()))
    with locked(build.config):
        card = finish_dataset(build, build_shards(build))
    counts = ", ".join(f"{n:,} {status}" for status, n in card["counts"].items() if n)
    if not any(card["faces"].values()):
        raise NothingUsableError(f"{build.root}: none of {card['photos']:,} photos became a face ({counts})")
    if failures(card):
        return Completed(name=WITH_FAILURES, message=counts, data=card)  # type: ignore[return-value]
    return card

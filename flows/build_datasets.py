"""build-datasets: photos -> crops -> multi-resolution Parquet."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tasks.build import build_shards, finish_dataset
from tasks.events import BUILT, BUILT_WITH_FAILURES, announce
from tasks.runtime import flow, get_run_logger, with_failures
from tasks.settings import read_settings
from ufvnet.config import BuildConfig
from ufvnet.data.build.folder import locked
from ufvnet.data.build.resolved import ResolvedBuild, resolve
from ufvnet.data.card import failures
from ufvnet.errors import NothingUsableError

WITH_FAILURES = "CompletedWithFailures"
"""State of a run in which some photos could not be used: triggers that wait for Completed do not fire."""


@flow(name="build-datasets")
def build_datasets(config: BuildConfig | Path, overrides: list[str] | None = None) -> dict[str, Any]:
    """Build a dataset from a configuration or its file; returns its card.

    Raises:
        NothingUsableError: no photo became a face; the dataset is written, with a row for every photo.
        PipelineError: no worker passed its proof, or the rebuild would lose much of the dataset.
    """
    settings = read_settings(BuildConfig, config, overrides)
    get_run_logger().info("%s: listing the photos of %s", settings.name, settings.source.root)
    return _build(resolve(settings))


def build_resolved(build: ResolvedBuild) -> dict[str, Any]:
    """As ``build_datasets``, for a build whose photos are already listed. The list is not a parameter of the flow,
    because Prefect's server would store it.

    Raises:
        NothingUsableError, PipelineError: as ``build_datasets``.
    """

    @flow(name="build-datasets")
    def build_datasets(config: BuildConfig) -> dict[str, Any]:
        return _build(build)

    return build_datasets(build.written)


def _build(build: ResolvedBuild) -> dict[str, Any]:
    with locked(build.config):
        card = finish_dataset(build, build_shards(build))
    counts = ", ".join(f"{n:,} {status}" for status, n in card["counts"].items() if n)
    if not any(card["faces"].values()):
        raise NothingUsableError(f"{build.root}: none of {card['photos']:,} photos became a face ({counts})")
    announce(
        BUILT_WITH_FAILURES if failures(card) else BUILT,
        card["name"],
        dataset=build.root,
        fingerprint=card["fingerprints"].get("train", ""),
    )
    if failures(card):
        return with_failures(WITH_FAILURES, counts, card)
    return card

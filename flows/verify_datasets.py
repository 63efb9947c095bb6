"""verify-datasets: read a built dataset again and check every count, fingerprint and image."""

from __future__ import annotations

from pathlib import Path

from tasks.build import verify_shards
from tasks.runtime import flow
from tasks.settings import read_settings
from ufvnet.config import BuildConfig


@flow(name="verify-datasets")
def verify_datasets(config: BuildConfig | Path, overrides: list[str] | None = None) -> list[str]:
    """Verify the dataset of a build configuration or its file; returns its problems.

    Raises:
        RuntimeError: there are problems; the run fails, so that a schedule shows it.
    """
    settings = read_settings(BuildConfig, config, overrides)
    problems = verify_shards(settings.out / settings.name, settings.cluster)
    if problems:
        raise RuntimeError("\n".join([f"{len(problems)} problems", *problems[:20]]))
    return problems

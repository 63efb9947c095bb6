"""super-resolve: pictures -> restored pictures and their manifest."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from prefect import flow

from tasks.restore import restore
from ufvnet.config import RestoreConfig, load


@flow(name="super-resolve")
def super_resolve(config: RestoreConfig | Path, overrides: list[str] | None = None) -> dict[str, Any]:
    """Restore from a configuration or its file; returns the summary."""
    return restore(load(RestoreConfig, config, overrides or ()))

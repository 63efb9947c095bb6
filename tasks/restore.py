"""Restoring a folder as a Prefect task."""

from __future__ import annotations

from typing import Any

from prefect import task
from prefect.artifacts import create_table_artifact
from prefect.logging import get_run_logger

from tasks.progress import progress_bar
from ufvnet.config import RestoreConfig
from ufvnet.restore.runner import restore_folder


@task(name="restore")
def restore(config: RestoreConfig) -> dict[str, Any]:
    """Restore the folder; publish the counts as an artifact. Returns the summary."""
    with progress_bar(f"restore {config.input}", 1) as update:
        summary = restore_folder(config, lambda done, total: update(done / total))
    rows = [{"status": status, "files": n} for status, n in summary["counts"].items()]
    create_table_artifact(key="restored", table=rows, description=f"{config.input} → {config.output}")
    get_run_logger().info("%s: %s", config.output, summary["counts"])
    return summary

"""Restoring as a Prefect task: in this process, or in the processes of a Dask cluster."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from tasks.artifacts import publish
from tasks.cluster import map_jobs, workers_for
from tasks.progress import task_progress
from tasks.runtime import NO_CACHE, create_table_artifact, get_run_logger, task
from ufvnet.children import KEEP_MEMORY
from ufvnet.config import Cluster, RestoreConfig
from ufvnet.files import printed_line
from ufvnet.progress import Progress, Tally
from ufvnet.proof import proof
from ufvnet.restore.folder.desk import desk_of
from ufvnet.restore.folder.run import close_run, open_run, resolve_run, restore_folder
from ufvnet.restore.folder.shard import restore_in_worker

INPUTS = 4
"""Number of inputs that every worker must see as this process does."""


@task(name="restore", cache_policy=NO_CACHE)
def restore(config: RestoreConfig) -> dict[str, Any]:
    """Restore what the inputs name, and publish the counts as an artifact. Returns the summary.

    A Dask cluster does the work if the configuration has a cluster block or DASK_SCHEDULER_ADDRESS is set.
    """
    shared = config.cluster is not None or bool(os.environ.get("DASK_SCHEDULER_ADDRESS"))
    with task_progress(f"restore {config.output}") as progress:
        if shared:
            summary = _on_cluster(config, config.cluster or Cluster(), progress)
        else:
            summary = restore_folder(config, progress)
    rows = [{"status": status, "files": n} for status, n in summary["counts"].items()]
    name, about = printed_line(config.output.absolute().name), printed_line(f"{config.input} → {config.output}")
    publish(create_table_artifact, f"restored-{name}", table=rows, description=about)
    get_run_logger().info("%s: %s", config.output, summary["counts"])
    return summary


def _on_cluster(config: RestoreConfig, cluster: Cluster, progress: Progress) -> dict[str, Any]:
    """One Dask task per shard; each process has its own model, and as many threads as its worker allows."""
    started = time.perf_counter()
    run = resolve_run(config)
    with open_run(run, cluster.workers or os.cpu_count() or 1) as shards:
        tally = Tally(progress, sum(shard.rows for shard in shards))
        firsts = [source.path for shard in shards for source in shard.sources[:1]]
        first_inputs = [path for path in firsts if isinstance(path, Path)][:INPUTS]
        with (
            proof(first_inputs, desk_of(config.output)) as proven,
            workers_for(cluster, len(shards), KEEP_MEMORY) as workers,
        ):
            map_jobs(workers, restore_in_worker, shards, lambda counts: tally.add(sum(counts.values()), counts), proven)
        return close_run(run, shards, time.perf_counter() - started)

"""Restoring as a Prefect task: in this process, or shared out on Dask."""

from __future__ import annotations

import os
import time
from typing import Any

from tasks.cluster import map_jobs, workers_for
from tasks.progress import task_progress
from tasks.runtime import NO_CACHE, create_table_artifact, get_run_logger, task
from ufvnet.children import KEEP_MEMORY
from ufvnet.config import Cluster, RestoreConfig
from ufvnet.files import printed_line
from ufvnet.progress import Progress, Tally
from ufvnet.proof import proof
from ufvnet.restore.folder.run import begun, conclude, restore_folder, restore_shard

INPUTS = 4
"""Of the inputs, that every worker must see as this process does."""


@task(name="restore", cache_policy=NO_CACHE)
def restore(config: RestoreConfig) -> dict[str, Any]:
    """Restore what the inputs name; publish the counts as an artifact. Returns the summary.

    The pictures are shared out on Dask where the configuration has a cluster block or DASK_SCHEDULER_ADDRESS is set.
    """
    shared = config.cluster is not None or bool(os.environ.get("DASK_SCHEDULER_ADDRESS"))
    with task_progress(f"restore {config.output}") as progress:
        if shared:
            summary = _on_cluster(config, config.cluster or Cluster(), progress)
        else:
            summary = restore_folder(config, progress)
    rows = [{"status": status, "files": n} for status, n in summary["counts"].items()]
    create_table_artifact(key="restored", table=rows, description=printed_line(f"{config.input} → {config.output}"))
    get_run_logger().info("%s: %s", config.output, summary["counts"])
    return summary


def _on_cluster(config: RestoreConfig, cluster: Cluster, progress: Progress) -> dict[str, Any]:
    """A Dask task a shard; each process has a model of its own, and threads as its worker allows."""
    started = time.perf_counter()
    with begun(config, cluster.workers or os.cpu_count() or 1) as shards:
        tally = Tally(progress, sum(shard.rows for shard in shards))
        seen = [source.path for shard in shards for source in shard.sources[:1]][:INPUTS]
        with proof(seen, config.output) as proven, workers_for(cluster, len(shards), KEEP_MEMORY) as workers:
            map_jobs(workers, restore_shard, shards, lambda counts: tally.add(sum(counts.values()), counts), proven)
        return conclude(config, shards, time.perf_counter() - started)

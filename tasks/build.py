"""Building a dataset as Prefect tasks: plan, shards on Dask, card."""

from __future__ import annotations

from collections import Counter
from typing import Any

from prefect import task
from prefect.artifacts import create_table_artifact
from prefect.logging import get_run_logger

from tasks.cluster import map_on_cluster
from tasks.progress import progress_bar
from ufvnet.config import BuildConfig
from ufvnet.data import build


@task(name="plan-shards")
def plan_shards(config: BuildConfig) -> list[build.Shard]:
    """List and hash the photos, divided into shards."""
    shards = build.plan(config)
    subset = f" (a seeded subset: at most {config.limit} a split)" if config.limit else ""
    get_run_logger().info(
        "%s: %d photos in %d shards%s", config.name, sum(len(s.photos) for s in shards), len(shards), subset
    )
    return shards


@task(name="build-shards", retries=1, retry_delay_seconds=5)
def build_shards(shards: list[build.Shard]) -> list[build.ShardReport]:
    """A Dask task a shard; finished shards are skipped."""
    counts: Counter[str] = Counter()
    total = sum(len(s.photos) for s in shards)
    with progress_bar(f"build {shards[0].config.name}", total) as update:

        def report(done: build.ShardReport) -> None:
            counts.update(done.counts)
            update(counts.total(), ", ".join(f"{n} {status}" for status, n in counts.items()))

        return map_on_cluster(build.build_shard, shards, shards[0].config.cluster, report)


@task(name="finish-dataset")
def finish_dataset(config: BuildConfig, shards: list[build.Shard], reports: list[build.ShardReport]) -> dict[str, Any]:
    """Write the card; publish the counts as an artifact."""
    card = build.finish(config, shards, reports)
    skipped = sum(r.skipped for r in reports)
    rows = [{"status": status, "photos": n} for status, n in card["counts"].items() if n]
    create_table_artifact(key="dataset-counts", table=rows, description=f"{config.name}: what became of every photo")
    get_run_logger().info(
        "%s: %s; %d of %d shards were there already", config.name, card["counts"], skipped, len(reports)
    )
    return card

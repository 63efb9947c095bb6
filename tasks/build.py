"""Building and verifying a dataset as Prefect tasks: scan and shards on Dask, card."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from tasks.artifacts import artifact_key
from tasks.cluster import map_jobs, workers_for
from tasks.progress import progress_bar
from tasks.runtime import NO_CACHE, State, create_table_artifact, get_run_logger, task
from ufvnet.config import BuildConfig, Cluster, ConfigError
from ufvnet.data.build import folder, verify
from ufvnet.data.build import shard_writer as build
from ufvnet.data.build import shards as plan
from ufvnet.data.card import CARD
from ufvnet.errors import PipelineError
from ufvnet.proof import proof

Built = tuple[list[build.Shard], list[build.ShardReport]]


def _worth_a_retry(_: object, __: object, state: State[Any]) -> bool:
    """Not what would end in the same way again: wrong use, or what somebody has to mend."""
    return not isinstance(state.data, ConfigError | PipelineError)


@task(name="build-shards", retries=2, retry_delay_seconds=5, retry_condition_fn=_worth_a_retry, cache_policy=NO_CACHE)
def build_shards(config: BuildConfig) -> Built:
    """Scan the photos, plan shards, build each as a Dask task; finished shards are skipped."""
    log = get_run_logger()
    scans = build.scans(config)
    total = sum(len(s.photos) for s in scans)
    folder.begin(config)
    root = folder.dataset_root(config)
    with proof(plan.some_files(scans), root) as proven, workers_for(config.cluster, -(-total // 100)) as workers:
        with progress_bar(f"scan {config.name}", total) as update:
            found = map_jobs(workers, build.scan, scans, _adding(update), proven, plan.unseen)
        shards = build.plan(config, zip(scans, found), config.allow_loss)
        subset = f" (a seeded subset: at most {config.limit} a split)" if config.limit else ""
        log.info("%s: %d photos in %d shards%s", config.name, total, len(shards), subset)
        counts: Counter[str] = Counter()
        with progress_bar(f"build {config.name}", total) as update:

            def report(done: build.ShardReport) -> None:
                counts.update(done.counts)
                update(counts.total(), ", ".join(f"{n} {status}" for status, n in counts.items()))
                if done.damaged:
                    log.warning("%s: shard %d is damaged or gone and was built again", config.name, done.index)

            largest_first = sorted(shards, key=lambda s: -len(s.entries))  # so that all workers end at about one time
            return shards, map_jobs(workers, build.build_shard, largest_first, report, proven, build.unseen)


def _adding(update: Any) -> Any:
    """Move a bar by the length of each result."""
    done = 0

    def add(result: list[Any]) -> None:
        nonlocal done
        done += len(result)
        update(done)

    return add


@task(name="finish-dataset", cache_policy=NO_CACHE)
def finish_dataset(config: BuildConfig, built: Built) -> dict[str, Any]:
    """Write the card; publish the counts as an artifact."""
    shards, reports = built
    card = build.finish(config, shards, reports, config.allow_loss)
    rows = [{"status": status, "photos": n} for status, n in card["counts"].items() if n]
    create_table_artifact(key="dataset-counts", table=rows, description=f"{config.name}: what became of every photo")
    get_run_logger().info(
        "%s: %s; %d of %d shards were there already, %d photos were taken over from an earlier build",
        config.name, {r["status"]: r["photos"] for r in rows},
        sum(r.skipped for r in reports), len(reports), sum(r.taken_over for r in reports),
    )  # fmt: skip
    return card


@task(name="verify-shards", cache_policy=NO_CACHE)
def verify_shards(dataset: Path, cluster: Cluster) -> list[str]:
    """Re-read a dataset, a Dask task a shard; gives what is wrong with it."""
    checks = verify.checks(dataset)
    done = 0
    with (
        proof([dataset / CARD]) as proven,
        workers_for(cluster, len(checks)) as workers,
        progress_bar(f"verify {dataset.name}", len(checks)) as update,
    ):

        def report(_: verify.Checked) -> None:
            nonlocal done
            done += 1
            update(done)

        checked = map_jobs(workers, verify.check_shard, checks, report, proven)
    problems = verify.conclude(dataset, checked)
    faces = sum((c.faces for c in checked), Counter[str]()).total()
    rows = [{"problem": p} for p in problems] or [{"problem": "none"}]
    create_table_artifact(key=artifact_key(f"verified-{dataset.name}"), table=rows, description=f"{dataset}: verified")
    get_run_logger().info("%s: %d faces in %d shards, %d problems", dataset, faces, len(checks), len(problems))
    return problems

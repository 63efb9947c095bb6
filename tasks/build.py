"""Building and verifying a dataset as Prefect tasks: the scan and the shards on Dask, then the card."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from tasks.artifacts import publish
from tasks.cluster import map_jobs, workers_for
from tasks.progress import task_progress
from tasks.retries import worth_a_retry
from tasks.runtime import NO_CACHE, create_table_artifact, get_run_logger, task
from ufvnet.config import Cluster
from ufvnet.data.build import folder, scan, shard_writer, verify
from ufvnet.data.build.assembly import finish_dataset as finish
from ufvnet.data.build.resolved import ResolvedBuild
from ufvnet.data.build.shards import ShardJob, plan_shards
from ufvnet.data.card import CARD
from ufvnet.data.packed import Packed, Shelf
from ufvnet.progress import Tally
from ufvnet.proof import proof

BuiltShards = tuple[list[ShardJob], list[shard_writer.ShardReport]]


@task(name="build-shards", retries=2, retry_delay_seconds=5, retry_condition_fn=worth_a_retry, cache_policy=NO_CACHE)
def build_shards(build: ResolvedBuild) -> BuiltShards:
    """Scan the photos, plan the shards and build each in a Dask task; finished shards are skipped."""
    log, config = get_run_logger(), build.config
    jobs, total = scan.scan_jobs(build), len(build.photos)
    log.info("%s: reading %d photos to see what changed", config.name, total)
    folder.begin(config)
    with proof(scan.proof_files(jobs), build.root) as proven, workers_for(config.cluster, -(-total // 100)) as workers:
        with task_progress(f"scan {config.name}") as progress:
            tally, shelf = Tally(progress, total), Shelf()

            def keep(done: Packed[scan.PhotoHashes]) -> None:
                done.move(shelf)
                tally.add(len(done))

            scanned = map_jobs(workers, scan.scan, jobs, keep, proven, scan.objection)
        shards = plan_shards(build, (hashes for job_hashes in scanned for hashes in job_hashes))
        subset = f" (a seeded subset: at most {config.limit} per split)" if config.limit else ""
        log.info("%s: %d photos in %d shards%s", config.name, total, len(shards), subset)
        with task_progress(f"build {config.name}") as progress:
            built = Tally(progress, total)

            def report(done: shard_writer.ShardReport) -> None:
                built.add(sum(done.counts.values()), done.counts)
                if done.damaged:
                    log.warning("%s: shard %d is damaged or gone and was built again", config.name, done.index)

            # The largest shards come first, so that all workers end at about the same time.
            largest_first = sorted(shards, key=lambda s: -len(s.photos))
            return shards, map_jobs(
                workers, shard_writer.build_shard, largest_first, report, proven, shard_writer.objection
            )


@task(name="finish-dataset", cache_policy=NO_CACHE)
def finish_dataset(build: ResolvedBuild, built: BuiltShards) -> dict[str, Any]:
    """Write the card; publish the counts as an artifact."""
    config, (shards, reports) = build.config, built
    card = finish(build, shards, reports)
    rows = [{"status": status, "photos": n} for status, n in card["counts"].items() if n]
    about = f"{config.name}: what became of every photo"
    publish(create_table_artifact, f"counts-{config.name}", table=rows, description=about)
    get_run_logger().info(
        "%s: %s; %d of %d shards were there already, %d photos were taken over from an earlier build",
        config.name, {r["status"]: r["photos"] for r in rows},
        sum(r.skipped for r in reports), len(reports), sum(r.reused for r in reports),
    )  # fmt: skip
    return card


@task(name="verify-shards", cache_policy=NO_CACHE)
def verify_shards(dataset: Path, cluster: Cluster) -> list[str]:
    """Read a dataset again, one Dask task per shard; returns its problems."""
    verification = verify.open_verification(dataset)
    jobs = verification.jobs
    with (
        proof([dataset / CARD]) as proven,
        workers_for(cluster, len(jobs)) as workers,
        task_progress(f"verify {dataset.name}") as progress,
    ):
        tally = Tally(progress, len(jobs))
        reports = map_jobs(workers, verify.check_shard, jobs, lambda _: tally.add(), proven)
    problems = verify.conclude(verification, reports)
    faces = sum((r.faces for r in reports), Counter[str]()).total()
    rows = [{"problem": p} for p in problems] or [{"problem": "none"}]
    publish(create_table_artifact, f"verified-{dataset.name}", table=rows, description=f"{dataset}: verified")
    get_run_logger().info("%s: %d faces in %d shards, %d problems", dataset, faces, len(jobs), len(problems))
    return problems

"""Scoring on Dask and publishing tables and grids, as Prefect tasks."""

from __future__ import annotations

import base64
from pathlib import Path

import pandas as pd

from tasks.artifacts import artifact_key
from tasks.cluster import map_on_cluster
from tasks.progress import task_progress
from tasks.runtime import NO_CACHE, create_image_artifact, create_markdown_artifact, get_run_logger, task
from ufvnet.config import EvaluateConfig
from ufvnet.progress import Tally
from ufvnet.proof import proof
from ufvnet.results import scoring
from ufvnet.results.evaluation import Evaluation, write_evaluation

LARGEST_IMAGE = 2_000_000  # bytes; Prefect keeps an artifact's data in its database
FACES_A_WORKER = 50
"""Fewer are scored sooner than another worker starts."""
SHARDS = 4  # of the test sets, that every worker must see as this process does
PUBLISHED = ("grid_", "gain", "curves", "weights_")  # the report has the others


@task(name="score", retries=1, retry_delay_seconds=5, cache_policy=NO_CACHE)
def score(config: EvaluateConfig) -> pd.DataFrame:
    """A Dask task a model and row group, but for those with whole scores; gives all scores, each file read once."""
    jobs = scoring.plan(config)
    scores = {job.file: scoring.finished(job) for job in jobs}
    left = [job for job in jobs if scores[job.file] is None]
    for job in left:  # processes that a run before this one lost may have been stopped by its user
        job.diary.unlink(missing_ok=True)
    with task_progress(f"score {config.name}") as progress:
        tally = Tally(progress, len(left))
        seen = {job.shard: None for job in left}
        with proof(list(seen)[:SHARDS], config.out / config.name) as proven:
            count = -(-sum(job.faces for job in left) // FACES_A_WORKER)
            map_on_cluster(scoring.score_faces, left, config.cluster, lambda _: tally.add(), proven, count)
    get_run_logger().info("%s: %d of %d row groups scored, the others were there", config.name, tally.done, len(jobs))
    scores |= {job.file: scoring.finished(job) for job in left}
    return scoring.joined([(job, scores[job.file]) for job in jobs])


@task(name="write-results", cache_policy=NO_CACHE)
def write_results(config: EvaluateConfig, scores: pd.DataFrame) -> Evaluation:
    """Tables, figures and report from the scores."""
    return write_evaluation(config, scores)


@task(name="publish-results")
def publish_results(evaluation: Evaluation) -> Path:
    """The tables as a Markdown artifact each and grids and curves as image artifacts; returns the report."""
    for table in evaluation.tables:
        create_markdown_artifact(key=artifact_key(table.key), markdown=table.markdown(), description=table.caption)
    for figure in (f for f in evaluation.figures if f.stem.startswith(PUBLISHED)):
        content = figure.read_bytes()
        if len(content) <= LARGEST_IMAGE:
            url = "data:image/png;base64," + base64.b64encode(content).decode()
            create_image_artifact(key=artifact_key(figure.stem), image_url=url, description=figure.stem)
    return evaluation.report

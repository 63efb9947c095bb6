"""Scoring on Dask and publishing tables and grids, as Prefect tasks."""

from __future__ import annotations

import base64
from pathlib import Path

from prefect import task
from prefect.artifacts import create_image_artifact, create_markdown_artifact
from prefect.logging import get_run_logger

from tasks.artifacts import artifact_key
from tasks.cluster import map_on_cluster
from tasks.progress import progress_bar
from ufvnet.config import EvaluateConfig
from ufvnet.results import scoring
from ufvnet.results.evaluation import Evaluation, write_evaluation

LARGEST_IMAGE = 2_000_000  # bytes; Prefect keeps an artifact's data in its database
PUBLISHED = ("grid_", "gain", "curves", "weights_")  # the report has the others


@task(name="score", retries=1, retry_delay_seconds=5)
def score(config: EvaluateConfig) -> int:
    """A Dask task a model and row group; finished ones are skipped. Returns how many were scored."""
    jobs = scoring.plan(config)
    for job in jobs:  # processes that a run before this one lost may have been stopped by its user
        job.deaths.unlink(missing_ok=True)
    scored: list[bool] = []
    with progress_bar(f"score {config.name}", len(jobs)) as update:

        def report(new: bool) -> None:
            scored.append(new)
            update(len(scored))

        map_on_cluster(scoring.score_faces, jobs, config.cluster, report)
    get_run_logger().info("%s: %d of %d row groups scored, the others were there", config.name, sum(scored), len(jobs))
    return sum(scored)


@task(name="write-results")
def write_results(config: EvaluateConfig) -> Evaluation:
    """Tables, figures and report from the finished scores."""
    return write_evaluation(config)


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

"""Scoring on Dask and publishing tables and grids, as Prefect tasks."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from threading import Thread

from PIL import Image

from tasks.artifacts import publish
from tasks.cluster import map_on_cluster
from tasks.progress import task_progress
from tasks.retries import worth_a_retry
from tasks.runtime import NO_CACHE, create_image_artifact, create_markdown_artifact, get_run_logger, task
from ufvnet.progress import Tally
from ufvnet.proof import proof
from ufvnet.results import scoring, write
from ufvnet.results.evaluation import Evaluation, ScoredEvaluation
from ufvnet.results.figures.write import load as load_figures
from ufvnet.results.tables.render import to_markdown
from ufvnet.results.write import Results

LARGEST_IMAGE = 1_000_000
"""Most bytes of an image artifact: as base64 text it is a third longer, and Prefect drops events above 1.5 MB."""
FACES_PER_WORKER = 50
"""Number of faces for which another worker is worth its start: fewer are scored before it is ready."""
PROVEN_SHARDS = 4  # number of test-set shards that every worker must see as this process does
PUBLISHED = ("grid_", "damage_", "gain", "curves", "weights_")  # the report has the other figures


@task(name="score", retries=1, retry_delay_seconds=5, retry_condition_fn=worth_a_retry, cache_policy=NO_CACHE)
def score(evaluation: Evaluation) -> ScoredEvaluation:
    """Score with one Dask task per method and row group. Finished scores are read instead, each file once."""
    config, log = evaluation.config, get_run_logger()
    for reason in evaluation.left_out:
        log.warning("%s: left out: %s", config.name, reason)
    jobs = scoring.plan_scoring(evaluation)
    scores = {job.file: scoring.read_finished(job) for job in jobs}
    unscored = [job for job in jobs if scores[job.file] is None]
    for job in unscored:  # deaths in an earlier run may be due to its user, who stopped it
        job.diary.unlink(missing_ok=True)
    Thread(target=load_figures, daemon=True).start()  # other processes score, and this one waits
    shards = list(dict.fromkeys(job.group.shard for job in unscored))
    workers = -(-sum(job.group.faces for job in unscored) // FACES_PER_WORKER)
    with task_progress(f"score {config.name}") as progress:
        tally = Tally(progress, len(unscored))
        with proof(shards[:PROVEN_SHARDS], evaluation.folder) as proven:
            map_on_cluster(scoring.score_faces, unscored, config.cluster, lambda _: tally.add(), proven, workers)
    log.info("%s: %d of %d row groups scored, the others were there", config.name, tally.done, len(jobs))
    scores |= {job.file: scoring.read_finished(job) for job in unscored}
    return evaluation.with_scores(scoring.join_scores([(job, scores[job.file]) for job in jobs]))


@task(name="write-results", cache_policy=NO_CACHE)
def write_results(evaluation: ScoredEvaluation) -> Results:
    """Tables, figures and report from the scores."""
    return write.write_results(evaluation)


@task(name="publish-results")
def publish_results(results: Results) -> Path:
    """A Markdown artifact per table, image artifacts of grids and curves; returns the report."""
    evaluation = results.report.parent.name
    for table in results.tables:
        content = {"markdown": to_markdown(table), "description": table.caption}
        publish(create_markdown_artifact, f"{evaluation}-{table.key}", **content)
    for figure in (f for f in results.figures if f.stem.startswith(PUBLISHED)):
        content = {"image_url": image_url(figure), "description": figure.stem}
        publish(create_image_artifact, f"{evaluation}-{figure.stem}", **content)
    return results.report


def image_url(figure: Path) -> str:
    """A PNG file as a data URL; as a smaller JPEG, halved until it fits, if it has more than LARGEST_IMAGE bytes."""
    content, kind = figure.read_bytes(), "png"
    if len(content) > LARGEST_IMAGE:
        kind = "jpeg"
        with Image.open(figure) as opened:
            picture = opened.convert("RGB")
        while len(content) > LARGEST_IMAGE:
            written = io.BytesIO()
            picture.save(written, "JPEG", quality=85)
            content, picture = written.getvalue(), picture.reduce(2)
    return f"data:image/{kind};base64," + base64.b64encode(content).decode()

"""Training parts as Prefect tasks: each in a separate process, with a progress bar and the curves."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from tasks.artifacts import publish
from tasks.events import TRAINED, WORSE, announce
from tasks.progress import task_progress
from tasks.runtime import create_table_artifact, get_run_logger, task
from ufvnet.config import TrainConfig
from ufvnet.training.curves import read_curves
from ufvnet.training.launch import train_in_process
from ufvnet.training.part import Part
from ufvnet.training.publish import publish_failure
from ufvnet.training.running import stop_running
from ufvnet.training.stages import resolve_parts, select_part


@task(name="plan-training")
def plan_training(config: TrainConfig, part: str | None = None) -> tuple[list[Part], Part]:
    """Stage 1's parts, none if the whole is finished, and the whole.

    The images for the parts that are not finished are decoded here, once for all of them.
    """
    stage1, whole = resolve_parts(config)
    if part is None and (whole.done() or whole.is_kept_back()):
        return [], whole  # what it started from may be gone
    chosen = [*stage1, whole] if part is None else [select_part(stage1, whole, part)]
    unfinished = [p for p in chosen if not (p.done() or p.is_kept_back())]
    ks = tuple(sorted({k for p in unfinished for k in p.ks}))
    for dataset in whole.datasets if unfinished else ():
        for split in ("train", "val"):
            if dataset.card["faces"].get(split):
                dataset.select(ks, split).arrays()
    return stage1, whole


@task(name="train-part", task_run_name="train-{part.name}")
def train_part(part: Part) -> Path:
    """Train one part to its model folder; a finished one is skipped."""
    logger = get_run_logger()
    if part.done() or part.is_kept_back():
        place = part.model_folder if part.done() else part.why_kept_back
        logger.info("%s: finished already (%s)", part.name, place)
        return part.model_folder
    model = part.config.name
    with task_progress(f"train {model}" if part.name == model else f"train {model} {part.name}") as progress:
        folder = train_in_process(part, progress)
    kept_back = part.is_kept_back()
    last = read_curves(part.kept_back_folder if kept_back else folder)[-1:]
    logger.info("%s: %s", part.name, {k: round(v, 4) for row in last for k, v in row.items()})
    if kept_back:
        logger.info("%s: %s", part.name, part.why_kept_back)
    return folder


@task(name="announce-training")
def announce_training(whole: Part) -> None:
    """Tell once that there is a model, or that it is kept back.

    A note of it lies in the run folder, so that another run tells it if this one dies before.

    Raises:
        PipelineError: as ``announce``.
    """
    if whole.is_announced():
        return
    if whole.is_kept_back():
        is_told = announce(WORSE, whole.name, reason=whole.why_kept_back)
    else:
        is_told = announce(TRAINED, whole.name, model=whole.model_folder.absolute(), fingerprint=whole.fingerprint)
    if is_told:
        whole.note_announced()


@contextlib.contextmanager
def stopping_trainings() -> Iterator[None]:
    """Stop the trainings of this process if waiting for them is interrupted: a cancelled run ends when they have.

    Mapped tasks run in threads, which the interruption does not reach.
    """
    try:
        yield
    except BaseException:
        stop_running()
        raise


@task(name="publish-curves")
def publish_curves(whole: Part) -> Path:
    """Publish the curves of the whole as an artifact; returns its model folder."""
    log = read_curves(whole.model_folder)
    measured = [row for row in log if "psnr" in row] or log[-1:]
    rows = [{k: round(v, 5) for k, v in row.items()} for row in measured]
    about = f"{whole.name}: measured while training"
    publish(create_table_artifact, f"training-curves-{whole.name}", table=rows, description=about)
    return whole.model_folder


@task(name="note-failure")
def note_failure(config: TrainConfig, error: Exception) -> bool:
    """Note in the folder of a model that its training diverged; False if it holds an earlier model, which stays."""
    _, whole = resolve_parts(config)
    noted = publish_failure(whole, str(error))
    if noted:
        get_run_logger().warning("%s; the other trainings go on", error)
    return noted

"""The commands of the pipeline: demo, build, train, evaluate, reproduce, deploy and run, which need the checkout."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from ufvnet.children import without_collection
from ufvnet.console import SOME_FAILED
from ufvnet.errors import ConfigError, NothingUsableError
from ufvnet.extras import require

from .checkout import check_prefect, find_checkout, import_from_checkout
from .exits import leave_on_signals
from .options import options_of

Config = Annotated[Path, typer.Argument(help="A YAML file; see configs/.")]
Overrides = Annotated[
    list[str],
    typer.Option("-s", "--set", help="Value that replaces one of the file, e.g. source.root=photos."),
]
Direct = Annotated[
    bool, typer.Option("--direct", help="Without Prefect: starts sooner, keeps no record of the run, retries nothing.")
]


def demo(
    photos: Annotated[
        Path | None, typer.Option(help="Folder of your photos. Default: variations of one that scikit-image ships.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for everything that is written.")] = Path("demo"),
) -> None:
    """Run the whole pipeline on a small sample: build, train (tiny), evaluate, restore."""
    leave_on_signals(_stop_trainings)
    find_checkout()
    if photos is None:
        require("demo", "the sample photo")
    elif not photos.is_dir():
        raise ConfigError(f"photos = {photos}: no such folder")
    check_prefect()
    from ufvnet.data.sample import demo_folders

    demo_folders(out, photos)
    _show_shipped_model(photos, out)
    import_from_checkout("flows.demo", "demo")(photos, out)


SHOWN_PHOTOS = 20
"""Photos that are searched for a face to show first."""


def _show_shipped_model(photos: Path | None, out: Path) -> None:
    """Write a sheet of what the shipped model does to one face, before the pipeline begins, and print its path."""
    from itertools import islice

    from ufvnet.data.sample import KIND, SHEET, jittered_photos
    from ufvnet.files import claim, printed
    from ufvnet.restore.before_after import SIZES, first_sheet
    from ufvnet.restore.restorer import Restorer

    folder = out / SHEET
    claim(folder, KIND)
    if photos is None:
        searched = sorted(jittered_photos(folder / "photo", 1).iterdir())
    else:
        searched = list(islice((file for file in sorted(photos.rglob("*")) if file.is_file()), SHOWN_PHOTOS))
    sheet = folder / "before-after.png"
    if first_sheet(searched, Restorer.load(), sheet):
        print(f"The shipped model on a face of {', '.join(map(str, SIZES))} pixels: {printed(sheet)}", flush=True)
    else:
        print(f"No face was found in the first {len(searched)} files of {printed(photos)}.", flush=True)


@options_of("BuildConfig", "allow_loss")
def build(
    config: Config,
    overrides: Overrides = [],  # noqa: B006 (typer copies it)
    verify: Annotated[
        bool, typer.Option(help="Build nothing; read the built dataset again and check it. CONFIG may be its folder.")
    ] = False,
    direct: Direct = False,
    **options: Any,
) -> None:
    """Build a multi-resolution dataset from photos; exit code 1 if one could not be used, or there was none."""
    leave_on_signals(_stop)
    find_checkout()
    from ufvnet.data import open as open_dataset
    from ufvnet.data.build.folder import locked
    from ufvnet.data.build.resolved import resolve
    from ufvnet.data.card import failures

    if verify and config.is_dir():
        _verify(config, None, direct)
        return
    if options["allow_loss"]:
        overrides = [*overrides, "allow_loss=true"]
    settings = _load_config("BuildConfig", config, overrides)
    if verify:
        _verify(settings.out / settings.name, settings.cluster, direct)
        return
    resolved = resolve(settings)  # a wrong source is refused before Prefect starts
    with locked(settings):  # and so is a second build of this dataset
        pass
    _check_clusters(settings, direct)
    flow = import_from_checkout("flows.build_datasets", "build_resolved", direct)
    try:
        card = flow(resolved)
    except NothingUsableError:
        card = open_dataset(settings.out / settings.name).card
    for status, count in card["counts"].items():
        if count:
            print(f"{count:8,} {status}")
    faces = f"{card['counts']['ok']:,} of {card['photos']:,} photos became faces ({card['faces']})"
    print(f"{faces}: {settings.out / settings.name}")
    if card["near_duplicates"] and any(card["near_duplicates"].values()):
        pairs = card["near_duplicates"]
        print(f"Look alike: {pairs['within']:,} within a split, {pairs['across']:,} across: near_duplicates.parquet")
    if failures(card) or not any(card["faces"].values()):
        print("The others are rows of photos/*.parquet, each with its status and reason.")
        raise typer.Exit(SOME_FAILED)


def _verify(folder: Path, cluster: Any, direct: bool) -> None:
    from ufvnet.config import Cluster
    from ufvnet.data import open as open_dataset

    dataset = open_dataset(folder)
    os.environ.setdefault("PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW", "ignore")  # a task alone, without its flow
    verify = import_from_checkout("tasks.build", "verify_shards", direct)
    problems = verify(dataset.root, cluster or Cluster())
    for problem in problems[:20]:
        print(problem, file=sys.stderr)
    if problems:
        print(f"{dataset.root}: {len(problems):,} problems", file=sys.stderr)
        raise typer.Exit(SOME_FAILED)
    print(f"{dataset.root}: {sum(dataset.card['faces'].values()):,} faces, all as they were built")


def train(
    config: Config,
    overrides: Overrides = [],  # noqa: B006
    part: Annotated[
        str | None, typer.Option(help="Train only one part: anchor-2 (scale in sixteenths), regressor, or the name.")
    ] = None,
    direct: Direct = False,
) -> None:
    """Train a recipe on a dataset to a model folder; continues from the last checkpoint."""
    leave_on_signals(_stop_trainings)
    settings = _load_config("TrainConfig", config, overrides)
    from ufvnet.training.stages import resolve_parts, select_part

    parts = resolve_parts(settings)
    if part is not None:
        select_part(*parts, part)
    run = import_from_checkout("flows.train", "train", direct)
    if (folder := run(settings, part=part)) is not None:  # else an earlier model stays, as a line of the run says
        print(folder)


def _stop() -> None:
    print("ufvnet: stopped; the same command continues", file=sys.stderr, flush=True)


def _stop_trainings() -> None:
    if running := sys.modules.get("ufvnet.training.running"):  # no training has begun without it
        running.stop_running()
    print("ufvnet: stopped; the same command continues from the last checkpoint", file=sys.stderr, flush=True)


def evaluate(config: Config, overrides: Overrides = [], direct: Direct = False) -> None:  # noqa: B006
    """Evaluate methods on test sets: scores, tables, figures, report; exit code 1 if a method failed on an image."""
    leave_on_signals(_stop)
    settings = _load_config("EvaluateConfig", config, overrides)
    with without_collection():
        from ufvnet.results.evaluation import resolve_evaluation
        from ufvnet.results.folder import lock_folder

    evaluation = resolve_evaluation(settings)
    with lock_folder(evaluation.folder):  # a second run of this evaluation is refused before Prefect starts
        pass
    _check_clusters(settings, direct)
    flow = import_from_checkout("flows.evaluate", "evaluate_resolved", direct)
    print(flow(evaluation))
    _leave_if_failed(_failed_methods(evaluation))


def reproduce(config: Config, overrides: Overrides = [], direct: Direct = False) -> None:  # noqa: B006
    """Run an experiment file from end to end: build, train, evaluate, restore; exit code 1 if an input failed."""
    leave_on_signals(_stop_trainings)
    experiment = _load_config("ExperimentConfig", config, overrides)
    from ufvnet.results.folder import check_folder
    from ufvnet.results.methods.resolve import check_methods

    if experiment.evaluate:
        sizes = {(part.out / part.name).resolve(): part.hr_size for part in experiment.build}
        check_methods(experiment.evaluate, experiment.train, sizes)
        check_folder(experiment.evaluate)
    _check_clusters(experiment, direct)
    flow = import_from_checkout("flows.reproduce", "reproduce", direct)
    print(flow(experiment))
    _leave_if_failed(_failed_inputs(experiment))


def _leave_if_failed(lines: Iterable[str]) -> None:
    """Print what failed, and end with the exit code for it; do nothing if there are no lines."""
    from ufvnet.files import printed_line

    if failed := [printed_line(line) for line in lines]:
        print("\n".join(failed), file=sys.stderr)
        raise typer.Exit(SOME_FAILED)


def _failed_methods(evaluation: Any) -> list[str]:
    """A line for each method that failed on images of a test set, from the scores that were written."""
    from ufvnet.results.scoring import read_scores
    from ufvnet.results.statistics import failures

    return failures(read_scores(evaluation).scores)


def _failed_inputs(experiment: Any) -> Iterator[str]:
    """A line for each step of an experiment that could not use all of its inputs, from the account that it wrote."""
    from ufvnet.data import open as open_dataset
    from ufvnet.data.card import failures
    from ufvnet.models.store import read_failure

    for part in experiment.build:
        folder = part.out / part.name
        if count := failures(open_dataset(folder).card):
            yield f"{folder}: {count:,} photos could not be used; photos/*.parquet says why"
    for training in experiment.train:
        if reason := read_failure(training.out / training.name):
            yield f"{training.out / training.name}: no model: {reason}"
    if experiment.evaluate:
        from ufvnet.results.evaluation import resolve_evaluation

        yield from _failed_methods(resolve_evaluation(experiment.evaluate))
    if experiment.restore:
        folder = experiment.restore.output
        count = json.loads((folder / "summary.json").read_text())["counts"]["failed"]
        if count:
            yield f"{folder}: {count:,} pictures failed; manifest.parquet says why"


def run(
    deployment: Annotated[str, typer.Argument(help="Name of the deployment, e.g. build-datasets.")],
    parameters: Annotated[list[str], typer.Option("-p", "--param", help="key=value, a parameter of the flow.")] = [],  # noqa: B006
    watch: Annotated[bool, typer.Option(help="Wait for the run; exit code 1 if it fails.")] = False,
) -> None:
    """Run a deployment by its bare name on the configured Prefect server."""
    raise typer.Exit(import_from_checkout("tasks.deployments", "run_deployment")(deployment, parameters, watch))


def deploy(
    webhook: Annotated[
        str | None,
        typer.Option(help="URL to post notifications to. Default: the block ufvnet-alerts, if there is one."),
    ] = None,
) -> None:
    """Deploy prefect.yaml and automations.yaml to the configured Prefect server."""
    raise typer.Exit(import_from_checkout("tasks.automations", "deploy")(find_checkout(), webhook))


def _load_config(schema: str, path: Path, overrides: list[str]) -> Any:
    """The configuration, checked before anything heavy is imported."""
    find_checkout()
    from ufvnet import config

    return config.load(getattr(config, schema), path, overrides)


def _check_clusters(settings: Any, direct: bool) -> None:
    """Refuse a cluster that cannot be used before Prefect starts."""
    import_from_checkout("tasks.settings", "check_clusters", direct)(settings)

"""The ``ufvnet`` command; heavy imports happen in the commands.

Exit codes: 0 all good, 1 some inputs failed, 2 wrong use.
"""

from __future__ import annotations

import contextlib
import errno
import importlib
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from ufvnet.console import escape_logs, prepare_streams
from ufvnet.errors import ConfigError, NothingUsableError, PipelineError, TrainingError
from ufvnet.files import printed

app = typer.Typer(
    help="One model that super-resolves face images of any low resolution, and the pipeline around it.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
models_app = typer.Typer(help="Registered models.", no_args_is_help=True)
app.add_typer(models_app, name="models")
data_app = typer.Typer(help="Built datasets.", no_args_is_help=True)
app.add_typer(data_app, name="data")

SOME_FAILED, WRONG_USE = 1, 2

Config = Annotated[Path, typer.Argument(help="A YAML file; see configs/.")]
Overrides = Annotated[list[str], typer.Option("-s", "--set", help="key=value over the file, e.g. recipe.lr=1e-3")]


def main() -> None:
    """Entry point: a wrong configuration is one clear message and exit code 2."""
    prepare_streams()
    escape_logs()
    os.environ["PYTHONSAFEPATH"] = "1"  # no process that this one starts imports what lies in the working directory
    try:
        try:
            app()
        finally:
            sys.stdout.flush()  # here its faults are told
    except ConfigError as error:
        _leave(WRONG_USE, error)
    except (PipelineError, TrainingError) as error:
        _leave(SOME_FAILED, error)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            _leave(SOME_FAILED, f"{error}: make room and run this again; what is finished stays")
        if error.errno not in (errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO):
            raise
        _leave(SOME_FAILED, error)


def _leave(code: int, message: object) -> NoReturn:
    print(f"ufvnet: {printed(message)}", file=sys.stderr)
    sys.exit(code)


@app.command()
def demo(
    photos: Annotated[Path | None, typer.Option(help="Your photos; else one that scikit-image ships.")] = None,
    out: Annotated[Path, typer.Option(help="Where everything is written.")] = Path("demo"),
) -> None:
    """The whole pipeline on a small sample: build, train (tiny), evaluate, restore."""
    if photos is not None and not photos.is_dir():
        raise ConfigError(f"photos = {photos}: no such folder")
    from ufvnet.data.sample import demo_folders

    demo_folders(out, photos)
    _pipeline("demo", "demo")(photos, out)


@app.command()
def build(
    config: Config,
    overrides: Overrides = [],  # noqa: B006 (typer copies it)
    verify: Annotated[
        bool, typer.Option(help="Build nothing: re-read the built dataset (CONFIG may be its folder) and check it.")
    ] = False,
    allow_loss: Annotated[
        bool, typer.Option("--allow-loss", help="Let a rebuild lose more than 5 % of the photos that it used before.")
    ] = False,
) -> None:
    """Photos to a multi-resolution dataset; exit code 1 if one could not be used, or there was none."""
    from ufvnet.data import open as open_dataset
    from ufvnet.data.build.folder import check_output, locked
    from ufvnet.data.build.shard_writer import failures
    from ufvnet.data.sources.listing import list_photos

    if verify and config.is_dir():
        _verify(config, None)
        return
    settings = _checked("BuildConfig", config, [*overrides, *(["allow_loss=true"] if allow_loss else [])])
    if verify:
        _verify(settings.out / settings.name, settings.cluster)
        return
    check_output(settings)
    list_photos(settings)  # a source that is not as it should be is refused before Prefect starts
    with locked(settings):  # so is a second build of this dataset
        pass
    _check_cluster(settings)
    try:
        card = _pipeline("build_datasets", "build_datasets")(settings)
    except NothingUsableError:
        card = open_dataset(settings.out / settings.name).card
    for status, count in card["counts"].items():
        if count:
            print(f"{count:8,} {status}")
    made = f"{card['counts']['ok']:,} of {card['photos']:,} photos became faces"
    print(f"{made} ({card['faces']}): {settings.out / settings.name}")
    if card["near_duplicates"] and any(card["near_duplicates"].values()):
        pairs = card["near_duplicates"]
        print(f"Look alike: {pairs['within']:,} within a split, {pairs['across']:,} across: near_duplicates.parquet")
    if failures(card) or not any(card["faces"].values()):
        print("The others are rows of photos/*.parquet, each with its status and reason.")
        raise typer.Exit(SOME_FAILED)


def _verify(folder: Path, cluster: Any) -> None:
    from ufvnet.config import Cluster
    from ufvnet.data import open as open_dataset

    dataset = open_dataset(folder)
    os.environ.setdefault("PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW", "ignore")  # a task alone, without its flow
    problems = _pipeline("build", "verify_shards", package="tasks")(dataset.root, cluster or Cluster())
    for problem in problems[:20]:
        print(problem, file=sys.stderr)
    if problems:
        print(f"{dataset.root}: {len(problems):,} problems", file=sys.stderr)
        raise typer.Exit(SOME_FAILED)
    print(f"{dataset.root}: {sum(dataset.card['faces'].values()):,} faces, all as they were built")


@app.command()
def train(
    config: Config,
    overrides: Overrides = [],  # noqa: B006
    part: Annotated[
        str | None, typer.Option(help="Train only this: anchor-2 (a scale in sixteenths), regressor, or the name.")
    ] = None,
) -> None:
    """A recipe on a dataset to a model folder; goes on from the last checkpoint."""
    from ufvnet.training.parts import parts_of, select_part

    settings = _checked("TrainConfig", config, overrides)
    parts = parts_of(settings)
    if part is not None:
        select_part(*parts, part)
    run = _pipeline("train", "train")
    _on_signals(_stop_trainings)
    print(run(settings, part=part))


def _on_signals(stop: Callable[[], None]) -> None:
    """Stop, then out at once: Prefect's own way out waits for a server that had the same Ctrl-C."""

    def leave(number: int, _: object) -> None:
        import psutil

        stop()
        for child in psutil.Process().children(recursive=True):  # Prefect's server among them
            with contextlib.suppress(psutil.Error):
                child.terminate()
        os._exit(128 + number)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, leave)


def _stop_trainings() -> None:
    from ufvnet.training.launch import stop_running

    stop_running()
    print("ufvnet: stopped, with a checkpoint; the same command goes on", file=sys.stderr, flush=True)


def _stop_restoring() -> None:
    print("ufvnet: stopped; the same command with --resume goes on", file=sys.stderr, flush=True)


def _picture_to_picture(given: Path, output: Path) -> bool:
    """Whether one file is to become one file; found out without what knows pictures, which imports torch."""
    return bool(output.suffix) and os.path.isfile(given) and not os.path.isdir(output) and given.suffix != ".parquet"


@app.command()
def evaluate(config: Config, overrides: Overrides = []) -> None:  # noqa: B006
    """Models x datasets to scores, tables, figures and a report."""
    from ufvnet.results.evaluation import resolve_evaluation
    from ufvnet.results.folder import lock_folder

    settings = _checked("EvaluateConfig", config, overrides)
    evaluation = resolve_evaluation(settings)
    with lock_folder(evaluation.folder):  # refuses a second run before Prefect starts
        pass
    _check_cluster(settings)
    print(_pipeline("evaluate", "evaluate_resolved")(evaluation))


@app.command()
def reproduce(config: Config, overrides: Overrides = []) -> None:  # noqa: B006
    """An experiment file: build, train, evaluate, restore, end to end."""
    from ufvnet.results.folder import check_folder
    from ufvnet.results.methods.resolve import check_methods

    experiment = _checked("ExperimentConfig", config, overrides)
    if experiment.evaluate:
        check_methods(experiment.evaluate, [t.out / t.name for t in experiment.train])
        check_folder(experiment.evaluate)
    for part in (*experiment.build, experiment.evaluate, experiment.restore):
        _check_cluster(part)
    print(_pipeline("reproduce", "reproduce")(experiment))


@app.command()
def restore(
    inputs: Annotated[
        list[Path], typer.Argument(help="Files, folders, globs, Parquet or Arrow tables; - for standard input.")
    ],
    output: Annotated[
        Path, typer.Argument(help="A folder; for one picture also a file, by its ending, or - for standard output.")
    ],
    model: Annotated[Path | None, typer.Option(help="A shipped model's name (ufvnet-lite) or a model folder.")] = None,
    mode: Annotated[
        str | None,
        typer.Option(
            help="aligned: face crops. photo: find faces and paste them back. auto (default): by the picture."
        ),
    ] = None,
    size: Annotated[
        str | None,
        typer.Option(help="native (crops 128x128, photos until faces have 128), input, a number of pixels, or auto."),
    ] = None,
    scale: Annotated[float | None, typer.Option(help="Output size as a multiple of the input's, e.g. 4.")] = None,
    format: Annotated[
        str | None, typer.Option(help="png, jpeg, webp, tiff, bmp, avif, parquet, same as the input, or auto (png).")
    ] = None,
    quality: Annotated[int | None, typer.Option(help="Of JPEG, WebP and AVIF outputs, 1 to 100 (95).")] = None,
    suffix: Annotated[str | None, typer.Option(help="Before the ending of outputs, e.g. _restored.")] = None,
    landmarks: Annotated[
        list[Path] | None, typer.Option(help="68 landmarks a picture: CSV, pickle, folder of .pts; may be repeated.")
    ] = None,
    boxes: Annotated[Path | None, typer.Option(help="CSV of face crops: file, left, top, right, bottom.")] = None,
    min_face: Annotated[int | None, typer.Option(help="Least face to search for, in pixels; else by the size.")] = None,
    max_face: Annotated[int | None, typer.Option(help="Faces of this side and larger are left as they are.")] = None,
    unrestored: Annotated[
        str | None, typer.Option(help="Pictures without a face to restore: copy them (default) or leave them out.")
    ] = None,
    into_input: Annotated[
        bool, typer.Option(help="Let the output lie in the input folder or hold files of others; none is replaced.")
    ] = False,
    overwrite: Annotated[bool, typer.Option(help="Replace the file that OUTPUT names.")] = False,
    recursive: Annotated[bool, typer.Option(help="Folders below too; their structure is kept.")] = True,
    resume: Annotated[bool, typer.Option(help="Keep finished, verified outputs of an earlier run.")] = False,
    image_column: Annotated[str | None, typer.Option(help="Column of tables with the pictures (image).")] = None,
    image_root: Annotated[
        Path | None, typer.Option(help="A further folder that rows of tables may name files below.")
    ] = None,
    backend: Annotated[str | None, typer.Option(help="torch (default) or onnx.")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda or mps")] = None,
    precision: Annotated[str | None, typer.Option(help="fp32 (default), bf16 or fp16.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Faces a batch, across files (16; on a GPU 64).")] = None,
    threads: Annotated[int | None, typer.Option(help="Threads that compute; else one a core.")] = None,
    max_pixels: Annotated[
        int | None, typer.Option(help="Pictures and outputs with more pixels fail (64000000); a pixel takes 10 bytes.")
    ] = None,
    cluster: Annotated[
        int | None, typer.Option(help="Share the pictures out among so many processes (the super-resolve flow).")
    ] = None,
) -> None:
    """Restore small faces in bulk, each with a row of the manifest; exit code 1 if one failed, or none was usable."""
    from ufvnet.config import RestoreConfig, load

    given: dict[str, Any] = {name: value for name, value in locals().items() if value is not None}
    given["input"] = given.pop("inputs")
    given["cluster"] = None if cluster is None else {"workers": cluster}
    settings = load(RestoreConfig, {key: value for key, value in given.items() if key in RestoreConfig.model_fields})
    from ufvnet.restore.supervise import supervised  # before torch: the process that waits stays small

    one = str(inputs[0]) if len(inputs) == 1 and _picture_to_picture(inputs[0], output) else None
    crashed = cluster is None and Path("-") not in (*inputs, output) and supervised(settings.output, one)
    if crashed:
        settings = settings.model_copy(update={"resume": True})
    flow = None
    if cluster is not None:
        flow = _pipeline("super_resolve", "super_resolve")
        _on_signals(_stop_restoring)
    from ufvnet.restore.console import restore_here

    raise typer.Exit(SOME_FAILED if restore_here(settings, flow, crashed) else 0)


@data_app.command("show")
def data_show(
    dataset: Annotated[Path, typer.Argument(help="A built dataset's folder.")],
    sheet: Annotated[Path | None, typer.Option(help="Contact sheet; else <dataset>/cache/contact-sheet.png.")] = None,
    faces: Annotated[int, typer.Option(min=1, help="Faces on the sheet.")] = 8,
) -> None:
    """A dataset's card, counts by status, and a contact sheet."""
    from ufvnet.data import open as open_dataset
    from ufvnet.data.show import contact_sheet, describe

    found = open_dataset(dataset)
    for line in describe(found):
        print(line)
    if any(found.card["faces"].values()):
        print(f"  contact sheet: {contact_sheet(found, sheet, faces)}")


@data_app.command("export")
def data_export(
    dataset: Annotated[Path, typer.Argument(help="A built dataset's folder.")],
    out: Annotated[Path, typer.Argument(help="Files go to OUT/<px>/<face id>.png.")],
    view: Annotated[str, typer.Option(help="MR8, MR7 or MR3")] = "MR8",
    split: Annotated[str, typer.Option(help="train, val or test")] = "test",
    hr: Annotated[bool, typer.Option(help="HR images too, to OUT/hr.")] = False,
) -> None:
    """LR images as PNG files, for methods that work on folders."""
    from ufvnet.data import open as open_dataset
    from ufvnet.data.export import export

    print(f"{export(open_dataset(dataset), out, view, split, hr):,} images: {out}")


@models_app.command("list")
def models_list() -> None:
    """Names that configurations and tables know."""
    from . import models

    for name in models.names():
        print(f"{name:12} {models.describe(name).summary}")


@models_app.command("show")
def models_show(
    name: Annotated[str, typer.Argument(help="A registered name.")],
    preset: Annotated[str, typer.Option(help="paper, small or tiny")] = "paper",
    hr_size: Annotated[int, typer.Option(help="64 or 128")] = 128,
) -> None:
    """Parameters and multiply-accumulates for one face, block by block."""
    import torch

    from ufvnet.models import UFVNet, create
    from ufvnet.models.complexity import complexity

    try:
        with torch.device("meta"):  # sizes only: initialising the paper preset takes seconds
            network = create(name, preset, hr_size)
            anchor = create("onesrg", preset, hr_size)
    except ValueError as error:
        raise ConfigError(str(error)) from error
    print(f"{name}, preset {preset}, {hr_size}x{hr_size}")
    for block in complexity(network, hr_size):
        print(f"{block.name:12} {block.params:>12,} parameters {block.macs / 1e9:>8.3f} GMAC")
    if isinstance(network, UFVNet):
        srg = complexity(anchor, hr_size)[-1]
        print(
            f"{'each SRG':12} {srg.params:>12,} parameters {srg.macs / 1e9:>8.3f} GMAC, in stage 1; its encoder is kept"
        )


@models_app.command("export")
def models_export(
    name: Annotated[str, typer.Argument(help="The name of a model that ships, or a model folder.")],
    format: Annotated[str, typer.Option(help="onnx, torchscript or torch-export")] = "onnx",
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="The file; else NAME with the format's suffix, here.")
    ] = None,
) -> None:
    """A model as one file for other runtimes, checked against the model before it is kept."""
    from ufvnet.models.export import CHECKED, TOLERANCE, export

    file = export(name, format, output)
    sizes = ", ".join(map(str, CHECKED))
    print(f"{file}: {file.stat().st_size / 1e6:.1f} MB, within {TOLERANCE:g} of the model on batches of {sizes}")


@app.command()
def serve(
    model: Annotated[str, typer.Option(help="A model folder, a name that ships, or an exported FILE.onnx.")] = (
        "ufvnet-lite"
    ),
    host: Annotated[str, typer.Option(help="The address to listen on; others than this machine's are public.")] = (
        "127.0.0.1"
    ),
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 picks a free one.")] = 8000,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps")] = "auto",
    backend: Annotated[str, typer.Option(help="torch or onnx")] = "torch",
    self_ensemble: Annotated[bool, typer.Option(help="Mean with the mirrored face's result; twice the time.")] = False,
) -> None:
    """A local web page that restores one picture at a time; Ctrl-C ends it."""
    from ufvnet.restore.restorer import Restorer
    from ufvnet.restore.server.app import run

    run(Restorer.load(model, device, backend, self_ensemble=self_ensemble), host, port)


@app.command()
def doctor() -> None:
    """What is installed, found and usable here."""
    from ufvnet.doctor import report

    problems = 0
    for good, line in report():
        problems += not good
        print(f"{'ok ' if good else 'NO '} {line}")
    if problems:
        raise typer.Exit(SOME_FAILED)


@app.command()
def run(
    deployment: Annotated[str, typer.Argument(help="Its bare name, e.g. build-datasets.")],
    parameters: Annotated[list[str], typer.Option("-p", "--param", help="key=value of the flow.")] = [],  # noqa: B006
    watch: Annotated[bool, typer.Option(help="Wait for the run; exit code 1 if it fails.")] = False,
) -> None:
    """Run a deployment by its bare name on the configured Prefect server."""
    raise typer.Exit(_pipeline("deployments", "run_deployment", package="tasks")(deployment, parameters, watch))


def _checked(schema: str, path: Path, overrides: list[str]) -> Any:
    """The configuration, checked before Prefect is even imported."""
    from . import config

    return config.load(getattr(config, schema), path, overrides)


def _check_cluster(settings: Any) -> None:
    """Refuse a scheduler that does not answer before Prefect starts; only an address needs Dask to be imported."""
    if settings and settings.cluster and settings.cluster.address:
        _pipeline("cluster", "check_address", package="tasks")(settings.cluster.address)


def _pipeline(module: str, name: str, package: str = "flows") -> Any:
    """A flow of this checkout, in process, with Prefect's embedded database where no server is set.

    Raises:
        ConfigError: ufvnet was installed without its checkout, or Prefect could not write or reach its server.
    """
    from ufvnet.preflight import check_prefect_home, check_server

    checkout = next(
        (p for p in (Path(__file__).parents[1], Path.cwd()) if (p / "flows" / "reproduce.py").is_file()), None
    )
    if checkout is None:
        raise ConfigError("pipeline commands run from a checkout of the repository; only `restore`, `serve`, `models` "
                          "and `doctor` work from the wheel alone")  # fmt: skip
    # prefect reads [tool.prefect] of pyproject.toml only where it is the working directory
    os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
    os.environ.setdefault("PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS", "120")
    os.environ.setdefault("DO_NOT_TRACK", "1")
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # torch's threads would spin beside Prefect's and Dask's
    check_prefect_home()
    check_server(os.environ.get("PREFECT_API_URL"))
    if str(checkout) not in sys.path:
        sys.path.insert(0, str(checkout))
    found = getattr(importlib.import_module(f"{package}.{module}"), name)
    if "prefect" in sys.modules and not os.environ.get("PREFECT_API_URL"):
        from prefect.settings import PREFECT_API_URL

        check_server(PREFECT_API_URL.value())  # of a profile
    importlib.import_module("tasks.logs").plain_errors()
    return found


if __name__ == "__main__":
    main()

"""The commands that restore pictures: restore, and serve, the local web page."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from .checkout import import_from_checkout
from .exits import SOME_FAILED, leave_on_signals


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
        flow = import_from_checkout("flows.super_resolve", "super_resolve")
        leave_on_signals(_stop_restoring)
    from ufvnet.restore.console import restore_here

    raise typer.Exit(SOME_FAILED if restore_here(settings, flow, crashed) else 0)


def _stop_restoring() -> None:
    print("ufvnet: stopped; the same command with --resume goes on", file=sys.stderr, flush=True)


def _picture_to_picture(given: Path, output: Path) -> bool:
    """Whether one file is to become one file; found out without what knows pictures, which imports torch."""
    return bool(output.suffix) and os.path.isfile(given) and not os.path.isdir(output) and given.suffix != ".parquet"


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

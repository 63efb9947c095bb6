"""The commands that restore pictures: restore, and serve, the local web page."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ufvnet.children import CTRL_C
from ufvnet.console import SOME_FAILED
from ufvnet.errors import ConfigError
from ufvnet.extras import require
from ufvnet.files import printed

from .checkout import import_from_checkout
from .exits import leave_on_signals, say_stopped
from .options import configured, options_of

if TYPE_CHECKING:
    from ufvnet.config import RestoreConfig


RESTORE_EXAMPLES = """Examples:

ufvnet restore small-faces/ restored/

ufvnet restore -i photos/ -o restored/ --upscale 2 --compare sheets/

ufvnet restore small.png large.png --overwrite
"""


@options_of("RestoreConfig", without=("input", "output", "cluster"), aliases={"scale": ("--upscale", "-s")})
def restore(
    context: typer.Context,
    paths: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="INPUT... OUTPUT",
            help="Files, folders, globs, archives or tables; last a folder, or for one picture a file; - is a standard "
            "stream.",
        ),
    ] = None,
    inputs: Annotated[
        list[str],
        typer.Option(
            "--input",
            "-i",
            metavar="INPUT",
            help="INPUT as an option: file, folder, glob, zip, tar, Parquet or Arrow (may be repeated).",
        ),
    ] = [],  # noqa: B006 (typer copies it)
    output: Annotated[
        str | None,
        typer.Option(
            "--output",
            "-o",
            metavar="OUTPUT",
            help="OUTPUT as an option: a folder; for one picture also a file, by its ending.",
        ),
    ] = None,
    cluster: Annotated[
        int | None,
        typer.Option(metavar="INT", help="Share the pictures among this many processes (the super-resolve flow)."),
    ] = None,
    **settings: Any,
) -> None:
    """Restore small faces in bulk, each with a row of the manifest; exit code 1 if one failed, or none was usable."""
    from ufvnet.config import RestoreConfig

    inputs, output = _inputs_and_output(paths or [], inputs, output)
    piped = "-" in (*inputs, output)
    leave_on_signals(say_stopped if piped else _stop_restoring)
    workers = None if cluster is None else {"workers": cluster}
    config = configured(RestoreConfig, {"input": inputs, "output": output, "cluster": workers, **settings})
    if cluster is None and not piped:
        from ufvnet.restore.supervise import PASSED_ON, supervise

        single = _picture_to_picture(config)
        stop = say_stopped if single else _stop_restoring
        leave_on_signals(stop)
        code = supervise(config, inputs[0] if single else None, context.obj)
        if code == CTRL_C or code - 128 in PASSED_ON:
            stop()
        raise typer.Exit(code)
    flow = None
    if cluster is not None:
        flow = import_from_checkout("flows.super_resolve", "super_resolve")
    from ufvnet.restore.console import restore_here

    raise typer.Exit(SOME_FAILED if restore_here(config, flow) else 0)


def _inputs_and_output(paths: list[str], inputs: list[str], output: str | None) -> tuple[list[str], str]:
    """What is named by place and by option: the last path is the output, unless an option names it.

    Raises:
        ConfigError: there is no input or no output.
    """
    if output is None and paths and (inputs or len(paths) > 1):
        *paths, output = paths
    inputs = [*inputs, *paths]
    absent = [name for name, value in (("INPUT", inputs or None), ("OUTPUT", output)) if value is None]
    if output is None or absent:
        given = f" after {printed(inputs[-1])}" if inputs else ""
        raise ConfigError(f"missing {' and '.join(absent)}{given}, as in: ufvnet restore photos/ restored/")
    return inputs, output


def _stop_restoring() -> None:
    print("ufvnet: stopped; the same command with --resume continues", file=sys.stderr, flush=True)


def _picture_to_picture(config: RestoreConfig) -> bool:
    """True if one input file becomes one output file. Uses paths only: picture modules take seconds to import."""
    from ufvnet.remote import RemotePath
    from ufvnet.restore.folder.source import holds_pictures

    (picture, *others), output = config.inputs, config.output
    return (
        not others
        and not isinstance(picture, RemotePath)
        and bool(output.suffix)
        and os.path.isfile(picture)
        and (isinstance(output, RemotePath) or not os.path.isdir(output))
        and not holds_pictures(picture)
    )


@options_of(
    "RestoreConfig", "model", "backend", "finder", "min_face", "max_face", "effective_size", "size", "scale", "device",
    "precision", "self_ensemble", aliases={"scale": ("--upscale", "-s")},
)  # fmt: skip
def serve(
    host: Annotated[
        str, typer.Option(help="Address to listen on. Other machines can reach any but 127.0.0.1 and localhost.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 picks a free one.")] = 8000,
    allowed: Annotated[
        list[str],
        typer.Option(
            "--allowed-host",
            metavar="NAME",
            help="A further name that browsers may ask for, as of a reverse proxy (may be repeated).",
        ),
    ] = [],  # noqa: B006 (typer copies it)
    **settings: Any,
) -> None:
    """Serve a local web page that restores pictures, one or many at a time; Ctrl-C ends it."""
    require("serve", "serve")
    from ufvnet.config import RestoreConfig

    config = configured(RestoreConfig, {"input": "-", "output": "-", **settings})
    from ufvnet.restore.resolved import resolve
    from ufvnet.restore.server.app import run

    resolved = resolve(config)
    resolved.face_finder.finder.load()
    run(resolved, host, port, allowed)

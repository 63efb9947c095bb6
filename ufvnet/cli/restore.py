"""The commands that restore pictures: restore, and serve, the local web page."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ufvnet.console import SOME_FAILED
from ufvnet.extras import require

from .checkout import import_from_checkout
from .exits import leave_on_signals
from .options import options_of

if TYPE_CHECKING:
    from ufvnet.config import RestoreConfig


RESTORE_EXAMPLES = """Examples:

ufvnet restore small-faces/ restored/

ufvnet restore photos/ restored/ --mode photo --scale 4

ufvnet restore small.png large.png --overwrite
"""


@options_of("RestoreConfig", without=("input", "output", "cluster"))
def restore(
    inputs: Annotated[
        list[str],
        typer.Argument(
            metavar="INPUT",
            help="Files, folders, globs, zip or tar archives, Parquet or Arrow tables; - for standard input.",
        ),
    ],
    output: Annotated[
        str,
        typer.Argument(
            metavar="OUTPUT", help="A folder; for one picture also a file, by its ending, or - for standard output."
        ),
    ],
    cluster: Annotated[
        int | None, typer.Option(help="Share the pictures among this many processes (the super-resolve flow).")
    ] = None,
    **settings: Any,
) -> None:
    """Restore small faces in bulk, each with a row of the manifest; exit code 1 if one failed, or none was usable."""
    from ufvnet.config import RestoreConfig, load

    workers = None if cluster is None else {"workers": cluster}
    config = load(RestoreConfig, {"input": inputs, "output": output, "cluster": workers, **settings})
    if cluster is None and "-" not in (*inputs, output):
        from ufvnet.restore.supervise import supervise

        raise typer.Exit(supervise(config, inputs[0] if _picture_to_picture(config) else None))
    flow = None
    if cluster is not None:
        flow = import_from_checkout("flows.super_resolve", "super_resolve")
        leave_on_signals(_stop_restoring)
    from ufvnet.restore.console import restore_here

    raise typer.Exit(SOME_FAILED if restore_here(config, flow) else 0)


def _stop_restoring() -> None:
    print("ufvnet: stopped; the same command with --resume continues", file=sys.stderr, flush=True)


def _picture_to_picture(config: RestoreConfig) -> bool:
    """True if one input file becomes one output file. Uses paths only: picture modules take seconds to import."""
    from ufvnet.remote import RemotePath

    (picture, *others), output = config.inputs, config.output
    return (
        not others
        and not isinstance(picture, RemotePath)
        and bool(output.suffix)
        and os.path.isfile(picture)
        and (isinstance(output, RemotePath) or not os.path.isdir(output))
        and picture.suffix != ".parquet"
    )


@options_of("RestoreConfig", "model", "device", "backend")
def serve(
    host: Annotated[
        str, typer.Option(help="Address to listen on. Other machines can reach any but 127.0.0.1 and localhost.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 picks a free one.")] = 8000,
    self_ensemble: Annotated[
        bool, typer.Option(help="Mean of the results of the face and its mirror image; twice the time.")
    ] = False,
    **settings: Any,
) -> None:
    """Serve a local web page that restores one picture at a time; Ctrl-C ends it."""
    require("serve", "serve")
    from ufvnet.restore.restorer import Restorer
    from ufvnet.restore.server.app import run

    run(Restorer.load(**settings, self_ensemble=self_ensemble), host, port)

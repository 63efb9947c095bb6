"""The ``ufvnet`` command: the list of its commands, and what becomes of their errors.

Exit codes: 0 all good, 1 some inputs failed, 2 wrong use. Heavy imports happen in the commands.
"""

from __future__ import annotations

import errno
import os
import sys
from typing import NoReturn

import typer

from ufvnet.console import escape_logs, prepare_streams
from ufvnet.errors import ConfigError, PipelineError, TrainingError
from ufvnet.files import printed

from . import data, doctor, models, pipeline, restore
from .exits import SOME_FAILED, WRONG_USE

app = typer.Typer(
    help="One model that super-resolves face images of any low resolution, and the pipeline around it.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.command()(pipeline.demo)
app.command()(pipeline.build)
app.command()(pipeline.train)
app.command()(pipeline.evaluate)
app.command()(pipeline.reproduce)
app.command()(pipeline.run)
app.command()(restore.restore)
app.command()(restore.serve)
app.command()(doctor.doctor)

models_app = typer.Typer(help="Registered models.", no_args_is_help=True)
app.add_typer(models_app, name="models")
models_app.command("list")(models.list_models)
models_app.command("show")(models.show_model)
models_app.command("export")(models.export_model)

data_app = typer.Typer(help="Built datasets.", no_args_is_help=True)
app.add_typer(data_app, name="data")
data_app.command("show")(data.show_dataset)
data_app.command("export")(data.export_images)


def main() -> None:
    """Entry point: a wrong configuration is one clear message and exit code 2."""
    prepare_streams()
    escape_logs()
    os.environ["PYTHONSAFEPATH"] = "1"  # no process that this one starts imports what lies in the working directory
    try:
        try:
            app()
        finally:
            sys.stdout.flush()  # so that a full disk behind standard output is reported below
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

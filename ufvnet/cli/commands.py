"""The list of commands of ``ufvnet``, and what becomes of their errors.

Exit codes: 0 all good, 1 some inputs failed, 2 wrong use, 128 and its number after a signal. Heavy imports happen in
the commands.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from ufvnet.console import escape_logs, exit_on_errors

from . import data, doctor, models, pipeline, restore
from .options import ConfiguredCommand, PathCommand, wrong_use_is_refused

if TYPE_CHECKING:
    from ufvnet.children import BegunChild

app = typer.Typer(
    help="One model that super-resolves face images of any low resolution, and the pipeline around it.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # rich gives the explanations of options a quarter of a terminal's width
    context_settings={"max_content_width": 120},
    add_completion=False,
)


def _print_version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        print(f"ufvnet {version('ufvnet')}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and end.")
    ] = False,
) -> None:
    """Options that come before a command."""


app.command(cls=PathCommand)(pipeline.demo)
app.command(cls=ConfiguredCommand)(pipeline.build)
app.command(cls=PathCommand)(pipeline.train)
app.command(cls=PathCommand)(pipeline.evaluate)
app.command(cls=PathCommand)(pipeline.reproduce)
app.command(cls=PathCommand)(pipeline.deploy)
app.command(cls=PathCommand)(pipeline.run)
app.command(cls=ConfiguredCommand, epilog=restore.RESTORE_EXAMPLES)(restore.restore)
app.command(cls=ConfiguredCommand)(restore.serve)
app.command(cls=PathCommand)(doctor.doctor)

models_app = typer.Typer(help="Models: list, show, export.", no_args_is_help=True)
app.add_typer(models_app, name="models")
models_app.command("list", cls=PathCommand)(models.list_models)
models_app.command("show", cls=PathCommand)(models.show_model)
models_app.command("export", cls=PathCommand)(models.export_model)

data_app = typer.Typer(help="Built datasets: show, export, push.", no_args_is_help=True)
app.add_typer(data_app, name="data")
data_app.command("show", cls=PathCommand)(data.show_dataset)
data_app.command("export", cls=PathCommand)(data.export_images)
data_app.command("push", cls=PathCommand)(data.push_dataset)


def main(begun: BegunChild | None = None) -> None:
    """Run the command of this process; an error that the user can correct becomes one message and an exit code.

    Args:
        begun: the process that restores, if it was started already.
    """
    escape_logs()
    os.environ["PYTHONSAFEPATH"] = "1"  # no process that this one starts imports what lies in the working directory
    with exit_on_errors(), wrong_use_is_refused():
        sys.exit(app(standalone_mode=False, obj=begun))

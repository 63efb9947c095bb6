"""Options that are fields of a configuration: names, choices, ranges, defaults and help come from it."""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args, get_origin

import typer
from typer.core import TyperCommand

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

Command = Callable[..., None]

_fields: dict[Command, tuple[str, Collection[str], Collection[str]]] = {}
"""For each decorated command: schema, names of its fields or () for all, and names of fields to leave out."""


def options_of(schema: str, *names: str, without: Collection[str] = ()) -> Callable[[Command], Command]:
    """A decorator that gives a command options for fields of a configuration, which it takes as ``**settings``.

    Args:
        schema: name of a class in ``ufvnet.config``.
        names: its fields; all of them if none is named.
        without: fields to leave out.
    """

    def decorate(command: Command) -> Command:
        own = inspect.signature(command, eval_str=True)
        parameters = [p for p in own.parameters.values() if p.kind is not p.VAR_KEYWORD]
        command.__signature__ = own.replace(parameters=parameters)  # type: ignore[attr-defined]
        _fields[command] = schema, names, without
        return command

    return decorate


class PathCommand(TyperCommand):
    """A command whose paths are those of a file system: URLs are refused before it begins."""

    def invoke(self, ctx: Any) -> Any:
        from ufvnet.remote import check_local

        for name, value in ctx.params.items():
            if isinstance(value, Path):
                check_local(name, value)
        return super().invoke(ctx)


class ConfiguredCommand(PathCommand):
    """A command that ``options_of`` decorated.

    Its options are made when it is called or its help is asked for: importing pydantic would slow down ``ufvnet
    --help``.
    """

    complete = False

    def get_params(self, ctx: Any) -> list[Any]:
        if not self.complete and self.callback is not None:
            app = typer.Typer(add_completion=False)
            app.command()(_with_options(inspect.unwrap(self.callback)))
            command = typer.main.get_command(app)
            self.params, self.callback, self.complete = command.params, command.callback, True
        return super().get_params(ctx)


def _with_options(command: Command) -> Command:
    @functools.wraps(command)
    def with_options(**values: Any) -> None:
        command(**values)

    own = inspect.signature(command)
    parameters = [p.replace(kind=p.KEYWORD_ONLY) for p in own.parameters.values()]
    with_options.__signature__ = own.replace(parameters=[*parameters, *_options(command)])  # type: ignore[attr-defined]
    return with_options


def _options(command: Command) -> Iterator[inspect.Parameter]:
    from ufvnet import config

    schema, names, without = _fields[command]
    fields = getattr(config, schema).model_fields
    for name in names or fields:
        if name not in without:
            yield _option(name, fields[name])


def _option(name: str, field: FieldInfo) -> inspect.Parameter:
    """A flag, a repeatable option, or one whose text the configuration converts and checks."""
    kind: Any = str
    default: Any = None if field.default is None else str(field.default)
    if field.annotation is bool:
        kind, default = bool, field.default
    elif get_origin(field.annotation) is tuple:
        kind, default = list[str], list(field.default)
    help = re.split(r"(?<=\.)\s+(?=[A-Z`])", field.description or "")[0].replace("``", "")
    option = typer.Option(help=help, metavar=None if kind is bool else _allowed(field.annotation, field.metadata))
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[kind, option])


def _allowed(annotation: Any, limits: Sequence[Any]) -> str:
    """What an option takes: ``auto|aligned|photo``, ``INT 8..80``, ``PATH`` or ``TEXT``."""
    arguments = [kind for kind in get_args(annotation) if kind is not type(None)]
    if get_origin(annotation) is Literal:
        return "|".join(map(str, arguments))
    if get_origin(annotation) in (tuple, Annotated) or len(arguments) == 1:
        return _allowed(arguments[0], limits)
    least, most = (next((getattr(limit, at) for limit in limits if hasattr(limit, at)), "") for at in ("ge", "le"))
    name = {int: "INT", float: "FLOAT", Path: "PATH"}.get(annotation, "TEXT")
    return f"{name} {least}..{most}" if least != "" else name

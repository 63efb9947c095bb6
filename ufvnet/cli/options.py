"""Options that are fields of a configuration: names, choices, ranges, defaults and help come from it."""

from __future__ import annotations

import contextlib
import functools
import inspect
import re
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar, get_args, get_origin

import typer
from typer.core import TyperCommand

from ufvnet.errors import ConfigError

from .exits import signals_as_usual

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

    from ufvnet.config import Schema

S = TypeVar("S", bound="Schema")
Command = Callable[..., None]
Aliases = Mapping[str, Sequence[str]]

_fields: dict[Command, tuple[str, Collection[str], Collection[str], Aliases]] = {}
"""For each decorated command: schema, names of its fields or () for all, names of fields to leave out, and aliases."""

OTHER_NAMES = {
    "--aligned": "--mode aligned", "--has_aligned": "--mode aligned", "--ext": "--format",
    "--input_path": "--input", "--output_path": "--output", "--test_path": "--input",
}  # fmt: skip
"""What options of other face tools are called here."""


_WrongUse: Any = typer.BadParameter.__mro__[1]
"""What typer raises for any wrong use, and does not export."""


@contextlib.contextmanager
def wrong_use_is_refused() -> Iterator[None]:
    """Make what typer refuses, such as an unknown option, an error of ours, so that all refusals look alike.

    Raises:
        ConfigError: typer refused the words of the command.
    """
    try:
        yield
    except _WrongUse as error:
        context, message = error.ctx, error.format_message().rstrip(".")
        if type(error).__name__ == "NoArgsIsHelpError":
            print(message, file=sys.stderr)
            raise SystemExit(2) from None
        option = getattr(error, "option_name", "")
        if option in OTHER_NAMES:
            message = f"No such option: {option}; here it is {OTHER_NAMES[option]}"
        hint = f" ({context.command_path} --help lists all)" if context else ""
        raise ConfigError(f"{message}{hint}") from None


def configured(schema: type[S], values: dict[str, Any]) -> S:
    """The configuration of a command's words, which has no file whose name could stand before what is wrong.

    Raises:
        ConfigError: a value is wrong; the message is one line for one value.
    """
    from ufvnet.config import load

    try:
        return load(schema, values)
    except ConfigError as error:
        wrong = str(error).removeprefix(f"{schema.__name__}:\n")
        raise ConfigError(wrong.strip() if "\n" not in wrong else f"options:\n{wrong}") from error


def options_of(
    schema: str,
    *names: str,
    without: Collection[str] = (),
    aliases: Aliases = {},  # noqa: B006 (is not changed)
) -> Callable[[Command], Command]:
    """A decorator that gives a command options for fields of a configuration, which it takes as ``**settings``.

    Args:
        schema: name of a class in ``ufvnet.config``.
        names: its fields; all of them if none is named.
        without: fields to leave out.
        aliases: further names of options, by the name of the field.
    """

    def decorate(command: Command) -> Command:
        own = inspect.signature(command, eval_str=True)
        parameters = [p for p in own.parameters.values() if p.kind is not p.VAR_KEYWORD]
        command.__signature__ = own.replace(parameters=parameters)  # type: ignore[attr-defined]
        _fields[command] = schema, names, without, aliases
        return command

    return decorate


class PathCommand(TyperCommand):
    """A command whose paths are those of a file system: URLs are refused before it begins."""

    def get_short_help_str(self, limit: int = 45) -> str:
        """The first clause of its help, whole; typer would cut the sentence off."""
        return inspect.cleandoc(self.help or "").partition("\n")[0].partition(";")[0]

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """As typer's; a metavar of several words says by itself what is needed and how often."""
        return [re.sub(r"\[(\S+ .+)\]\.\.\.", r"\1", piece) for piece in super().collect_usage_pieces(ctx)]

    def invoke(self, ctx: Any) -> Any:
        from ufvnet.remote import check_local

        for name, value in ctx.params.items():
            if isinstance(value, Path):
                check_local(name, value)
        signals_as_usual()  # each command has its own way to stop
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

    schema, names, without, aliases = _fields[command]
    fields = getattr(config, schema).model_fields
    for name in names or fields:
        if name not in without:
            yield _option(name, fields[name], aliases.get(name, ()))


def _option(name: str, field: FieldInfo, aliases: Sequence[str]) -> inspect.Parameter:
    """A flag, a repeatable option, or one whose text the configuration converts and checks."""
    kind: Any = str
    default: Any = None if field.default is None else str(field.default)
    if field.annotation is bool:
        kind, default = bool, field.default
    elif get_origin(field.annotation) is tuple:
        kind, default = list[str], list(field.default)
    help = re.split(r"(?<=\.)\s+(?=[A-Z`])", field.description or "")[0].replace("``", "")
    names = (f"--{name.replace('_', '-')}", *aliases) if aliases else ()
    metavar = None if kind is bool else _allowed(field.annotation, field.metadata)
    option = typer.Option(*names, help=help, metavar=metavar)
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

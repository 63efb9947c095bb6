"""The pages of docs/reference/, made from the code: ``python docs/make_reference.py`` (``make reference``).

Configuration keys come from the pydantic schemas, commands from typer, statuses and columns from the tables beside the
code that writes them. The pages are committed, so that they can be read without building anything; a test compares.
"""

from __future__ import annotations

import inspect
import os
import re
import types
import typing
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

import pyarrow as pa
import typer
import yaml
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from ufvnet import config
from ufvnet.cli import commands as cli
from ufvnet.data import schema
from ufvnet.data.build import assembly, shard_writer
from ufvnet.data.card import NO_FAILURES
from ufvnet.remote import RemotePath
from ufvnet.restore.folder import records
from ufvnet.restore.folder.columns import COLUMNS as MANIFEST_COLUMNS
from ufvnet.results.scoring import SCORE_COLUMNS
from ufvnet.training.curves import LOG_COLUMNS

REFERENCE = Path(__file__).parent / "reference"
NOTE = "<!-- Made by `make reference` from the code; do not edit. -->\n"

COMMANDS: dict[type[BaseModel], str] = {
    config.BuildConfig: "ufvnet build",
    config.TrainConfig: "ufvnet train",
    config.EvaluateConfig: "ufvnet evaluate",
    config.RestoreConfig: "ufvnet restore",
    config.ExperimentConfig: "ufvnet reproduce",
}
"""The configurations and the commands that take them, in the order of the page."""


def pages() -> dict[str, str]:
    """Text of each page by the name of its file."""
    return {
        "configuration.md": configuration_page(),
        "commands.md": commands_page(),
        "statuses.md": statuses_page(),
        "columns.md": columns_page(),
    }


def main() -> None:
    """Write all pages."""
    REFERENCE.mkdir(exist_ok=True)
    for name, text in pages().items():
        (REFERENCE / name).write_text(text)


# Configuration keys


def configuration_page() -> str:
    """Every key of every configuration file: type, default, meaning."""
    lines = [
        NOTE,
        "# Configuration keys\n",
        "A configuration is a YAML file. Keys of nested blocks are written with dots on the command line: "
        "`-s source.root=photos`, `-s recipe.lr=1e-3`. Unknown keys and values out of range are refused before any "
        "work. `ufvnet restore` takes its keys as options (`--min-face` for `min_face`).\n",
    ]
    for model in _in_order(COMMANDS):
        command = f" (`{COMMANDS[model]}`)" if model in COMMANDS else ""
        lines += [f"## {model.__name__}{command}\n", f"{_prose(inspect.getdoc(model) or '')}\n"]
        lines += [*_table(("key", "value", "default", "meaning"), _keys(model)), ""]
    return "\n".join(lines)


def _in_order(roots: Mapping[type[BaseModel], str]) -> list[type[BaseModel]]:
    """Each configuration, followed by the blocks that it brings and that no earlier one has."""
    found: list[type[BaseModel]] = []

    def add(model: type[BaseModel]) -> None:
        if model not in found:
            found.append(model)
            for field in model.model_fields.values():
                for block in _blocks(field.annotation):
                    if block not in roots:
                        add(block)

    for root in roots:
        add(root)
    return found


def _blocks(kind: Any) -> Iterator[type[BaseModel]]:
    """The configurations that a type names."""
    if inspect.isclass(kind) and issubclass(kind, BaseModel):
        yield kind
    for part in get_args(kind):
        yield from _blocks(part)


def _keys(model: type[BaseModel]) -> Iterator[tuple[str, ...]]:
    for name, field in model.model_fields.items():
        yield (
            f"`{name}`",
            _value(field.annotation, field.metadata),
            _default(field.get_default(call_default_factory=True)),
            _prose(field.description or ""),
        )


def _value(kind: Any, limits: typing.Sequence[Any] = ()) -> str:
    """What a key takes, in words."""
    origin, parts = get_origin(kind), get_args(kind)
    if origin is Literal:
        return ", ".join(f"`{part or repr(part)}`" for part in parts)
    if origin is Annotated:
        return _value(parts[0], parts[1:])
    if origin in (typing.Union, types.UnionType):
        words = [_value(part, limits) for part in parts if part is not type(None)]
        return " or ".join([*dict.fromkeys(words), *(["null"] if type(None) in parts else [])])
    if origin is tuple:
        inner = [_value(part) for part in parts if part is not Ellipsis]
        return f"list of {inner[0]}" if Ellipsis in parts else f"[{', '.join(inner)}]"
    if origin is dict:
        return f"mapping of {_value(parts[0])} to {_value(parts[1])}"
    if inspect.isclass(kind) and issubclass(kind, BaseModel):
        command = f"-{COMMANDS[kind].replace(' ', '-')}" if kind in COMMANDS else ""
        return f"[{kind.__name__}](#{kind.__name__.lower()}{command})"
    names = {bool: "`true`, `false`", int: "whole number", float: "number", str: "text", Path: "path", Any: "anything"}
    names[RemotePath] = "URL of an object store"
    return names[kind] + _limits(limits)


def _limits(limits: typing.Sequence[Any]) -> str:
    signs = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}
    bounds = [f"{sign} {getattr(limit, at):g}" for at, sign in signs.items() for limit in limits if hasattr(limit, at)]
    return f" {', '.join(bounds)}" if bounds else ""


def _default(value: Any) -> str:
    if value is PydanticUndefined:
        return "required"
    if isinstance(value, BaseModel):
        return "its defaults"
    plain = yaml.safe_dump(_plain(value), default_flow_style=True, width=1000).removesuffix("...\n").strip()
    return f"`{plain}`"


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value


# Commands


def commands_page() -> str:
    """Every command: usage, arguments and options."""
    lines = [
        NOTE,
        "# Command line\n",
        "`ufvnet COMMAND --help` prints the same. Exit codes of every command: 0 all is well; 1 some inputs could not "
        "be used, or the run stopped, and a line says why; 2 wrong use; 130 Ctrl-C; 143 SIGTERM.\n",
    ]
    root = typer.main.get_command(cli.app)
    for name, command in _commands(root, "ufvnet"):
        context = command.context_class(command, info_name=name)
        parameters = [p for p in command.get_params(context) if p.name != "help"]
        usage = " ".join([name, *command.collect_usage_pieces(context)])
        lines += [f"## {name}\n", f"{_prose(command.help or '')}\n"]
        lines += [f"```text\n{usage}\n```\n"]
        rows = [_parameter(p, context) for p in parameters]
        lines += [*_table(("argument or option", "default", "meaning"), rows), ""] if rows else []
        examples = [line for line in (command.epilog or "").splitlines() if line.startswith("ufvnet ")]
        lines += ["Examples:\n\n```console\n" + "\n".join(examples) + "\n```\n"] if examples else []
    return "\n".join(lines)


def _commands(command: Any, name: str) -> Iterator[tuple[str, Any]]:
    if not hasattr(command, "commands"):
        yield name, command
        return
    for part, inner in command.commands.items():
        yield from _commands(inner, f"{name} {part}")


def _parameter(parameter: Any, context: Any) -> tuple[str, ...]:
    default = parameter.get_default(context)
    if isinstance(default, bool):
        default = "on" if default else "off"
    names, _ = parameter.get_help_record(context)
    names = names.removesuffix(" [required]").replace("list[str]", "str")
    shown = "required" if parameter.required else f"`{default}`" if default else ""
    return f"`{names}`", shown, _prose(parameter.help or "")


# Statuses and columns


def statuses_page() -> str:
    """What can become of a photo, a picture and a face, and where the reason stands."""
    parts = {
        "Photos of a dataset": (
            "Column `status` of `photos/`. `ufvnet build` exits with 1 if a photo has another status than "
            f"{', '.join(f'`{status}`' for status in NO_FAILURES)}.",
            schema.STATUSES,
        ),
        "Pictures of a restored folder": (
            "Column `status` of `manifest.parquet`. `ufvnet restore` exits with 1 if a picture is `failed`, or if no "
            f"picture could be used. `--resume` keeps {', '.join(f'`{status}`' for status in records.FINISHED)}.",
            records.STATUSES,
        ),
    }
    lines = [NOTE, "# Statuses\n", "Every input has a row with a status; the column `reason` says why in words.\n"]
    for title, (text, statuses) in parts.items():
        rows = [(f"`{status}`", _prose(meaning)) for status, meaning in statuses.items()]
        lines += [f"## {title}\n", f"{text}\n", *_table(("status", "meaning"), rows), ""]
    return "\n".join(lines)


def columns_page() -> str:
    """The columns of every table that is written."""
    typed = {
        "`data/<name>/photos/`": (schema.PHOTO_COLUMNS, "A row for each photo that the source has."),
        "`data/<name>/faces/split=<split>/`": (schema.FACE_COLUMNS, "A row for each face that was built."),
        "`data/<name>/timings/`": (shard_writer.TIMING_COLUMNS, "A row for each photo that this build worked on."),
        "`data/<name>/near_duplicates.parquet`": (assembly.PAIR_COLUMNS, "A row for each pair that looks alike."),
        "`restored/manifest.parquet`": (MANIFEST_COLUMNS, "A row for each input of `ufvnet restore`."),
    }
    untyped = {
        "`evaluations/<name>/scores/`": (SCORE_COLUMNS, "A row for each method, face, damage and size."),
        "`models/<name>/log.parquet`": (LOG_COLUMNS, "The curves of a training."),
    }
    lines = [NOTE, "# Columns of tables\n", "All are Parquet. `image` is the Hugging Face image type {bytes, path}.\n"]
    for title, (columns, text) in typed.items():
        rows = [(f"`{name}`", _type(kind), _prose(meaning)) for name, (kind, meaning) in columns.items()]
        lines += [f"## {title}\n", f"{text}\n", *_table(("column", "type", "meaning"), rows), ""]
    for title, (meanings, text) in untyped.items():
        described = [(f"`{name}`", _prose(meaning)) for name, meaning in meanings.items()]
        lines += [f"## {title}\n", f"{text}\n", *_table(("column", "meaning"), described), ""]
    return "\n".join(lines)


def _type(kind: pa.DataType) -> str:
    if kind == schema.IMAGE:
        return "image"
    if pa.types.is_list(kind):
        return f"list of {_type(kind.value_type)}"
    if pa.types.is_struct(kind):
        return "{" + ", ".join(kind.field(i).name for i in range(kind.num_fields)) + "}"
    return str(kind)


# Text


def _table(header: tuple[str, ...], rows: typing.Iterable[tuple[str, ...]]) -> Iterator[str]:
    yield f"| {' | '.join(header)} |"
    yield f"|{'---|' * len(header)}"
    for row in rows:
        yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |"


def _prose(text: str) -> str:
    """A docstring or help text as Markdown, one line per paragraph."""
    spans = re.split(r"(`.+?`)", re.sub(r"``(.+?)``", r"`\1`", text))
    escaped = "".join(span if span.startswith("`") else span.replace("<", "&lt;").replace("*", "\\*") for span in spans)
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in escaped.split("\n\n"))


if __name__ == "__main__":
    os.environ.setdefault("NO_COLOR", "1")
    main()

"""Reading a configuration with overrides; an error names the key, its value and what is allowed."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from ufvnet.errors import ConfigError
from ufvnet.files import printed

from .base import IN_WORDS, Schema
from .sources import KINDS
from .yaml_text import DEEPEST, check_values, parse_yaml, read_yaml

S = TypeVar("S", bound=Schema)


def load(schema: type[S], source: Path | str | dict[str, Any] | S, overrides: Sequence[str] = ()) -> S:
    """Read and check a configuration.

    Args:
        schema: the class of the configuration.
        source: a YAML file, a mapping, or an instance.
        overrides: ``key=value`` with dotted keys (list items by index) and YAML values,
            e.g. ``recipe.lr=1e-3``.

    Raises:
        ConfigError: unreadable file, unknown key, or value out of range.
    """
    if isinstance(source, Schema):
        data: dict[str, Any] = source.model_dump()
    else:
        data = source if isinstance(source, dict) else read_yaml(Path(str(source)))
    origin = printed(source) if isinstance(source, str | Path) else schema.__name__
    try:
        data = _copy(check_values(data))
    except ValueError as error:
        raise ConfigError(f"{origin}: {error}") from error
    for override in overrides:
        _apply(override, data)
    try:
        return schema.model_validate(data)
    except ValidationError as error:
        lines = _explain(schema, error, {override.partition("=")[0] for override in overrides})
        raise ConfigError("\n  ".join([f"{origin}:", *lines])) from error


def _copy(value: Any) -> Any:
    """The value with new dicts and lists: an override must reach neither the caller's nor those of a YAML alias."""
    if isinstance(value, dict):
        return {k: _copy(v) for k, v in value.items()}
    return [_copy(v) for v in value] if isinstance(value, list | tuple) else value


# Errors in words


def _explain(schema: type[Schema], error: ValidationError, overridden: Collection[str]) -> list[str]:
    """A line per wrong key: the key as it is written, its value, what is allowed, and whether an override set it.

    A section is left out if one of its keys is wrong (a list is then too short, or neither a path nor a list of paths).
    Unknown keys of one section share a line, which would else be as long for each: a file of another command has many.
    """
    lines: dict[tuple[str, ...], str] = {}
    unknown: dict[tuple[tuple[str, ...], str], list[str]] = {}
    for details in error.errors():
        key, value, message = _describe(schema, details)
        name = ".".join(key)
        origin = " (set by an override)" if name in overridden else ""
        if details["type"] == "extra_forbidden":
            unknown.setdefault((key[:-1], message), []).append(f"{name} = {_shortened(value)}{origin}")
        elif details["type"] == "missing":
            lines.setdefault(key, f"{name}: is missing")
        else:
            lines.setdefault(key, f"{name or '(whole)'} = {_shortened(value)}{origin}: {message}")
    parents = {key[:n] for key in [*lines, *((*section, "") for section, _ in unknown)] for n in range(len(key))}
    named = [line for key, line in lines.items() if key not in parents]
    return named + [f"{', '.join(keys)}: {message}" for (_, message), keys in unknown.items()]


def _describe(schema: type[Schema], error: ErrorDetails) -> tuple[tuple[str, ...], Any, str]:
    """The key of an error as it is written, its value, and what is allowed."""
    sections: list[type[Schema]] = [schema]
    key: list[str] = []
    for part in error["loc"]:
        # pydantic inserts names of a union's members, which nobody writes
        if (part in ("str", "mapping") and key[-2:-1] == ["models"]) or (isinstance(part, str) and "[" in part):
            continue
        if part in KINDS and key[-1:] == ["source"]:
            sections = [s for s in sections if s.model_fields["kind"].annotation == Literal[part]]
            continue
        if part == "RemotePath":
            continue
        key.append(str(part))
        fields = [s.model_fields[str(part)].annotation for s in sections if part in s.model_fields]
        if fields and part != error["loc"][-1]:
            sections = [s for field in fields for s in _schemas_in(field)]
    value = error["input"]
    message = re.sub("^Input should be ", "must be ", error["msg"].removeprefix("Value error, "))
    message = message.partition(", unable to parse")[0]
    match error["type"]:
        case "greater_than_equal" | "less_than_equal":
            message = _range(sections, key[-1]) or message
        case "union_tag_invalid" | "union_tag_not_found":
            key.append("kind")
            value = value.get("kind") if isinstance(value, dict) else value
            message = f"must be one of {', '.join(KINDS)}"
        case "extra_forbidden":
            keys = dict.fromkeys(name for s in sections for name in s.model_fields)
            message = f"no such key; there are: {', '.join(keys)}"
        case "path_type" | "dataclass_type":
            message = "must be a path"
        case "string_pattern_mismatch":
            message = IN_WORDS.get(error["ctx"]["pattern"], message)
    return tuple(key), value, message


def _range(sections: Sequence[type[Schema]], key: str) -> str:
    """Both limits of a field's number; empty if it has only one."""
    limits = [limit for s in sections if key in s.model_fields for limit in s.model_fields[key].metadata]
    least, most = (next((getattr(m, end) for m in limits if hasattr(m, end)), None) for end in ("ge", "le"))
    return "" if least is None or most is None else f"must be from {least} to {most}"


def _schemas_in(annotation: Any) -> list[type[Schema]]:
    """The configuration classes in a field's type, however they are wrapped."""
    if isinstance(annotation, type) and issubclass(annotation, Schema):
        return [annotation]
    return [s for argument in get_args(annotation) for s in _schemas_in(argument)]


def _shortened(value: Any) -> str:
    try:
        text = printed(repr(value))
    except ValueError:  # Python refuses to print a number of thousands of digits
        return "a number of thousands of digits"
    text = re.sub(r"://[^/@\s]*@", "://***@", text)  # a password in a URL
    return text if len(text) <= 80 else text[:77] + "..."


# Overrides


def _apply(override: str, data: dict[str, Any]) -> None:
    """Set the value of ``key=value`` in nested dicts and lists. Missing sections are created."""
    key, sign, text = override.partition("=")
    name = f"override {printed(_shortened(override))}"
    if not sign or not key:
        raise ConfigError(f"{name}: must be key=value")
    value = _override_value(name, text)
    *parents, last = key.split(".")
    if len(parents) > DEEPEST:
        raise ConfigError(f"{name}: has more than {DEEPEST} parts")
    section: Any = data
    for part in parents:
        if isinstance(section, dict) and part:
            if section.get(part) is None:
                section[part] = {}
            section = section[part]
        elif isinstance(section, list) and _index(section, part) is not None:
            section = section[int(part)]
        else:
            raise ConfigError(f"{name}: {_shortened(part)} is not a part of the configuration")
        if not isinstance(section, dict | list):
            raise ConfigError(f"{name}: {_shortened(part)} is a value, not a section")
    if isinstance(section, list) and _index(section, last) is not None:
        section[int(last)] = value
    elif isinstance(section, dict) and last:
        section[last] = value
    else:
        raise ConfigError(f"{name}: {_shortened(last)} is not a part of the configuration")


def _override_value(name: str, text: str) -> Any:
    try:
        value = parse_yaml(text)
    except ValueError as error:
        raise ConfigError(f"{name}: the value is not YAML ({printed(' '.join(str(error).split())[:200])})") from error
    if isinstance(value, str) and re.fullmatch(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+", value):
        return float(value)  # YAML 1.1 takes 1e-3 for a string
    return value


def _index(items: list[Any], part: str) -> int | None:
    """The index that a part of a key names; None if the list has no such item."""
    return int(part) if re.fullmatch(r"[0-9]{1,9}", part) and int(part) < len(items) else None

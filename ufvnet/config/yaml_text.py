"""YAML as a configuration may have it: small, no key twice, no bombs, no numbers and texts that nothing can hold."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from ufvnet.errors import ConfigError
from ufvnet.files import printed, read_small

DEEPEST = 50
"""Levels of nesting; configurations of ours have at most six."""
MOST = 100_000
"""Values in a file, those behind aliases counted each time."""
LARGEST = 2**63
"""Whole numbers must be smaller: what reads them has 64 bits."""

MARKS = {b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16", b"\xef\xbb\xbf": "utf-8-sig"}


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file: UTF-8, or UTF-16 with a byte order mark, as Windows writes it.

    Raises:
        ConfigError: it cannot be read, is not YAML, or holds something that no configuration can hold.
    """
    try:
        content = read_small(path)
    except OSError as error:
        raise ConfigError(f"{printed(path)}: cannot be read ({error.strerror})") from error
    try:
        data = parse_yaml(content.decode(MARKS.get(content[:2]) or MARKS.get(content[:3]) or "utf-8"))
    except ValueError as error:
        raise ConfigError(f"{printed(path)}: not YAML ({printed(_one_line(error))})") from error
    if not isinstance(data, dict):
        raise ConfigError(f"{printed(path)}: must be a mapping of keys to values")
    return data


def parse_yaml(text: str) -> Any:
    """The plain value of a YAML text; what aliases share is shared in it too, and never holds itself.

    Raises:
        ValueError: it is not YAML, or holds something that no configuration can hold.
    """
    try:
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
        if node is None:
            return None
        _check_nodes(node)
        return check_values(loader.construct_document(node))
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from error
    except RecursionError as error:
        raise ValueError("is nested too deeply") from error


def check_values(value: Any, key: str = "", depth: int = 0) -> Any:
    """The value itself, if it can be a configuration's.

    Raises:
        ValueError: a number or text in it is impossible, or it is nested too deeply; the message names the key.
    """
    if depth > DEEPEST:
        raise ValueError(f"{key[:60]}...: is nested more than {DEEPEST} deep")
    if isinstance(value, dict):
        for name, item in value.items():
            check_values(name, f"{key}{'.' if key else ''}<key>", depth + 1)
            check_values(item, f"{key}.{name}" if key else str(name), depth + 1)
    elif isinstance(value, list | tuple | set):
        for place, item in enumerate(value):
            check_values(item, f"{key}.{place}" if key else str(place), depth + 1)
    elif isinstance(value, int) and abs(value) >= LARGEST:
        raise ValueError(f"{key or 'value'}: a whole number of more than 64 bits")
    elif isinstance(value, str) and re.search("[\0\ud800-\udfff]", value):
        raise ValueError(f"{key or 'value'} = {printed(value)[:80]}: has a NUL or half of a character in it")
    return value


def _check_nodes(root: yaml.Node) -> None:
    """
    Raises:
        ValueError: an alias that holds itself, too many values behind aliases, or a key twice in one mapping.
    """
    count = 0

    def check(node: yaml.Node, above: tuple[yaml.Node, ...]) -> None:
        nonlocal count
        count += 1
        if count > MOST:
            raise ValueError(f"has more than {MOST:,} values, those behind aliases counted each time")
        if any(node is other for other in above):
            raise ValueError(f"an alias that holds itself{_place(node)}")
        if len(above) > DEEPEST:
            raise ValueError(f"is nested more than {DEEPEST} deep{_place(node)}")
        if isinstance(node, yaml.MappingNode):
            _check_keys(node)
            for key, value in node.value:
                check(key, (*above, node))
                check(value, (*above, node))
        elif isinstance(node, yaml.SequenceNode):
            for item in node.value:
                check(item, (*above, node))

    check(root, ())


def _check_keys(mapping: yaml.MappingNode) -> None:
    seen: set[tuple[str, str]] = set()
    for key, _ in mapping.value:
        if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
            if (key.tag, key.value) in seen:
                raise ValueError(f"the key {key.value[:60]!r} stands there twice{_place(key)}")
            seen.add((key.tag, key.value))


def _place(node: yaml.Node) -> str:
    return f", line {node.start_mark.line + 1}" if node.start_mark else ""


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]

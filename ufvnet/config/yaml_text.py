"""YAML of configurations: small, no key twice, no alias bombs, no numbers or texts that other programs cannot hold."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from ufvnet.errors import ConfigError
from ufvnet.files import printed, read_small
from ufvnet.remote import check_local

DEEPEST = 50
"""Levels of nesting; configurations of ours have at most six."""
MOST_VALUES = 100_000
"""Values in a file. Those behind an alias count each time that it is used."""
LARGEST = 2**63
"""Whole numbers must be smaller, because Parquet and torch have 64 bits."""
MERGE = "tag:yaml.org,2002:merge"
"""Tag of the key ``<<``, which takes over the keys of another mapping."""
KINDS = {"int": "whole number of at most 64 bits", "float": "number", "bool": "boolean", "timestamp": "date"}
"""YAML's types in words."""
BYTE_ORDER_MARKS = {b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16", b"\xef\xbb\xbf": "utf-8-sig"}


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file: UTF-8, or UTF-16 with a byte order mark, as Windows writes it.

    Raises:
        ConfigError: it cannot be read, is not YAML, or holds something that no configuration can hold.
    """
    check_local("config", path)
    try:
        content = read_small(path)
    except OSError as error:
        raise ConfigError(f"{printed(path)}: cannot be read ({error.strerror})") from error
    encoding = BYTE_ORDER_MARKS.get(content[:2]) or BYTE_ORDER_MARKS.get(content[:3]) or "utf-8"
    try:
        data = parse_yaml(content.decode(encoding))
    except ValueError as error:
        reason = " ".join(str(error).split())[:300]
        raise ConfigError(f"{printed(path)}: not YAML ({printed(reason)})") from error
    if not isinstance(data, dict):
        raise ConfigError(f"{printed(path)}: must be a mapping of keys to values")
    return data


def parse_yaml(text: str) -> Any:
    """The plain value of a YAML text. What aliases share is shared in it too, and never contains itself.

    Raises:
        ValueError: it is not YAML, or holds something that no configuration can hold.
    """
    try:
        loader = yaml.SafeLoader(text)
        root = loader.get_single_node()
        if root is None:
            return None
        _NodeCheck(loader).check(root)
        return check_values(loader.construct_document(root))
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from error
    except RecursionError as error:
        raise ValueError("is nested too deeply") from error


def check_values(value: Any, key: str = "", depth: int = 0) -> Any:
    """The value itself, if a configuration can hold it.

    Raises:
        ValueError: a number or text in it is impossible, or it is nested too deeply; the message names the key.
    """
    if depth > DEEPEST:
        raise ValueError(f"{key[:60]}...: is nested more than {DEEPEST} deep")
    if isinstance(value, dict):
        for name, item in value.items():
            check_values(name, _join(key, "<key>"), depth + 1)
            check_values(item, _join(key, name), depth + 1)
    elif isinstance(value, list | tuple | set):
        for index, item in enumerate(value):
            check_values(item, _join(key, index), depth + 1)
    elif isinstance(value, int) and abs(value) >= LARGEST:
        raise ValueError(f"{key or 'value'}: a whole number of more than 64 bits")
    elif isinstance(value, str) and re.search("[\0\ud800-\udfff]", value):
        raise ValueError(f"{key or 'value'} = {printed(value)[:80]}: contains a NUL or half of a surrogate pair")
    return value


class _NodeCheck:
    """Checks a tree of YAML nodes before values are made from it, which a bomb or a loop would not survive."""

    def __init__(self, loader: yaml.SafeLoader):
        self.loader, self.count = loader, 0

    def check(self, node: yaml.Node, key: str = "", parents: tuple[yaml.Node, ...] = ()) -> None:
        """
        Raises:
            ValueError: an alias that contains itself, too many values behind aliases, a key twice in one mapping, or a
                number or date that does not exist.
        """
        self.count += 1
        if self.count > MOST_VALUES:
            raise ValueError(f"has more than {MOST_VALUES:,} values, counting those behind an alias each time")
        if any(node is parent for parent in parents):
            raise ValueError(f"an alias contains itself{_line(node)}")
        if len(parents) > DEEPEST:
            raise ValueError(f"is nested more than {DEEPEST} deep{_line(node)}")
        if isinstance(node, yaml.MappingNode):
            _check_keys(node)
            for name, value in node.value:
                self.check(name, _join(key, "<key>"), (*parents, node))
                part = name.value if isinstance(name, yaml.ScalarNode) else "<key>"
                self.check(value, _join(key, part), (*parents, node))
        elif isinstance(node, yaml.SequenceNode):
            for index, item in enumerate(node.value):
                self.check(item, _join(key, index), (*parents, node))
        elif node.tag != MERGE:
            self._check_scalar(node, key)

    def _check_scalar(self, node: yaml.Node, key: str) -> None:
        try:
            self.loader.construct_object(node)
        except yaml.YAMLError:
            raise
        except (ValueError, KeyError, AttributeError) as error:  # the last two of !!bool and !!timestamp
            kind = node.tag.rpartition(":")[2]
            text = f"{key or 'value'} = {printed(node.value)[:60]}"
            raise ValueError(f"{text}: is not a valid {KINDS.get(kind, kind)}{_line(node)}") from error


def _check_keys(mapping: yaml.MappingNode) -> None:
    seen: set[tuple[str, str]] = set()
    for key, _ in mapping.value:
        if isinstance(key, yaml.ScalarNode) and key.tag != MERGE:
            if (key.tag, key.value) in seen:
                raise ValueError(f"the key {key.value[:60]!r} is there twice{_line(key)}")
            seen.add((key.tag, key.value))


def _join(key: str, part: object) -> str:
    return f"{key}.{part}" if key else str(part)


def _line(node: yaml.Node) -> str:
    return f", line {node.start_mark.line + 1}" if node.start_mark else ""

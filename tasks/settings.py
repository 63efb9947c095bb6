"""The settings of a flow: read, and the clusters in them checked, before anything else is done."""

from __future__ import annotations

import typing
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from tasks.cluster import check_cluster
from ufvnet.config import Cluster, Schema, load

S = TypeVar("S", bound=Schema)


def read_settings(
    schema: type[S], config: S | Path | str | dict[str, Any], overrides: Sequence[str] | None = None
) -> S:
    """The configuration that a flow was given, or that in the file which it was given.

    Raises:
        ConfigError: it is wrong (``ufvnet.config.load``), or a cluster in it cannot be used.
    """
    settings = load(schema, config, overrides or ())
    check_clusters(settings)
    return settings


def check_clusters(settings: Schema) -> None:
    """Check every cluster of a configuration once.

    Raises:
        ConfigError: as ``check_cluster``.
    """
    checked: list[Cluster] = []
    for cluster in _clusters(settings):
        if cluster not in checked:
            check_cluster(cluster)
            checked.append(cluster)


def _clusters(value: Any) -> Iterator[Cluster]:
    if isinstance(value, Cluster):
        yield value
    elif isinstance(value, Schema):
        for name in type(value).model_fields:
            yield from _clusters(getattr(value, name))
    elif isinstance(value, tuple):
        for item in value:
            yield from _clusters(item)


def schema_of(function: Any) -> type[Schema]:
    """The schema of the parameter ``config`` of a flow's function."""
    kinds = typing.get_args(typing.get_type_hints(function)["config"])
    return next(kind for kind in kinds if isinstance(kind, type) and issubclass(kind, Schema))

"""Artifacts of Prefect: how they are named, and how they are published without a risk to the run."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from tasks.runtime import NO_ANSWER, get_run_logger


def artifact_key(name: str) -> str:
    """Any name as an artifact's key: lower-case letters, digits and dashes."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def publish(create: Callable[..., Any], name: str, **content: Any) -> None:
    """Publish an artifact of the running task. One that the server does not take is only a warning: the work is done.

    Args:
        create: Prefect's function for its type, e.g. ``create_table_artifact``.
        name: what its key is made of.
        content: the function's other arguments.
    """
    try:
        create(key=artifact_key(name), **content)
    except NO_ANSWER as error:
        get_run_logger().warning("no artifact %s: Prefect's server did not take it (%r)", name, error)

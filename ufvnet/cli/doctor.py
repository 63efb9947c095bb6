"""``ufvnet doctor``: what is installed, found and usable on this machine."""

from __future__ import annotations

import os
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import Literal

import typer

from ufvnet.console import SOME_FAILED
from ufvnet.errors import ConfigError
from ufvnet.extras import EXTRAS, install_command, missing
from ufvnet.files import printed

PACKAGES = ("ufvnet", "torch", "dlib-bin", "pillow", "pyarrow", "safetensors")
REFUSED = {"fastapi": (0, 151), "sqlalchemy": (2, 1)}
"""Releases from which on Prefect 3.8 does not work, although pip installs them without a word."""

Mark = Literal["ok", "--", "NO"]
"""Usable; optional and not there; missing or unusable."""


def doctor() -> None:
    """Show what is installed, found and usable on this machine."""
    problems = 0
    for mark, line in report():
        problems += mark == "NO"
        print(f"{mark:3} {line}")
    if problems:
        raise typer.Exit(SOME_FAILED)


def report() -> Iterator[tuple[Mark, str]]:
    """A mark and a line for packages, extras, devices, face models and the cluster."""
    for package in PACKAGES:
        try:
            yield "ok", f"{package} {version(package)}"
        except PackageNotFoundError:
            yield "NO", f"{package} is not installed"
    for extra in EXTRAS:
        yield _extra(extra)
    yield from _devices()
    has_landmarks = find_spec("face_recognition_models") is not None
    yield (
        "ok" if has_landmarks else "NO",
        "dlib's 68-landmark model" + (" (its training data exclude commercial use)" if has_landmarks else ": missing"),
    )
    yield _finder()
    yield _plugins()
    if not missing("pipeline"):
        yield from _pipeline()


def _extra(extra: str) -> tuple[Mark, str]:
    absent = missing(extra)
    if absent:
        return "--", f"extra {extra}: without {', '.join(absent)}; {install_command(extra)}"
    return "ok", f"extra {extra}: {', '.join(f'{package} {version(package)}' for package in EXTRAS[extra])}"


def _devices() -> Iterator[tuple[Mark, str]]:
    import torch

    yield "ok", f"CPU with {os.cpu_count()} cores, {torch.get_num_threads()} torch threads"
    yield "ok", f"CUDA: {torch.cuda.get_device_name() if torch.cuda.is_available() else 'none'}"
    yield "ok", f"MPS: {'yes' if torch.backends.mps.is_available() else 'none'}"


def _finder() -> tuple[Mark, str]:
    """What ``--finder auto`` takes here, and why if it is not the best one."""
    from ufvnet.faces.finders import choose_finder, why_not_best

    finder = choose_finder()
    reason = why_not_best(finder)
    return ("--", f"face finder {finder.NAME}; {reason}") if reason else ("ok", f"face finder {finder.VERSION}")


def _plugins() -> tuple[Mark, str]:
    """Networks of the user's own."""
    from ufvnet.models import names
    from ufvnet.models.registry import PLUGINS

    modules = os.environ.get(PLUGINS, "")
    try:
        names()
    except ConfigError as error:
        return "NO", str(error)
    return "ok", f"{PLUGINS}: {printed(modules) or 'none set'}"


def _pipeline() -> Iterator[tuple[Mark, str]]:
    for package, limit in REFUSED.items():
        release = version(package)
        if tuple(int(part) for part in release.split(".")[:2]) < limit:
            yield "ok", f"{package} {release}"
        else:
            yield "NO", f"{package} {release}: Prefect needs a release before {'.'.join(map(str, limit))}"
    yield "ok", f"Dask scheduler: {os.environ.get('DASK_SCHEDULER_ADDRESS', 'none set, a local cluster is started')}"
    yield "ok", f"Prefect server: {os.environ.get('PREFECT_API_URL', 'none set, runs use a temporary one')}"

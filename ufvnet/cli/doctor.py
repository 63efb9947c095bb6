"""``ufvnet doctor``: what is installed, found and usable on this machine."""

from __future__ import annotations

import os
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec

import typer

from .exits import SOME_FAILED

PACKAGES = ("ufvnet", "torch", "prefect", "distributed", "dlib-bin", "pillow", "pyarrow", "accelerate", "safetensors")
REFUSED = {"fastapi": (0, 151), "sqlalchemy": (2, 1)}
"""Releases from which on Prefect 3.8 does not work, though pip installs them without a word."""


def doctor() -> None:
    """What is installed, found and usable here."""
    problems = 0
    for good, line in report():
        problems += not good
        print(f"{'ok ' if good else 'NO '} {line}")
    if problems:
        raise typer.Exit(SOME_FAILED)


def report() -> Iterator[tuple[bool, str]]:
    """(usable, one line) for packages, devices, face models and the cluster."""
    for package in PACKAGES:
        try:
            yield True, f"{package} {version(package)}"
        except PackageNotFoundError:
            yield False, f"{package} is not installed"
    for package, limit in REFUSED.items():
        found = version(package)
        good = tuple(int(v) for v in found.split(".")[:2]) < limit
        yield good, f"{package} {found}" + ("" if good else f": Prefect needs one before {'.'.join(map(str, limit))}")
    import torch

    yield True, f"CPU with {os.cpu_count()} cores, {torch.get_num_threads()} torch threads"
    yield True, f"CUDA: {torch.cuda.get_device_name() if torch.cuda.is_available() else 'none'}"
    yield True, f"MPS: {'yes' if torch.backends.mps.is_available() else 'none'}"
    yield True, f"ONNX Runtime: {version('onnxruntime') if find_spec('onnxruntime') else 'none (extra onnx)'}"
    spec = find_spec("face_recognition_models")
    yield (
        spec is not None,
        "dlib's 68-landmark model" + (" (its training data exclude commercial use)" if spec else ": missing"),
    )
    yield True, f"Dask scheduler: {os.environ.get('DASK_SCHEDULER_ADDRESS', 'none set, a local cluster is started')}"
    yield True, f"Prefect server: {os.environ.get('PREFECT_API_URL', 'none set, runs use an embedded one')}"

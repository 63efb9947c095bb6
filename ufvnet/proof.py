"""A worker's proof before its first job of a run: it sees the coordinator's files and computes the same bytes."""

from __future__ import annotations

import functools
import hashlib
import importlib
import importlib.metadata
import os
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np
from PIL import Image

from ufvnet.dlib_library import dlib
from ufvnet.files import TEMPORARY, printed, write_text

T = TypeVar("T")
R = TypeVar("R")

HEAD = 2**24
"""Number of bytes that are compared, from the start of a file."""

LIBRARIES = ("PIL", "numpy")
INSTALLED = ("ufvnet", "torch")
"""Packages whose version is read from metadata: builds do not import torch, which takes seconds."""


@dataclass(frozen=True)
class Proof:
    """What a worker must see and compute. The coordinator makes it and sends it with every job.

    files: (what it is, path, digest of ``_digest``) of files that the worker must see with the same content.
    sentinel: the file that the run wrote into its output folder; None if the run has no output folder.
    machine: the coordinator's ``_machine()``.
    """

    run: str
    files: tuple[tuple[str, Path, str], ...]
    sentinel: Path | None
    machine: tuple[tuple[str, str], ...]

    def difference(self) -> str | None:
        """How this process differs from the coordinator; None if it does not. It is checked once per run."""
        return _difference(self) or ("does not see the output any more" if self.is_removed() else None)

    def is_removed(self) -> bool:
        """True if the output folder, or the sentinel in it, is gone."""
        return self.sentinel is not None and not self.sentinel.exists()

    def output_name(self) -> str:
        """The output folder's name, for a message."""
        return "" if self.sentinel is None else printed(self.sentinel.parent)


@dataclass(frozen=True)
class Refusal:
    """Returned instead of a result: this process must not do the job. why: the reason."""

    why: str


@dataclass(frozen=True)
class Proven(Generic[T, R]):
    """A library function that does a job only if this process passes the proof."""

    function: Callable[[T], R]
    proof: Proof

    def __call__(self, job: T) -> R | Refusal:
        difference = self.proof.difference()
        if difference is not None:
            return Refusal(difference)
        return self.function(job)


@contextmanager
def proof(source: Iterable[Path], output: Path | None = None) -> Iterator[Proof]:
    """A proof for one run, with a sentinel of random content in its output folder while the run lasts.

    Args:
        source: a few of the files that the run reads; those that this process cannot read are left out.
        output: the folder that the run writes; it must exist.
    """
    run = uuid.uuid4().hex
    sentinel = None if output is None else output.absolute() / TEMPORARY.format(run[:12])
    if sentinel is not None:
        write_text(sentinel, run)
    labelled = [("the source", path.absolute()) for path in source] + ([("the output", sentinel)] if sentinel else [])
    files = tuple((what, path, digest) for what, path in labelled if (digest := _digest(path)) is not None)
    try:
        yield Proof(run, files, sentinel, _machine())
    finally:
        if sentinel is not None:
            sentinel.unlink(missing_ok=True)


@functools.lru_cache(maxsize=16)
def _difference(expected: Proof) -> str | None:
    for what, path, digest in expected.files:
        content = _digest(path)
        if content is None:
            return f"does not see {what}: {printed(path)} cannot be read there"
        if content != digest:
            return f"sees another source or output: {printed(path)} has other content there"
    for (name, here), (_, there) in zip(_machine(), expected.machine):
        if here != there:
            return f"has {name} {here}, not {there}"
    return None


def _digest(path: Path) -> str | None:
    """sha256 of a regular file's size and first HEAD bytes; None if it cannot be read."""
    try:
        if not path.is_file():
            return None
        with path.open("rb") as file:
            return hashlib.sha256(b"%d " % os.fstat(file.fileno()).st_size + file.read(HEAD)).hexdigest()
    except (OSError, ValueError):
        return None


@functools.cache
def _machine() -> tuple[tuple[str, str], ...]:
    """What decides the bytes that this process makes: versions, ufvnet's code, and the result of a test reduction."""
    versions = [(name, str(importlib.import_module(name).__version__)) for name in LIBRARIES]
    versions.append(("dlib", str(dlib().__version__)))
    packages = [(name, _installed(name)) for name in INSTALLED]
    return (*packages, ("code of ufvnet", _code()), *versions, ("reduction of a test image", _reduction()))


def _installed(package: str) -> str:
    """A package's version without its build suffix, e.g. ``+cpu``: CPU and GPU workers may share a run."""
    try:
        return importlib.metadata.version(package).partition("+")[0]
    except importlib.metadata.PackageNotFoundError:
        return "unknown"


def _code() -> str:
    """A hash of every module of this package."""
    root, digest = Path(__file__).parent, hashlib.sha256()
    for file in sorted(root.rglob("*.py")):
        digest.update(f"{file.relative_to(root).as_posix()}\n".encode() + file.read_bytes())
    return digest.hexdigest()[:16]


def _reduction() -> str:
    """A hash of noise that Pillow's bicubic reduced: two builds with one version number may resize differently."""
    noise = np.random.default_rng(0).integers(0, 256, (96, 80, 3), dtype=np.uint8)
    return hashlib.sha256(Image.fromarray(noise).resize((30, 36), Image.Resampling.BICUBIC).tobytes()).hexdigest()[:16]

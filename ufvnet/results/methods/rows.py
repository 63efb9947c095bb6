"""Methods: whatever maps LR images to SR images, as rows of the tables."""

from __future__ import annotations

import functools
import hashlib
import os
import socket
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from ufvnet.config import ConfigError, EvaluateConfig, Method, fingerprint, load
from ufvnet.errors import EvaluationError
from ufvnet.files import printed, sha256
from ufvnet.imaging.resize import resize
from ufvnet.models.inference import BICUBIC, ready
from ufvnet.models.store import identity, read_card

from . import own_process
from .method_process import FAILURES
from .own_process import DISK_FULL, MethodDied, MethodError
from .process_state import process_state_kept
from .restoring import Call, Faces, Found, Restoration, failed, load_file, of_file, of_images, of_network

TORCHSCRIPT = (".pt", ".ts", ".torchscript")
CALLABLE_VERSION = 1
OTHER_KINDS = "; else FILE.onnx, FILE.pt, module:function, file.py:function, or a mapping (README, Methods)"


@dataclass(frozen=True)
class Row:
    """A row of the tables: a method as it was trained.

    name: the table row's name. trained_on: view, or "" where that means nothing.
    ref: ``bicubic``, the model's folder, or what else the method was read from.
    label: tells it from others of its name, e.g. ``ufvnet (MR8)``.
    """

    name: str
    ref: str
    trained_on: str
    preset: str
    fingerprint: str
    method: Method

    @property
    def label(self) -> str:
        return f"{self.name} ({self.trained_on})" if self.trained_on else self.name

    def about(self) -> dict[str, Any]:
        """What is known of it: the model's card, or the entry of the configuration."""
        if self.method.model and self.ref != BICUBIC:
            return read_card(Path(self.ref))
        return self.method.model_dump(mode="json", exclude_defaults=True) | {"fingerprint": self.fingerprint}


def rows_of(config: EvaluateConfig) -> list[Row]:
    """The methods of an evaluation; with ``missing: skip`` those that are there.

    Raises:
        ConfigError: a method is not there, or two have one label.
    """
    found = list(_found(config))
    for entry, one in zip(config.models, found):
        if isinstance(one, ConfigError) and config.missing == "error":
            short = isinstance(entry, str) and as_method(entry).model is not None
            raise ConfigError(f"{one}{OTHER_KINDS if short else ''}") from one
    rows = [one for one in found if isinstance(one, Row)]
    labels = [r.label for r in rows]
    for label in labels:
        if labels.count(label) > 1:
            raise ConfigError(f"models: {label} stands there twice; give one another name")
    return rows


def check_methods(config: EvaluateConfig, made_first: Iterable[Path]) -> None:
    """As ``rows_of``, before models in some of the folders are trained.

    Raises:
        ConfigError: a method is not there, or two have one label.
    """
    later = {folder.resolve() for folder in made_first}
    models = [(entry, as_method(entry).model) for entry in config.models]
    there = tuple(entry for entry, model in models if model is None or model.resolve() not in later)
    rows_of(config.model_copy(update={"models": there}))


def missing_of(config: EvaluateConfig) -> list[str]:
    """Why entries of ``models`` are left out, a line each."""
    return [str(one) for one in _found(config) if isinstance(one, ConfigError)] if config.missing == "skip" else []


def _found(config: EvaluateConfig) -> Iterator[Row | ConfigError]:
    for entry in config.models:
        try:
            yield _row(as_method(entry))
        except ConfigError as error:
            yield error


def as_method(entry: str | Method) -> Method:
    """A string as the method that it is short for.

    Raises:
        ConfigError: it is short for none.
    """
    if isinstance(entry, Method):
        return entry
    if entry.endswith(".onnx"):
        return load(Method, {"name": Path(entry).stem, "onnx": entry})
    if entry.endswith(TORCHSCRIPT):
        return load(Method, {"name": Path(entry).stem, "torchscript": entry})
    if ":" in entry:
        return load(Method, {"name": entry.rpartition(":")[2], "python": entry})
    return Method(model=Path(entry))


def _row(method: Method) -> Row:
    """
    Raises:
        ConfigError: what the method is read from is not there.
    """
    if method.model == Path(BICUBIC):
        return Row(method.name or BICUBIC, BICUBIC, "", "", _print(method, BICUBIC), method)
    if method.model:
        card = read_card(method.model)
        view = method.trained_on or card.get("trained_on", {}).get("view", "")
        name = method.name or card["model"] + ("+flip" if method.self_ensemble else "")
        return Row(name, str(method.model), view, card["preset"], _print(method, identity(method.model)), method)
    source = method.onnx or method.torchscript or method.images
    if source is not None:
        _check_source(method, source)
        print_ = _print(method, _folder_digest(source) if method.images else sha256(source))
        if not method.images:
            load_file(str(source), print_)  # what cannot be loaded is refused here
        return Row(method.name, str(source), method.trained_on, "", print_, method)
    assert method.python
    digests = list(own_process.files_of(method.python).values())
    digest = digests[0] if len(digests) == 1 else fingerprint(digests)
    return Row(method.name, method.python, method.trained_on, "", _print(method, digest), method)


def _print(method: Method, digest: str | None) -> str:
    changing = method.model_dump(mode="json", include={"input", "range", "input_px", "self_ensemble"})
    return fingerprint(CALLABLE_VERSION, digest, changing)


def _check_source(method: Method, source: Path) -> None:
    """
    Raises:
        ConfigError: it is not there, or is no file (of images: no folder).
    """
    try:
        there, fits = source.exists(), source.is_dir() if method.images else source.is_file()
    except (OSError, ValueError) as error:  # a name that no file can have
        raise ConfigError(f"models: {printed(method.name)}: {printed(source)}: {error}") from error
    if not fits:
        what = ("no folder" if method.images else "no file") if there else "not there"
        raise ConfigError(f"models: {printed(method.name)}: {printed(source)} is {what}")


def _folder_digest(folder: Path) -> str:
    whole = hashlib.sha256()
    for file in sorted(p for p in folder.rglob("*.png") if p.is_file()):
        whole.update(os.fsencode(f"{file.relative_to(folder)} {sha256(file)}\n"))
    return whole.hexdigest()


def prove(row: Row) -> None:
    """Find a method's files here and see that they are those that were planned: this may be another machine.

    Raises:
        EvaluationError: they are not here, or others.
    """
    (_prove_once if row.method.images else _prove)(row)


def _prove(row: Row) -> None:
    try:
        here = _row(row.method)
    except ConfigError as error:
        raise EvaluationError(f"{socket.gethostname()}: {error}") from error
    if here.fingerprint != row.fingerprint:
        raise EvaluationError(
            f"{socket.gethostname()}: {printed(row.label)}: {printed(row.ref)} is not what was planned: it has changed "
            "since, or this machine has another; evaluate again"
        )


@functools.lru_cache(maxsize=16)
def _prove_once(row: Row) -> None:
    """A folder of images may hold many thousand; a process looks at them once."""
    _prove(row)


def restore(row: Row, faces: Faces, batch_size: int, device: str) -> Restoration:
    """Super-resolve faces; where a batch fails, each of its faces is tried alone, so that others are untouched.

    Raises:
        ConfigError: the method cannot be loaded here.
        MethodDied: it ended the process that it runs in.
        OSError: the disk is full; no face is to blame.
    """
    with process_state_kept():  # a network of the user's is made here
        call = _opened(row, faces.hr_size, device)
    n = len(faces.lr)
    done = failed(faces, "")
    weights: dict[int, np.ndarray] = {}

    def attempt(part: slice) -> None:
        given = replace(faces[part], lr=faces.lr[part].copy())  # a method may work in place and fail
        with process_state_kept():
            started = time.perf_counter()
            sr, found = _checked(call(_fixed(row, given)), faces[part])
            done.milliseconds[part] = (time.perf_counter() - started) * 1000 / len(sr)
        done.sr[part] = sr
        if found is not None:
            weights.update(zip(range(part.start, part.stop), found))

    for start in range(0, n, batch_size):
        part = slice(start, min(n, start + batch_size))
        if _reason(attempt, part):
            for i in range(part.start, part.stop):
                done.reasons[i] = _reason(attempt, slice(i, i + 1))
    if not weights:
        return done
    none = np.full_like(next(iter(weights.values())), np.nan)
    return replace(done, weights=np.stack([weights.get(i, none) for i in range(n)]))


def _reason(attempt: Callable[[slice], None], part: slice) -> str:
    """Why a method failed on a part, "" where it did not."""
    try:
        attempt(part)
    except MethodDied:
        raise
    except FAILURES as error:
        if isinstance(error, OSError) and error.errno in DISK_FULL:
            raise
        return printed(error if isinstance(error, MethodError) else f"{type(error).__name__}: {error}")
    return ""


def _fixed(row: Row, faces: Faces) -> Faces:
    """For a fixed-resolution method, the LR images resized to its size (the paper's FR rows)."""
    side = row.method.input_px
    if side is None or faces.lr.shape[1:3] == (side, side):
        return faces
    lr = np.stack([np.asarray(resize(Image.fromarray(image), side)) for image in faces.lr])
    return replace(faces, lr=lr, rate=side / faces.hr_size)


def _checked(found: Found, faces: Faces) -> Found:
    sr = found[0]
    expected = (len(faces.lr), faces.hr_size, faces.hr_size, 3)
    if not isinstance(sr, np.ndarray) or sr.shape != expected:
        raise MethodError(f"gave {getattr(sr, 'shape', type(sr).__name__)} instead of {expected}")
    if sr.dtype != np.uint8:
        raise MethodError(f"gave {sr.dtype} instead of uint8")
    return found


def _opened(row: Row, hr_size: int, device: str) -> Call:
    """
    Raises:
        ConfigError: what cannot be loaded here, which is no fault of a face.
    """
    method = row.method
    if method.model:
        return functools.partial(of_network, ready(row.ref, row.fingerprint, hr_size, device), method, hr_size)
    if method.images:
        return functools.partial(of_images, method.images)
    if method.python:
        function = own_process.opened(method.python)
        return lambda faces: (function(faces.lr, faces.hr_size), None)
    found = load_file(str(method.onnx or method.torchscript), row.fingerprint)
    if isinstance(found, torch.nn.Module):  # our own export, which has a rate and weights
        return functools.partial(of_network, found, method, hr_size)
    return functools.partial(of_file, method, found)

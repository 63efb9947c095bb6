"""Model folders: ``model.safetensors`` + ``model.json`` (docs/architecture.md, Storage); they load without pickle."""

from __future__ import annotations

import contextlib
import errno
import functools
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from torch import nn

from ufvnet.config import ConfigError, fingerprint
from ufvnet.files import (
    check_ours,
    claim,
    printed,
    read_small,
    seal,
    sha256,
    write_atomically,
    write_bytes,
    write_json,
)
from ufvnet.remote import check_local

from .card import parse_card
from .registry import create, describe

WEIGHTS, CARD = "model.safetensors", "model.json"
SHIPPED = Path(__file__).parents[1] / "weights"
"""Model folders that come with the package, by name."""

LARGEST_CARD = 2**20
"""Most bytes of a model.json that is read; ours have about 2,000."""

README = "README.md"
FAILED = "failed.json"
"""In the folder of a model whose training diverged: why; and the training's fingerprint."""


# Finding and reading


def find(ref: Path | str) -> Path:
    """The folder of a model: ``ref`` itself or, if that holds no model, the shipped model with this name."""
    check_local("model", ref)
    folder = Path(ref)
    return SHIPPED / folder if not _is_file(folder / CARD) and _is_file(SHIPPED / folder / CARD) else folder


def shipped() -> list[str]:
    """Names of the models that come with the package."""
    return sorted(p.parent.name for p in SHIPPED.glob(f"*/{CARD}"))


def read_card(folder: Path) -> dict[str, Any]:
    """The checked model.json of a model folder, as ``ufvnet.models.card.ModelCard`` describes it.

    Raises:
        ConfigError: the folder holds no model, or its card is damaged or wrong.
    """
    file = find(folder) / CARD
    try:
        content = read_small(file, LARGEST_CARD)
    except OSError as error:
        names = f"; by name: {', '.join(shipped())}" if shipped() else ""
        reason = "" if error.errno in (errno.ENOENT, errno.ENOTDIR) else f"; {CARD}: {error.strerror}"
        if failure := read_failure(folder):
            raise ConfigError(f"model = {printed(folder)}: its training failed: {printed(failure)}") from error
        raise ConfigError(
            f"model = {printed(folder)}: no model folder there (it holds {CARD} and {WEIGHTS}){reason}{names}"
        ) from error
    try:
        return parse_card(content)
    except ValueError as error:
        raise ConfigError(f"model = {printed(folder)}: {CARD} is not a model's card: {printed(error)}") from error


def read_failure(folder: Path) -> str:
    """Why a model's training diverged, as its folder says; "" where nothing is said."""
    try:
        return str(json.loads(read_small(folder / FAILED, LARGEST_CARD))["reason"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def damage(folder: Path) -> str | None:
    """What is wrong with a folder's model.safetensors according to its card; None if nothing is.

    Raises:
        ConfigError: as ``read_card``.
    """
    card, file = read_card(folder), find(folder) / WEIGHTS
    digest = _digest(file)
    if digest is None:
        return f"{WEIGHTS} cannot be read" if _is_there(file) else f"{WEIGHTS} is missing"
    if "sha256" not in card:
        _warn_once(f"{printed(find(folder))}: of an earlier release, without a sha256 of its weights: not checked")
    elif digest != card["sha256"]:
        return f"{WEIGHTS} is damaged or another model's: its sha256 is {digest[:12]}…, not {card['sha256'][:12]}…"
    return None


def load_weights(network: nn.Module, folder: Path) -> None:
    """Fill a network from a folder's model.safetensors, which may have any precision.

    Raises:
        ConfigError: the weights are missing, do not fit the card's sha256, or belong to another architecture.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_model

    problem = damage(folder)
    if problem:
        raise ConfigError(f"model = {printed(folder)}: {problem}")
    try:
        load_model(network, find(folder) / WEIGHTS)
    except (OSError, SafetensorError, RuntimeError, ValueError) as error:
        reason = " ".join(printed(error).split()) or type(error).__name__
        raise ConfigError(f"model = {printed(folder)}: {WEIGHTS} cannot be loaded ({reason[:300]})") from error


def load(folder: Path | str) -> tuple[nn.Module, dict[str, Any]]:
    """A trained network in evaluation mode and its card.

    Raises:
        ConfigError: there is no such model, or its weights do not fit.
    """
    folder = Path(folder)
    card = read_card(folder)
    try:
        network = create(card["model"], card["preset"], card["hr_size"], card.get("anchors"))
    except ValueError as error:
        raise ConfigError(f"model = {printed(folder)}: {CARD}: {printed(error)}") from error
    load_weights(network, folder)
    return network.eval(), card


def identity(folder: Path | str) -> str:
    """A fingerprint of a model's card, of its weights as they are now and of the version of its code, if it has one.

    Raises:
        ConfigError: as ``read_card``, or no model of the card's name is registered.
    """
    folder = Path(folder)
    card = read_card(folder)
    try:
        version = describe(card["model"]).version
    except ValueError as error:
        raise ConfigError(f"model = {printed(folder)}: {CARD}: {printed(error)}") from error
    files = fingerprint(card["fingerprint"], _digest(find(folder) / WEIGHTS))
    return fingerprint(files, version) if version else files


# Writing


def sealed_card(card: dict[str, Any], folder: Path) -> dict[str, Any]:
    """A card as model.json holds it: with the sha256 of the folder's weights and a seal over the whole."""
    return seal({k: v for k, v in card.items() if k != "sealed"} | {"sha256": sha256(folder / WEIGHTS)})


@contextlib.contextmanager
def tensors_written(path: Path) -> Iterator[None]:
    """Turn what safetensors raises while it writes ``path`` into an OSError, as for every other file.

    Raises:
        OSError: the file cannot be written; if the disk is full, ``errno`` says so.
    """
    from safetensors import SafetensorError

    try:
        yield
    except SafetensorError as error:
        number = next((n for n in (errno.ENOSPC, errno.EDQUOT) if f"(os error {n})" in str(error)), errno.EIO)
        raise OSError(number, os.strerror(number), str(path)) from error


def save_half(folder: Path, out: Path) -> Path:
    """Write a copy of a model folder with weights in half precision: half the size, loaded like any other.

    Raises:
        ConfigError: ``folder`` holds no model, a weight is above 65,504, or ``out`` holds files that ufvnet did not
            write.
    """
    from safetensors.torch import load_file, save_file

    card, source = read_card(folder), find(folder)
    problem = damage(folder)
    if problem:
        raise ConfigError(f"model = {printed(folder)}: {problem}")
    check_model_folder("out", out)
    tensors = load_file(source / WEIGHTS)
    half = {name: t.half() if t.is_floating_point() else t for name, t in tensors.items()}
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and half[name].isinf().any() and not tensor.isinf().any():
            raise ConfigError(f"model = {printed(folder)}: {name} is too large for half precision")
    claim(out, "model")
    with tensors_written(out / WEIGHTS):
        write_atomically(out / WEIGHTS, lambda p: save_file(half, p))
    if (source / README).is_file():
        write_bytes(out / README, (source / README).read_bytes())
    card |= {"precision": "half", "fingerprint": fingerprint(card["fingerprint"], "half")}
    write_json(out / CARD, sealed_card(card, out))
    return out


def check_model_folder(key: str, folder: Path, sources: tuple[tuple[str, Path], ...] = ()) -> None:
    """Refuse an output folder that holds files of another origin, or that overlaps an input.

    Raises:
        ConfigError: as ``ufvnet.files.check_ours``.
    """
    check_ours(key, folder, "model", sources, _holds_a_model)


def _holds_a_model(folder: Path) -> bool:
    """True if a folder without a marker, from an early release, holds a model of ours."""
    try:
        return bool(parse_card(read_small(folder / CARD, LARGEST_CARD)))
    except (OSError, ValueError):
        return False


def _digest(file: Path) -> str | None:
    """The sha256 of a file, which is read again only if it has changed."""
    try:
        status = file.stat()
    except (OSError, ValueError):
        return None
    return _digest_of(file.resolve(), status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


@functools.lru_cache(maxsize=16)
def _digest_of(file: Path, *_changes: int) -> str | None:
    return sha256(file)


@functools.cache
def _warn_once(line: str) -> None:
    print(line, file=sys.stderr)


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def _is_there(path: Path) -> bool:
    return os.path.lexists(path)

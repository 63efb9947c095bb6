"""Methods of an evaluation, resolved: found, fingerprinted and described once; later steps receive the result."""

from __future__ import annotations

import functools
import hashlib
import os
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ufvnet.config import ConfigError, EvaluateConfig, Method, TrainConfig, fingerprint
from ufvnet.errors import EvaluationError
from ufvnet.files import printed, sha256
from ufvnet.imaging.resize import VIEWS
from ufvnet.models.inference import BICUBIC
from ufvnet.models.registry import ModelEntry, describe
from ufvnet.models.store import identity, read_card

from .configured import OTHER_KINDS, expand, is_short_model
from .kinds import load_file
from .own_process import method_files

METHOD_VERSION = 1


@dataclass(frozen=True)
class ResolvedMethod:
    """A method as it was found, with all that tables and workers need of it; it can be pickled.

    name: the table row's name. ref: ``bicubic``, the model's folder, or what else the method was read from.
    trained_on: the view, "" where that means nothing. preset: the model's, "" for other kinds.
    fingerprint: of the files that it is made of and of the settings that change its images.
    card: the model's card; for other kinds the entry of the configuration.
    """

    name: str
    ref: str
    trained_on: str
    preset: str
    fingerprint: str
    settings: Method
    card: dict[str, Any] = field(default_factory=dict, compare=False, repr=False)

    @property
    def label(self) -> str:
        """Its name in scores and tables, which no other method of the evaluation has, e.g. ``ufvnet (MR8)``."""
        return f"{self.name} ({self.trained_on})" if self.trained_on else self.name


def resolve_methods(config: EvaluateConfig) -> tuple[tuple[ResolvedMethod, ...], tuple[str, ...]]:
    """The methods of an evaluation and, with ``missing: skip``, why others were left out, a line each.

    Raises:
        ConfigError: a method is not there, two have one label, or ``bicubic`` names something else than bicubic.
    """
    methods, left_out = [], []
    for entry in config.models:
        try:
            methods.append(resolve_method(expand(entry)))
        except ConfigError as error:
            if config.missing == "error":
                raise ConfigError(f"{error}{OTHER_KINDS if is_short_model(entry) else ''}") from error
            left_out.append(str(error))
    _check_labels([method.label for method in methods])
    for method in methods:
        _check_reference(method.name, method.settings)
    return tuple(methods), tuple(left_out)


def check_methods(config: EvaluateConfig, trainings: Sequence[TrainConfig], sizes: Mapping[Path, int]) -> None:
    """Check the methods of an experiment before its models are trained.

    Args:
        trainings: what is trained first.
        sizes: sides of the HR faces of datasets that are built first, by resolved path.

    Raises:
        ConfigError: a method that is not trained first is not there, two have one label, ``bicubic`` names something
            else than bicubic, or a model is to be scored on faces of another size than it is trained on.
    """
    later = {(t.out / t.name).resolve(): t for t in trainings}
    methods = [expand(entry) for entry in config.models]
    planned = [(m, later[m.model.resolve()]) for m in methods if m.model is not None and m.model.resolve() in later]
    there = tuple(e for e, m in zip(config.models, methods) if m.model is None or m.model.resolve() not in later)
    found, _ = resolve_methods(config.model_copy(update={"models": there}))
    _check_labels([method.label for method in found] + [_planned_label(*pair) for pair in planned])
    for method, training in planned:
        _check_reference(method.name, method)
        for test_set in config.datasets:
            trained = {sizes.get(path.resolve()) for path in training.datasets} - {None}
            scored = sizes.get(test_set.path.resolve())
            if scored and trained and scored not in trained:
                made = f"{method.model} will make {trained.pop()}-pixel faces"
                raise ConfigError(f"models: {made}, {test_set.path} holds {scored}-pixel ones")


def _entry(name: str) -> ModelEntry:
    """The registered model of this name.

    Raises:
        ConfigError: there is none.
    """
    try:
        return describe(name)
    except ValueError as error:
        raise ConfigError(f"model = {error}") from error


def _planned_label(method: Method, training: TrainConfig) -> str:
    """The label that a model will have when it is trained."""
    whole_view = not training.scales and _entry(training.model).kind != "FR"
    view = method.trained_on or (training.view if whole_view else "")
    name = method.name or training.model + ("+flip" if method.self_ensemble else "")
    return f"{name} ({view})" if view else name


def _check_labels(labels: Sequence[str]) -> None:
    """
    Raises:
        ConfigError: two are the same.
    """
    for label in labels:
        if labels.count(label) > 1:
            raise ConfigError(f"models: {label} is there twice; give one another name")


def _check_reference(name: str, method: Method) -> None:
    """Gains are over the method named ``bicubic``: plain bicubic has that name, and nothing else.

    Raises:
        ConfigError: another method has it, or plain bicubic another one.
    """
    is_plain = method.model == Path(BICUBIC) and method.input_px is None and not method.self_ensemble
    if is_plain and name != BICUBIC:
        raise ConfigError(f"models: {printed(name)}: bicubic keeps its name, as gains are over the method of that name")
    if name == BICUBIC and not is_plain:
        raise ConfigError("models: bicubic: the name of the method that gains are over; give this one another name")


def resolve_method(method: Method) -> ResolvedMethod:
    """Find what a method is read from, and fingerprint it.

    Raises:
        ConfigError: it is not there, or cannot be loaded.
    """
    if method.model and method.model != Path(BICUBIC):
        card = read_card(method.model)
        view = method.trained_on or card.get("trained_on", {}).get("view", "")
        view = view if view in VIEWS else ""  # trained at chosen scales, e.g. a network of fixed resolution at its own
        name = method.name or card["model"] + ("+flip" if method.self_ensemble else "")
        digest = _fingerprint(method, identity(method.model))
        return ResolvedMethod(name, str(method.model), view, card["preset"], digest, method, card)
    ref, digest = _digest(method)
    name, trained_on = (method.name or BICUBIC, "") if method.model else (method.name, method.trained_on)
    card = method.model_dump(mode="json", exclude_defaults=True) | {"fingerprint": digest}
    return ResolvedMethod(name, ref, trained_on, "", digest, method, card)


def _digest(method: Method) -> tuple[str, str]:
    """What a method other than a model folder is read from, and its fingerprint."""
    if method.model:
        return BICUBIC, _fingerprint(method, BICUBIC)
    source = method.onnx or method.torchscript or method.images
    if source is None:
        assert method.python
        digests = list(method_files(method.python).values())
        return method.python, _fingerprint(method, digests[0] if len(digests) == 1 else fingerprint(digests))
    _check_source(method, source)
    digest = _fingerprint(method, _folder_digest(source) if method.images else sha256(source))
    if not method.images:
        load_file(str(source), digest)  # refuses what cannot be loaded; scoring here uses the loaded network
    return str(source), digest


def _fingerprint(method: Method, content: str | None) -> str:
    changing = method.model_dump(mode="json", include={"input", "range", "input_px", "self_ensemble"})
    return fingerprint(METHOD_VERSION, content, changing)


def _check_source(method: Method, source: Path) -> None:
    """
    Raises:
        ConfigError: there is no such file (for ``images``, no such folder).
    """
    try:
        there, fits = source.exists(), source.is_dir() if method.images else source.is_file()
    except (OSError, ValueError) as error:  # a name that no file can have
        raise ConfigError(f"models: {printed(method.name)}: {printed(source)}: {error}") from error
    if not fits:
        problem = ("no folder" if method.images else "no file") if there else "not there"
        raise ConfigError(f"models: {printed(method.name)}: {printed(source)} is {problem}")


def _folder_digest(folder: Path) -> str:
    digest = hashlib.sha256()
    for file in sorted(p for p in folder.rglob("*.png") if p.is_file()):
        digest.update(os.fsencode(f"{file.relative_to(folder)} {sha256(file)}\n"))
    return digest.hexdigest()


def prove(method: ResolvedMethod) -> None:
    """Resolve a method again where it is to run, which may be another machine, and compare the fingerprints.

    Raises:
        EvaluationError: its files are not here, or others.
    """
    (_prove_once if method.settings.images else _prove)(method)


def _prove(method: ResolvedMethod) -> None:
    try:
        here = resolve_method(method.settings)
    except ConfigError as error:
        raise EvaluationError(f"{socket.gethostname()}: {error}") from error
    if here.fingerprint != method.fingerprint:
        raise EvaluationError(
            f"{socket.gethostname()}: {printed(method.label)}: {printed(method.ref)} is not what was planned: it has "
            "changed since, or this machine has another; evaluate again"
        )


@functools.lru_cache(maxsize=16)
def _prove_once(method: ResolvedMethod) -> None:
    """As ``_prove``, once per process: a folder may hold many thousand images."""
    _prove(method)

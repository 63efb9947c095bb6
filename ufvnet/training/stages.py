"""The stages of a training: stage 1's anchors and regressor, then the whole network (section III-D).

A configuration is resolved here, once: its datasets are opened and its folders, models and options are checked.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import torch
from torch import nn

from ufvnet import data
from ufvnet.config import ConfigError, TrainConfig
from ufvnet.data.dataset import Dataset
from ufvnet.extras import require
from ufvnet.files import check_writable, printed
from ufvnet.models import PRESETS, SRG, UFVNet, WeightRegressor, describe
from ufvnet.models.feed import I_LS, feed_of
from ufvnet.models.inference import best_device
from ufvnet.models.registry import anchors_of, outline
from ufvnet.models.srg import Width
from ufvnet.models.store import damage, read_card
from ufvnet.models.supervision import Needs, needs_of

from .batches import PREFETCHED
from .part import Part
from .validation import SPLIT

SHARED_MEMORY = Path("/dev/shm")
"""Folder through which loader processes hand batches to the training process."""


def resolve_parts(config: TrainConfig) -> tuple[list[Part], Part]:
    """Stage 1's parts, which are independent of each other, and the whole.

    Raises:
        ConfigError: the model is unknown or cannot be trained, a dataset is missing, HR sizes differ, an option does
            not fit the model or the data, or an output folder holds files of another origin.
    """
    try:
        describe(config.model)
    except ValueError as error:
        raise ConfigError(f"model = {error}") from error
    best_device(config.device)
    for key, folder in (("out", config.out), ("runs", config.runs)):
        check_writable(key, folder)
    whole = _whole(config, _datasets(config))
    _check_options(whole)
    if config.start is not None:
        _check_start(whole)
    _check_stage1(whole)
    for part in (*whole.stage1, whole):
        if part.finished_model is None:
            part.check_folders()
    _check_shared_memory(config, whole.hr_size)
    return whole.stage1, whole


def _datasets(config: TrainConfig) -> tuple[Dataset, ...]:
    datasets = tuple(data.open(path) for path in config.datasets)
    sizes = sorted({dataset.hr_size for dataset in datasets})
    if len(sizes) != 1:
        named = ", ".join(map(printed, config.datasets))
        raise ConfigError(f"dataset = {named}: HR sizes differ ({sizes}); they must be equal")
    for dataset in datasets:
        dataset.view(config.view, "train")
    return datasets


def _whole(config: TrainConfig, datasets: tuple[Dataset, ...]) -> Part:
    try:
        network = outline(config.model, config.preset, datasets[0].hr_size, config.anchors)
        anchors = anchors_of(network)
    except ValueError as error:
        raise ConfigError(str(error)) from error
    if not any(p.requires_grad for p in network.parameters()):
        raise ConfigError(f"model = {config.model}: has nothing to train")
    regressor = network.regressor is not None if hasattr(network, "regressor") else None
    finder = getattr(network, "landmark_finder", lambda: None)() is not None
    encoders, weights = _stage1_of(network, PRESETS[config.preset], datasets[0].hr_size, len(anchors))
    return Part(
        "whole", config, datasets, anchors=anchors, regressor=regressor, staged=encoders, staged_regressor=weights,
        finder=finder, feed=feed_of(network), needs=_needs(config, network), has_loss=hasattr(network, "loss"),
    )  # fmt: skip


def _stage1_of(network: nn.Module, width: Width, hr_size: int, anchors: int) -> tuple[bool, bool]:
    """Whether a network's encoders are those of anchor SRGs, and its regressor stage 1's: others learn in stage 2."""
    if not isinstance(network, UFVNet):
        return False, False
    with torch.device("meta"):
        encoder, regressor = SRG(width, hr_size).encoder, WeightRegressor(anchors, width.regressor, hr_size)
    own = network.regressor
    return (
        all(_shapes(each) == _shapes(encoder) for each in network.encoders),
        own is not None and _shapes(own) == _shapes(regressor),
    )


def _shapes(module: nn.Module) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in module.state_dict().items()}


def _needs(config: TrainConfig, network: nn.Module) -> Needs:
    """What the loss of the network needs, and what its teacher's input does.

    Raises:
        ConfigError: the network cannot be taught by the model that ``teacher`` names.
    """
    if config.teacher is None:
        return needs_of(network)
    taught_by, card = getattr(network, "taught_by", ""), read_card(config.teacher)
    if not taught_by:
        raise ConfigError(f"teacher = {printed(config.teacher)}: {config.model} learns from no teacher")
    hr_size = getattr(network, "hr_size", None)
    for what, value, needed in (
        ("model", card.get("model"), taught_by),
        ("preset", card.get("preset"), config.preset),
        ("hr_size", card.get("hr_size"), hr_size),
    ):
        if value != needed:
            raise ConfigError(f"teacher = {printed(config.teacher)}: its {what} is {value}; it must be {needed}")
    if problem := damage(config.teacher):
        raise ConfigError(f"teacher = {printed(config.teacher)}: {problem}")
    return needs_of(outline(taught_by, config.preset, card["hr_size"]))


def _check_options(whole: Part) -> None:
    """Refuse options that the model or the datasets do not allow.

    Raises:
        ConfigError: an option does not fit the model or the datasets.
    """
    config = whole.config
    if config.regressor_scales and not whole.staged_regressor:
        raise ConfigError(
            f"regressor_scales = {config.regressor_scales}: {config.model} trains no regressor in stage 1"
        )
    if config.scales and whole.feed.kind == "FR":
        raise ConfigError(f"scales = {list(config.scales)}: {config.model} trains at its own resolution, {whole.ks}")
    recipe = config.recipe
    fixed = whole.feed != I_LS
    landmarks = whole.needs.landmarks or whole.needs.masks
    if whole.needs.edges:
        require("edges", f"model = {config.model}: Canny's edges")
    for key, refused, why in (
        ("between", whole.feed.kind != "OR", "only for models that take I_LS"),
        (
            "balance",
            fixed or whole.has_loss,
            "only for models that take I_LS and have no loss of their own",
        ),
        ("recut", landmarks, f"moves the landmarks, which {config.model} learns from"),
        ("colour", bool(whole.needs.points), f"not for {config.model}, which learns from single points"),
        ("colour", whole.needs.edges, f"not for {config.model}, which learns from edges"),
        ("damage", bool(whole.needs.squares), f"not for {config.model}, which cuts its inputs from HR faces itself"),
    ):
        if getattr(recipe, key) and refused:
            raise ConfigError(f"recipe.{key} = {getattr(recipe, key)}: {why}")
    if recipe.keep == "best" and not any(dataset.card["faces"].get(SPLIT) for dataset in whole.datasets):
        raise ConfigError(f"recipe.keep = best: no dataset has a split {SPLIT!r}, on which the best is measured")
    degradations = {dataset.card["degradation"]["name"] for dataset in whole.datasets}
    for key in ("between", "damage", "recut"):
        value = getattr(config.recipe, key)
        if value and degradations != {"pil-bicubic"}:
            raise ConfigError(f"recipe.{key} = {value}: only with pil-bicubic datasets, not {degradations}")
    for dataset, photos in zip(whole.datasets, whole.photos, strict=True):
        if photos is not None:
            dataset.view(config.view, "train").originals(photos)


def _check_stage1(whole: Part) -> None:
    """Check the finished models that ``stage1`` names.

    Raises:
        ConfigError: a name is not that of a part, or the whole cannot start from a model.
    """
    known = [part.name for part in whole.stage1]
    for name in whole.config.stage1:
        if name not in known:
            raise ConfigError(f"stage1.{name}: no such part; there are: {', '.join(known)}")
    for part in whole.stage1:
        if part.finished_model is not None:
            part.check_finished_model()


def _check_start(whole: Part) -> None:
    """Check the model that the training starts from.

    Raises:
        ConfigError: ``start`` does not hold weights of the network that is to be trained.
    """
    config = whole.config
    assert config.start is not None
    card = read_card(config.start)
    problem = damage(config.start)
    if problem:
        raise ConfigError(f"start = {printed(config.start)}: {problem}")
    for what, value, needed in (
        ("model", card.get("model"), config.model),
        ("preset", card.get("preset"), config.preset),
        ("hr_size", card.get("hr_size"), whole.hr_size),
        ("anchors", card.get("anchors"), list(whole.anchors) or None),
    ):
        if value != needed:
            raise ConfigError(f"start = {config.start}: its {what} is {value}; it must be {needed}")


def _check_shared_memory(config: TrainConfig, hr_size: int) -> None:
    """Check that the prepared batches have room in shared memory.

    Raises:
        ConfigError: the batches that wait for the training process do not fit into /dev/shm.
    """
    if not config.loader_workers or not SHARED_MEMORY.is_dir():
        return
    needed = config.loader_workers * PREFETCHED * config.recipe.batch_size * 2 * 3 * hr_size**2
    free = shutil.disk_usage(SHARED_MEMORY).free
    if free < needed:
        raise ConfigError(
            f"loader_workers = {config.loader_workers}: {SHARED_MEMORY}, through which they hand over batches, has "
            f"{free / 2**20:.1f} MiB free, and they need {needed / 2**20:.1f} MiB; take fewer, or 0, or make it larger "
            "(docker run --shm-size=1g)"
        )


def select_part(stage1: list[Part], whole: Part, name: str) -> Part:
    """The part with this name.

    Raises:
        ConfigError: no part has the name, or it is the whole and its stage 1 is not finished.
    """
    parts = {part.name: part for part in [*stage1, whole]}
    if name not in parts:
        raise ConfigError(f"part = {name}: no such part; there are: {', '.join(parts)}")
    missing = [part.name for part in parts[name].stage1 if not part.done()]
    if missing:
        raise ConfigError(f"part = {name}: starts from {', '.join(missing)}, which must be trained first")
    return parts[name]

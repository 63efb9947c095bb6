"""What a training consists of: stage 1's anchors and regressor, then the whole (section III-D)."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import nn

from ufvnet import data
from ufvnet.config import ConfigError, TrainConfig, fingerprint
from ufvnet.data.damage.chain import VERSION as DAMAGE_VERSION
from ufvnet.data.dataset import Dataset, FaceArrays, join
from ufvnet.files import check_ours, check_writable, printed
from ufvnet.imaging.resize import VIEWS
from ufvnet.models import PRESETS, SRG, UFVNet, WeightRegressor, create, names
from ufvnet.models.fau import init_as_identity
from ufvnet.models.inference import best_device
from ufvnet.models.store import CARD, check_model_folder, damage, find, load_weights, read_card

from .batches import PREFETCHED

TRAINING_VERSION = 2
"""Raised when the same configuration no longer trains the same weights."""

IN_A_RUN = {
    "checkpoints", "samples", "tensorboard", "model", "job.json", "stderr.log", "lock", "best.safetensors",
}  # fmt: skip
"""Names in a run folder."""

SHARED_MEMORY = Path("/dev/shm")
"""Where processes that prepare batches put them for the training process."""

Role = Literal["anchor", "regressor", "whole"]


@dataclass(frozen=True)
class Part:
    """One training: an anchor SRG or the regressor (stage 1), or the whole network.

    k: the anchor's scale in sixteenths, for role ``anchor``.
    anchors: the whole network's anchors, as sixteenths; empty for networks without.
    regressor: whether the whole network predicts its weights, which Eq. 13 then supervises.
    staged: whether the whole network starts from stage 1.
    """

    role: Role
    config: TrainConfig
    k: int = 0
    anchors: tuple[int, ...] = ()
    regressor: bool = False
    staged: bool = False

    @property
    def name(self) -> str:
        return {"anchor": f"anchor-{self.k}", "regressor": "regressor", "whole": self.config.name}[self.role]

    @property
    def stage1(self) -> list[Part]:
        """The parts that this one starts from."""
        if self.role != "whole" or not self.staged or self.config.start is not None:
            return []
        parts = [Part("anchor", self.config, k) for k in self.anchors]
        if self.regressor:
            parts.append(Part("regressor", self.config, anchors=self.anchors))
        return [p for p in parts if p.steps or p.given is not None]

    @property
    def steps(self) -> int:
        recipe = self.config.recipe
        return {"anchor": recipe.anchor_steps, "regressor": recipe.regressor_steps, "whole": recipe.steps}[self.role]

    @property
    def ks(self) -> tuple[int, ...]:
        """Scales it trains on."""
        if self.role == "anchor":
            return (self.k,)
        if self.role == "regressor" and self.config.regressor_scales:
            return tuple(sorted(self.config.regressor_scales))
        return VIEWS[self.config.view]

    @property
    def datasets(self) -> list[Dataset]:
        """The datasets whose training splits it trains on.

        Raises:
            ConfigError: one is not there, or they differ in HR size.
        """
        found = [data.open(path) for path in self.config.datasets]
        sizes = {d.hr_size for d in found}
        if len(sizes) != 1:
            raise ConfigError(f"dataset = {self.config.dataset}: HR sizes differ ({sorted(sizes)}); they must be equal")
        return found

    @property
    def hr_size(self) -> int:
        return self.datasets[0].hr_size

    @property
    def given(self) -> Path | None:
        """The finished model folder that the configuration gives for this part of stage 1."""
        return self.config.stage1.get(self.name) if self.role != "whole" else None

    def arrays(self, split: str = "train") -> FaceArrays:
        """The decoded pixels of its datasets that have the split."""
        there = [(d, p) for d, p in zip(self.datasets, self.photos, strict=True) if d.card["faces"].get(split)]
        return join([d.select(self.ks, split).arrays(photos) for d, photos in there])

    @property
    def photos(self) -> list[Path | None]:
        """Folders of its datasets' photographs, where faces are cut anew."""
        if self.role != "whole" or not self.config.recipe.recut:
            return [None] * len(self.datasets)
        return [*(self.config.photos or (d.photos for d in self.datasets))]

    def fingerprint(self) -> str:
        """Of everything that decides the weights: data, network, recipe, and what it starts from."""
        if self.given is not None:
            return str(read_card(self.given).get("fingerprint"))
        config, elsewhere = self.config, {"anchor_steps", "regressor_steps", "steps", "alpha"}
        watching = {"validate_every", "validation_faces"} if config.recipe.keep == "last" else set()
        recipe = config.recipe.model_dump(
            exclude={"threads", "checkpoint_every", *watching, *elsewhere}, exclude_defaults=True
        )  # defaults are left out, so that an option added later changes no fingerprint
        if self.role != "whole":
            for key in ("damage", "recut"):  # stage 1 sees clean faces as they were built
                recipe.pop(key, None)
        elif config.recipe.damage is not None:
            recipe["damage_version"] = DAMAGE_VERSION
        network = (config.model if self.role == "whole" else self.role, config.preset, self.hr_size, self.anchors)
        alpha = config.recipe.alpha if self.role == "whole" and self.regressor else None
        start = [p.fingerprint() for p in self.stage1]
        if config.recipe.keep == "best":
            start += [d.card["fingerprints"]["val"] for d in self.datasets if d.card["faces"].get("val")]
        if self.role == "whole" and config.start is not None:
            start.append(read_card(config.start)["fingerprint"])
        return fingerprint(TRAINING_VERSION, network, self.ks, self.steps, recipe, alpha, self.trained_on, start)

    @property
    def trained_on(self) -> str | list[str]:
        """Fingerprints of the training splits."""
        found = [d.select(self.ks).fingerprint for d in self.datasets]
        return found[0] if len(found) == 1 else found

    @property
    def folder(self) -> Path:
        """Its run folder; those of stage 1 are shared by every model that trains them alike."""
        return self.config.runs / f"{self.name}-{self.fingerprint()[:12]}"

    @property
    def model_folder(self) -> Path:
        """Where its finished model lies."""
        if self.given is not None:
            return self.given
        return self.config.out / self.config.name if self.role == "whole" else self.folder / "model"

    def done(self) -> bool:
        """Whether its finished model is there, whole, with this fingerprint."""
        return self.problem() is None

    def problem(self) -> str | None:
        """None if its finished model is there and whole; "" if it is not there; else what is damaged in it."""
        if self.given is not None:
            self.check_given()
            return None
        if not (self.model_folder / CARD).is_file():
            return ""
        try:
            same = read_card(self.model_folder)["fingerprint"] == self.fingerprint()
            return damage(self.model_folder) if same else ""
        except ConfigError as error:
            return str(error)

    def check_folders(self) -> None:
        """Refuse to write where files of somebody else lie, or where what is read lies.

        Raises:
            ConfigError: a folder is not ours, or leads elsewhere by a symbolic link.
        """
        config = self.config
        read = [("dataset", path) for path in config.datasets]
        read += [(f"stage1.{name}", find(path)) for name, path in config.stage1.items()]
        if config.start is not None:
            read.append(("start", find(config.start)))
        if self.role == "whole":
            check_model_folder("out", self.model_folder, tuple(read))
        check_ours("runs", self.folder, "run", read, _is_a_run)
        for path in (self.folder / name for name in IN_A_RUN):
            if path.is_symlink():
                raise ConfigError(f"runs = {printed(path)}: is a symbolic link; nothing is written through it")

    def network(self) -> nn.Module:
        """The network to train; the whole one with the anchors' encoders and the regressor of stage 1."""
        config, hr_size = self.config, self.hr_size
        width = PRESETS[config.preset]
        if self.role == "regressor":
            return WeightRegressor(len(self.anchors), width.regressor, hr_size)
        network = (
            SRG(width, hr_size)
            if self.role == "anchor"
            else create(config.model, config.preset, hr_size, config.anchors)
        )
        if config.recipe.identity_init:
            init_as_identity(network)
        if self.role == "anchor":
            return network
        if config.start is not None:
            load_weights(network, config.start)
        for part in self.stage1:
            assert isinstance(network, UFVNet)
            trained = part.network()
            load_weights(trained, part.model_folder)
            if isinstance(trained, SRG):  # its latent FAU and decoder are discarded
                network.encoders[self.anchors.index(part.k)] = trained.encoder
            elif isinstance(trained, WeightRegressor):
                network.regressor = trained
        return network

    def check_given(self) -> None:
        """Refuse a given model that stage 2 cannot start from.

        Raises:
            ConfigError: it is of another kind, preset, size or scale, or trained on other photographs.
        """
        assert self.given is not None
        card = read_card(self.given)
        problem = damage(self.given)
        if problem:
            raise ConfigError(f"stage1.{self.name} = {printed(self.given)}: {problem}")
        kinds = {"anchor": ("anchor", "onesrg", "sparnet"), "regressor": ("regressor",)}[self.role]
        datasets = card.get("trained_on", {}).get("fingerprint")
        for what, found, allowed in (
            ("model", card.get("model"), kinds),
            ("preset", card.get("preset"), (self.config.preset,)),
            ("hr_size", card.get("hr_size"), (self.hr_size,)),
            ("scales", card.get("scales"), (list(self.ks),)),
            ("fingerprint of the training photographs", datasets, (self.trained_on,)),
            *([("anchors", card.get("anchors"), (list(self.anchors),))] if self.role == "regressor" else []),
        ):
            if found not in allowed:
                expected = " or ".join(map(str, allowed))
                raise ConfigError(f"stage1.{self.name} = {self.given}: its {what} is {found}; it must be {expected}")


def _is_a_run(folder: Path) -> bool:
    """Whether a folder without a marker is a run's of a release that set none."""
    return {path.name for path in folder.iterdir()} <= IN_A_RUN


def _check_shared_memory(config: TrainConfig, hr_size: int) -> None:
    """
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


def _check_start(whole: Part) -> None:
    """Raise ConfigError unless ``start`` holds weights of the network that is to be trained."""
    config = whole.config
    assert config.start is not None
    card = read_card(config.start)
    problem = damage(config.start)
    if problem:
        raise ConfigError(f"start = {printed(config.start)}: {problem}")
    for what, found, needed in (
        ("model", card.get("model"), config.model),
        ("preset", card.get("preset"), config.preset),
        ("hr_size", card.get("hr_size"), whole.hr_size),
        ("anchors", card.get("anchors"), list(whole.anchors) or None),
    ):
        if found != needed:
            raise ConfigError(f"start = {config.start}: its {what} is {found}; it must be {needed}")


def parts_of(config: TrainConfig) -> tuple[list[Part], Part]:
    """Stage 1's parts (independent of each other) and the whole.

    Raises:
        ConfigError: unknown or untrainable model, or no built dataset.
    """
    if config.model not in names():
        raise ConfigError(f"model = {config.model}: must be one of {', '.join(names())}")
    best_device(config.device)
    for key, folder in (("out", config.out), ("runs", config.runs)):
        check_writable(key, folder)
    whole = Part("whole", config)
    with torch.device("meta"):  # only its shape is asked for
        try:
            network = create(config.model, config.preset, whole.hr_size, config.anchors)
        except ValueError as error:
            raise ConfigError(str(error)) from error
    if not any(p.requires_grad for p in network.parameters()):
        raise ConfigError(f"model = {config.model}: has nothing to train")
    for dataset in whole.datasets:
        dataset.view(config.view, "train")
    anchors = tuple(round(a * 16) for a in getattr(network, "anchors", ()))
    regressor = getattr(network, "regressor", None) is not None
    whole = Part("whole", config, anchors=anchors, regressor=regressor, staged=isinstance(network, UFVNet))
    if config.regressor_scales and not (regressor and whole.staged):
        raise ConfigError(
            f"regressor_scales = {config.regressor_scales}: {config.model} trains no regressor in stage 1"
        )
    made = {d.card["degradation"]["name"] for d in whole.datasets}
    for key in ("between", "damage", "recut"):
        value = getattr(config.recipe, key)
        if value and made != {"pil-bicubic"}:
            raise ConfigError(f"recipe.{key} = {value}: only with pil-bicubic datasets, not {made}")
    for dataset, photos in zip(whole.datasets, whole.photos, strict=True):
        if photos is not None:
            dataset.view(config.view, "train").originals(photos)
    if config.start is not None:
        _check_start(whole)
    for name in config.stage1:
        if name not in {p.name for p in whole.stage1}:
            raise ConfigError(f"stage1.{name}: no such part; there are: {', '.join(p.name for p in whole.stage1)}")
    for part in whole.stage1:
        if part.given is not None:
            part.check_given()
    for part in (*whole.stage1, whole):
        if part.given is None:
            part.check_folders()
    _check_shared_memory(config, whole.hr_size)
    return whole.stage1, whole


def select_part(stage1: list[Part], whole: Part, name: str) -> Part:
    """The part of a name.

    Raises:
        ConfigError: there is none, or it is the whole and its stage 1 is not finished.
    """
    parts = {p.name: p for p in [*stage1, whole]}
    if name not in parts:
        raise ConfigError(f"part = {name}: no such part; there are: {', '.join(parts)}")
    missing = [p.name for p in parts[name].stage1 if not p.done()]
    if missing:
        raise ConfigError(f"part = {name}: starts from {', '.join(missing)}, which must be trained first")
    return parts[name]

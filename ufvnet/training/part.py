"""A part of a training: of stage 1 (an anchor SRG, the regressor, the landmark finder), or the whole network."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from torch import nn

from ufvnet.config import ConfigError, Recipe, TrainConfig, fingerprint
from ufvnet.data.damage.chain import VERSION as DAMAGE_VERSION
from ufvnet.data.dataset import Dataset, FaceArrays, join
from ufvnet.files import check_ours, claim, printed, write_text
from ufvnet.imaging.resize import VIEWS
from ufvnet.models import PRESETS, SRG, UFVNet, WeightRegressor, create, describe
from ufvnet.models.fau import init_as_identity
from ufvnet.models.feed import I_LS, Feed
from ufvnet.models.store import CARD, check_model_folder, damage, find, load, load_weights, read_card
from ufvnet.models.supervision import NOTHING, Needs, with_critic

TRAINING_VERSION = 2
"""Raised when the same configuration no longer trains the same weights."""

ANNOUNCED = "announced"
"""File in the run folder of a whole: the outcome that was told to what waits for it."""

IN_A_RUN = {
    "checkpoints", "samples", "tensorboard", "model", "job.json", "stderr.log", "lock", "best.safetensors", ANNOUNCED,
}  # fmt: skip
"""Names of the files and folders in a run folder."""

Role = Literal["anchor", "regressor", "landmarks", "whole"]


@dataclass(frozen=True)
class Part:
    """One training, with all that its configuration names already opened and checked (``stages.resolve_parts``).

    datasets: those whose training splits it trains on.
    k: the anchor's scale in sixteenths of the HR size, for role ``anchor``.
    anchors: the whole network's anchors, in sixteenths; empty for networks without anchors.
    regressor: True if the whole network predicts its weights, which Eq. 13 then supervises; None if it does not say.
    staged: True if the whole network's encoders start from anchors' ones.
    staged_regressor: True if its regressor starts from stage 1's.
    finder: True if the whole network starts from a landmark finder.
    feed, needs: what the network takes, and what its loss needs.
    has_loss: True if the whole network has a loss of its own.
    """

    role: Role
    config: TrainConfig
    datasets: tuple[Dataset, ...]
    k: int = 0
    anchors: tuple[int, ...] = ()
    regressor: bool | None = None
    staged: bool = False
    staged_regressor: bool = False
    finder: bool = False
    feed: Feed = I_LS
    needs: Needs = NOTHING
    has_loss: bool = False

    @property
    def name(self) -> str:
        return {"anchor": f"anchor-{self.k}", "whole": self.config.name}.get(self.role, self.role)

    @cached_property
    def stage1(self) -> list[Part]:
        """The parts that this one starts from."""
        if self.role != "whole" or self.config.start is not None:
            return []
        parts = [Part("anchor", self.config, self.datasets, k) for k in self.anchors if self.staged]
        if self.staged_regressor:
            parts.append(Part("regressor", self.config, self.datasets, anchors=self.anchors))
        if self.finder:
            parts.append(Part("landmarks", self.config, self.datasets, needs=Needs(landmarks=True)))
        return [p for p in parts if p.steps or p.finished_model is not None]

    @property
    def steps(self) -> int:
        recipe = self.config.recipe
        return {
            "anchor": recipe.anchor_steps, "regressor": recipe.regressor_steps, "landmarks": recipe.landmark_steps,
            "whole": recipe.steps,
        }[self.role]  # fmt: skip

    @property
    def ks(self) -> tuple[int, ...]:
        """Scales that it trains on, in sixteenths."""
        if self.role == "anchor":
            return (self.k,)
        if self.role == "regressor" and self.config.regressor_scales:
            return tuple(sorted(self.config.regressor_scales))
        if self.feed.kind == "FR" and self.feed.side is not None:
            return (self.feed.side * 16 // self.hr_size,)
        if self.config.scales:
            return tuple(sorted(self.config.scales))
        return VIEWS[self.config.view]

    @property
    def hr_size(self) -> int:
        return self.datasets[0].hr_size

    @property
    def finished_model(self) -> Path | None:
        """The model folder that the configuration names instead of training this part of stage 1; else None."""
        return self.config.stage1.get(self.name) if self.role != "whole" else None

    @cached_property
    def recipe(self) -> Recipe:
        """How it is trained. Landmarks are learned at one rate: the shares of ``lr_drops`` are meant for the whole."""
        recipe = self.config.recipe
        return recipe.model_copy(update={"lr_drops": ()}) if self.role == "landmarks" else recipe

    def arrays(self, split: str = "train") -> FaceArrays:
        """The decoded pixels of those of its datasets that have the split."""
        pairs = [
            (d, photos) for d, photos in zip(self.datasets, self.photos, strict=True) if d.card["faces"].get(split)
        ]
        landmarks = self.needs.landmarks or self.needs.masks
        return join([dataset.select(self.ks, split).arrays(photos, landmarks) for dataset, photos in pairs])

    @property
    def photos(self) -> list[Path | None]:
        """Folder of each dataset's photographs; None if no faces are cut again from them."""
        if self.role != "whole" or not self.config.recipe.recut:
            return [None] * len(self.datasets)
        return [*(self.config.photos or (d.photos for d in self.datasets))]

    @cached_property
    def fingerprint(self) -> str:
        """Fingerprint of all that decides the weights: data, network, recipe, and what the training starts from."""
        if self.finished_model is not None:
            return str(read_card(self.finished_model).get("fingerprint"))
        config, other_keys = self.config, {
            "anchor_steps", "regressor_steps", "landmark_steps", "steps", "alpha",
        }  # fmt: skip
        validation_keys = {"validate_every", "validation_faces"} if config.recipe.keep == "last" else set()
        recipe = self.recipe.model_dump(
            exclude={"threads", "checkpoint_every", *validation_keys, *other_keys}, exclude_defaults=True
        )  # without defaults, so that an option added later changes no fingerprint
        if self.role != "whole":
            for key in ("damage", "recut"):  # stage 1 sees clean faces as they were built
                recipe.pop(key, None)
        elif config.recipe.damage is not None:
            recipe["damage_version"] = DAMAGE_VERSION
        network = [config.model if self.role == "whole" else self.role, config.preset, self.hr_size, self.anchors]
        version = describe(config.model).version
        if version and self.role in ("whole", "landmarks"):  # stage 1's other networks are ufvnet's
            network.append(version)
        alpha = config.recipe.alpha if self.role == "whole" and self.regressor else None
        if self.role == "whole" and self.regressor is None and self.anchors and config.recipe.alpha != Recipe().alpha:
            alpha = config.recipe.alpha  # its logits, if it has some, are supervised too
        start = [p.fingerprint for p in self.stage1]
        if config.recipe.keep == "best":
            start += [d.card["fingerprints"]["val"] for d in self.datasets if d.card["faces"].get("val")]
        if self.role == "whole" and config.start is not None:
            start.append(read_card(config.start)["fingerprint"])
        if self.role == "whole" and config.teacher is not None:
            start.append(read_card(config.teacher)["fingerprint"])
        return fingerprint(TRAINING_VERSION, network, self.ks, self.steps, recipe, alpha, self.trained_on, start)

    @property
    def trained_on(self) -> str | list[str]:
        """Fingerprint of the training split, or a list of them if there are several datasets."""
        fingerprints = [d.select(self.ks).fingerprint for d in self.datasets]
        return fingerprints[0] if len(fingerprints) == 1 else fingerprints

    @property
    def folder(self) -> Path:
        """Its run folder. All models that train a part of stage 1 in the same way share that part's folder."""
        return self.config.runs / f"{self.name}-{self.fingerprint[:12]}"

    @property
    def model_folder(self) -> Path:
        """Folder of its finished model."""
        if self.finished_model is not None:
            return self.finished_model
        return self.config.out / self.config.name if self.role == "whole" else self.folder / "model"

    @property
    def validated_on(self) -> str:
        """Fingerprint of the faces that its last measurement is of; empty if no dataset has a validation split."""
        split = next((d.card["fingerprints"]["val"] for d in self.datasets if d.card["faces"].get("val")), None)
        return fingerprint(split, self.ks, self.config.recipe.validation_faces) if split else ""

    @property
    def kept_back_folder(self) -> Path:
        """Folder of the whole's finished model if an earlier one keeps its place (``replace: better``)."""
        return self.folder / "model"

    def is_kept_back(self) -> bool:
        """True if it was trained, and an earlier model that is better keeps its place now too."""
        if self.role != "whole" or not (self.kept_back_folder / CARD).is_file():
            return False
        try:
            card = read_card(self.kept_back_folder)
        except ConfigError:
            return False
        return bool(card["fingerprint"] == self.fingerprint) and self.is_worse(card)

    @property
    def why_kept_back(self) -> str:
        """A line about a model that is kept back."""
        return f"{printed(self.kept_back_folder)} is worse than {printed(self.model_folder)}, which stays"

    @property
    def outcome(self) -> str:
        """What became of a finished training, as its note in the run folder says it."""
        return f"{'kept back' if self.is_kept_back() else 'trained'} {self.fingerprint}\n"

    def is_announced(self) -> bool:
        """True if its outcome was told to what waits for it, and it was not trained again since."""
        note = self.folder / ANNOUNCED
        return note.is_file() and note.read_text(errors="replace") == self.outcome

    def note_announced(self) -> None:
        """Note in the run folder that its outcome was told.

        Raises:
            ConfigError, OSError: the note cannot be written.
        """
        claim(self.folder, "run")  # somebody may have removed it since
        write_text(self.folder / ANNOUNCED, self.outcome)

    def forget_announced(self) -> None:
        """Undo ``note_announced``: it was trained again."""
        (self.folder / ANNOUNCED).unlink(missing_ok=True)

    def is_worse(self, card: dict[str, Any]) -> bool:
        """True if an earlier model in the whole's place is to stay before the one of this card.

        It is if ``replace`` is ``better``, and its PSNR, measured on the same faces, is higher.
        """
        if self.role != "whole" or self.config.replace == "always" or not self.validated_on:
            return False
        try:
            earlier = read_card(self.model_folder)
            if damage(self.model_folder):
                return False
        except ConfigError:
            return False
        same = earlier.get("trained_on", {}).get("validation") == self.validated_on
        before, now = (c.get("validation", {}).get("psnr", -math.inf) for c in (earlier, card))
        return bool(same and now < before)

    def done(self) -> bool:
        """True if its finished model is there, whole, with this fingerprint."""
        return self.problem() is None

    def problem(self) -> str | None:
        """None if its finished model is there and undamaged; "" if it is missing; else a text that names the damage."""
        if self.finished_model is not None:
            self.check_finished_model()
            return None
        if not (self.model_folder / CARD).is_file():
            return ""
        try:
            same = read_card(self.model_folder)["fingerprint"] == self.fingerprint
            return damage(self.model_folder) if same else ""
        except ConfigError as error:
            return str(error)

    def check_folders(self) -> None:
        """Refuse output folders that hold files of another origin or the training's own inputs.

        Raises:
            ConfigError: a folder is not ours, or leads elsewhere by a symbolic link.
        """
        config = self.config
        read = [("dataset", path) for path in config.datasets]
        read += [(f"stage1.{name}", find(path)) for name, path in config.stage1.items()]
        read += [(key, find(p)) for key, p in (("start", config.start), ("teacher", config.teacher)) if p is not None]
        if self.role == "whole":
            check_model_folder("out", self.model_folder, tuple(read))
        check_ours("runs", self.folder, "run", read, _is_a_run)
        for path in (self.folder / name for name in IN_A_RUN):
            if path.is_symlink():
                raise ConfigError(f"runs = {printed(path)}: is a symbolic link; nothing is written through it")

    def network(self) -> nn.Module:
        """The network to train. The whole has the anchors' encoders and the regressor of stage 1, and its critic."""
        config, hr_size = self.config, self.hr_size
        width = PRESETS[config.preset]
        if self.role == "regressor":
            return WeightRegressor(len(self.anchors), width.regressor, hr_size)
        if self.role == "landmarks":
            return create(config.model, config.preset, hr_size).landmark_finder()  # type: ignore[operator]
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
            trained = part.network()
            load_weights(trained, part.model_folder)
            if part.role == "landmarks":
                network.hourglass = trained.hourglass
                continue
            assert isinstance(network, UFVNet)
            if isinstance(trained, SRG):  # its latent FAU and decoder are not used
                network.encoders[self.anchors.index(part.k)].load_state_dict(trained.encoder.state_dict())
            elif isinstance(trained, WeightRegressor):
                assert network.regressor is not None
                network.regressor.load_state_dict(trained.state_dict())
        return with_critic(network)

    def teacher(self) -> nn.Module | None:
        """The network that teaches this one, in evaluation mode, or None."""
        if self.role != "whole" or self.config.teacher is None:
            return None
        return load(self.config.teacher)[0].requires_grad_(False)

    def check_finished_model(self) -> None:
        """Refuse a ``finished_model`` that stage 2 cannot start from.

        Raises:
            ConfigError: it has another kind, preset, size or scale, or was trained on other photographs.
        """
        assert self.finished_model is not None
        card = read_card(self.finished_model)
        problem = damage(self.finished_model)
        if problem:
            raise ConfigError(f"stage1.{self.name} = {printed(self.finished_model)}: {problem}")
        kinds = {"anchor": ("anchor", "onesrg", "sparnet")}.get(self.role, (self.role,))
        datasets = card.get("trained_on", {}).get("fingerprint")
        for what, value, allowed in (
            ("model", card.get("model"), kinds),
            ("preset", card.get("preset"), (self.config.preset,)),
            ("hr_size", card.get("hr_size"), (self.hr_size,)),
            ("scales", card.get("scales"), (list(self.ks),)),
            ("fingerprint of the training photographs", datasets, (self.trained_on,)),
            *([("anchors", card.get("anchors"), (list(self.anchors),))] if self.role == "regressor" else []),
        ):
            if value not in allowed:
                expected = " or ".join(map(str, allowed))
                raise ConfigError(
                    f"stage1.{self.name} = {self.finished_model}: its {what} is {value}; it must be {expected}"
                )


def _is_a_run(folder: Path) -> bool:
    """True if a folder without a marker is the run folder of a release that set no markers."""
    return {path.name for path in folder.iterdir()} <= IN_A_RUN

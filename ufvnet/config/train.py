"""The configuration of ``ufvnet train``: a recipe on a dataset, to a model folder."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator, model_validator

from .base import Device, FilePath, FolderName, Preset, Schema, Share, View


class Damage(Schema):
    """Damage of LR images in training: how often each step is drawn, and its range (ufvnet/data/damage/chain.py)."""

    clean: Share = 0.25
    """Share of faces for which no step is drawn. Some of the others come out clean as well."""
    grey: Share = 0.06
    """Share of faces that become grey, HR too."""
    blur: Share = 0.3
    """Share of HR faces that are blurred: Gaussian, anisotropic or motion."""
    sigma: tuple[float, float] = (0.4, 4.0)
    """Range of the blur's sigma in HR pixels, drawn log-uniformly. Motion extends over 2.5 times as many pixels."""
    other_filter: Share = 0.45
    """Share of reductions by another filter than PIL bicubic."""
    unfiltered: Share = 0.5
    """Share of those reductions that sample without any filter."""
    twice: Share = 0.2
    """Share of reductions in two steps."""
    by_way_of: tuple[float, float] = (0.5, 2.0)
    """Range of the size between the two steps, as a multiple of the final size, drawn log-uniformly."""
    noise: Share = 0.3
    """Share of faces with Gaussian or photon noise, coloured or grey."""
    level: tuple[float, float] = (1.0, 15.0)
    """Range of the noise's sigma, in levels of 255."""
    compression: Share = 0.55
    """Share of faces that go through JPEG or WebP."""
    quality: tuple[int, int] = (20, 95)
    """Range of the JPEG and WebP quality, both ends included."""
    again: Share = 0.15
    """Share of the compressed faces that are compressed a second time."""
    alpha: float = Field(default=1.0, ge=0)
    """Weight of the damage estimate's mean squared error, for models that make one."""

    @model_validator(mode="after")
    def _check_ranges(self) -> Damage:
        for key, least, most in (("sigma", 0.1, 16), ("by_way_of", 0.25, 4), ("level", 0, 64), ("quality", 1, 100)):
            low, high = getattr(self, key)
            if not least <= low <= high <= most:
                raise ValueError(f"{key} must be two numbers, the lower first, between {least} and {most}")
        return self


class Recipe(Schema):
    """How a model is trained. The defaults are the paper's (docs/method.md section 4)."""

    anchor_steps: int = Field(default=100_000, ge=0, le=10**9)
    """Steps of each anchor SRG in stage 1. 0 leaves its encoder untrained."""
    regressor_steps: int = Field(default=20_000, ge=0, le=10**9)
    """Steps of the regressor in stage 1."""
    landmark_steps: int = Field(default=10_000, ge=0, le=10**9)
    """Steps of the landmark finder in stage 1, for models that have one (dic, mlgdn)."""
    steps: int = Field(default=200_000, ge=1, le=10**9)
    """Steps of stage 2, or of a model without stages."""
    batch_size: int = Field(default=32, ge=2, le=2**16)
    """Faces per step, over all processes."""
    optimizer: Literal["adam", "adamw"] = "adam"
    """Adam, or Adam with decoupled weight decay."""
    weight_decay: float = Field(default=0.0, ge=0)
    """Weight decay of the optimizer."""
    lr: float = Field(default=2e-4, gt=0)
    """Learning rate."""
    lr_schedule: Literal["constant", "cosine"] = "constant"
    """``cosine`` falls to zero at the last step."""
    lr_drops: tuple[Share, ...] = ()
    """Shares of the steps after which a constant learning rate is multiplied by ``lr_drop``."""
    lr_drop: float = Field(default=0.5, gt=0, lt=1)
    """Factor of each drop."""
    warm_up: float = Field(default=0.0, ge=0, lt=1)
    """Share of the steps in which the learning rate rises linearly from zero."""
    betas: tuple[float, float] = (0.9, 0.999)
    """Adam's decay rates."""
    clip_norm: float | None = Field(default=None, gt=0)
    """Largest norm of the gradients. Larger ones are scaled down to it."""
    ema: float | None = Field(default=None, gt=0, lt=1)
    """Decay of an exponential moving average of the weights. If set, the average is validated and published."""
    balance: float = Field(default=0.0, ge=0, le=1)
    """Exponent that normalises each face's loss by bicubic's error: 0 none (small inputs dominate), 1 full."""
    alpha: float = Field(default=0.1, ge=0)
    """Weight of the regressor's loss in stage 2 (Eq. 13)."""
    identity_init: bool = False
    """Start near the identity instead of torch's default initialisation, which helps short trainings."""
    flip: bool = True
    """Random horizontal flip."""
    colour: float = Field(default=0.0, ge=0, lt=1)
    """Random gain of each channel, between 1 - colour and 1 + colour, the same on both images of a pair."""
    between: float = Field(default=0.0, ge=0, le=1)
    """Share of faces that the whole model sees at a size between the scales of the view: 6 ... 112 of 128 pixels, not
    always square, by PIL bicubic. For models that are to serve every size."""
    recut: Share = 0.0
    """Share of faces that the whole model sees cut anew from their photos: moved by up to 10 %, scaled 0.8 ... 1.3,
    rotated by up to 15 degrees. Faces without room for that stay as they were built."""
    damage: Damage | None = None
    """Damage of the whole model's LR images, made anew for every face. Null: none."""
    keep: Literal["last", "best"] = "last"
    """Which weights are published: those of the last step, or the best on the validation split."""
    seed: int = Field(default=0, ge=0, lt=2**32)
    """Seed of initialisation, order and augmentation."""
    mixed_precision: Literal["no", "bf16", "fp16"] = "no"
    """Arithmetic of the network in training: float32, or half of its bits."""
    compile: bool = False
    """torch.compile the network: minutes at the start, for long trainings on a GPU."""
    threads: int = Field(default=0, ge=0, le=1024)
    """torch threads of one training process. 0: all CPU cores, divided among parallel trainings."""
    checkpoint_every: int = Field(default=1000, ge=1)
    """Steps between checkpoints."""
    validate_every: int = Field(default=1000, ge=1)
    """Steps between measurements on the validation split."""
    validation_faces: int = Field(default=64, ge=1)
    """Number of validation faces to measure, at every scale of the view."""

    @model_validator(mode="after")
    def _check_drops(self) -> Recipe:
        if self.lr_drops and self.lr_schedule != "constant":
            raise ValueError("lr_drops goes with lr_schedule = constant alone")
        return self

    @field_validator("betas")
    @classmethod
    def _check_betas(cls, betas: tuple[float, float]) -> tuple[float, float]:
        if not all(0 <= beta < 1 for beta in betas):
            raise ValueError("both must be at least 0 and below 1")
        return betas


class TrainConfig(Schema):
    """A recipe on a dataset, to a model folder (``ufvnet train``)."""

    name: FolderName
    """Name of the model's folder under ``out``."""
    dataset: FilePath | tuple[FilePath, ...]
    """A built dataset, or several with the same HR size, whose training splits are joined."""
    view: View = "MR8"
    """Scales of the training faces: MR8 is 1/16 ... 8/16, MR7 leaves out 1/16, MR3 is 2/16, 4/16, 8/16."""
    model: str = "ufvnet"
    """A registered name (``ufvnet models list``)."""
    preset: Preset = "paper"
    """Width of the network: the paper's, half of it (small) or a quarter (tiny)."""
    anchors: tuple[int, ...] | None = None
    """Scales of the anchors (sixteenths) instead of the model's own, e.g. [2, 4, 8] = 1/8, 1/4, 1/2."""
    scales: tuple[int, ...] | None = None
    """Scales (sixteenths) to train on instead of the view's. Models of fixed resolution train on their own alone."""
    regressor_scales: tuple[int, ...] | None = None
    """Scales (sixteenths) on which stage 1 trains the regressor, instead of the view's."""
    stage1: dict[str, FilePath] = {}
    """Finished model folders by part (``anchor-2``, ``regressor``) to use instead of training these parts."""
    photos: tuple[FilePath, ...] | None = None
    """Folder of each dataset's photos, for ``recipe.recut``. Null: the folders from which they were built."""
    start: FilePath | None = None
    """A finished model folder whose weights training starts from, instead of stage 1. It must have the same model,
    preset and size. For further training, e.g. on one's own photos."""
    teacher: FilePath | None = None
    """A finished model folder that teaches a model which can be taught (kdfsrnet)."""
    recipe: Recipe = Recipe()
    """How the model is trained."""
    out: FilePath = Path("models")
    """Folder of model folders."""
    replace: Literal["always", "better"] = "always"
    """When a finished model takes the place of an earlier one of its name. ``better`` keeps the earlier one if its PSNR
    on the same validation faces is higher; the new one then stays in its run folder."""
    runs: FilePath = Path("runs")
    """Folder of resumable states. Models that train a part of stage 1 in the same way share it."""
    device: Device = "auto"
    """Where the model is trained."""
    parallel: int = Field(default=1, ge=1, le=1024)
    """Number of parts of stage 1 that train at the same time."""
    processes: int = Field(default=1, ge=1, le=1024)
    """Processes of one training (torchrun), one per GPU. BatchNorm takes its statistics over the whole batch."""
    loader_workers: int = Field(default=0, ge=0, le=1024)
    """Processes that prepare batches beside each training process. 0: the training process prepares them itself."""

    @field_validator("anchors", "regressor_scales")
    @classmethod
    def _check_scales(cls, scales: tuple[int, ...] | None) -> tuple[int, ...] | None:
        if scales is not None and not (2 <= len(scales) == len({*scales} & {*range(1, 9)})):
            raise ValueError("must be two or more different scales of 1 ... 8 (sixteenths)")
        return scales

    @field_validator("scales")
    @classmethod
    def _check_own_scales(cls, scales: tuple[int, ...] | None) -> tuple[int, ...] | None:
        if scales is not None and not (1 <= len(scales) == len({*scales} & {*range(1, 9)})):
            raise ValueError("must be one or more different scales of 1 ... 8 (sixteenths)")
        return scales

    @field_validator("name")
    @classmethod
    def _refuse_names_of_parts(cls, name: str) -> str:
        if name in ("regressor", "landmarks") or re.fullmatch(r"anchor-\d", name):
            raise ValueError("is the name of a part of stage 1; choose another")
        return name

    @field_validator("dataset")
    @classmethod
    def _check_datasets(cls, dataset: Path | tuple[Path, ...]) -> Path | tuple[Path, ...]:
        if isinstance(dataset, tuple) and not 0 < len(dataset) == len(set(dataset)):
            raise ValueError("must be one or more different datasets")
        return dataset

    @model_validator(mode="after")
    def _check_together(self) -> TrainConfig:
        if self.start and self.stage1:
            raise ValueError("give either start or stage1, not both")
        if self.photos is not None and len(self.photos) != len(self.datasets):
            raise ValueError(
                f"photos has {len(self.photos)} folders; it must have one per dataset, {len(self.datasets)}"
            )
        if self.recipe.batch_size % self.processes:
            raise ValueError(f"recipe.batch_size = {self.recipe.batch_size} must be a multiple of processes")
        return self

    @property
    def datasets(self) -> tuple[Path, ...]:
        """``dataset`` as a tuple."""
        return (self.dataset,) if isinstance(self.dataset, Path) else self.dataset

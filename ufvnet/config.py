"""The one schema of every configuration file; no default lives anywhere else."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import ErrorDetails

from ufvnet.errors import ConfigError
from ufvnet.files import check_name, printed
from ufvnet.yaml_text import DEEPEST, check_values, parse_yaml, read_yaml

View = Literal["MR3", "MR7", "MR8"]
HRSize = Literal[64, 128]
Preset = Literal["paper", "small", "tiny"]
Device = Literal["auto", "cpu", "cuda", "mps"]


class Schema(BaseModel):
    """Base of all configurations: unknown keys are errors, values do not change."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True)


class Cluster(Schema):
    """Where Dask runs: a local cluster by default, or what DASK_SCHEDULER_ADDRESS or ``address`` names."""

    workers: int | None = Field(default=None, ge=1)
    """Worker processes of the local cluster, one thread each; null takes one a core."""
    address: str | None = None
    """An existing scheduler, e.g. tcp://host:8786."""
    cluster_class: str | None = None
    """A cluster to start instead, e.g. dask_jobqueue.SLURMCluster."""
    cluster_kwargs: dict[str, Any] = {}
    """Arguments of cluster_class."""
    adapt: dict[str, int] | None = None
    """Arguments of the cluster's ``adapt``, e.g. {minimum: 1, maximum: 20}."""

    @model_validator(mode="after")
    def _one_kind(self) -> Cluster:
        if self.address and self.cluster_class:
            raise ValueError("give either address or cluster_class, not both")
        if not self.cluster_class and (self.cluster_kwargs or self.adapt):
            raise ValueError("cluster_kwargs and adapt need a cluster_class")
        return self


class _Source(Schema):
    """What every source of photos has."""

    root: Path
    """Its folder; names in lists, landmark files and tables are relative to it."""
    landmarks: tuple[Path, ...] = ()
    """Files of 68 landmarks: CSV (file, x0, y0, ..., x67, y67), the pickles of Ma et al., folders of ibug .pts.
    Photos that they leave out are searched by dlib."""
    splits: dict[str, Path] = {}
    """A list file a split: one name a line, or a pickle of Ma et al. Photos in no list are recorded as not_listed."""
    expect: dict[str, int] = {}
    """Photos that each split must have, e.g. {train: 168854, test: 1000}; another number is refused."""

    @field_validator("landmarks", mode="before")
    @classmethod
    def _one_or_many(cls, value: Any) -> Any:
        return [value] if isinstance(value, str | Path) else value or ()

    @field_validator("splits", "expect", "fractions", "files", check_fields=False)
    @classmethod
    def _names_of_splits(cls, by_split: dict[str, Any]) -> dict[str, Any]:
        for split in by_split:
            check_name("the name of a split", split)
        return by_split


class _Shared(_Source):
    """A source that may share its photos out by a seeded hash."""

    fractions: dict[str, float] = {"train": 0.9, "val": 0.05, "test": 0.05}
    """Seeded shares of the photos where nothing else tells their splits. A photo's split depends on its name (or
    its person's) and the seed alone, so adding photos moves none, and shares are met on average."""
    identity_pattern: str | None = None
    """A regular expression on photo names whose first group names the person, e.g. ``([^/]+)/[^/]+$`` for a
    folder a person. One person's photos share a split."""

    @field_validator("fractions")
    @classmethod
    def _sum(cls, fractions: dict[str, float]) -> dict[str, float]:
        if not fractions or not abs(sum(fractions.values()) - 1) <= 1e-9 or min(fractions.values()) < 0:
            raise ValueError("shares of the splits must be at least 0 and sum to 1")
        return fractions

    @field_validator("identity_pattern")
    @classmethod
    def _one_group(cls, pattern: str | None) -> str | None:
        if pattern is not None:
            try:
                groups = re.compile(pattern).groups
            except re.error as error:
                raise ValueError(f"not a regular expression ({error})") from error
            if groups < 1:
                raise ValueError("must have a group in parentheses that names the person")
        return pattern


class FolderSource(_Shared):
    """A folder of photos, searched recursively."""

    kind: Literal["folder"] = "folder"


class CelebASource(_Source):
    """CelebA in the wild as its authors publish it.

    <root>/img_celeba/*.jpg and, in <root> or in its folders Eval and Anno, list_eval_partition.txt (not needed
    where ``splits`` are given) and (optional) list_landmarks_celeba.txt, whose five points tell which face is meant.
    """

    kind: Literal["celeba"]


class HelenSource(_Source):
    """Helen as its authors publish it: <root>/helen_*/*.jpg, trainnames.txt, testnames.txt (or ``splits``)."""

    kind: Literal["helen"]


class ManifestSource(_Shared):
    """A CSV that names the photos, with a header; files that it does not name are not looked at."""

    kind: Literal["manifest"]
    file: Path
    """The CSV."""
    path: str = "path"
    """Column of the photo's path below root."""
    split: str | None = None
    """Column of its split; empty for none."""
    identity: str | None = None
    """Column of the person."""


class TableSource(_Shared):
    """Parquet or Arrow files (what ``datasets`` saves) with an image column, searched recursively below root."""

    kind: Literal["table"]
    files: dict[str, str] = {}
    """A glob below root a split, e.g. {train: "train-*.parquet"}; else every *.parquet and *.arrow."""
    image: str = "image"
    """Column of encoded images: binary of any kind, lists of uint8, or the struct {bytes, path} of ``datasets``."""
    image_root: Path | None = None
    """A further folder that rows may name files below. Without it they may name only files below their table's own
    folder; symbolic links count as what they lead to."""
    name: str | None = None
    """Column of the photo's name; else <file>#<row>."""
    split: str | None = None
    """Column of its split; empty for none."""
    identity: str | None = None
    """Column of the person."""


TAGS = ("folder", "celeba", "helen", "manifest", "table")
Source = Annotated[
    FolderSource | CelebASource | HelenSource | ManifestSource | TableSource, Field(discriminator="kind")
]


class Crop(Schema):
    """How a face is cut out; the default is the crop of Ma et al. (docs/method.md section 5)."""

    factor: float = Field(default=0.3, ge=0, le=4)
    """The square of the landmarks grows by this share of its side, half of it on each side."""
    clip: Literal["stretch", "pad", "drop"] = "stretch"
    """A box that leaves the photo: ``stretch`` what is inside to a square, ``pad`` with the border's pixels, or
    ``drop`` the face with the status clipped."""
    align: bool = False
    """Turn the face by the line through the eyes first; needs ``pad`` or ``drop``."""

    @model_validator(mode="after")
    def _a_turned_photo_has_no_straight_border(self) -> Crop:
        if self.align and self.clip == "stretch":
            raise ValueError("align needs clip: pad or drop")
        return self


class BuildConfig(Schema):
    """Photos to a multi-resolution dataset (``ufvnet build``)."""

    name: str = Field(pattern=r"^[A-Za-z0-9][\w.-]*$", max_length=64)
    """Folder of the dataset under ``out``."""
    source: Source
    out: Path = Path("data")
    hr_size: HRSize = 128
    faces: Literal["largest", "all"] = "largest"
    """Faces of a photo to build; a photo with landmarks given has that one face."""
    min_face: int = Field(default=48, ge=8)
    """Least side of the crop in pixels; a smaller one is recorded as too_small."""
    crop: Crop = Crop()
    degradation: Literal["pil-bicubic", "matlab-bicubic", "cv2-bicubic", "blur-noise-jpeg"] = "pil-bicubic"
    """How HR becomes LR (ufvnet/data/build/degrade.py)."""
    near_duplicates: Literal["off", "report", "drop"] = "report"
    """Photos that look alike: ``report`` lists the pairs, ``drop`` builds only the first of them."""
    near_distance: int = Field(default=24, ge=0, le=64)
    """Bits of 256 by which the difference hashes of photos that look alike differ at most."""
    max_pixels: int = Field(default=100_000_000, ge=1)
    """Larger photos are recorded as too_large."""
    limit: int | None = Field(default=None, ge=1)
    """Take a seeded subset of this many photos a split; null takes all."""
    seed: int = Field(default=0, ge=0)
    shard_size: int = Field(default=1000, ge=1)
    """Photos a shard has at most, on average; where it holds, twice as few."""
    cluster: Cluster = Cluster()
    allow_loss: bool = False
    """Let a rebuild turn more than 5 % of the faces' photos that the earlier build used into anything else."""

    @field_validator("source", mode="before")
    @classmethod
    def _folder_by_default(cls, source: Any) -> Any:
        return {"kind": "folder"} | source if isinstance(source, dict) else source


Share = Annotated[float, Field(ge=0, le=1)]


class Damage(Schema):
    """Damage of a training's LR images: how often each step is drawn, and how strong (ufvnet/data/damage/chain.py)."""

    clean: Share = 0.25
    """Faces that no step is drawn for; of the others some come out clean as well."""
    grey: Share = 0.06
    """Faces in grey, HR too."""
    blur: Share = 0.3
    """HR faces blurred: Gaussian, anisotropic or motion."""
    sigma: tuple[float, float] = (0.4, 4.0)
    """Of the blur, in pixels of HR; drawn log-uniformly. Motion goes over 2.5 times as many."""
    other_filter: Share = 0.45
    """Reductions in another way than PIL bicubic."""
    unfiltered: Share = 0.5
    """Those of them that sample without a filter."""
    twice: Share = 0.2
    """Reductions in two steps."""
    by_way_of: tuple[float, float] = (0.5, 2.0)
    """Size between the two steps, as a multiple of the wanted one; drawn log-uniformly."""
    noise: Share = 0.3
    """Gaussian or photon noise, colour or grey."""
    level: tuple[float, float] = (1.0, 15.0)
    """Sigma of the noise, in levels of 255."""
    compression: Share = 0.55
    """JPEG or WebP."""
    quality: tuple[int, int] = (20, 95)
    """Of JPEG and WebP, both ends included."""
    again: Share = 0.15
    """Compressed faces that are compressed a second time."""
    alpha: float = Field(default=0.05, ge=0)
    """Weight of the loss of the damage that a model estimates, where it does."""

    @model_validator(mode="after")
    def _ranges(self) -> Damage:
        for key, least, most in (("sigma", 0.1, 16), ("by_way_of", 0.25, 4), ("level", 0, 64), ("quality", 1, 100)):
            low, high = getattr(self, key)
            if not least <= low <= high <= most:
                raise ValueError(f"{key} must be two numbers, the lower first, between {least} and {most}")
        return self


class Recipe(Schema):
    """How a model is trained; the defaults are the paper's (docs/method.md section 4)."""

    anchor_steps: int = Field(default=100_000, ge=0, le=10**9)
    """Steps of each anchor SRG in stage 1; 0 leaves its encoder untrained."""
    regressor_steps: int = Field(default=20_000, ge=0, le=10**9)
    """Steps of the regressor in stage 1."""
    steps: int = Field(default=200_000, ge=1, le=10**9)
    """Steps of stage 2, or of a model that has no stages."""
    batch_size: int = Field(default=32, ge=2, le=2**16)
    """Faces a step, over all processes."""
    accumulate: int = Field(default=1, ge=1)
    """Parts that each process takes its share of a batch in, for less memory; BatchNorm sees one part at a time."""
    optimizer: Literal["adam", "adamw"] = "adam"
    weight_decay: float = Field(default=0.0, ge=0)
    lr: float = Field(default=2e-4, gt=0)
    lr_schedule: Literal["constant", "cosine"] = "constant"
    """``cosine`` falls to zero at the last step."""
    warm_up: float = Field(default=0.0, ge=0, lt=1)
    """Share of the steps in which the rate rises linearly from zero."""
    betas: tuple[float, float] = (0.9, 0.999)
    clip_norm: float | None = Field(default=None, gt=0)
    """Gradients of a larger norm are scaled down to it."""
    ema: float | None = Field(default=None, gt=0, lt=1)
    """Decay of an exponential moving average of the weights, which is then what is validated and published."""
    loss: Literal["l1", "mse", "charbonnier"] = "l1"
    frequency: float = Field(default=0.0, ge=0)
    """Weight of the L1 distance of the images' spectra, added to the loss."""
    balance: float = Field(default=0.0, ge=0, le=1)
    """How far a face's loss is relative to bicubic's error: 0 not at all, so that the smallest inputs, whose errors
    are largest, have most say; 1 wholly."""
    alpha: float = Field(default=0.1, ge=0)
    """Weight of the regressor's loss in stage 2 (Eq. 13)."""
    identity_init: bool = False
    """Start near the identity instead of torch's default initialisation: short trainings get further."""
    flip: bool = True
    """Random horizontal flip."""
    colour: float = Field(default=0.0, ge=0, lt=1)
    """Random gain of each channel, between 1 - colour and 1 + colour, alike on both images of a pair."""
    between: float = Field(default=0.0, ge=0, le=1)
    """Share of the faces that the whole model sees at a size of their own, 6 ... 112 of 128 pixels and not always
    square, instead of at a scale of the view: for models that are to serve every size (by PIL bicubic)."""
    recut: Share = 0.0
    """Faces that the whole model sees cut anew from their photographs, the box moved by up to 10 %, scaled 0.8 ... 1.3
    and turned by up to 15 degrees; those without room for that stay as they were built."""
    damage: Damage | None = None
    """Damage that the whole model's LR images get, made anew for every face; null leaves them clean."""
    scale_shares: dict[int, int] = {}
    """How often a scale (sixteenths) comes in each round of all scales; 1 where none is given."""
    keep: Literal["last", "best"] = "last"
    """The weights that are published: of the last step, or of the best measurement on the validation split."""
    seed: int = Field(default=0, ge=0, lt=2**32)
    mixed_precision: Literal["no", "bf16", "fp16"] = "no"
    compile: bool = False
    """torch.compile the network: minutes at the start, for long trainings on a GPU."""
    threads: int = Field(default=0, ge=0, le=1024)
    """torch threads of one training process; 0 takes every core, divided among parallel ones."""
    checkpoint_every: int = Field(default=1000, ge=1)
    validate_every: int = Field(default=1000, ge=1)
    validation_faces: int = Field(default=64, ge=1)
    """Faces of the validation split that the curves are measured on, at every scale of the view."""

    @field_validator("betas")
    @classmethod
    def _decays(cls, betas: tuple[float, float]) -> tuple[float, float]:
        if not all(0 <= beta < 1 for beta in betas):
            raise ValueError("both must be at least 0 and below 1")
        return betas

    @field_validator("scale_shares")
    @classmethod
    def _shares(cls, shares: dict[int, int]) -> dict[int, int]:
        if not all(1 <= k <= 8 and share >= 1 for k, share in shares.items()):
            raise ValueError("must map scales 1 ... 8 (sixteenths) to whole numbers of at least 1")
        return shares


class TrainConfig(Schema):
    """A recipe on a dataset, to a model folder (``ufvnet train``)."""

    name: str = Field(pattern=r"^[A-Za-z0-9][\w.-]*$")
    """Folder of the model under ``out``."""
    dataset: Path | tuple[Path, ...]
    """A built dataset, or several of one HR size: their training splits are joined."""
    view: View = "MR8"
    model: str = "ufvnet"
    preset: Preset = "paper"
    anchors: tuple[int, ...] | None = None
    """Scales of the anchors (sixteenths) instead of the model's own, e.g. [2, 4, 8] = 1/8, 1/4, 1/2."""
    regressor_scales: tuple[int, ...] | None = None
    """Scales (sixteenths) that stage 1 trains the regressor on, instead of the view's."""
    stage1: dict[str, Path] = {}
    """Finished model folders to start from, by part (``anchor-2``, ``regressor``), instead of training them."""
    photos: tuple[Path, ...] | None = None
    """Where the photographs of each dataset lie, for ``recipe.recut``; null takes the folders they were built from."""
    start: Path | None = None
    """A finished model folder of the same model, preset and size whose weights training starts from, instead of
    stage 1: for training on, or on photographs of one's own."""
    recipe: Recipe = Recipe()
    out: Path = Path("models")
    runs: Path = Path("runs")
    """Resumable state; parts of stage 1 are shared by every model that trains them alike."""
    device: Device = "auto"
    parallel: int = Field(default=1, ge=1, le=1024)
    """Parts of stage 1 that train at the same time."""
    processes: int = Field(default=1, ge=1, le=1024)
    """Processes of one training (torchrun), one a GPU; BatchNorm's statistics are of the whole batch."""
    loader_workers: int = Field(default=0, ge=0, le=1024)
    """Processes that prepare batches beside each training process; 0 prepares them in it."""

    @field_validator("anchors", "regressor_scales")
    @classmethod
    def _sixteenths(cls, scales: tuple[int, ...] | None) -> tuple[int, ...] | None:
        if scales is not None and not (2 <= len(scales) == len({*scales} & {*range(1, 9)})):
            raise ValueError("must be two or more different scales of 1 ... 8 (sixteenths)")
        return scales

    @field_validator("name")
    @classmethod
    def _no_part_s(cls, name: str) -> str:
        if name == "regressor" or re.fullmatch(r"anchor-\d", name):
            raise ValueError("is the name of a part of stage 1; take another")
        return name

    @field_validator("dataset")
    @classmethod
    def _different(cls, dataset: Path | tuple[Path, ...]) -> Path | tuple[Path, ...]:
        if isinstance(dataset, tuple) and not 0 < len(dataset) == len(set(dataset)):
            raise ValueError("must be one or more different datasets")
        return dataset

    @model_validator(mode="after")
    def _fits(self) -> TrainConfig:
        if self.start and self.stage1:
            raise ValueError("give either start or stage1, not both")
        if self.photos is not None and len(self.photos) != len(self.datasets):
            raise ValueError(f"photos has {len(self.photos)} folders; it must have one a dataset, {len(self.datasets)}")
        if self.recipe.batch_size % self.processes:
            raise ValueError(f"recipe.batch_size = {self.recipe.batch_size} must be a multiple of processes")
        return self

    @property
    def datasets(self) -> tuple[Path, ...]:
        return (self.dataset,) if isinstance(self.dataset, Path) else self.dataset


OPTIONS = {
    "self_ensemble": ("model",),
    "input": ("onnx", "torchscript"),
    "range": ("onnx", "torchscript"),
    "input_px": ("model", "onnx", "torchscript", "python"),
}
"""Keys of a method that only some kinds of it know."""


class Method(Schema):
    """A method in an evaluation: one of ``model``, ``onnx``, ``torchscript``, ``python`` and ``images``."""

    name: str = Field(default="", pattern=r"^([^./\\\n][^/\\\n]{0,59})?$")
    """The table row's name; a model's is its registry name unless one is given."""
    trained_on: View | Literal[""] = ""
    """The view it was trained on, which says which columns of Tables I-IV it fills; a model's stands in its card."""
    model: Path | None = None
    """``bicubic``, a model folder, or the name of a model that ships with the package."""
    onnx: Path | None = None
    """A file with one input and one output, (N, 3, h, w) float32."""
    torchscript: Path | None = None
    """Likewise."""
    python: str | None = None
    """``module:function`` or ``file.py:function``; it takes (N, h, w, 3) uint8 LR images and the HR size, and gives
    (N, H, H, 3) uint8."""
    images: Path | None = None
    """A folder of restored images, <test set>/<px>/<face id>.png, as ``ufvnet data export`` names the LR images."""
    input: Literal["lr", "ls"] = "lr"
    """What ``onnx`` and ``torchscript`` take: LR images, or those up-sampled to the HR size (I_LS)."""
    range: tuple[float, float] = (0.0, 1.0)
    """Values of black and white that they take and give."""
    input_px: int | None = Field(default=None, ge=4)
    """Fixed-resolution methods: the side that every LR image is first resized to."""
    self_ensemble: bool = False
    """Models: the mean of the image's restoration and that of its mirror image."""

    @field_validator("python")
    @classmethod
    def _named(cls, python: str | None) -> str | None:
        where, _, function = (python or "m:f").rpartition(":")
        if not where or not function:
            raise ValueError("must be module:function or file.py:function")
        return python

    @model_validator(mode="after")
    def _one(self) -> Method:
        given = [k for k in ("model", "onnx", "torchscript", "python", "images") if getattr(self, k) is not None]
        if len(given) != 1:
            raise ValueError(f"give one of model, onnx, torchscript, python, images; got {', '.join(given) or 'none'}")
        if not self.name and self.model is None:
            raise ValueError(f"{given[0]} needs a name for its row")
        for key, kinds in OPTIONS.items():
            if getattr(self, key) != type(self).model_fields[key].default and given[0] not in kinds:
                raise ValueError(f"{key} goes with {', '.join(kinds)} alone")
        if self.range[0] >= self.range[1]:
            raise ValueError("range must be black < white")
        return self


Entry = Annotated[
    Annotated[str, Tag("str")] | Annotated[Method, Tag("mapping")],
    Discriminator(lambda entry: "str" if isinstance(entry, str) else "mapping"),
]
"""Told apart before they are checked, so that an error is of the one that was meant."""


class TestSet(Schema):
    """A split of a built dataset to score on."""

    name: str = Field(pattern=r"^[^./\\\n][^/\\\n]{0,59}$")
    """Its name in tables and of its files."""
    path: Path
    split: str = "test"
    limit: int | None = Field(default=None, ge=1)
    """Only the first so many faces; tables say so."""


class EvaluateConfig(Schema):
    """Models x test sets to scores, tables, figures and a report (``ufvnet evaluate``)."""

    name: str = Field(pattern=r"^[A-Za-z0-9][\w.-]*$")
    models: tuple[Entry, ...] = Field(default=("bicubic",), min_length=1)
    """Methods. In short: ``bicubic``, a model folder or shipped model, FILE.onnx, FILE.pt (TorchScript),
    module:function; a model's row has the registry name in its model.json."""
    missing: Literal["error", "skip"] = "error"
    """What becomes of methods that are not there; ``skip`` names them in the tables' captions."""
    datasets: tuple[TestSet, ...] = Field(min_length=1)
    """The first stands where the paper has CelebA, the second where it has Helen."""
    view: View = "MR8"
    """Scales to score; tables of MR3 and MR7 models take the columns they need."""
    out: Path = Path("evaluations")
    batch_size: int = Field(default=32, ge=1)
    device: Device = "cpu"
    seed: int = Field(default=0, ge=0)
    """Of the assigned view and of the bootstrap."""
    identity_faces: int = Field(default=0, ge=0)
    """Faces of each test set whose identity similarity (dlib) is measured; each takes a CPU core 0.1 s a scale."""
    grid_faces: int = Field(default=2, ge=1, le=16)
    """Faces in the visual grid."""
    cluster: Cluster = Cluster()

    @field_validator("datasets")
    @classmethod
    def _names_differ(cls, datasets: tuple[TestSet, ...]) -> tuple[TestSet, ...]:
        names = [one.name.casefold() for one in datasets]
        for one in datasets:
            if names.count(one.name.casefold()) > 1:
                raise ValueError(f"{one.name} stands there twice; scores are kept by this name")
        return datasets


class RestoreConfig(Schema):
    """Pictures to restored pictures and their account (``ufvnet restore``)."""

    input: Path | tuple[Path, ...]
    """Files, folders, globs, Parquet or Arrow tables with an image column; several of them as a list. ``-`` reads one
    picture from standard input."""
    output: Path
    """A folder. Where the input is one picture, also a file, by its ending, or ``-``, standard output."""
    model: Path = Path("ufvnet-lite")
    """A model folder, or the name of a model that comes with the package."""
    backend: Literal["torch", "onnx"] = "torch"
    """What runs the model: torch, or ONNX Runtime."""
    mode: Literal["auto", "aligned", "photo"] = "auto"
    """``aligned``: each picture is a face crop. ``photo``: faces are searched in each picture, restored and pasted
    back. ``auto``: a small picture that shows no face, or hardly more than one, is a crop, another one a photo."""
    landmarks: tuple[Path, ...] = ()
    """Files of 68 landmarks as ``ufvnet build`` takes them, one face a picture; it is then not searched for faces."""
    boxes: Path | None = None
    """A CSV (file, left, top, right, bottom) of face crops in pixels of the upright picture, any number of them a
    picture; fractions are rounded, and what reaches outside the picture is clipped."""
    min_face: int | None = Field(default=None, ge=8, le=80)
    """Least side of a face to search for, in pixels. Null searches for faces down to 10 in pictures up to 96 pixels,
    20 in those up to 480, 40 in those up to 1280 and 80 in larger ones; a smaller number takes longer."""
    max_face: int | None = Field(default=None, ge=8, le=128)
    """Faces of a photo whose crop has at least this side are left as they are; null takes the model's output size."""
    size: int | str = "auto"
    """Output size. ``native``: faces have the model's output size, so a crop becomes 128x128 and a photo is enlarged
    until its smallest restored face has 128 pixels, at most eightfold. ``input``: as the picture was. A number: crops
    of that side, photos of that longer side. ``auto``: ``native`` for crops, ``input`` for photos."""
    scale: float | None = Field(default=None, ge=0.125, le=16)
    """Output size as a multiple of the picture's, instead of ``size``."""
    format: Literal["auto", "same", "png", "jpeg", "webp", "tiff", "bmp", "avif", "parquet"] = "auto"
    """Output format. ``same``: as the picture came. ``parquet``: a table with an image column instead of files.
    ``auto``: png, which loses nothing, and parquet for rows of tables."""
    quality: int = Field(default=95, ge=1, le=100)
    """Of JPEG, WebP and AVIF outputs; a WebP of 100 is lossless."""
    suffix: str = Field(default="", pattern=r"^[^/\\\x00]*$", max_length=50)
    """Put between the name of an output and its ending, e.g. _restored."""
    image_column: str = "image"
    """Column of tables that holds the pictures."""
    image_root: Path | None = None
    """A further folder that rows of tables may name files below. Without it they may name only files below their
    table's own folder; symbolic links count as what they lead to."""
    unrestored: Literal["copy", "leave"] = "copy"
    """Pictures without a face to restore are copied to the output, or left out of it."""
    into_input: bool = False
    """Let the output lie in an input folder or be one, which needs a suffix, or hold files of others, of which none is
    replaced. An output that an input lies below is refused all the same."""
    overwrite: bool = False
    """Where the output is one file: replace it if it is there already. Folders need no such leave: there a run replaces
    only what runs wrote."""
    recursive: bool = True
    """Folders below too; their structure is kept."""
    resume: bool = False
    """Keep finished, verified outputs of an earlier run with the same settings."""
    max_pixels: int = Field(default=64_000_000, ge=1)
    """Larger pictures, or outputs, fail with that reason. At its default, which photos of 61-megapixel cameras fit, a
    run takes up to about 1 GiB of memory; each further million takes about 10 MB."""
    batch_size: int | None = Field(default=None, ge=1)
    """Faces that go through the model together, whichever pictures they are from; null takes 16 on a CPU, 64 on CUDA
    and 32 on MPS."""
    device: Device = "auto"
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    """Of the model's arithmetic; the lower ones are for GPUs."""
    threads: int | None = Field(default=None, ge=1)
    """Threads that compute, as many that read and search for faces, and as many that write; null takes one a core."""
    cluster: Cluster | None = None
    """Share the pictures out among the processes of a Dask cluster (the super-resolve flow)."""

    @field_validator("input", mode="before")
    @classmethod
    def _some(cls, value: Any) -> Any:
        if isinstance(value, list | tuple):
            if not value:
                raise ValueError("must name at least one input")
            return value[0] if len(value) == 1 else tuple(value)
        return value

    @field_validator("size")
    @classmethod
    def _known_size(cls, size: int | str) -> int | str:
        number = int(size) if isinstance(size, str) and size.isdecimal() else size
        if number not in ("auto", "native", "input") and not (isinstance(number, int) and 8 <= number <= 16384):
            raise ValueError("must be auto, native, input or a number of pixels between 8 and 16384")
        return number

    @field_validator("scale")
    @classmethod
    def _one_size(cls, scale: float | None, others: ValidationInfo) -> float | None:
        size = others.data.get("size", "auto")
        if scale is not None and size != "auto":
            raise ValueError(f"size = {size} is given too; give either size or scale, not both")
        return scale

    @property
    def inputs(self) -> tuple[Path, ...]:
        return self.input if isinstance(self.input, tuple) else (self.input,)


def _config_file(value: Any) -> Any:
    return read_yaml(Path(value)) if isinstance(value, str | Path) else value


class ExperimentConfig(Schema):
    """Build, train, evaluate and restore in one file (``ufvnet reproduce``); parts may be paths of their files."""

    name: str
    definitions: dict[str, Any] = {}
    """Free room for YAML anchors."""
    build: tuple[Annotated[BuildConfig, BeforeValidator(_config_file)], ...] = ()
    train: tuple[Annotated[TrainConfig, BeforeValidator(_config_file)], ...] = ()
    evaluate: Annotated[EvaluateConfig, BeforeValidator(_config_file)] | None = None
    restore: Annotated[RestoreConfig, BeforeValidator(_config_file)] | None = None


C = TypeVar("C", bound=Schema)


def load(schema: type[C], source: Path | str | dict[str, Any] | C, overrides: Sequence[str] = ()) -> C:
    """Read and check a configuration.

    Args:
        schema: the class to read.
        source: a YAML file, a mapping, or an instance.
        overrides: ``key=value`` with dotted keys (list items by index) and YAML values,
            e.g. ``recipe.lr=1e-3``.

    Raises:
        ConfigError: unreadable file, unknown key, or value out of range.
    """
    if isinstance(source, Schema):
        data: dict[str, Any] = source.model_dump()
    else:
        data = source if isinstance(source, dict) else read_yaml(Path(str(source)))
    where = printed(source) if isinstance(source, str | Path) else schema.__name__
    try:
        data = _own(check_values(data))
    except ValueError as error:
        raise ConfigError(f"{where}: {error}") from error
    for override in overrides:
        _set(data, override)
    try:
        return schema.model_validate(data)
    except ValidationError as error:
        raise ConfigError("\n".join([f"{where}:", *(_explain(schema, dict(e)) for e in _errors(error))])) from error


def _own(value: Any) -> Any:
    """Dicts and lists made anew: an override must reach neither the caller's nor an alias's copy."""
    if isinstance(value, dict):
        return {k: _own(v) for k, v in value.items()}
    return [_own(v) for v in value] if isinstance(value, list | tuple) else value


def _errors(error: ValidationError) -> list[ErrorDetails]:
    """Without complaints of a list that is too short for its wrong items, which have their own."""
    every = error.errors()
    wrong = {e["loc"][:n] for e in every for n in range(len(e["loc"]))}
    return [e for e in every if e["type"] != "too_short" or e["loc"] not in wrong]


def _explain(schema: type[Schema], error: dict[str, Any]) -> str:
    """One line: the key as it is written, its value, what is allowed."""
    sections: list[type[Schema]] = [schema]
    key: list[str] = []
    for part in error["loc"]:
        fields = [s.model_fields[part].annotation for s in sections if part in s.model_fields]
        if part in ("str", "mapping") and key[-2:-1] == ["models"]:  # pydantic's name of the kind, which nobody writes
            continue
        if part in TAGS and key[-1:] == ["source"]:  # likewise
            sections = [s for s in sections if s.model_fields["kind"].annotation == Literal[part]]
            continue
        key.append(str(part))
        if part != error["loc"][-1]:
            sections = [s for f in fields for s in _schemas_in(f)] if fields else sections
    message = error["msg"].removeprefix("Value error, ")
    if error["type"].startswith("union_tag"):
        message = f"kind must be one of {', '.join(TAGS)}"
    if error["type"] == "extra_forbidden":
        message = "no such key; there are: " + ", ".join(
            dict.fromkeys(name for s in sections for name in s.model_fields)
        )
    return f"  {'.'.join(key) or '(whole)'} = {_short(error['input'])}: {message}"


def _schemas_in(annotation: Any) -> list[type[Schema]]:
    """The configuration classes in a field's type, however they are wrapped."""
    if isinstance(annotation, type) and issubclass(annotation, Schema):
        return [annotation]
    return [s for argument in get_args(annotation) for s in _schemas_in(argument)]


def _short(value: Any) -> str:
    try:
        text = printed(repr(value))
    except ValueError:  # a number of more digits than Python prints
        return "a number of thousands of digits"
    return text if len(text) <= 80 else text[:77] + "..."


def _set(data: dict[str, Any], override: str) -> None:
    """Set one value in nested dicts and lists; sections that are missing are made."""
    key, sign, text = override.partition("=")
    name = f"override {printed(_short(override))}"
    if not sign or not key:
        raise ConfigError(f"{name}: must be key=value")
    value = _override_value(name, text)
    *parents, last = key.split(".")
    if len(parents) > DEEPEST:
        raise ConfigError(f"{name}: has more than {DEEPEST} parts")
    node: Any = data
    for parent in parents:
        if isinstance(node, dict) and parent:
            if node.get(parent) is None:
                node[parent] = {}
            node = node[parent]
        elif isinstance(node, list) and _place_in(node, parent) is not None:
            node = node[int(parent)]
        else:
            raise ConfigError(f"{name}: {_short(parent)} is not a part of the configuration")
        if not isinstance(node, dict | list):
            raise ConfigError(f"{name}: {_short(parent)} is a value, not a section")
    if isinstance(node, list) and _place_in(node, last) is not None:
        node[int(last)] = value
    elif isinstance(node, dict) and last:
        node[last] = value
    else:
        raise ConfigError(f"{name}: {_short(last)} is not a part of the configuration")


def _override_value(name: str, text: str) -> Any:
    try:
        value = parse_yaml(text)
    except ValueError as error:
        raise ConfigError(f"{name}: the value is not YAML ({printed(' '.join(str(error).split())[:200])})") from error
    if isinstance(value, str) and re.fullmatch(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+", value):
        return float(value)  # YAML 1.1 takes 1e-3 for a string
    return value


def _place_in(items: list[Any], part: str) -> int | None:
    """The index that a part of a key names; None if the list has none such."""
    return int(part) if re.fullmatch(r"[0-9]{1,9}", part) and int(part) < len(items) else None


def fingerprint(*parts: Any) -> str:
    """sha256 (hex) of JSON-able parts; equal parts in equal order give equal fingerprints."""
    text = json.dumps(parts, sort_keys=True, default=str, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()

"""The configuration of ``ufvnet evaluate``: methods x test sets to scores, tables, figures and a report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, Discriminator, Field, Tag, field_validator, model_validator

from .base import ROW_NAME, ROW_NAME_OR_NONE, Cluster, Device, FilePath, FolderName, Schema, View, refuse_url
from .lr_images import CLEAN, DamageName, Size

KINDS = ("model", "onnx", "torchscript", "python", "images")
"""Keys that say what a method is; each method has exactly one."""

OPTIONS = {
    "self_ensemble": ("model",),
    "input": ("onnx", "torchscript"),
    "range": ("onnx", "torchscript"),
    "input_px": ("model", "onnx", "torchscript", "python"),
}
"""Keys of a method that only some kinds have."""


class Method(Schema):
    """A method in an evaluation: one of ``model``, ``onnx``, ``torchscript``, ``python`` and ``images``."""

    name: str = Field(default="", pattern=ROW_NAME_OR_NONE)
    """Name of the table row. A model's default is its registry name. ``bicubic`` is the name of bicubic alone, over
    which gains are."""
    trained_on: View | Literal[""] = ""
    """View on which it was trained, which decides which columns of Tables I-IV it fills. A model's card has it."""
    model: FilePath | None = None
    """``bicubic``, a model folder, or the name of a model that ships with the package."""
    onnx: FilePath | None = None
    """An ONNX file with one input and one output, (N, 3, h, w) float32."""
    torchscript: FilePath | None = None
    """A TorchScript file with one input and one output, (N, 3, h, w) float32."""
    python: str | None = None
    """``module:function`` or ``file.py:function``. The function takes (N, h, w, 3) uint8 LR images and the HR size, and
    returns (N, H, H, 3) uint8."""
    images: FilePath | None = None
    """A folder of restored images, <test set>/<size>/<face id>.png, the names that ``ufvnet data export`` gives to LR
    images; <test set>/<damage>/<size>/<face id>.png where the LR images are damaged."""
    input: Literal["lr", "ls"] = "lr"
    """What ``onnx`` and ``torchscript`` take: LR images, or LR images up-sampled to the HR size (I_LS)."""
    range: tuple[float, float] = (0.0, 1.0)
    """Values of black and white that they take and return."""
    input_px: int | None = Field(default=None, ge=4)
    """For methods of a fixed input size: the side to which every LR image is resized first."""
    self_ensemble: bool = False
    """For models: the mean of the restorations of an image and of its mirror image."""

    @field_validator("python")
    @classmethod
    def _check_function(cls, python: str | None) -> str | None:
        where, _, function = (python or "m:f").rpartition(":")
        if not where or not function:
            raise ValueError("must be module:function or file.py:function")
        return python

    @model_validator(mode="after")
    def _check_kind(self) -> Method:
        kinds = [kind for kind in KINDS if getattr(self, kind) is not None]
        if len(kinds) != 1:
            raise ValueError(f"give one of {', '.join(KINDS)}; got {', '.join(kinds) or 'none'}")
        (kind,) = kinds
        if not self.name and kind != "model":
            raise ValueError(f"{kind} needs a name for its row")
        for key, allowed in OPTIONS.items():
            if getattr(self, key) != type(self).model_fields[key].default and kind not in allowed:
                raise ValueError(f"{key} goes with {', '.join(allowed)} alone")
        if self.range[0] >= self.range[1]:
            raise ValueError("range must be black < white")
        return self


MethodEntry = Annotated[
    Annotated[str, BeforeValidator(refuse_url), Tag("str")] | Annotated[Method, Tag("mapping")],
    Discriminator(lambda entry: "str" if isinstance(entry, str) else "mapping"),
]
"""String or mapping is decided before validation, so that errors match the form that was written."""


class TestSet(Schema):
    """A split of a built dataset to score on."""

    name: str = Field(pattern=ROW_NAME)
    """Its name in tables, and that of its files."""
    path: FilePath
    """The built dataset."""
    split: str = "test"
    """Split to score."""
    limit: int | None = Field(default=None, ge=1)
    """Score only this many faces, the first ones. Tables say so. Null: all."""
    damage: tuple[DamageName, ...] = Field(default=(CLEAN,), min_length=1)
    """Damage of the LR images, by the names of docs/method.md section 8. Every damage is scored at every size."""
    sizes: tuple[Size, ...] | None = Field(default=None, min_length=1)
    """Sizes of the LR images in pixels: a side, or width x height such as 20x28. Null: the scales of ``view``."""
    groups: FilePath | None = None
    """A CSV with a column ``photo``, a photograph's path as the dataset names it, and a column for each division of the
    faces into groups (age, gender, ...). Tables then tell gain and identity by group."""
    photos: FilePath | None = None
    """Where the photographs lie, for the damage ``crop``. Null: the folder from which the dataset was built."""

    @field_validator("damage", "sizes")
    @classmethod
    def _check_repeats(cls, values: tuple[int | str, ...] | None) -> tuple[int | str, ...] | None:
        repeated = next((value for value in values or () if (values or ()).count(value) > 1), None)
        if repeated is not None:
            raise ValueError(f"{repeated} is there twice")
        return values


class EvaluateConfig(Schema):
    """Methods x test sets to scores, tables, figures and a report (``ufvnet evaluate``)."""

    name: FolderName
    """Name of the evaluation's folder under ``out``."""
    models: tuple[MethodEntry, ...] = Field(default=("bicubic",), min_length=1)
    """Methods. Short forms: ``bicubic``, a model folder or shipped model, FILE.onnx, FILE.pt (TorchScript),
    module:function. The row of a model has the registry name in its model.json."""
    missing: Literal["error", "skip"] = "error"
    """What happens to methods that do not exist. ``skip`` names them in the tables' captions."""
    datasets: tuple[TestSet, ...] = Field(min_length=1)
    """Test sets. The first stands where the paper has CelebA, the second where it has Helen."""
    view: View = "MR8"
    """Scales to score. Tables of MR3 and MR7 models take the columns that they need."""
    out: FilePath = Path("evaluations")
    """Folder of evaluations."""
    batch_size: int = Field(default=32, ge=1)
    """Faces per batch."""
    device: Device = "cpu"
    """Where models run."""
    seed: int = Field(default=0, ge=0)
    """Seed of the assigned view and of the bootstrap."""
    identity_faces: int = Field(default=0, ge=0)
    """Faces per test set whose identity similarity (dlib) is measured, at 0.1 s of a CPU core per face and scale."""
    grid_faces: int = Field(default=2, ge=1, le=16)
    """Faces in the visual grid."""
    cluster: Cluster = Cluster()
    """Where Dask runs."""

    @field_validator("datasets")
    @classmethod
    def _check_names(cls, datasets: tuple[TestSet, ...]) -> tuple[TestSet, ...]:
        names = [test_set.name.casefold() for test_set in datasets]
        for test_set in datasets:
            if names.count(test_set.name.casefold()) > 1:
                raise ValueError(f"{test_set.name} is there twice; scores are stored by this name")
        return datasets

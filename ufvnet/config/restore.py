"""The configuration of ``ufvnet restore``, whose options are these fields; the first sentence is an option's help."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationInfo, field_validator

from ufvnet.remote import AnyPath

from .base import Cluster, Device, FilePath, Schema, SourcePath

DEFAULT_MODEL = "ufvnet-routed"
"""Name of the shipped model that restores pictures where no other is named."""


class RestoreConfig(Schema):
    """Pictures to restored pictures and a manifest (``ufvnet restore``)."""

    input: SourcePath | tuple[SourcePath, ...]
    """Files, folders, globs, zip or tar archives, Parquet or Arrow tables, also in stores (s3://, gs://), or a list of
    them. ``-`` reads one picture from standard input."""
    output: SourcePath
    """A folder, also in a store (s3://, gs://). For a single picture also a file, recognised by its ending, or ``-``
    for standard output."""
    model: FilePath = Path(DEFAULT_MODEL)
    """A model folder, or the name of a model that ships with the package."""
    backend: Literal["torch", "onnx"] = "torch"
    """What runs the model: torch, or ONNX Runtime."""
    mode: Literal["auto", "aligned", "photo"] = "auto"
    """aligned: every picture is a face crop; photo: find faces and paste them back; auto: decided per picture.
    ``auto`` takes a small picture with no face, or with one that nearly fills it, for a crop, and any other for a
    photo."""
    landmarks: tuple[FilePath, ...] = ()
    """Files of 68 landmarks: CSV, pickle or a folder of .pts files (may be repeated). Each picture in them has one
    face, and is not searched for others."""
    boxes: FilePath | None = None
    """CSV of face crops: file, left, top, right, bottom. Pixels of the upright picture, any number of crops per
    picture. Fractions are rounded, and what lies outside the picture is clipped."""
    finder: Literal["auto", "yunet", "hog"] = "auto"
    """What finds the faces: yunet, hog (dlib), or auto (yunet where it runs). ``yunet`` finds far more small and turned
    faces; it runs on Linux x86-64 and Windows."""
    min_face: int | None = Field(default=None, ge=8, le=80)
    """Smallest side of a face to search for, in pixels (default: depends on the picture). With ``yunet``, null searches
    for faces from 8 pixels in small pictures and beside other small faces, and from about 14 elsewhere; with ``hog``
    from 10 in pictures of up to 96 pixels, 20 up to 480, 40 up to 1280, and 80 in larger ones. A smaller number takes
    longer."""
    max_face: int | None = Field(default=None, ge=8, le=65536)
    """Faces of this side and larger stay as they are, all others are restored (default: by their content). Measured on
    the crop of a face in a photo. By default, faces below the model's output size are restored, and larger ones as
    ``effective_size`` says."""
    effective_size: bool = True
    """Restore large faces that hold the content of a small one, because they were enlarged or are out of focus. Their
    effective size is estimated, they are reduced to it, restored, and given back at the size that is asked for."""
    size: int | str = "auto"
    """Output size: auto (so that restored faces show), native (faces get the model's size), input, or a number of
    pixels. ``auto``: a crop becomes 128x128, or keeps its size if it is larger; a photo is enlarged until its smallest
    restored face has 128 pixels, at most fourfold and to 25 megapixels. ``native``: every crop becomes 128x128, and a
    photo is enlarged at most eightfold. ``input``: as the picture was. A number: the side of crops, the longer side of
    photos."""
    scale: float | None = Field(default=None, ge=0.125, le=16)
    """Output size as a multiple of the picture's, instead of --size."""
    format: Literal["auto", "same", "png", "jpeg", "webp", "tiff", "bmp", "avif", "parquet"] = "auto"
    """Output format; auto: jpeg for photos that came as JPEG or the like, else png, and parquet for rows of tables;
    same: the input's. ``auto`` loses no more of a photo than its own format did, and of a crop nothing; photos with
    alpha are png. ``parquet`` writes a table with an image column instead of files."""
    quality: int = Field(default=95, ge=1, le=100)
    """Quality of JPEG, WebP and AVIF outputs. A WebP of 100 is lossless."""
    suffix: str = ""
    """Text between the name of an output and its ending, e.g. _restored."""
    image_column: str = "image"
    """Column of tables that holds the pictures."""
    image_root: FilePath | None = None
    """A further folder whose files rows of tables may name. Without it they may name only files below their table's
    own folder. Symbolic links are resolved first."""
    faces: FilePath | None = None
    """Another folder, for each restored face and the crop that it was made from. Both are PNG files, named by the
    picture and the face's number."""
    compare: FilePath | None = None
    """Another folder, for a sheet of each restored picture: the input enlarged by bicubic, and the output beside it."""
    unrestored: Literal["copy", "leave"] = "copy"
    """Pictures without a face to restore: copy them to the output, or leave them out."""
    into_input: bool = False
    """Allow the output inside an input folder, or in the folder itself (needs a suffix), or beside files of others.
    None of these files is replaced. An output that contains an input is always refused."""
    overwrite: bool = False
    """Replace the file that OUTPUT names. Folders do not need this: a run replaces only files that runs wrote."""
    frames: Literal["first", "all"] = "first"
    """Frames of animated pictures to restore. ``all`` makes a picture of each, in a folder of the animation's name."""
    recursive: bool = True
    """Search folders recursively and keep their structure."""
    resume: bool = False
    """Keep finished, verified outputs of an earlier run with the same settings."""
    max_pixels: int = Field(default=64_000_000, ge=1)
    """Most pixels of a picture or an output; larger ones fail. At the default, which photos of 61-megapixel cameras
    fit, a run takes up to about 1 GiB of memory. Each further million takes about 10 MB."""
    batch_size: int | None = Field(default=None, ge=1)
    """Faces per batch, across pictures (default: 16 on a CPU, 64 on CUDA, 32 on MPS)."""
    device: Device = "auto"
    """Where the model runs."""
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    """Arithmetic of the model; bf16 and fp16 are for GPUs, and bf16 for processors that have instructions for it."""
    self_ensemble: bool = False
    """Take the mean of what the model makes of a face and of its mirror image: a little truer, in twice the time."""
    threads: int | None = Field(default=None, ge=1)
    """Threads that compute (default: one per CPU core). As many read and search for faces, and as many write."""
    cluster: Cluster | None = None
    """Share the pictures among the processes of a Dask cluster (the super-resolve flow)."""

    @field_validator("input", mode="before")
    @classmethod
    def _unwrap_one_input(cls, value: Any) -> Any:
        if isinstance(value, list | tuple):
            if not value:
                raise ValueError("must name at least one input")
            return value[0] if len(value) == 1 else tuple(value)
        return value

    @field_validator("suffix")
    @classmethod
    def _check_suffix(cls, suffix: str) -> str:
        if len(suffix) > 50 or {"/", "\\", "\0"} & {*suffix}:
            raise ValueError("must be part of a file's name: at most 50 characters, none of them / or \\ or NUL")
        return suffix

    @field_validator("max_face")
    @classmethod
    def _check_max_face(cls, max_face: int | None, others: ValidationInfo) -> int | None:
        min_face = others.data.get("min_face")
        if max_face is not None and min_face is not None and max_face < min_face:
            raise ValueError(f"is below min_face = {min_face}, so no face would be restored; it must be at least that")
        return max_face

    @field_validator("size")
    @classmethod
    def _check_size(cls, size: int | str) -> int | str:
        number = int(size) if isinstance(size, str) and size.isdecimal() else size
        if number not in ("auto", "native", "input") and not (isinstance(number, int) and 8 <= number <= 16384):
            raise ValueError("must be auto, native, input or a number of pixels between 8 and 16384")
        return number

    @field_validator("scale")
    @classmethod
    def _check_scale(cls, scale: float | None, others: ValidationInfo) -> float | None:
        size = others.data.get("size", "auto")
        if scale is not None and size != "auto":
            raise ValueError(f"size = {size} is given too; give either size or scale, not both")
        return scale

    @property
    def inputs(self) -> tuple[AnyPath, ...]:
        """``input`` as a tuple."""
        return self.input if isinstance(self.input, tuple) else (self.input,)

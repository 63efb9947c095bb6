"""The configuration of ``ufvnet build``: photos to a multi-resolution dataset."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from .base import Cluster, FilePath, FolderName, HRSize, Schema
from .sources import Source


class Crop(Schema):
    """How a face is cut out of its photo. The default is the crop of Ma et al. (docs/method.md section 5)."""

    factor: float = Field(default=0.3, ge=0, le=4)
    """Margin around the square of the landmarks, as a share of its side. Half of it goes on each side."""
    clip: Literal["stretch", "pad", "drop"] = "stretch"
    """What happens if the box leaves the photo. ``stretch`` the part inside to a square, ``pad`` with the colours of
    the border, or ``drop`` the face with the status clipped."""
    align: bool = False
    """Rotate the face first so that its eyes are level. Needs ``clip: pad`` or ``drop``."""

    @model_validator(mode="after")
    def _check_clip_of_aligned_faces(self) -> Crop:
        if self.align and self.clip == "stretch":
            raise ValueError("align needs clip: pad or drop")
        return self


class BuildConfig(Schema):
    """Photos to a multi-resolution dataset (``ufvnet build``)."""

    name: FolderName = Field(max_length=64)
    """Name of the dataset's folder under ``out``."""
    source: Source
    """The photos: one of the sources below, which ``kind`` names (default: folder)."""
    out: FilePath = Path("data")
    """Folder of built datasets."""
    hr_size: HRSize = 128
    """Side of the HR faces in pixels."""
    faces: Literal["largest", "all"] = "largest"
    """Faces of a photo to build. A photo with given landmarks has that one face."""
    min_face: int = Field(default=48, ge=8)
    """Smallest side of a crop in pixels. Smaller faces are recorded as too_small."""
    finder: Literal["hog", "yunet", "auto"] = "hog"
    """What finds the faces. ``hog`` (dlib) runs everywhere and gives the same dataset everywhere; ``yunet`` also finds
    turned faces; ``auto`` takes ``yunet`` where it runs."""
    crop: Crop = Crop()
    """How faces are cut out."""
    degradation: Literal["pil-bicubic", "matlab-bicubic", "cv2-bicubic", "blur-noise-jpeg"] = "pil-bicubic"
    """How HR becomes LR (ufvnet/data/build/degrade.py)."""
    near_duplicates: Literal["off", "report", "drop"] = "report"
    """Photos that look alike. ``report`` lists the pairs, ``drop`` builds only one photo of each group."""
    near_distance: int = Field(default=24, ge=0, le=64)
    """Largest number of differing bits, of 256, between the difference hashes of photos that look alike."""
    max_pixels: int = Field(default=100_000_000, ge=1)
    """Most pixels of a photo. Larger ones are recorded as too_large."""
    limit: int | None = Field(default=None, ge=1)
    """Number of photos per split to take, a seeded subset. Null: all."""
    seed: int = Field(default=0, ge=0)
    """Seed of splits, subsets and random degradations."""
    shard_size: int = Field(default=1000, ge=1)
    """Upper bound on the average number of photos per shard. The number of shards is a power of two, so the average
    may be half of this."""
    cluster: Cluster = Cluster()
    """Where Dask runs."""
    allow_loss: bool = False
    """Let a rebuild lose more than 5 % of the photos that gave faces in the earlier build."""

    @field_validator("source", mode="before")
    @classmethod
    def _default_to_a_folder(cls, source: Any) -> Any:
        return {"kind": "folder"} | source if isinstance(source, dict) else source

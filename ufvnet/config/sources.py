"""Sources of photos: which files there are, which split each belongs to, and where its face is."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from ufvnet.files import check_name
from ufvnet.remote import RemotePath

from .base import FilePath, Schema, SourcePath


class _Source(Schema):
    """What every source of photos has."""

    root: SourcePath
    """Its folder, or a URL (s3://, gs://). Names in lists, landmark files and tables are relative to it."""
    landmarks: tuple[SourcePath, ...] = ()
    """Files of 68 landmarks: CSV (file, x0, y0, ..., x67, y67), the pickles of Ma et al., or folders of ibug .pts
    files. Photos that they leave out are searched by dlib."""
    splits: dict[str, SourcePath] = {}
    """A list file per split: one name per line, or a pickle of Ma et al. Photos in no list are recorded as
    not_listed."""
    expect: dict[str, int] = {}
    """Number of photos that each split must have, e.g. {train: 168854, test: 1000}. Any other number is refused."""

    @field_validator("landmarks", mode="before")
    @classmethod
    def _accept_one_path(cls, value: Any) -> Any:
        return [value] if isinstance(value, str | Path | RemotePath) else value or ()

    @field_validator("splits", "expect", "fractions", "files", check_fields=False)
    @classmethod
    def _check_split_names(cls, by_split: dict[str, Any]) -> dict[str, Any]:
        for split in by_split:
            check_name("the name of a split", split)
        return by_split


class _Divisible(_Source):
    """A source whose photos a seeded hash may divide into splits."""

    fractions: dict[str, float] = {"train": 0.9, "val": 0.05, "test": 0.05}
    """Share of each split among the photos whose split nothing else decides. It is met on average: a photo's split
    depends on its name (or its person's name) and the seed alone, so that added photos move no other photo."""
    identity_pattern: str | None = None
    """Regular expression on photo names whose first group is the person, e.g. ``([^/]+)/[^/]+$`` for one folder per
    person. All photos of a person get the same split."""

    @field_validator("fractions")
    @classmethod
    def _check_sum(cls, fractions: dict[str, float]) -> dict[str, float]:
        if not fractions or not abs(sum(fractions.values()) - 1) <= 1e-9 or min(fractions.values()) < 0:
            raise ValueError("shares of the splits must be at least 0 and sum to 1")
        return fractions

    @field_validator("identity_pattern")
    @classmethod
    def _check_pattern(cls, pattern: str | None) -> str | None:
        if pattern is not None:
            try:
                groups = re.compile(pattern).groups
            except re.error as error:
                raise ValueError(f"not a regular expression ({error})") from error
            if groups < 1:
                raise ValueError("must have a group in parentheses that names the person")
        return pattern


class FolderSource(_Divisible):
    """A folder of photos, searched recursively."""

    kind: Literal["folder"] = "folder"
    """Names this source."""


class CelebASource(_Source):
    """CelebA in the wild as its authors publish it.

    <root>/img_celeba/*.jpg and, in <root> or in its folders Eval and Anno, list_eval_partition.txt (not needed
    if ``splits`` are given) and optionally list_landmarks_celeba.txt, whose five points tell which face is meant.
    """

    kind: Literal["celeba"]
    """Names this source."""


class HelenSource(_Source):
    """Helen as its authors publish it: <root>/helen_*/*.jpg, trainnames.txt, testnames.txt (or ``splits``)."""

    kind: Literal["helen"]
    """Names this source."""


class ManifestSource(_Divisible):
    """A CSV with a header that names the photos. Other files in the folder are ignored."""

    kind: Literal["manifest"]
    """Names this source."""
    file: SourcePath
    """The CSV."""
    path: str = "path"
    """Column of the photo's path below ``root``."""
    split: str | None = None
    """Column of the photo's split. An empty cell means none."""
    identity: str | None = None
    """Column of the person."""


class TableSource(_Divisible):
    """Parquet or Arrow files (what ``datasets`` saves) with an image column, searched recursively below ``root``."""

    kind: Literal["table"]
    """Names this source."""
    files: dict[str, str] = {}
    """A glob below ``root`` per split, e.g. {train: "train-*.parquet"}. Empty: every *.parquet and *.arrow."""
    image: str = "image"
    """Column of encoded images: binary of any kind, lists of uint8, or the struct {bytes, path} of ``datasets``."""
    image_root: FilePath | None = None
    """A further folder whose files rows may name. Without it they may name only files below their table's own
    folder. Symbolic links are resolved first."""
    name: str | None = None
    """Column of the photo's name. Null: <file>#<row>."""
    split: str | None = None
    """Column of the photo's split. An empty cell means none."""
    identity: str | None = None
    """Column of the person."""


KINDS = ("folder", "celeba", "helen", "manifest", "table")
Source = Annotated[
    FolderSource | CelebASource | HelenSource | ManifestSource | TableSource, Field(discriminator="kind")
]

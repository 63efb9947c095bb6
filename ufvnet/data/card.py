"""dataset.json, the card of a built dataset: written with a seal, and checked before anything in it is trusted."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from ufvnet.config import HRSize, fingerprint
from ufvnet.errors import ConfigError
from ufvnet.files import check_name, printed, seal, unseal, write_json
from ufvnet.remote import check_local

from .build.degrade import DEGRADATIONS

SCHEMA_VERSION = 2
"""Raised when datasets that were built before can no longer be read."""
CARD = "dataset.json"
REMEDY = "move this folder away and build it again"
NO_FAILURES = ("ok", "duplicate", "near_duplicate", "not_listed")
"""Statuses of photos that need no attention."""
Digest = Field(pattern=r"^[0-9a-f]{64}$")
Count = Field(ge=0)


@dataclass(frozen=True)
class ShardFiles:
    """A shard's files below the dataset's folder, its fingerprint, and the files' sha256 if known."""

    photos: str
    faces: str | None
    fingerprint: str
    photos_sha256: str | None = None
    faces_sha256: str | None = None

    @property
    def timings(self) -> str:
        return f"timings/{self.photos.removeprefix('photos/')}"

    @property
    def names(self) -> list[str]:
        """All its files."""
        return [self.photos, self.timings, *([self.faces] if self.faces else [])]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class _UnsealedShard(_Strict):
    photos: str = Field(pattern=r"^photos/part-\d{5,9}\.parquet$")
    faces: str | None = Field(pattern=r"^faces/split=[^/\x00]+/part-\d{5,9}\.parquet$")
    fingerprint: str = Digest


class _Shard(_UnsealedShard):
    photos_sha256: str = Digest
    faces_sha256: str | None = Digest


class _Degradation(_Strict):
    name: str
    version: int
    summary: str


class _Pairs(_Strict):
    within: int = Count
    across: int = Count


class _Card(_Strict):
    """Schema of a card; whoever reads a card can rely on it."""

    name: str
    schema_version: int
    hr_size: HRSize
    degradation: _Degradation
    photos: int = Count
    counts: dict[str, int]
    faces: dict[str, int]
    near_duplicates: _Pairs | None
    near_duplicates_sha256: str | None = Digest
    fingerprints: dict[str, str]
    shards: list[_Shard]
    config: dict[str, Any]
    versions: dict[str, str]

    @model_validator(mode="after")
    def _is_consistent(self) -> _Card:
        check_name("name", self.name)
        for split in self.faces:
            check_name("faces", split)
        if self.degradation.name not in DEGRADATIONS:
            raise ValueError(f"degradation.name: there are {', '.join(DEGRADATIONS)}")
        if set(self.faces) != set(self.fingerprints):
            raise ValueError("faces and fingerprints name different splits")
        if any(n < 0 for n in (*self.counts.values(), *self.faces.values())):
            raise ValueError("counts must be at least 0")
        for shard in self.shards:
            if (shard.faces is None) != (shard.faces_sha256 is None):
                raise ValueError("shards: faces and faces_sha256 must be given together")
            if shard.faces is not None and split_of(shard.faces) not in self.faces:
                raise ValueError(f"shards: {shard.faces} is of no split that faces names")
        return self


def split_of(faces_file: str) -> str:
    """The split of a file below ``faces/``."""
    return faces_file.split("/")[1].removeprefix("split=")


def split_fingerprint(shards: Iterable[tuple[ShardFiles, bool]]) -> str:
    """The fingerprint of a split.

    A shard's own fingerprint is that of its plan. If a photo was lost or crashed, another build of the same plan may
    have more faces, so the digest of the faces counts too.

    Args:
        shards: files of each shard of the split, in order, and whether all its photos became what the plan says.
    """
    parts = [s.fingerprint if as_planned else (s.fingerprint, s.faces_sha256) for s, as_planned in shards]
    return fingerprint("split", parts)


def failures(card: dict[str, Any]) -> int:
    """The number of photos of a dataset that could not be used though they should have been."""
    return sum(n for status, n in card["counts"].items() if status not in NO_FAILURES)


def write(root: Path, card: dict[str, Any]) -> None:
    """Write a card with its seal."""
    write_json(root / CARD, seal(card))


def read(root: Path) -> dict[str, Any]:
    """A dataset's card.

    Raises:
        ConfigError: there is none, it is of another version of the schema, or it is damaged.
    """
    card, damage = examine(root)
    if damage:
        raise ConfigError(f"dataset = {printed(root)}: {damage}")
    return card


def examine(root: Path) -> tuple[dict[str, Any], str | None]:
    """A dataset's card, and what is wrong with its seal; None if nothing is.

    Raises:
        ConfigError: there is none, it is of another version of the schema, or it does not have the content of a card.
    """
    check_local("dataset", root)
    where = f"dataset = {printed(root)}"
    content = _content(root)
    try:
        card = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{where}: no built dataset that can be read: {CARD} is damaged; {REMEDY}") from error
    if not isinstance(card, dict):
        raise ConfigError(f"{where}: no built dataset that can be read: {CARD} is no card; {REMEDY}")
    version = card.get("schema_version")
    if version != SCHEMA_VERSION or isinstance(version, bool):
        shown = printed(repr(version))[:40]
        raise ConfigError(f"{where}: schema version {shown}, not {SCHEMA_VERSION}; build it again")
    if "sealed" not in card:
        raise ConfigError(f"{where}: made before datasets had digests; build it again")
    del card["sealed"]
    try:
        _Card.model_validate(card)
    except ValidationError as error:
        raise ConfigError(f"{where}: {CARD} is damaged: {_first_problem(error)}; {REMEDY}") from error
    return card, None if unseal(content) is not None else f"{CARD} is damaged or was changed by hand; {REMEDY}"


def _content(root: Path) -> bytes:
    """
    Raises:
        ConfigError: there is no such regular file, or it cannot be read.
    """
    try:
        if (root / CARD).is_file():
            return (root / CARD).read_bytes()  # a pipe would block
    except (OSError, ValueError) as error:
        raise ConfigError(f"dataset = {printed(root)}: no built dataset that can be read: {printed(error)}") from error
    raise ConfigError(f"dataset = {printed(root)}: no built dataset there; make one with `ufvnet build`")


def _first_problem(error: ValidationError) -> str:
    problem = error.errors()[0]
    key = ".".join(map(str, problem["loc"]))
    return printed(f"{key}: {problem['msg']}".removeprefix(": "))


def shards_of(root: Path) -> list[ShardFiles] | None:
    """The shards of the dataset in a folder; None if there is none.

    Cards of older versions, which have no digests, count too: their files are replaced when the dataset is built again.

    Raises:
        ConfigError: the card is damaged, so that nobody knows any more which files are the dataset's.
    """
    try:
        card = json.loads(_content(root))
    except (ConfigError, ValueError, RecursionError):
        return None
    if not isinstance(card, dict) or not {"schema_version", "shards", "fingerprints"} <= set(card):
        return None
    if "sealed" in card and card["schema_version"] == SCHEMA_VERSION:
        return [ShardFiles(**shard) for shard in read(root)["shards"]]
    try:
        return [ShardFiles(**_UnsealedShard.model_validate(shard).model_dump()) for shard in card["shards"]]
    except (ValidationError, TypeError) as error:
        raise ConfigError(f"dataset = {printed(root)}: {CARD} is damaged; {REMEDY}") from error


def pairs_sha256(root: Path) -> str | None:
    """The digest of near_duplicates.parquet in the card of a dataset; None if there is no card or it has none."""
    try:
        return read(root)["near_duplicates_sha256"]
    except ConfigError:
        return None

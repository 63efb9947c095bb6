"""What all configurations share: the base class, types that several of them use, and fingerprints."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    ValidatorFunctionWrapHandler,
    WithJsonSchema,
    WrapValidator,
    model_validator,
)

from ufvnet.remote import AnyPath, RemotePath, is_url, path_or_url

View = Literal["MR3", "MR7", "MR8"]
HRSize = Literal[64, 128]
Preset = Literal["paper", "small", "tiny"]
Device = Literal["auto", "cpu", "cuda", "mps"]
Share = Annotated[float, Field(ge=0, le=1)]
FOLDER_NAME = r"^[A-Za-z0-9][\w.-]*$"
ROW_NAME = r"^[^./\\\n][^/\\\n]{0,59}$"
ROW_NAME_OR_NONE = r"^([^./\\\n][^/\\\n]{0,59})?$"
IN_WORDS = {
    FOLDER_NAME: "must begin with a letter or digit, and have only these and . _ - after it",
    ROW_NAME: "must have 1 to 60 characters, none of them / \\ or a line break, and not begin with a dot",
    ROW_NAME_OR_NONE: "must have at most 60 characters, none of them / \\ or a line break, and not begin with a dot",
}
"""What a pattern asks for."""
FolderName = Annotated[str, Field(pattern=FOLDER_NAME)]


def _refuse_empty(path: Any) -> Any:
    if path == "":
        raise ValueError("is empty; it must be a path")
    return path


def refuse_url(path: Any) -> Any:
    """The value itself.

    Raises:
        ValueError: it is a URL.
    """
    if is_url(path):
        raise ValueError("is a URL; it must be a path of a file system")
    return path


def _read_url(path: Any, as_path: ValidatorFunctionWrapHandler) -> AnyPath:
    return path_or_url(path) if is_url(path) else as_path(_refuse_empty(path))


def _write_urls(value: Any) -> Any:
    """Paths in stores as their URLs. In a key that takes one or several, it is given all of them at once."""
    if isinstance(value, tuple):
        return tuple(_write_urls(path) for path in value)
    return str(value) if isinstance(value, RemotePath) else value


FilePath = Annotated[Path, BeforeValidator(lambda path: refuse_url(_refuse_empty(path)))]
"""A path of a file or folder on this machine. An empty one is refused: ``Path("")`` would be the working directory."""

SourcePath = Annotated[
    AnyPath,
    WrapValidator(_read_url),
    PlainSerializer(_write_urls),
    WithJsonSchema({"type": "string", "format": "path"}),
]
"""As FilePath, or a URL of a store (``ufvnet.remote``): for what is read, and for the output of ``restore``."""


class Schema(BaseModel):
    """Base of all configurations: unknown keys are errors, values do not change."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True, defer_build=True
    )


class Cluster(Schema):
    """Where Dask runs: a local cluster by default, or what DASK_SCHEDULER_ADDRESS or ``address`` names."""

    workers: int | None = Field(default=None, ge=1)
    """Worker processes of the local cluster, with one thread each. Null: one per CPU core."""
    address: str | None = None
    """Address of an existing scheduler, e.g. tcp://host:8786."""
    cluster_class: str | None = None
    """Class of a cluster to start instead, e.g. dask_jobqueue.SLURMCluster."""
    cluster_kwargs: dict[str, Any] = {}
    """Arguments of ``cluster_class``."""
    adapt: dict[str, int] | None = None
    """Arguments of the cluster's ``adapt`` method, e.g. {minimum: 1, maximum: 20}."""

    @model_validator(mode="after")
    def _check_kind(self) -> Cluster:
        if self.address and self.cluster_class:
            raise ValueError("give either address or cluster_class, not both")
        if not self.cluster_class and (self.cluster_kwargs or self.adapt):
            raise ValueError("cluster_kwargs and adapt need a cluster_class")
        return self


def fingerprint(*parts: Any) -> str:
    """sha256 (64 hex digits) of JSON-able parts; equal parts in equal order give equal fingerprints."""
    text = json.dumps(parts, sort_keys=True, default=str, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()

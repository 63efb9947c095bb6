"""The configuration of ``ufvnet reproduce``: build, train, evaluate and restore in one file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, field_validator

from .base import Schema
from .build import BuildConfig
from .evaluate import EvaluateConfig
from .restore import RestoreConfig
from .train import TrainConfig
from .yaml_text import read_yaml


def _read_part(value: Any) -> Any:
    return read_yaml(Path(value)) if isinstance(value, str | Path) else value


class ExperimentConfig(Schema):
    """Build, train, evaluate and restore in one file (``ufvnet reproduce``). A part may be the path of its own file."""

    name: str
    """Name of the experiment."""
    definitions: dict[str, Any] = {}
    """Free space for YAML anchors."""
    build: tuple[Annotated[BuildConfig, BeforeValidator(_read_part)], ...] = ()
    """Datasets to build."""
    train: tuple[Annotated[TrainConfig, BeforeValidator(_read_part)], ...] = ()
    """Models to train."""
    evaluate: Annotated[EvaluateConfig, BeforeValidator(_read_part)] | None = None
    """The evaluation."""
    restore: Annotated[RestoreConfig, BeforeValidator(_read_part)] | None = None
    """Pictures to restore at the end."""

    @field_validator("build", "train")
    @classmethod
    def _refuse_one_folder_for_two(cls, parts: tuple[Any, ...]) -> tuple[Any, ...]:
        folders = [(part.out / part.name).resolve() for part in parts]
        for part, folder in zip(parts, folders, strict=True):
            if folders.count(folder) > 1:
                raise ValueError(f"two make {part.out / part.name}; give one another name")
        return parts

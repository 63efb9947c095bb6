"""The card (``model.json``) of a model folder or an exported file: its schema, checked once, when it is read."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ufvnet.config import HRSize, Preset
from ufvnet.files import printed, unseal

Scale = Annotated[int, Field(ge=1, le=16)]
Rate = Annotated[float, Field(gt=0, le=1, strict=False)]
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Name = Annotated[str, Field(min_length=1, max_length=200)]


class _Strict(BaseModel):
    """Values must have the annotated types; nothing is converted. Unknown keys, of later releases, are kept."""

    model_config = ConfigDict(extra="allow", strict=True, frozen=True, allow_inf_nan=False)


class TrainedOn(_Strict):
    """The photographs that a model was trained on.

    fingerprint: of the training split, or a list of fingerprints if there are several datasets.
    """

    dataset: str = ""
    view: str = ""
    faces: int = Field(default=0, ge=0)
    fingerprint: str | list[str] = ""
    validation: str = ""


class ModelCard(_Strict):
    """What a model folder holds. ``publish`` writes it; the folder's README.md says the same in words.

    model: a name of the registry, or ``anchor``, ``regressor`` or ``landmarks`` for a part of stage 1.
    anchors, scales: in sixteenths. device: the processor ("cpu") or GPU that it was trained on, as PyTorch names it.
    sha256: of model.safetensors. Both are missing in folders of early releases.
    """

    model: Name
    preset: Preset
    hr_size: HRSize
    fingerprint: Name
    name: str = ""
    anchors: list[Scale] | None = Field(default=None, min_length=1, max_length=16)
    scales: list[Scale] = []
    params: int = Field(default=0, ge=0)
    steps: int = Field(default=0, ge=0)
    stage1: dict[str, str] = {}
    start: str | None = None
    teacher: str | None = None
    trained_on: TrainedOn = TrainedOn()
    recipe: dict[str, Any] = {}
    validation: dict[str, float] = {}
    versions: dict[str, str] = {}
    device: str = ""
    precision: Literal["half"] | None = None
    sha256: Digest | None = None


class FeedCard(_Strict):
    """What the file takes (``ufvnet.models.feed.Feed``); I_LS in files of releases without it."""

    kind: Literal["OR", "FR"] = "OR"
    side: int | None = Field(default=None, ge=1, le=4096)
    multiple: int = Field(default=1, ge=1)


class ExportCard(ModelCard):
    """The card inside an exported file."""

    rate_by_axis: bool
    feed: FeedCard = FeedCard()
    anchor_rates: list[Rate]
    export_version: int


def parse_card(content: str | bytes, schema: type[ModelCard] = ModelCard) -> dict[str, Any]:
    """Parse a card's JSON into a dictionary of checked values; keys that are absent stay absent (no defaults).

    Raises:
        ValueError: the text is not a card, or its seal or one of its values is wrong; the message names it.
    """
    try:
        data = json.loads(content, parse_constant=_no_number)
        if not isinstance(data, dict):
            raise ValueError("is not a JSON object")
        if "sealed" in data or "sha256" in data:  # releases that write one write both
            data = unseal(content)
            if data is None:
                raise ValueError("was changed or damaged after it was written (its seal does not fit)")
        json.dumps(data, ensure_ascii=False).encode()  # fails for lone surrogates, which cannot be printed
        return schema.model_validate(data).model_dump(mode="json", exclude_unset=True)
    except ValidationError as error:
        raise ValueError("; ".join(map(_explain, error.errors()))) from error
    except RecursionError as error:
        raise ValueError("is nested too deeply") from error


def _no_number(name: str) -> None:
    raise ValueError(f"{name} is not a number that JSON has")


def _explain(error: Any) -> str:
    key = ".".join(map(str, error["loc"]))
    value = "" if error["type"] == "missing" else f" = {_short(error['input'])}"
    return f"{printed(key)}{value}: {error['msg']}"


def _short(value: Any) -> str:
    text = printed(repr(value))
    return text if len(text) <= 60 else text[:57] + "..."

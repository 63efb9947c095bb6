"""An exported ONNX file as a network: ONNX Runtime runs it, and it is called like the torch network it came from."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ufvnet.errors import ConfigError
from ufvnet.extras import require
from ufvnet.files import printed, sha256

from .card import ExportCard, parse_card
from .srg import SROutput

CARD = "ufvnet.card"
"""Metadata key of the card, by which our files are told from others."""

SEAL = b"ufvnet.sha256"
"""Metadata key of the sha256 of all that stands before it; it is a file's last entry."""

SEALED_SINCE = 2
"""Exports of this version and later end in the seal."""

PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider", "mps": "CoreMLExecutionProvider"}
"""What ONNX Runtime calls the devices that torch has."""


def import_onnxruntime() -> Any:
    """The onnxruntime module.

    Raises:
        ConfigError: it is not installed.
    """
    require("onnx", "backend = onnx", "onnxruntime")
    import onnxruntime

    return onnxruntime


def provider_of(device: str) -> str:
    """ONNX Runtime's provider for a device; ``auto`` is CUDA where this ONNX Runtime has it, then the CPU.

    Raises:
        ConfigError: this ONNX Runtime has none for it.
    """
    there = import_onnxruntime().get_available_providers()
    if device == "auto":
        return next(PROVIDERS[d] for d in ("cuda", "cpu") if PROVIDERS[d] in there)
    if PROVIDERS.get(device) not in there:
        has = ", ".join(d for d, provider in PROVIDERS.items() if provider in there)
        raise ConfigError(f"device = {device}: the installed ONNX Runtime has no provider for it; it has: {has}")
    return PROVIDERS[device]


class OnnxNetwork(nn.Module):
    """Runs an exported file: I_LS (N, 3, H, H) in [-1, 1] and rate (N,) or (N, 2) -> SROutput on the CPU.

    Runs as many threads as torch does when it is made. Calls from several threads at once are fine.

    ``fingerprint`` is the file's sha256.

    Raises:
        ConfigError: no file that ONNX Runtime loads, one that ``ufvnet models export`` did not write or that was
            damaged since, or a device that ONNX Runtime has no provider for.
    """

    def __init__(self, file: Path, device: str = "auto"):
        super().__init__()
        ort, provider = import_onnxruntime(), provider_of(device)
        options = ort.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        # one thread of many that spins while it waits takes the core from whoever prepares the next batch
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        digest = sha256(file)
        if digest is None:
            raise ConfigError(f"model = {printed(file)}: no such file, or one that cannot be read")
        self.fingerprint = digest
        try:
            self.session = ort.InferenceSession(str(file), options, providers=[provider])
        except Exception as error:  # its own exceptions have no common base
            reason = printed(_first_line(error))
            raise ConfigError(f"model = {printed(file)}: ONNX Runtime cannot load it ({reason})") from error
        if self.session.get_providers()[0] != provider:
            raise ConfigError(f"device = {device}: ONNX Runtime could not start {provider}")
        self.card = _checked_card(file, self.session)
        self.hr_size: int = self.card["hr_size"]
        self.rate_by_axis: bool = self.card["rate_by_axis"]
        self.anchors = tuple(self.card["anchor_rates"])
        self.outputs = [output.name for output in self.session.get_outputs()]

    def forward(self, ls: Tensor, rate: Tensor) -> SROutput:
        feed = {"ls": ls.contiguous().cpu().numpy(), "rate": rate.float().cpu().numpy()}
        found = dict(zip(self.outputs, map(torch.from_numpy, self.session.run(self.outputs, feed))))
        return SROutput(found["sr"], found.get("weights"))


def seal_onnx(file: Path) -> None:
    """Append the sha256 of an ONNX file to it as one more entry of its metadata."""
    content = file.read_bytes()
    file.write_bytes(content + _seal_of(content))


def sealed(file: Path) -> bool | None:
    """Whether an ONNX file is as ``seal_onnx`` left it; None if it has no seal."""
    content = file.read_bytes()
    length = len(_seal_of(b""))
    body, found = content[:-length], content[-length:]
    return found == _seal_of(body) if SEAL in found else None


def _seal_of(content: bytes) -> bytes:
    """``metadata_props`` (field 14 of ModelProto) with key and value (fields 1 and 2), as protobuf writes it; fields
    of messages that follow one another are merged, so no parser is needed to add or check it."""
    value = hashlib.sha256(content).hexdigest().encode()
    entry = b"\x0a" + bytes([len(SEAL)]) + SEAL + b"\x12" + bytes([len(value)]) + value
    return b"\x72" + bytes([len(entry)]) + entry


def _checked_card(file: Path, session: Any) -> dict[str, Any]:
    """
    Raises:
        ConfigError: the file is not an export of ours, or is not as it was written.
    """
    text = session.get_modelmeta().custom_metadata_map.get(CARD)
    if text is None:
        raise ConfigError(
            f"model = {printed(file)}: an ONNX file that `ufvnet models export` did not write (it has no {CARD} "
            "metadata)"
        )
    try:
        card = parse_card(text, ExportCard)
    except ValueError as error:
        raise ConfigError(f"model = {printed(file)}: its {CARD} metadata is not a model's card: {error}") from error
    whole = sealed(file)
    if whole is False or (whole is None and card["export_version"] >= SEALED_SINCE):
        raise ConfigError(f"model = {printed(file)}: was changed or damaged after it was exported; export it again")
    inputs, outputs = ({value.name for value in values} for values in (session.get_inputs(), session.get_outputs()))
    if inputs != {"ls", "rate"} or "sr" not in outputs:
        raise ConfigError(f"model = {printed(file)}: has inputs {inputs} and outputs {outputs}, not ls, rate and sr")
    return card


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]

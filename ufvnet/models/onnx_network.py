"""An exported ONNX file as a network: ONNX Runtime computes it, and it is called like the torch network."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ufvnet.errors import ConfigError
from ufvnet.extras import require
from ufvnet.files import printed, sha256

from .card import ExportCard, parse_card
from .feed import Feed
from .srg import SROutput

CARD = "ufvnet.card"
"""Metadata key of the card; a file without it was not exported by ufvnet."""

SEAL = b"ufvnet.sha256"
"""Metadata key of the seal, the sha256 of all bytes before it; it is the last entry of a file."""

SEALED_SINCE = 2
"""First export version whose files end with the seal."""

PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider", "mps": "CoreMLExecutionProvider"}
"""Torch's names of devices, and ONNX Runtime's providers for them."""


def import_onnxruntime() -> Any:
    """The onnxruntime module, without its telemetry: it would leave a device's number in the user's cache folder and
    report the process to its makers. ``ORT_DISABLE_TELEMETRY=0`` in the environment leaves that on.

    Raises:
        ConfigError: it is not installed.
    """
    require("onnx", "backend = onnx", "onnxruntime")
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # read when it is imported
    import onnxruntime

    if os.environ["ORT_DISABLE_TELEMETRY"] == "1":
        onnxruntime.disable_telemetry_events()  # on Windows, where the variable is not read
    return onnxruntime


def provider_of(device: str) -> str:
    """ONNX Runtime's provider for a device; ``auto`` takes CUDA if this ONNX Runtime has it, else the CPU.

    Raises:
        ConfigError: this ONNX Runtime has no provider for the device.
    """
    there = import_onnxruntime().get_available_providers()
    if device == "auto":
        return next(PROVIDERS[d] for d in ("cuda", "cpu") if PROVIDERS[d] in there)
    if PROVIDERS.get(device) not in there:
        has = ", ".join(d for d, provider in PROVIDERS.items() if provider in there)
        raise ConfigError(f"device = {device}: the installed ONNX Runtime has no provider for it; it has: {has}")
    return PROVIDERS[device]


class OnnxNetwork(nn.Module):
    """Runs an exported file: what its ``feed`` makes, in [-1, 1], and rate (N,) or (N, 2) -> SROutput on the CPU.

    It uses as many threads as torch has when it is created, and may be called from several threads at once.
    ``fingerprint`` is the file's sha256.

    Raises:
        ConfigError: the file is missing, ONNX Runtime cannot load it, ``ufvnet models export`` did not write it, it was
            changed since, or ONNX Runtime has no provider for the device.
    """

    def __init__(self, file: Path, device: str = "auto"):
        super().__init__()
        ort, provider = import_onnxruntime(), provider_of(device)
        options = ort.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        # a thread that spins while it waits would take a core from the thread that prepares the next batch
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
        self.feed = Feed(**self.card.get("feed", {}))
        self.outputs = [output.name for output in self.session.get_outputs()]

    def forward(self, ls: Tensor, rate: Tensor) -> SROutput:
        feed = {"ls": ls.contiguous().cpu().numpy(), "rate": rate.float().cpu().numpy()}
        values = dict(zip(self.outputs, map(torch.from_numpy, self.session.run(self.outputs, feed))))
        return SROutput(values["sr"], values.get("weights"))


def seal_onnx(file: Path) -> None:
    """Append the sha256 of an ONNX file to it as one more entry of its metadata."""
    content = file.read_bytes()
    file.write_bytes(content + _seal_of(content))


def sealed(file: Path) -> bool | None:
    """True if an ONNX file is unchanged since ``seal_onnx``, False if it was changed, None if it has no seal."""
    content = file.read_bytes()
    length = len(_seal_of(b""))
    body, end = content[:-length], content[-length:]
    return end == _seal_of(body) if SEAL in end else None


def _seal_of(content: bytes) -> bytes:
    """The metadata entry with the sha256 of ``content``, in protobuf's encoding.

    It is a ``metadata_props`` (field 14 of ModelProto) with key and value (fields 1 and 2). Protobuf merges messages
    that stand one after the other in a file, so no parser is needed to add or to check the seal.
    """
    value = hashlib.sha256(content).hexdigest().encode()
    entry = b"\x0a" + bytes([len(SEAL)]) + SEAL + b"\x12" + bytes([len(value)]) + value
    return b"\x72" + bytes([len(entry)]) + entry


def _checked_card(file: Path, session: Any) -> dict[str, Any]:
    """The card in the metadata of a loaded file.

    Raises:
        ConfigError: ufvnet did not export the file, or it was changed since.
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

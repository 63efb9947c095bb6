"""An exported ONNX file as a network: ONNX Runtime runs it, and it is called like the torch network it came from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ufvnet.errors import ConfigError

from .srg import SROutput

CARD = "ufvnet.card"
"""Metadata key of the card, by which our files are told from others."""

PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider", "mps": "CoreMLExecutionProvider"}
"""What ONNX Runtime calls the devices that torch has."""


def import_onnxruntime() -> Any:
    """The onnxruntime module.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise ConfigError(
            'backend = onnx: ONNX Runtime is not installed; pip install "ufvnet[onnx]" brings it'
        ) from error
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

    Raises:
        ConfigError: no file that ONNX Runtime loads, one that ``ufvnet models export`` did not write, or a device
            that ONNX Runtime has no provider for.
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
        if not file.is_file():
            raise ConfigError(f"model = {file}: no such file")
        try:
            self.session = ort.InferenceSession(str(file), options, providers=[provider])
        except Exception as error:  # its own exceptions have no common base
            raise ConfigError(f"model = {file}: ONNX Runtime cannot load it ({_first_line(error)})") from error
        if self.session.get_providers()[0] != provider:
            raise ConfigError(f"device = {device}: ONNX Runtime could not start {provider}")
        card = self.session.get_modelmeta().custom_metadata_map.get(CARD)
        if card is None:
            raise ConfigError(
                f"model = {file}: an ONNX file that `ufvnet models export` did not write (it has no {CARD} metadata)"
            )
        self.card: dict[str, Any] = json.loads(card)
        self.hr_size: int = self.card["hr_size"]
        self.rate_by_axis: bool = self.card["rate_by_axis"]
        self.anchors = tuple(self.card["anchor_rates"])
        self.outputs = [output.name for output in self.session.get_outputs()]

    def forward(self, ls: Tensor, rate: Tensor) -> SROutput:
        feed = {"ls": ls.contiguous().cpu().numpy(), "rate": rate.float().cpu().numpy()}
        found = dict(zip(self.outputs, map(torch.from_numpy, self.session.run(self.outputs, feed))))
        return SROutput(found["sr"], found.get("weights"))


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]

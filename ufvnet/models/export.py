"""A model folder as one file for other runtimes: ONNX, TorchScript or torch.export; checked before it is kept."""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import mmap
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ufvnet.config import fingerprint
from ufvnet.errors import ConfigError
from ufvnet.extras import require
from ufvnet.files import printed, safe_name, seal, write_atomically

from .conv import fold_norms
from .onnx_network import CARD, OnnxNetwork, seal_onnx, sealed
from .srg import SROutput
from .store import WEIGHTS, find, identity, load, read_card

SUFFIXES = {"onnx": ".onnx", "torchscript": ".pt", "torch-export": ".pt2"}
TOLERANCE = 1e-4
"""Largest difference from the network itself, in its outputs' units (images are in [-1, 1])."""

CHECKED = (1, 2, 5)
"""Batch sizes that an exported file is checked on."""

VERSION = 2
"""Of what is written; files of another version in the cache are made anew."""

TERMS = (
    "The terms of the photographs that the model was trained on bind its use; its card names them. "
    "Restored faces contain invented detail: never identify a person by them."
)

Call = Callable[[Tensor, Tensor], SROutput]


class Exportable(nn.Module):
    """A network with plain tensors for outputs: (sr,) or (sr, weights)."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, ls: Tensor, rate: Tensor) -> tuple[Tensor, ...]:
        output = self.network(ls, rate)
        return (output.sr,) if output.weights is None else (output.sr, output.weights)


def export(model: Path | str, format: str = "onnx", out: Path | None = None) -> Path:
    """Export a model: BatchNorm after convolutions folded in, any batch size, its card inside.

    Inputs are ``ls`` (N, 3, H, H) float32 in [-1, 1] and ``rate``, float32: (N, 2) of rows and columns for networks
    with ``rate_by_axis``, else (N,). Outputs are ``sr`` (N, 3, H, H) and, of networks that weigh anchors,
    ``weights`` (N, anchors). The file is compared with the network on random inputs before it gets its name.

    Args:
        model: a model folder, or the name of one that ships.
        format: one of SUFFIXES.
        out: the file; else the model's name with the format's suffix, in the working directory.

    Raises:
        ConfigError: no such model, format or extra, a network that cannot be exported or comes out differently, or
            ``out`` is a file that is no export of ours.
    """
    if format not in SUFFIXES:
        raise ConfigError(f"format = {format}: must be one of {', '.join(SUFFIXES)}")
    folder = find(model)
    out = out or Path(folder.resolve().name + SUFFIXES[format])
    _check_output(out, format)
    if format == "onnx":
        _need_exporter()
    network, card = load(model)
    card = {"terms": TERMS} | card | {
        "rate_by_axis": getattr(network, "rate_by_axis", False),
        "anchor_rates": list(getattr(network, "anchors", ())),
        "export_version": VERSION,
    }  # fmt: skip
    write, read = {
        "onnx": (_write_onnx, OnnxNetwork), "torchscript": (_write_torchscript, _read_torchscript),
        "torch-export": (_write_torch_export, _read_torch_export),
    }[format]  # fmt: skip

    def write_checked(file: Path) -> None:
        try:
            with _quiet(), torch.no_grad():
                write(fold_norms(load(model)[0]), card, file)
                found = _difference(network, read(file), card)
        except (ConfigError, OSError):
            raise
        except Exception as error:  # exporters raise nearly anything
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise ConfigError(f"model = {model}: cannot be exported as {format} ({reason})") from error
        if not found <= TOLERANCE:  # also where it is not a number
            raise ConfigError(
                f"model = {model}: its {format} export differs from it by {found:.2g}, over {TOLERANCE:g}; not kept"
            )

    try:
        write_atomically(out, write_checked)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise ConfigError(f"output = {out}: cannot be written ({error.strerror})") from error
    return out


def _check_output(out: Path, format: str) -> None:
    """
    Raises:
        ConfigError: it has another suffix, or something that no export wrote has its name.
    """
    if out.suffix != SUFFIXES[format] or "\0" in str(out):
        raise ConfigError(f"output = {printed(out)}: must be a file that ends in {SUFFIXES[format]}")
    try:
        there = os.path.lexists(out) and not (out.is_file() and not out.is_symlink() and _is_ours(out))
    except OSError as error:
        raise ConfigError(f"output = {printed(out)}: cannot be written ({error.strerror})") from error
    if there:
        raise ConfigError(f"output = {printed(out)}: is there already, and ufvnet did not export it; name another file")


def _is_ours(file: Path) -> bool:
    """Whether a file has a card in it, as all exports have, or nothing at all.

    The zip of TorchScript and torch.export stores it uncompressed under its name, ONNX as a string.
    """
    if not file.stat().st_size:
        return True
    with file.open("rb") as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return content.find(CARD.encode()) >= 0


def cached(model: Path | str) -> Path:
    """The model's ONNX file in the user's cache folder; exported when it is asked for the first time.

    Raises:
        ConfigError: as ``export``.
    """
    from filelock import FileLock

    card = read_card(Path(model))
    weights = find(model) / WEIGHTS
    try:
        size, changed = weights.stat().st_size, weights.stat().st_mtime_ns
    except OSError as error:
        raise ConfigError(f"{weights}: cannot be loaded ({error})") from error
    key = fingerprint(identity(model), size, changed, VERSION, torch.__version__)[:32]
    file = _cache_folder() / "onnx" / f"{safe_name(card['model'])}-{key}.onnx"
    if _is_whole(file):
        return file
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(file.with_suffix(".lock")):  # parallel processes wait for one export
            if not _is_whole(file):
                if file.exists():
                    print(f"{file}: is damaged: exported again", file=sys.stderr)
                    file.unlink()
                export(model, "onnx", file)
            return file
    except OSError as error:
        hint = "export the model with `ufvnet models export` and give that file"
        raise ConfigError(f"{file.parent}: cannot be written ({error.strerror}); {hint}") from error


def _is_whole(file: Path) -> bool:
    """Whether an ONNX file is there and as it was exported."""
    try:
        return bool(sealed(file))
    except OSError:
        return False


def _cache_folder() -> Path:
    base = os.environ.get("LOCALAPPDATA") if os.name == "nt" else os.environ.get("XDG_CACHE_HOME")
    return Path(base or Path.home() / ".cache") / "ufvnet"


def _need_exporter() -> None:
    require("onnx", "format = onnx")


def _example(card: dict[str, Any], count: int) -> tuple[Tensor, Tensor]:
    """Random I_LS and rates, the same ones for the same count."""
    random = torch.Generator().manual_seed(count)
    ls = torch.rand(count, 3, card["hr_size"], card["hr_size"], generator=random) * 2 - 1
    rate = torch.rand((count, 2) if card["rate_by_axis"] else (count,), generator=random) * 7 / 16 + 1 / 16
    return ls, rate


def _dynamic() -> tuple[dict[int, Any], dict[int, Any]]:
    batch = torch.export.Dim("batch", min=1)
    return {0: batch}, {0: batch}


def _write_onnx(network: nn.Module, card: dict[str, Any], file: Path) -> None:
    example = _example(card, 2)
    module = Exportable(network)
    names = ["sr", "weights"][: len(module(*example))]
    program = torch.onnx.export(
        module, example, dynamo=True, input_names=["ls", "rate"], output_names=names, dynamic_shapes=_dynamic(),
        external_data=False, verbose=False,
    )  # fmt: skip
    assert program is not None
    program.model.doc_string = (
        f"{card['model']}: super-resolves faces to {card['hr_size']}x{card['hr_size']}. ls: (N, 3, H, H) RGB in "
        "[-1, 1], the small face enlarged to H by bicubic interpolation; rate: its sides over H, "
        f"{'(N, 2) of rows and columns' if card['rate_by_axis'] else '(N,)'}; sr: as ls."
    )
    plain = {key: str(card[key]) for key in ("model", "hr_size", "anchor_rates", "fingerprint", "terms")}
    program.model.metadata_props.update(plain | {CARD: json.dumps(seal(card))})
    program.save(str(file))
    seal_onnx(file)


def _write_torchscript(network: nn.Module, card: dict[str, Any], file: Path) -> None:
    traced = torch.jit.trace(Exportable(network), _example(card, 2))
    torch.jit.save(traced, str(file), _extra_files={CARD: json.dumps(seal(card))})


def _write_torch_export(network: nn.Module, card: dict[str, Any], file: Path) -> None:
    program = torch.export.export(Exportable(network), _example(card, 2), dynamic_shapes=_dynamic())
    with file.open("wb") as opened:  # by a name it would ask for its own suffix
        torch.export.save(program, opened, extra_files={CARD: json.dumps(seal(card))})


def _read_torchscript(file: Path) -> Call:
    return partial(_call, torch.jit.load(str(file)))


def _read_torch_export(file: Path) -> Call:
    with file.open("rb") as opened:
        return partial(_call, torch.export.load(opened).module())


def _call(module: Callable[..., tuple[Tensor, ...]], ls: Tensor, rate: Tensor) -> SROutput:
    return SROutput(*module(ls, rate))


def _difference(network: nn.Module, exported: Call, card: dict[str, Any]) -> float:
    """The largest difference of any output on batches of several sizes and rates."""
    found = torch.zeros(())
    for count in CHECKED:
        example = _example(card, count)
        ours, theirs = network(*example), exported(*example)
        for a, b in ((ours.sr, theirs.sr), (ours.weights, theirs.weights)):
            if (a is None) != (b is None):
                return float("inf")
            if a is not None and b is not None:
                found = torch.maximum(found, (a - b).abs().max())  # keeps what is not a number
    return float(found)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporters' remarks on packages that are not needed and on their own deprecations."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)

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

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from ufvnet.config import fingerprint
from ufvnet.errors import ConfigError
from ufvnet.extras import require
from ufvnet.files import cache_folder, printed, safe_name, seal, write_atomically
from ufvnet.imaging.resize import resize

from .conv import fold_norms
from .feed import Feed, feed_of
from .onnx_network import CARD, OnnxNetwork, import_onnxruntime, seal_onnx, sealed
from .routed import UFVNetRouted
from .srg import SROutput, as_output, to_network
from .store import WEIGHTS, find, identity, load, read_card

SUFFIXES = {"onnx": ".onnx", "torchscript": ".pt", "torch-export": ".pt2"}
TOLERANCE = 5e-4
"""Largest allowed difference between the outputs of an exported file and of the network: a sixteenth of a level of 255,
in images in [-1, 1]. ufvnet-routed's features are large before they are scaled: float32 leaves 2e-4 of it open."""

CHECKED = (1, 2, 5)
"""Batch sizes with which every exported file is checked on noise."""
SMOOTH, SMOOTH_BATCHES = 8, 4
"""Size and largest number of the batches of smooth faces: another one follows until each expert was chosen."""

VERSION = 4
"""Version of the files' content; files of another version in the cache are exported again."""

TERMS = (
    "The terms of the photographs that the model was trained on bind its use; its card names them. "
    "Restored faces contain invented detail: never identify a person by them."
)

Call = Callable[[Tensor, Tensor], SROutput]


class Exportable(nn.Module):
    """A network whose outputs are plain tensors: (sr,) or (sr, weights)."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, ls: Tensor, rate: Tensor) -> tuple[Tensor, ...]:
        output = as_output(self.network(ls, rate))
        return (output.sr,) if output.weights is None else (output.sr, output.weights)


def export(model: Path | str, format: str = "onnx", out: Path | None = None) -> Path:
    """Export a model to one file: for any batch size, with BatchNorm folded into the convolutions and the card inside.

    Inputs are ``ls`` (N, 3, h, h) float32 in [-1, 1], h = H unless the card's ``feed`` has another side, and ``rate``,
    float32: (N, 2) of rows and columns for networks with ``rate_by_axis``, else (N,). Outputs are ``sr`` (N, 3, H, H)
    and, for networks that weigh anchors, ``weights`` (N, anchors). The file is compared with the network on noise
    and on smooth faces before it gets its name.

    Args:
        model: a model folder, or the name of one that ships.
        format: one of SUFFIXES.
        out: the file to write; None: the model's name with the format's suffix, in the working directory.

    Raises:
        ConfigError: the model, the format or the extra is missing; the network cannot be exported, or the file computes
            something else, or not all of it can be compared; or ``out`` is a file that ufvnet did not export.
    """
    if format not in SUFFIXES:
        raise ConfigError(f"format = {format}: must be one of {', '.join(SUFFIXES)}")
    folder = find(model)
    out = out or Path(folder.resolve().name + SUFFIXES[format])
    _check_file(out, format)
    if format == "onnx":
        _need_exporter()
    network, card = load(model)
    if feed_of(network).kind == "SASR":
        raise ConfigError(
            f"model = {printed(model)}: takes LR images of any size; only models of one size are exported"
        )
    card = {"terms": TERMS} | card | {
        "rate_by_axis": getattr(network, "rate_by_axis", False),
        "anchor_rates": list(getattr(network, "anchors", ())),
        "feed": feed_of(network).card(),
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
                difference = _difference(network, read(file), card)
        except (ConfigError, OSError):
            raise
        except Exception as error:  # exporters raise nearly anything
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise ConfigError(f"model = {model}: cannot be exported as {format} ({reason})") from error
        if not difference <= TOLERANCE:  # NaN fails too
            raise ConfigError(
                f"model = {model}: its {format} export differs from it by {difference:.2g}, "
                f"over {TOLERANCE:g}; not kept"
            )

    try:
        write_atomically(out, write_checked)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise ConfigError(f"output = {out}: cannot be written ({error.strerror})") from error
    return out


def _check_file(out: Path, format: str) -> None:
    """Refuse a file name that an export must not use.

    Raises:
        ConfigError: the name has another suffix, or is that of a file that ufvnet did not export.
    """
    if out.suffix != SUFFIXES[format] or "\0" in str(out):
        raise ConfigError(f"output = {printed(out)}: must be a file that ends in {SUFFIXES[format]}")
    try:
        is_foreign = os.path.lexists(out) and not (out.is_file() and not out.is_symlink() and _is_ours(out))
    except OSError as error:
        raise ConfigError(f"output = {printed(out)}: cannot be written ({error.strerror})") from error
    if is_foreign:
        raise ConfigError(f"output = {printed(out)}: is there already, and ufvnet did not export it; name another file")


def _is_ours(file: Path) -> bool:
    """True for an empty file, and for a file with a card in it, as all exports have.

    The card's key is searched in the raw bytes: TorchScript and torch.export store it uncompressed in their zip file,
    ONNX stores it as a string.
    """
    if not file.stat().st_size:
        return True
    with file.open("rb") as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return content.find(CARD.encode()) >= 0


def cached(model: Path | str) -> Path:
    """The model's ONNX file in the user's cache folder; the first call exports it.

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
    file = cache_folder() / "onnx" / f"{safe_name(card['model'])}-{key}.onnx"
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
    """True if an ONNX file is there and unchanged since its export."""
    try:
        return bool(sealed(file))
    except OSError:
        return False


def _need_exporter() -> None:
    require("onnx", "format = onnx")
    import_onnxruntime()  # before the exporter imports it, with telemetry


def _example(card: dict[str, Any], count: int) -> tuple[Tensor, Tensor]:
    """Random I_LS and rates; the same count gives the same ones."""
    random = torch.Generator().manual_seed(count)
    side = Feed(**card["feed"]).example_side(card["hr_size"])
    ls = torch.rand(count, 3, side, side, generator=random) * 2 - 1
    rate = torch.rand((count, 2) if card["rate_by_axis"] else (count,), generator=random) * 7 / 16 + 1 / 16
    return ls, rate


def _smooth_example(card: dict[str, Any], seed: int) -> tuple[Tensor, Tensor]:
    """SMOOTH faces without damage, as far as a network can tell: blurs of four widths, reduced as clean faces are."""
    random, size = np.random.default_rng(seed), card["hr_size"]
    heights, widths = random.integers(size // 16, size // 2 + 1, (2, SMOOTH)).tolist()
    widths = widths if card["rate_by_axis"] else heights
    lrs = []
    for i, (height, width) in enumerate(zip(heights, widths)):
        grain = 2 ** (2 + i % 4)
        face = resize(Image.fromarray(random.integers(0, 256, (grain, grain, 3), dtype=np.uint8)), size)
        lrs.append(np.asarray(resize(face, width, height)))
    rate = torch.tensor([heights, widths]).T / size
    return to_network(Feed(**card["feed"]).batch(lrs, size)), rate if card["rate_by_axis"] else rate[:, 0]


def _examples(network: nn.Module, card: dict[str, Any]) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches that between them pass every part of a network: noise passes only the expert for damaged faces.

    Raises:
        ConfigError: the network chooses between experts, and chose only one of them.
    """
    yield from (_example(card, count) for count in CHECKED)
    choices = set[bool]()
    for seed in range(SMOOTH_BATCHES):
        example = _smooth_example(card, seed)
        yield example
        if not isinstance(network, UFVNetRouted):
            return
        choices.update(network.is_clean(*example).tolist())
        if len(choices) > 1:
            return
    raise ConfigError(f"model = {card['model']}: its router chose one of its experts alone: the other is not checked")


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
        f"{card['model']}: super-resolves faces to {card['hr_size']}x{card['hr_size']}. ls: (N, 3, h, h) RGB in "
        f"[-1, 1], {_input_in_words(Feed(**card['feed']))}; rate: its sides over H, "
        f"{'(N, 2) of rows and columns' if card['rate_by_axis'] else '(N,)'}; sr: (N, 3, H, H), as ls."
    )
    plain = {key: str(card[key]) for key in ("model", "hr_size", "anchor_rates", "fingerprint", "terms")}
    program.model.metadata_props.update(plain | {CARD: json.dumps(seal(card))})
    program.save(str(file))
    seal_onnx(file)


def _input_in_words(feed: Feed) -> str:
    enlarged = "the small face enlarged to H by bicubic interpolation"
    if feed.side is None:
        return enlarged
    return f"h = {feed.side}: {'the small face' if feed.kind == 'FR' else enlarged + ', then'} resized likewise"


def _write_torchscript(network: nn.Module, card: dict[str, Any], file: Path) -> None:
    traced = torch.jit.trace(Exportable(network), _example(card, 2))
    torch.jit.save(traced, str(file), _extra_files={CARD: json.dumps(seal(card))})


def _write_torch_export(network: nn.Module, card: dict[str, Any], file: Path) -> None:
    program = torch.export.export(Exportable(network), _example(card, 2), dynamic_shapes=_dynamic())
    with file.open("wb") as opened:  # given a path, torch.export insists on its own suffix
        torch.export.save(program, opened, extra_files={CARD: json.dumps(seal(card))})


def _read_torchscript(file: Path) -> Call:
    return partial(_call, torch.jit.load(str(file)))


def _read_torch_export(file: Path) -> Call:
    with file.open("rb") as opened:
        return partial(_call, torch.export.load(opened).module())


def _call(module: Callable[..., tuple[Tensor, ...]], ls: Tensor, rate: Tensor) -> SROutput:
    return SROutput(*module(ls, rate))


def _difference(network: nn.Module, exported: Call, card: dict[str, Any]) -> float:
    """The largest difference of any output on batches of several sizes and rates.

    Raises:
        ConfigError: the network chooses between experts, and one of them was never chosen.
    """
    largest = torch.zeros(())
    for example in _examples(network, card):
        ours, theirs = as_output(network(*example)), exported(*example)
        for a, b in ((ours.sr, theirs.sr), (ours.weights, theirs.weights)):
            if (a is None) != (b is None):
                return float("inf")
            if a is not None and b is not None:
                largest = torch.maximum(largest, (a - b).abs().max())  # keeps NaN
    return float(largest)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence the exporters' remarks about packages that are not needed and about their own deprecations."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)

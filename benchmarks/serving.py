"""Faces per second of our networks on one thread, by back end, layout and precision, and beside the paper's SRG.

``python -m benchmarks.serving`` prints the rows beside the paper's SRG alone: faces per second, paired, and GMAC.
"""

from __future__ import annotations

import copy
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_model
from torch import nn

from ufvnet.files import write_json
from ufvnet.models import create
from ufvnet.models.complexity import complexity
from ufvnet.models.conv import fold_norms
from ufvnet.models.export import export
from ufvnet.models.inference import channels_last
from ufvnet.models.onnx_network import OnnxNetwork
from ufvnet.models.store import CARD, WEIGHTS
from ufvnet.restore import Restorer

FACES, BATCH, TURNS, SIDE = 64, 16, 5, 32
OURS, PAPER = ("ufvnet-lite", "ufvnet-real"), "onesrg"
ROUTED = {"clean": BATCH, "damaged": 0, "7 clean of 16": 7}
"""Batches for ufvnet-routed: how many of their faces pass the expert for clean ones. 7 fill no part of either."""

Row = tuple[str, str, float, float, float]
Work = Callable[[], object]


def serving() -> Iterator[Row]:
    """Rows (what, reference, ours / s, reference / s, ratio), per CPU second of one thread."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name, torch.inference_mode():
        folder = _model(Path(name) / "model")
        file = export(folder, "onnx", Path(name) / "model.onnx")
        yield from _networks(folder, file)
        yield from _against_the_paper()
        yield from _pictures(folder, file)
    torch.set_num_threads(os.cpu_count() or 1)


def _model(folder: Path) -> Path:
    """A model with fresh weights: speed does not depend on training, but the last layer must not be zero."""
    torch.manual_seed(0)
    network = create("ufvnet-lite")
    torch.nn.init.normal_(network.get_submodule("head").get_parameter("weight"), std=0.01)
    folder.mkdir()
    save_model(network, str(folder / WEIGHTS))
    write_json(folder / CARD, {"model": "ufvnet-lite", "preset": "paper", "hr_size": 128, "fingerprint": "bench"})
    return folder


def _networks(folder: Path, file: Path) -> Iterator[Row]:
    """The network alone: I_LS and rates to outputs."""
    from ufvnet.models import load

    eager, laid_out, onnx = load(folder)[0], channels_last(load(folder)[0]), OnnxNetwork(file, "cpu")
    ls, rate = torch.rand(FACES, 3, 128, 128) * 2 - 1, torch.full((FACES, 2), SIDE / 128)
    last = ls.contiguous(memory_format=torch.channels_last)

    def run(network: Callable[..., object], x: torch.Tensor, batch: int) -> Work:
        return lambda: [network(x[i : i + batch], rate[i : i + batch]) for i in range(0, FACES, batch)]

    def half(network: nn.Module) -> Callable[..., object]:
        def call(*inputs: torch.Tensor) -> object:
            with torch.autocast("cpu", torch.bfloat16):
                return network(*inputs)

        return call

    square = torch.rand(2048, 2048)
    rates = _rates(
        {
            "eager": run(eager, ls, 1), "batches": run(eager, ls, BATCH), "channels-last": run(laid_out, last, BATCH),
            "onnx": run(onnx, ls, BATCH), "onnx, one": run(onnx, ls, 1),
            "bfloat16": run(half(laid_out), last, BATCH), "products": lambda: square @ square,
        }
    )  # fmt: skip
    for what, key in {
        f"batches of {BATCH}, NCHW": "batches",
        f"batches of {BATCH}, channels-last (Restorer)": "channels-last",
        f"batches of {BATCH}, channels-last, bfloat16": "bfloat16",
        "ONNX Runtime, one face at a time": "onnx, one",
        f"ONNX Runtime, batches of {BATCH}": "onnx",
    }.items():
        yield (
            f"ufvnet-lite, {what}",
            "eager, one face at a time",
            rates[key],
            rates["eager"],
            rates[key] / rates["eager"],
        )
    macs = complexity(eager, 128)[-1].macs / 1e9
    products = rates["products"] / FACES * 2.048**3
    for what, key in {"eager, one face at a time": "eager", f"ONNX Runtime, batches of {BATCH}": "onnx"}.items():
        yield (
            f"GMAC, {what}",
            "2048x2048 matrix products, float32",
            (ours := rates[key] * macs),
            products,
            ours / products,
        )


class _Told(nn.Module):
    """A router that does its work and then chooses the expert for clean faces for every BATCH / count-th face."""

    def __init__(self, router: nn.Module, count: int):
        super().__init__()
        self.router = router
        self.choice = torch.tensor([(i + 1) * count // BATCH > i * count // BATCH for i in range(BATCH)]).float() - 0.5

    def forward(self, statistics: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.choice, self.router(statistics)[1]


def _against_the_paper() -> Iterator[Row]:
    """One batch through our networks and through the paper's SRG, each as Restorer runs it, with folded norms."""
    torch.manual_seed(0)
    networks = {name: create(name, "paper") for name in (*OURS, PAPER)}
    for what, count in ROUTED.items():
        networks[f"ufvnet-routed, {what}"] = routed = create("ufvnet-routed", "paper")
        routed.router = _Told(routed.get_submodule("router"), count)
    macs = {name: complexity(copy.deepcopy(network), 128)[-1].macs / 1e9 for name, network in networks.items()}
    ready = {name: channels_last(fold_norms(network.eval())) for name, network in networks.items()}
    ls = (torch.rand(BATCH, 3, 128, 128) * 2 - 1).contiguous(memory_format=torch.channels_last)
    rate = torch.full((BATCH, 2), SIDE / 128)
    rates = _rates({name: partial(network, ls, rate) for name, network in ready.items()}, BATCH)
    for name in networks:
        if name != PAPER:
            ratio = rates[name] / rates[PAPER]
            yield f"{name}, batches of {BATCH}, faces", f"{PAPER} paper, likewise", rates[name], rates[PAPER], ratio
            yield f"{name}, GMAC a face", f"{PAPER} paper", macs[name], macs[PAPER], macs[name] / macs[PAPER]


def _pictures(folder: Path, file: Path) -> Iterator[Row]:
    """The whole way: 32x32 PIL images to 128x128 PIL images."""
    noise = np.random.default_rng(0).integers(0, 256, (FACES, SIDE, SIDE, 3), dtype=np.uint8)
    faces = [Image.fromarray(face) for face in noise]

    def run(restorer: Restorer, batch: int) -> Work:
        return lambda: [restorer.batch(faces[i : i + batch]) for i in range(0, FACES, batch)]

    torch_ = Restorer.load(folder, "cpu")
    ways = {
        "torch": run(torch_, BATCH), "torch, bfloat16": run(Restorer.load(folder, "cpu", precision="bf16"), BATCH),
        "ONNX Runtime": run(Restorer.load(file, "cpu", "onnx"), BATCH),
    }  # fmt: skip
    rates = _rates({"one": run(torch_, 1)} | ways)
    for way in ways:
        what = f"Restorer, {way}, batches of {BATCH}, pictures"
        yield what, "Restorer, torch, one at a time", rates[way], rates["one"], rates[way] / rates["one"]


def _rates(works: dict[str, Work], faces: int = FACES) -> dict[str, float]:
    """Faces per second of each work: the best of TURNS rounds, in each of which all run one after the other."""
    best = dict.fromkeys(works, float("inf"))
    for work in works.values():
        work()
    for _ in range(TURNS):
        for name, work in works.items():
            started = time.process_time()
            work()
            best[name] = min(best[name], time.process_time() - started)
    return {name: faces / seconds for name, seconds in best.items()}


if __name__ == "__main__":
    torch.set_num_threads(1)
    with torch.inference_mode():
        for row in _against_the_paper():
            print("{} | {} | {:.3g} | {:.3g} | {:.2f}".format(*row))

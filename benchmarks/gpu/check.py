"""What must hold on a device: every network, resuming, batches, restoring, exports. Each check returns a row.

On a processor the two sides of a comparison are the same device, so that the checks themselves are proved: outputs,
gradients and resumed trainings must then be the same bits. ``tests/test_gpu.py`` calls them; ``python -m benchmarks.gpu
check`` does without pytest.
"""

from __future__ import annotations

import contextlib
import copy
import os
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from ufvnet.config import Damage, TrainConfig, load
from ufvnet.data import open as open_dataset
from ufvnet.data.card import SCHEMA_VERSION
from ufvnet.extras import is_installed, missing
from ufvnet.files import sha256
from ufvnet.metrics import luma, psnr
from ufvnet.models import anchor_weights, create, names, to_pixels
from ufvnet.models.export import SUFFIXES, export
from ufvnet.models.feed import feed_of
from ufvnet.models.inference import best_device, channels_last, forward
from ufvnet.models.srg import as_output
from ufvnet.models.store import load as load_model
from ufvnet.models.store import shipped
from ufvnet.models.supervision import Target, with_critic
from ufvnet.training.batches import TrainingLoader
from ufvnet.training.device_batches import DeviceLoader
from ufvnet.training.engine import train
from ufvnet.training.losses import sr_loss, total_loss, weight_loss
from ufvnet.training.stages import resolve_parts

from .pack import Face, put
from .results import Results, Row

HR, BATCH, PRESET = 64, 2, "tiny"
OUTPUT, GRADIENT = 1e-3, 1e-2
"""Largest difference of outputs in relation to the largest, or to 1, and of all gradients to their length, on a GPU."""
BF16 = 0.05
"""dB by which bfloat16 may change the PSNR."""
RESUMED = 1e-3
"""Largest relative difference of the weights of a resumed training on a GPU, some of whose sums have no fixed order."""
LEVELS = 1
"""Levels by which restored pixels may differ on a GPU."""
LITE = shipped()[0]


def checks(device: torch.device) -> dict[str, Callable[[], Row]]:
    """All checks by name."""
    found: dict[str, Callable[[], Row]] = {}
    for name in names():
        if name != "bicubic":
            found[f"network {name}"] = partial(network, name, device)
    for model in ("ufvnet", "ufvnet-real"):
        found[f"resuming {model}"] = partial(resuming, model, device)
    found |= {"batches": partial(batches, device), "restoring": partial(restoring, device)}
    found["short memory"] = partial(short_memory, device)
    for format in SUFFIXES:
        found[f"export {format}"] = partial(exported, format, device)
    return found


def run(results: Results, device: torch.device) -> bool:
    """Do all checks; True if all passed and none was left out."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when a GPU is first used
    for name, check in checks(device).items():
        results.measure(name, check)
    results.write()
    return results.passed and not results.left_out


# Networks


def network(name: str, device: torch.device) -> Row:
    """A network's outputs, gradients of its own loss, and bfloat16, on the device and on the processor."""
    torch.manual_seed(0)
    here = _settled(with_critic(create(name, PRESET, HR)))
    there = channels_last(copy.deepcopy(here)).to(device)
    channels_last(here)
    fed, rate, target = _example(here)
    with _exact_products():
        gradient = _distance(_gradients(there, fed, rate, target, device), _gradients(here, fed, rate, target, CPU))
        outputs = [_image(net.eval(), fed, rate, d) for net, d in ((here, CPU), (there, device))]
    with torch.autocast(device.type, torch.bfloat16):
        outputs.append(_image(there, fed, rate, device))
    expected, given, half = outputs
    output = float((given - expected).abs().max()) / max(1.0, float(expected.abs().max()))
    change = abs(_psnr(half, target.hr) - _psnr(given, target.hr))
    exact = device.type == "cpu"
    passed = output <= (0 if exact else OUTPUT) and gradient <= (0 if exact else GRADIENT) and change <= BF16
    return {"output": output, "gradient": gradient, "bf16 [dB]": change, "passed": passed}


CPU = torch.device("cpu")


def _settled(net: nn.Module) -> nn.Module:
    """The network with norms that have statistics, no weights of 0, and no dropout, which devices draw differently."""
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, std=0.1)  # type: ignore[arg-type]
            nn.init.uniform_(module.running_var, 0.5, 2)  # type: ignore[arg-type]
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    for parameter in net.parameters():
        if not parameter.any():
            nn.init.normal_(parameter, std=0.02)
    return net


def _example(net: nn.Module) -> tuple[Tensor, Tensor, Target]:
    """Inputs, rates and a target that has all that any loss may need."""
    random = torch.Generator().manual_seed(1)
    side = feed_of(net).example_side(HR)
    smooth = torch.rand(BATCH, 3, 8, 8, generator=random) * 1.6 - 0.8
    hr = nn.functional.interpolate(smooth, size=(HR, HR), mode="bilinear")
    fed = nn.functional.interpolate(hr, size=(side, side), mode="area")
    rate = torch.tensor([1 / 8, 1 / 2])[:BATCH]
    if feed_of(net).kind == "SASR":
        rate = torch.full((BATCH,), side / HR)
    drawn = torch.rand(BATCH, 68, 2, generator=random) * HR
    masks = (torch.rand(BATCH, 3, HR, HR, generator=random) > 0.5).float()
    edges = tuple((torch.rand(BATCH, 1, HR // n, HR // n, generator=random) > 0.9) * 255.0 for n in (4, 2, 1))
    points = torch.rand(BATCH, 32, 2, generator=random) * 2 - 1
    colours, extent = torch.rand(BATCH, 32, 3, generator=random) * 2 - 1, torch.full((BATCH, 2), 2 / HR)
    return fed, rate, Target(hr, 0.5, drawn, masks, edges, points, colours, extent)


class _DrawnOnProcessor(TorchFunctionMode):
    """torch.rand draws on the processor, whatever the device."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if func is torch.rand:
            return func(*args, **kwargs | {"device": "cpu"}).to(kwargs.get("device", "cpu"))
        return func(*args, **kwargs)


def _on(value: Any, device: torch.device) -> Any:
    if isinstance(value, Tensor):
        return value.to(device)
    return tuple(_on(v, device) for v in value) if isinstance(value, tuple) else value


def _gradients(net: nn.Module, fed: Tensor, rate: Tensor, target: Target, device: torch.device) -> Tensor:
    """The gradients of a training step's loss, as one vector on the processor."""
    net.train()
    net.zero_grad()
    fields = {name: _on(value, device) for name, value in vars(target).items()}
    fed, rate = fed.to(device).contiguous(memory_format=torch.channels_last), rate.to(device)
    rate = rate[:, None].expand(-1, 2) if getattr(net, "rate_by_axis", False) else rate
    taught_by = getattr(net, "taught_by", "")
    if taught_by:
        torch.manual_seed(2)
        teacher = create(taught_by, PRESET, HR).to(device).eval()
        with torch.no_grad():
            fields["taught"] = teacher(fed, parsing=fields["masks"])
    if hasattr(net, "loss"):
        torch.manual_seed(3)
        with _DrawnOnProcessor():  # each kind of device has random numbers of its own
            loss = net.loss(fed, rate, Target(**fields))  # type: ignore[operator]
    else:
        output = as_output(net(fed, rate))
        loss = sr_loss(output.sr, fields["hr"])
        if output.logits is not None:
            anchors = list(net.anchors)  # type: ignore[arg-type]
            weights = anchor_weights(rate if rate.ndim == 1 else rate.mean(1), anchors)
            loss = total_loss(loss, weight_loss(output.logits, weights), 0.1)
    loss.backward()
    return torch.cat([p.grad.flatten().float().cpu() for p in net.parameters() if p.grad is not None]).detach()


def _image(net: nn.Module, fed: Tensor, rate: Tensor, device: torch.device) -> Tensor:
    with torch.inference_mode():
        return forward(net, fed.to(device), rate.to(device)).sr.float().cpu()


def _distance(a: Tensor, b: Tensor) -> float:
    return float((a - b).norm() / b.norm())


def _psnr(sr: Tensor, hr: Tensor) -> float:
    a, b = (luma(to_pixels(x).permute(0, 2, 3, 1).numpy()) for x in (sr, hr))
    return float(psnr(a, b).mean())


@contextlib.contextmanager
def _exact_products() -> Iterator[None]:
    """float32 products of full precision on a GPU, not TF32."""
    before = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = before


# Training

Counts = tuple[tuple[str, int], ...]
"""Splits and numbers of faces."""


def drawn_dataset(
    folder: Path, hr_size: int = HR, counts: tuple[tuple[str, int], ...] = (("train", 8), ("val", 2))
) -> Path:
    """A dataset of drawn faces, as an unpacked one: no photographs are needed."""
    card = {
        "name": "drawn", "schema_version": SCHEMA_VERSION, "hr_size": hr_size, "photos": 0, "counts": {}, "faces": {},
        "degradation": {"name": "pil-bicubic", "version": 1, "summary": "Pillow's bicubic"}, "near_duplicates": None,
        "near_duplicates_sha256": None, "fingerprints": {}, "shards": [], "config": {}, "versions": {},
    }  # fmt: skip
    rng, splits = np.random.default_rng(0), dict[str, list[Face]]()
    for split, count in counts:
        for i in range(count):
            blobs = Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8))
            points = rng.uniform(8, hr_size - 8, (68, 2)).astype(np.float32)
            face = np.asarray(blobs.resize((hr_size, hr_size), Image.Resampling.BICUBIC))
            splits.setdefault(split, []).append((split, f"{split}-{i}", face, points))
    of = {split: "0" * 64 for split, _ in counts}
    return put(folder, card | {"fingerprints": of}, splits)


def resuming(model: str, device: torch.device) -> Row:
    """A training that is killed after a checkpoint and goes on ends with the weights of one that is not."""
    torch.use_deterministic_algorithms(True, warn_only=True)  # not all operations have an order on GPUs
    try:
        with tempfile.TemporaryDirectory() as folder:
            dataset = drawn_dataset(Path(folder) / "drawn")
            whole, cut = (
                _train(model, dataset, Path(folder) / name, device, name == "cut") for name in ("whole", "cut")
            )
            same = sha256((whole / "model.safetensors").read_bytes()) == sha256(
                (cut / "model.safetensors").read_bytes()
            )
            a, b = (
                torch.cat([p.detach().flatten() for p in load_model(path)[0].parameters()]) for path in (whole, cut)
            )
    finally:
        torch.use_deterministic_algorithms(False)
    difference = _distance(a, b)
    return {
        "same bits": same,
        "difference": difference,
        "passed": same or (device.type != "cpu" and difference <= RESUMED),
    }


class _Killed(BaseException):
    """Ends a training in the middle."""


def _kill(*_: object) -> None:
    raise _Killed


def _train(model: str, dataset: Path, folder: Path, device: torch.device, kill: bool) -> Path:
    recipe: dict[str, Any] = {
        "batch_size": 4, "steps": 3, "anchor_steps": 1, "regressor_steps": 1, "checkpoint_every": 1,
        "validate_every": 3, "validation_faces": 1, "threads": 1,
    }  # fmt: skip
    if model == "ufvnet-real":
        recipe |= {"between": 0.5, "damage": {}, "mixed_precision": "bf16", "ema": 0.9}
    config = load(TrainConfig, {
        "name": "trained", "dataset": dataset, "model": model, "preset": PRESET, "device": device.type,
        "out": folder / "models", "runs": folder / "runs", "recipe": recipe,
    })  # fmt: skip
    stage1, whole = resolve_parts(config)
    for part in stage1:
        train(part)
    if kill:
        with contextlib.suppress(_Killed):  # progress comes at the last step, when two checkpoints are there
            train(whole, _kill)
        if whole.done():
            raise AssertionError("the training was not killed")
    return train(whole)


def batches(device: torch.device) -> Row:
    """Batches that the device makes have the loader's bytes."""
    with tempfile.TemporaryDirectory() as folder:
        faces = open_dataset(drawn_dataset(Path(folder) / "drawn")).view("MR8").arrays()
        different = 0
        ways: tuple[dict[str, Any], ...] = (
            {},
            {"between": 0.75, "colour": 0.1},
            {"between": 0.75, "damage": Damage(clean=0.2)},
        )
        for settings in ways:
            loader = TrainingLoader(faces, tuple(range(1, 9)), 8, 3, **settings)
            for step, batch in enumerate(DeviceLoader(loader, device).batches(0, 3)):
                pairs = [(a, b) for a, b in zip(batch, loader[step]) if isinstance(a, Tensor) and isinstance(b, Tensor)]
                different += len(pairs) < 7 or sum(not torch.equal(a.cpu(), b) for a, b in pairs)
    return {"fields that differ": different, "passed": not different}


# Restoring and exporting


def _crops(count: int) -> list[Image.Image]:
    rng = np.random.default_rng(3)
    blobs = [Image.fromarray(rng.integers(60, 200, (6, 6, 3), dtype=np.uint8)) for _ in range(count)]
    return [blob.resize((12 + i % 30, 12 + i % 25), Image.Resampling.BICUBIC) for i, blob in enumerate(blobs)]


def restoring(device: torch.device) -> Row:
    """The shipped model restores crops of many sizes alike on the device and on the processor."""
    from ufvnet.restore import Restorer

    faces, crops = {}, _crops(6)
    for name, where, precision in (
        ("there", device.type, "fp32"),
        ("half", device.type, "bf16"),
        ("here", "cpu", "fp32"),
    ):
        restored = Restorer.load(LITE, where, precision=precision).batch(crops)
        faces[name] = np.stack([np.asarray(r.image) for r in restored]).astype(int)
    apart = {name: int(np.abs(faces[name] - faces["here"]).max()) for name in ("there", "half")}
    passed = apart["there"] <= (0 if device.type == "cpu" else LEVELS) and apart["half"] <= 4 * LEVELS
    return {"levels apart": apart["there"], "bf16 levels apart": apart["half"], "passed": passed}


def short_memory(device: torch.device) -> Row:
    """A folder is restored in smaller batches where memory is short: really on a GPU, pretended on a processor."""
    if not is_installed("pyarrow"):
        return {"skipped": "pyarrow is not installed, which writes the manifest", "passed": True}
    from ufvnet.config import RestoreConfig
    from ufvnet.restore import Restorer
    from ufvnet.restore.folder.run import restore_folder

    sizes: list[int] = []
    count, full = (6, 4) if device.type == "cpu" else (96, 64)
    real = Restorer.batch

    def limited(self: Restorer, images: Any) -> Any:
        if device.type == "cpu" and len(images) > 2:
            raise torch.OutOfMemoryError("out of memory, as pretended")
        made = real(self, images)
        sizes.append(len(images))
        return made

    with tempfile.TemporaryDirectory() as folder, _little_memory(device):
        inputs = Path(folder) / "in"
        inputs.mkdir()
        for i, crop in enumerate(_crops(count)):
            crop.save(inputs / f"{i}.png")
        Restorer.batch = limited  # type: ignore[method-assign]
        try:
            config = load(RestoreConfig, {
                "input": inputs, "output": Path(folder) / "out", "model": LITE, "device": device.type,
                "mode": "aligned", "batch_size": full,
            })  # fmt: skip
            counts = restore_folder(config)["counts"]
        finally:
            Restorer.batch = real  # type: ignore[method-assign]
    smaller = bool(sizes) and max(sizes) < (4 if device.type == "cpu" else 64)
    return {
        "restored": counts["restored"],
        "largest batch": max(sizes, default=0),
        "passed": counts["restored"] == count and smaller,
    }


@contextlib.contextmanager
def _little_memory(device: torch.device) -> Iterator[None]:
    """On a GPU, room for half of what a batch of 64 faces takes."""
    if device.type != "cuda":
        yield
        return
    from ufvnet.restore import Restorer

    restorer = Restorer.load(LITE, "cuda")
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    restorer.batch(_crops(64))
    room = before + (torch.cuda.max_memory_allocated() - before) // 2
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(room / torch.cuda.get_device_properties(device).total_memory)
    try:
        yield
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)


def exported(format: str, device: torch.device) -> Row:
    """An exported shipped model gives what the network gives; TorchScript and torch.export on the device too."""
    absent = missing("onnx") if format == "onnx" else []
    if absent:
        return {"skipped": f"{', '.join(absent)} not installed", "passed": True}
    with tempfile.TemporaryDirectory() as folder:
        file = export(LITE, format, Path(folder) / f"lite{SUFFIXES[format]}")  # which compares them on the processor
        if format == "onnx":
            return {"passed": True}
        net = load_model(LITE)[0].to(device)
        fed, rate = torch.rand(3, 3, 128, 128) * 2 - 1, torch.rand(3, 2) * 0.4 + 0.06
        with torch.inference_mode(), _exact_products():
            expected = net(fed.to(device), rate.to(device)).sr
            if format == "torchscript":
                module = torch.jit.load(str(file), map_location=device)
            else:
                from torch.export.passes import move_to_device_pass

                with file.open("rb") as opened:
                    module = move_to_device_pass(torch.export.load(opened), device).module()
            output = float((module(fed.to(device), rate.to(device))[0] - expected).abs().max())
    return {"output": output, "passed": output <= OUTPUT}


def chosen(name: str | None = None) -> torch.device:
    """The device of the checks: the environment's UFVNET_TEST_DEVICE, or ``cpu`` so that tests need no GPU.

    Raises:
        ConfigError: this machine does not have it.
    """
    return best_device(name or os.environ.get("UFVNET_TEST_DEVICE", "cpu"))

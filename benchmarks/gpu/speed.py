"""Faces per second of training and inference, against plain modules in the same process, and what limits them.

Each row is one network in one way. ``share`` is the achieved rate of multiplications and additions over that of a large
matrix product in the same process, in bfloat16 on a GPU and float32 on a processor; ``bandwidth`` the least traffic
(weights and images once) over a copy's. Networks that miss TARGETS get a table of their ten slowest kernels.
"""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.plain import plain
from ufvnet.models import PRESETS, create, names
from ufvnet.models.conv import fold_norms
from ufvnet.models.feed import feed_of
from ufvnet.models.inference import channels_last
from ufvnet.models.srg import as_output
from ufvnet.models.store import load as load_model
from ufvnet.models.store import shipped

from .results import Results, Row

TARGETS = {"inference": 0.5, "training": 0.35}
OURS = (("ufvnet", "paper"), ("onesrg", "paper"))
COMPARED = ("liif", "arbsr", "sisn", "wipa", "eipnet", "kdfsrnet", "dic", "mlgdn")
BATCHES = {"cuda": (32, 128, 512), "cpu": (2,)}
HR = 128


def run(results: Results, device: torch.device, hr_size: int = HR, preset: str | None = None) -> None:
    """Measure everything that fits the limit, what matters most first."""
    results.measure("matrix product", partial(matrix_product, device))
    results.measure("copy", partial(copy, device))
    batches = BATCHES[device.type]
    middle, usual, kinds = batches[len(batches) // 2], _usual(device), ("inference", "training")

    def row(name: str, size: str, kind: str, batch: int, way: str) -> None:
        work = partial(measure, name, size, kind, way, batch, device, hr_size, results)
        results.measure(f"{kind}, {name} {size}, batches of {batch}, {way}", work)

    for name, own in OURS:
        for kind in kinds:
            for way in WAYS[device.type]:
                row(name, preset or own, kind, middle, way)
            for batch in batches:
                row(name, preset or own, kind, batch, usual)
                if kind == "inference" and device.type == "cuda":
                    row(name, preset or own, kind, batch, f"{usual} graph")
            _profile_if_slow(results, name, preset or own, kind, device, hr_size)
    for name in (*shipped(), "ufvnet-real", *(n for n in COMPARED if n in names())):
        for kind in kinds:
            row(name, preset or "paper", kind, middle, usual)
    if device.type == "cuda":  # a minute each, so what is left out first
        for name, own in OURS:
            for kind in kinds:
                row(name, preset or own, kind, middle, f"{usual} compiled")
                row(name, preset or own, kind, middle, f"{usual} compiled graph")
    results.write()


WAYS = {
    "cpu": ("plain", "eager", "channels-last", "channels-last bf16"),
    "cuda": ("plain", "plain bf16", "eager", "channels-last"),
}
"""Each network of OURS in these ways; and in the usual one, with more batch sizes, as a CUDA graph, and compiled."""


def _usual(device: torch.device) -> str:
    return "channels-last bf16" if device.type == "cuda" else "channels-last"


def matrix_product(device: torch.device) -> Row:
    """TFLOP/s of a large product of random numbers."""
    n, dtype = (8192, torch.bfloat16) if device.type == "cuda" else (512, torch.float32)
    a, b = torch.randn(2, n, n, device=device).to(dtype)
    return {"TFLOP/s": 2 * n**3 / _seconds(lambda: a @ b, device) / 1e12}


def copy(device: torch.device) -> Row:
    """TB/s of a copy, bytes read and written."""
    source = torch.empty(2**31 if device.type == "cuda" else 2**24, dtype=torch.uint8, device=device)
    to = torch.empty_like(source)
    return {"TB/s": 2 * source.numel() / _seconds(lambda: to.copy_(source), device) / 1e12}


def measure(
    name: str, preset: str, kind: str, way: str, batch: int, device: torch.device, hr_size: int, results: Results
) -> Row:
    """A row of one network in one way."""
    step, net, fed = _work(name, preset, kind, way, batch, device, hr_size)
    seconds = _seconds(step, device)
    flops = _flops(name, preset, hr_size) * (3 if kind == "training" else 1)
    traffic = sum(p.numel() * p.element_size() for p in net.parameters()) + 2 * batch * fed[0].numel() * 4
    row: Row = {"faces/s": batch / seconds, "GFLOP a face": flops / 1e9}
    for column, key, unit, work in (
        ("share", "matrix product", "TFLOP/s", flops * batch), ("bandwidth", "copy", "TB/s", traffic),
    ):  # fmt: skip
        rate = results.rows.get(key, {}).get(unit)
        row[column] = work / seconds / 1e12 / rate if rate else None
    if device.type == "cuda":
        row["peak GiB"] = torch.cuda.max_memory_allocated() / 2**30
    return row


def _work(
    name: str, preset: str, kind: str, way: str, batch: int, device: torch.device, hr_size: int
) -> tuple[Callable[[], Any], nn.Module, Tensor]:
    """A function that does one step, its network, and the input."""
    torch.manual_seed(0)
    if device.type == "cuda":
        torch.compiler.reset()  # what was compiled holds memory
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    net = load_model(name)[0] if name in shipped() else create(name, preset, hr_size)
    side = feed_of(net).example_side(getattr(net, "hr_size", hr_size))
    if way.startswith("plain"):
        net = plain(name, PRESETS[preset], hr_size, net)
    net = net.to(device)
    fed = torch.rand(batch, 3, side, side, device=device) * 2 - 1
    rate = torch.full((batch,), 0.25, device=device)
    rate = rate[:, None].expand(-1, 2).contiguous() if getattr(net, "rate_by_axis", False) else rate
    arguments = (fed,) if way.startswith("plain") else (fed, rate)
    if kind == "inference":
        net.eval().requires_grad_(False)
        net = net if way.startswith("plain") else fold_norms(net)
    if "channels-last" in way:
        net, arguments = channels_last(net), (fed.contiguous(memory_format=torch.channels_last), *arguments[1:])
    call: Any = net
    if "compiled" in way:
        call = torch.compile(net, mode="reduce-overhead" if "graph" in way else "default")
    half = torch.autocast(device.type, torch.bfloat16) if "bf16" in way else contextlib.nullcontext()
    if kind == "training":
        return _training_step(call, net, arguments, half), net, fed

    def infer() -> Any:
        with torch.no_grad(), half:
            return _image(call(*arguments))

    return (_graph(infer) if way.endswith("bf16 graph") else infer), net, fed


def _training_step(call: Any, net: nn.Module, arguments: tuple[Tensor, ...], half: Any) -> Callable[[], None]:
    """Forward and backward pass and Adam, by the mean absolute difference: a network's own loss may cost more."""
    net.train()
    optimizer = torch.optim.Adam(net.parameters(), 2e-4, fused=True)
    hr = torch.rand_like(_image(net.eval()(*arguments)))
    net.train()

    def step() -> None:
        optimizer.zero_grad()
        with half:
            loss = (_image(call(*arguments)).float() - hr).abs().mean()
        loss.backward()
        optimizer.step()

    return step


def _graph(work: Callable[[], Any]) -> Callable[[], None]:
    """The same kernels as a CUDA graph, which a processor starts at once."""
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        for _ in range(3):
            work()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        work()
    return graph.replay


def _image(output: Any) -> Tensor:
    return output if isinstance(output, Tensor) else as_output(output).sr


def _seconds(work: Callable[[], Any], device: torch.device, at_least: float = 0.5) -> float:
    """Seconds of one call: the best of three rows of calls, after a warm-up."""
    is_gpu = device.type == "cuda"

    def row(count: int) -> float:
        if is_gpu:
            torch.cuda.synchronize()
        started = time.perf_counter()
        for _ in range(count):
            work()
        if is_gpu:
            torch.cuda.synchronize()
        return (time.perf_counter() - started) / count

    for _ in range(3 if is_gpu else 1):
        work()
    if not is_gpu:
        return min(row(1) for _ in range(2))
    count = max(1, int(at_least / 3 / row(2)))
    return min(row(count) for _ in range(3))


@functools.cache
def _flops(name: str, preset: str, hr_size: int) -> float:
    """Multiplications and additions of one face's forward pass, as they are computed."""
    from torch.utils.flop_counter import FlopCounterMode

    net = (load_model(name)[0] if name in shipped() else create(name, preset, hr_size)).eval()
    side = feed_of(net).example_side(getattr(net, "hr_size", hr_size))
    rate = torch.full((1, 2) if getattr(net, "rate_by_axis", False) else (1,), 0.25)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        net(torch.zeros(1, 3, side, side), rate)
    return counter.get_total_flops()


def _profile_if_slow(results: Results, name: str, preset: str, kind: str, device: torch.device, hr_size: int) -> None:
    """A row with the ten slowest kernels of a network whose best way misses its target."""
    rows = {k: r for k, r in results.rows.items() if k.startswith(f"{kind}, {name} ") and r.get("share")}
    if not rows or max(r["share"] for r in rows.values()) >= TARGETS[kind]:
        return
    batch = BATCHES[device.type][len(BATCHES[device.type]) // 2]
    work = partial(profile, name, preset, kind, _usual(device), batch, device, hr_size)
    results.measure(f"profile of {kind}, {name} {preset}", work)


def profile(name: str, preset: str, kind: str, way: str, batch: int, device: torch.device, hr_size: int) -> Row:
    """The ten slowest kernels of a step, with their share of its time."""
    from torch.autograd import DeviceType
    from torch.profiler import ProfilerActivity
    from torch.profiler import profile as profiler

    step, *_ = _work(name, preset, kind, way, batch, device, hr_size)
    step()
    is_gpu = device.type == "cuda"
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if is_gpu else [])]
    with profiler(activities=activities) as measured:
        step()
        if is_gpu:
            torch.cuda.synchronize()
    column = "self_device_time_total" if is_gpu else "self_cpu_time_total"
    where = DeviceType.CUDA if is_gpu else DeviceType.CPU  # an operation has the time of its kernels once more
    there = (event for event in measured.key_averages() if event.device_type == where)
    events = sorted(there, key=lambda event: -getattr(event, column))
    total = sum(getattr(event, column) for event in events) or 1
    return {
        "kernels": [[e.key[:60], e.count, getattr(e, column) / 1000, getattr(e, column) / total] for e in events[:10]]
    }


def profiles(rows: dict[str, Row]) -> Iterator[tuple[str, list[list[Any]]]]:
    """Title and kernels (name, calls, ms, share) of every profile."""
    for key, row in rows.items():
        if "kernels" in row:
            yield key, row["kernels"]

"""The registry, which creates networks by name: ``create``, ``register``, ``names``."""

from __future__ import annotations

import functools
import importlib
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ufvnet.errors import ConfigError
from ufvnet.files import printed, sha256

from .competitors.rows import ROWS
from .feed import KINDS, Feed, Kind
from .lite import LiteWidth, UFVNetLite
from .real import RealWidth, UFVNetReal
from .routed import UFVNetRouted
from .srg import SRG, SROutput, Width, check_side
from .ufvnet import UFVNet

PRESETS = {
    "paper": Width(),
    "small": Width(channels=(16, 32, 64), c_mid=32, regressor=0.5),
    "tiny": Width(channels=(8, 16, 32), c_mid=16, regressor=0.25),
}

Factory = Callable[[Width, int], nn.Module]


@dataclass(frozen=True)
class ModelEntry:
    """A registered model.

    factory: builds the network. summary: one line. kind: what the network is fed. note: more about its counts.
    version: part of the fingerprints of its trainings, outputs and exports; another one makes them anew.
    """

    name: str
    factory: Factory
    summary: str
    kind: Kind = "OR"
    note: str = ""
    version: str = ""


PLUGINS = "UFVNET_PLUGINS"
"""Environment variable that names modules, separated by commas, which register further models."""

_REGISTRY: dict[str, ModelEntry] = {}


def register(
    name: str, factory: Factory, summary: str = "", kind: Kind = "OR", note: str = "", version: str | None = None
) -> None:
    """Add a model under ``name``; configurations can then use it.

    Args:
        name: names the model in configurations and in tables.
        factory: (Width, hr_size) -> module whose forward takes images (N, 3, h, w) in [-1, 1] and the rate (N,), and
            returns an SROutput, or any object with the picture ``sr`` (N, 3, H, H). If it has a method ``loss``,
            training uses it (``ufvnet/models/supervision.py``).
        summary: one line for ``ufvnet models list``.
        kind: what the images are: ``OR`` I_LS, h = w = H (or reduced by PIL bicubic to its ``lr_size``, if it has one);
            ``FR`` the LR image resized to its ``lr_size``; ``SASR`` the LR image as it is, its sides multiples of
            ``multiple``, if it has one.
        note: a footnote of ``ufvnet models show``.
        version: any text; with another one the model is trained, scored and exported anew. Default: the sha256 of the
            file that has the factory, but not of what it imports; nothing if there is no file (a notebook).

    Raises:
        ValueError: the name is taken, or there is no such kind.
    """
    if kind not in KINDS:
        raise ValueError(f"kind = {kind!r}: must be one of {', '.join(KINDS)}")
    if name in _REGISTRY:
        raise ValueError(f"a model named {name!r} is registered already")
    _REGISTRY[name] = ModelEntry(name, factory, summary, kind, note, _file_of(factory) if version is None else version)


def _file_of(factory: Factory) -> str:
    """The sha256 of the file in which a factory is written; empty if there is none."""
    file = getattr(sys.modules.get(getattr(factory, "__module__", "")), "__file__", None)
    return (sha256(Path(file)) or "") if file else ""


@functools.cache
def _import_plugins() -> None:
    """Import the modules of UFVNET_PLUGINS, once per process: trainings and Dask workers inherit the variable.

    Raises:
        ConfigError: a module cannot be imported.
    """
    for module in filter(None, os.environ.get(PLUGINS, "").split(",")):
        try:
            importlib.import_module(module.strip())
        except (Exception, SystemExit) as error:  # a plugin may raise anything
            reason = f"{type(error).__name__}: {error}"
            raise ConfigError(f"{PLUGINS} = {module}: cannot be imported ({reason})") from error


def names() -> list[str]:
    """Registered names, in the order of registration."""
    _import_plugins()
    return list(_REGISTRY)


def describe(name: str) -> ModelEntry:
    """The entry of a registered model.

    Raises:
        ValueError: unknown name.
    """
    _import_plugins()
    if name not in _REGISTRY:
        hint = "" if os.environ.get(PLUGINS) else f"; {PLUGINS}, which names modules with further ones, is not set"
        raise ValueError(f"no model is named {name!r}; there are: {', '.join(names())}{hint}")
    return _REGISTRY[name]


def create(name: str, preset: str = "paper", hr_size: int = 128, anchors: Sequence[int] | None = None) -> nn.Module:
    """A freshly initialised network.

    Args:
        name: a registered name, e.g. ``ufvnet``.
        preset: ``paper``, ``small`` (half width) or ``tiny`` (quarter width).
        hr_size: 64 or 128.
        anchors: scales of the anchors (sixteenths) instead of the model's own.

    Raises:
        ValueError: unknown name, preset or hr_size, or other anchors for a model whose anchors are fixed.
    """
    if preset not in PRESETS:
        raise ValueError(f"no preset is named {preset!r}; there are: {', '.join(PRESETS)}")
    entry = describe(name)
    if anchors is not None and isinstance(entry.factory, _Anchored):
        network = entry.factory(PRESETS[preset], hr_size, [k / 16 for k in anchors])
    else:
        network = entry.factory(PRESETS[preset], hr_size)
    if anchors is not None and (own := anchors_of(network)) != tuple(anchors):
        has = f"has its own, {list(own)}" if own else "has no anchors"
        raise ValueError(f"anchors = {list(anchors)}: {name} {has}")
    network.feed = _feed(entry, network, hr_size)  # type: ignore[assignment]
    return network


def outline(name: str, preset: str = "paper", hr_size: int = 128, anchors: Sequence[int] | None = None) -> nn.Module:
    """A network as ``create`` makes it, of which only names and shapes are of use: initialising takes seconds.

    It lies on torch's meta device; a plugin's that reads a tensor while it is created cannot, and is created in full.

    Raises:
        ConfigError: the model's factory raised something else than ValueError.
        ValueError: as ``create`` does.
    """
    try:
        try:
            with torch.device("meta"):
                return create(name, preset, hr_size, anchors)
        except ValueError:
            raise
        except Exception:
            return create(name, preset, hr_size, anchors)
    except (ConfigError, ValueError):
        raise
    except (Exception, SystemExit) as error:  # a plugin's factory may raise anything
        raise ConfigError(f"model = {name}: cannot be created ({type(error).__name__}: {printed(error)})") from error


def anchors_of(network: nn.Module) -> tuple[int, ...]:
    """Scales of a network's anchors (attribute ``anchors``, rates) in sixteenths; empty if it has none.

    Raises:
        ValueError: a rate is no whole sixteenth from 1/16 to 8/16, or comes twice.
    """
    rates = tuple(getattr(network, "anchors", ()))
    scales = tuple(round(16 * rate) for rate in rates)
    if len(set(scales)) < len(scales) or any(abs(16 * r - k) > 1e-6 or not 1 <= k <= 8 for r, k in zip(rates, scales)):
        raise ValueError(f"anchors = {list(rates)}: must be different sixteenths from 1/16 to 8/16")
    return scales


def _feed(entry: ModelEntry, network: nn.Module, hr_size: int) -> Feed:
    """What the kind of an entry and the sides of its network say.

    Raises:
        ValueError: a network of fixed resolution does not say which.
    """
    side, multiple = getattr(network, "lr_size", None), getattr(network, "multiple", 1)
    if entry.kind == "SASR":
        return Feed("SASR", multiple=multiple)
    if entry.kind == "FR" and side is None:
        raise ValueError(f"{entry.name}: is registered as FR, so its network must have the attribute lr_size")
    return Feed(entry.kind, side if entry.kind == "FR" or side != hr_size else None)


class Bicubic(nn.Module):
    """I_SR = I_LS: the baseline of every table."""

    def __init__(self, hr_size: int = 128):
        super().__init__()
        self.hr_size = hr_size

    def forward(self, ls: Tensor, rate: Tensor | None = None) -> SROutput:
        check_side(ls, self.hr_size)
        return SROutput(ls)


@dataclass(frozen=True)
class _Anchored:
    """Factory of a network with these anchors, or with those of the call.

    ``network`` takes (anchors, weighting, Width, hr_size).
    """

    anchors: tuple[float, ...]
    weighting: str = "regressor"
    network: Callable[..., nn.Module] = UFVNet

    def __call__(self, width: Width, hr_size: int, anchors: Sequence[float] | None = None) -> nn.Module:
        return self.network(anchors or self.anchors, self.weighting, width, hr_size)


def _lite(anchors: Sequence[float], weighting: Any, width: Width, hr_size: int) -> UFVNetLite:
    return UFVNetLite(anchors, weighting, LiteWidth().scaled(width.channels[0] / 32), hr_size)


def _lite_one(width: Width, hr_size: int) -> nn.Module:
    return _lite((1 / 4,), "equal", width, hr_size)


def _lite_wide(width: Width, hr_size: int) -> nn.Module:
    """A single encoder, so wide that the network has the parameters and the MACs of one with three, within 0.5 %."""
    lite = LiteWidth(encoder=(64, 86, 86)).scaled(width.channels[0] / 32)
    return UFVNetLite((1 / 4,), "equal", lite, hr_size)


def _real(anchors: Sequence[float], _: Any, width: Width, hr_size: int) -> UFVNetReal:
    return UFVNetReal(anchors, RealWidth().scaled(width.channels[0] / 32), hr_size)


def _routed(anchors: Sequence[float], _: Any, width: Width, hr_size: int) -> UFVNetRouted:
    clean, damaged = _lite(anchors, "regressor", width, hr_size), _real(anchors, "regressor", width, hr_size)
    return UFVNetRouted(clean, damaged)


_ours = functools.partial(register, version="")
"""Registers a network of this package, whose version is raised by hand when the same recipe trains other weights."""


_ours("bicubic", lambda _, hr_size: Bicubic(hr_size), "PIL bicubic, no parameters")
_ours("sparnet", lambda width, hr_size: SRG(width, hr_size), "SPARNet-Light-Attn3D, the same network as onesrg")
_ours("onesrg", lambda width, hr_size: SRG(width, hr_size), "one anchor SR generator trained on all resolutions")
_ours("twosrg", _Anchored((1 / 8, 1 / 2)), "UFVNet with anchors 1/8, 1/2")
_ours("ufvnet", _Anchored((1 / 8, 1 / 4, 1 / 2)), "the paper's network: anchors 1/8, 1/4, 1/2 and a regressor")
_ours("foursrg", _Anchored((1 / 16, 1 / 8, 1 / 4, 1 / 2)), "UFVNet with anchors 1/16, 1/8, 1/4, 1/2")
_ours("ufvnet-nw", _Anchored((1 / 8, 1 / 4, 1 / 2), "ones"), "UFVNet without regressor, weights all 1")
_ours("ufvnet-fm", _Anchored((1 / 8, 1 / 4, 1 / 2), "formula"), "UFVNet weighted by Eq. 4 from the true rate")
_ours(
    "ufvnet-lite",
    _Anchored((1 / 8, 1 / 4, 1 / 2), network=_lite),
    "ours: UFVNet's idea at a fifteenth of its MACs",
)
_ours(
    "ufvnet-lite-nw", _Anchored((1 / 8, 1 / 4, 1 / 2), "equal", _lite), "ufvnet-lite without regressor, weights all 1/3"
)
_ours(
    "ufvnet-lite-fm",
    _Anchored((1 / 8, 1 / 4, 1 / 2), "formula", _lite),
    "ufvnet-lite weighted by Eq. 4",
)
_ours("ufvnet-lite-one", _lite_one, "ufvnet-lite with a single encoder")
_ours("ufvnet-lite-wide", _lite_wide, "ufvnet-lite with a single encoder that costs what its three cost")
_ours(
    "ufvnet-real",
    _Anchored((1 / 8, 1 / 4, 1 / 2), network=_real),
    "ours: for damaged faces too, ufvnet-lite with attention and an estimate of the damage",
)
_ours(
    "ufvnet-routed",
    _Anchored((1 / 8, 1 / 4, 1 / 2), network=_routed),
    "ours: a ufvnet-lite for clean faces, a ufvnet-real for damaged ones, by a router",
    note="a face passes the router and one of the two; MACs are those of the larger one",
)
for _row in ROWS:
    _ours(*_row[:-1], version=_row.version)

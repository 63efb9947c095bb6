"""Names of models to networks: ``create``, ``register``, ``names``."""

from __future__ import annotations

import functools
import importlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from ufvnet.errors import ConfigError

from .srg import SRG, SROutput, Width, check_side
from .ufvnet import UFVNet, Weighting

PRESETS = {
    "paper": Width(),
    "small": Width(channels=(16, 32, 64), c_mid=32, regressor=0.5),
    "tiny": Width(channels=(8, 16, 32), c_mid=16, regressor=0.25),
}

Factory = Callable[[Width, int], nn.Module]


@dataclass(frozen=True)
class Entry:
    """A registered model: how it is built and one line of what it is."""

    name: str
    factory: Factory
    summary: str


PLUGINS = "UFVNET_PLUGINS"
"""Environment variable: modules, separated by commas, that register models of their own."""

_REGISTRY: dict[str, Entry] = {}


def register(name: str, factory: Factory, summary: str = "") -> None:
    """Add a model under ``name``; it is then a row of every table that evaluates it.

    Args:
        name: the table row's name.
        factory: (Width, hr_size) -> module whose forward takes I_LS (N, 3, H, H) in [-1, 1] and
            the rate (N,), and returns an SROutput.
        summary: one line for ``ufvnet models list``.

    Raises:
        ValueError: the name is taken.
    """
    if name in _REGISTRY:
        raise ValueError(f"a model named {name!r} is registered already")
    _REGISTRY[name] = Entry(name, factory, summary)


@functools.cache
def _import_plugins() -> None:
    """Import the modules of UFVNET_PLUGINS, once a process: trainings and Dask workers inherit the variable.

    Raises:
        ConfigError: one cannot be imported.
    """
    for module in filter(None, os.environ.get(PLUGINS, "").split(",")):
        try:
            importlib.import_module(module.strip())
        except ImportError as error:
            raise ConfigError(f"{PLUGINS} = {module}: cannot be imported ({error})") from error


def names() -> list[str]:
    """Registered names, in the order of registration."""
    _import_plugins()
    return list(_REGISTRY)


def describe(name: str) -> Entry:
    """The entry of a registered model.

    Raises:
        ValueError: unknown name.
    """
    _import_plugins()
    if name not in _REGISTRY:
        raise ValueError(f"no model is named {name!r}; there are: {', '.join(names())}")
    return _REGISTRY[name]


def create(name: str, preset: str = "paper", hr_size: int = 128, anchors: Sequence[int] | None = None) -> nn.Module:
    """A freshly initialised network.

    Args:
        name: a registered name, e.g. ``ufvnet``.
        preset: ``paper``, ``small`` (half width) or ``tiny`` (quarter width).
        hr_size: 64 or 128.
        anchors: scales of the anchors (sixteenths) instead of the model's own.

    Raises:
        ValueError: unknown name, preset or hr_size, or anchors for a model that has none.
    """
    if preset not in PRESETS:
        raise ValueError(f"no preset is named {preset!r}; there are: {', '.join(PRESETS)}")
    factory = describe(name).factory
    if anchors is None:
        return factory(PRESETS[preset], hr_size)
    if not isinstance(factory, _UFVNetFactory):
        raise ValueError(f"anchors = {list(anchors)}: {name} has no anchors")
    return UFVNet([k / 16 for k in anchors], factory.weighting, PRESETS[preset], hr_size)


class Bicubic(nn.Module):
    """I_SR = I_LS: the baseline of every table."""

    def __init__(self, hr_size: int = 128):
        super().__init__()
        self.hr_size = hr_size

    def forward(self, ls: Tensor, rate: Tensor | None = None) -> SROutput:
        check_side(ls, self.hr_size)
        return SROutput(ls)


@dataclass(frozen=True)
class _UFVNetFactory:
    """Makes a UFVNet of given anchors and weighting."""

    anchors: tuple[float, ...]
    weighting: Weighting = "regressor"

    def __call__(self, width: Width, hr_size: int) -> nn.Module:
        return UFVNet(self.anchors, self.weighting, width, hr_size)


register("bicubic", lambda _, hr_size: Bicubic(hr_size), "PIL bicubic, no parameters")
register("sparnet", lambda width, hr_size: SRG(width, hr_size), "SPARNet-Light-Attn3D, the same network as onesrg")
register("onesrg", lambda width, hr_size: SRG(width, hr_size), "one anchor SR generator trained on all resolutions")
register("twosrg", _UFVNetFactory((1 / 8, 1 / 2)), "UFVNet with anchors 1/8, 1/2")
register("ufvnet", _UFVNetFactory((1 / 8, 1 / 4, 1 / 2)), "the paper's network: anchors 1/8, 1/4, 1/2 and a regressor")
register("foursrg", _UFVNetFactory((1 / 16, 1 / 8, 1 / 4, 1 / 2)), "UFVNet with anchors 1/16, 1/8, 1/4, 1/2")
register("ufvnet-nw", _UFVNetFactory((1 / 8, 1 / 4, 1 / 2), "ones"), "UFVNet without regressor, weights all 1")
register("ufvnet-fm", _UFVNetFactory((1 / 8, 1 / 4, 1 / 2), "formula"), "UFVNet weighted by Eq. 4 from the true rate")

"""The competitors' rows: names, widths of the presets, kinds, and what their authors' releases count."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any, NamedTuple

from torch import nn

from ..feed import Kind
from ..srg import Width


class Row(NamedTuple):
    """The arguments of ``ufvnet.models.register``."""

    name: str
    factory: Callable[[Width, int], nn.Module]
    summary: str
    kind: Kind
    note: str = ""
    version: str = ""


def _build(network: str, *widths: str, **options: Any) -> Callable[[Width, int], nn.Module]:
    """A factory: the authors' widths times the preset's share, for arguments that are named with their full width.

    Args:
        network: file and class, which are imported when a network is created: most processes create none of these.
    """
    file, _, kind = network.partition(".")
    full = {name: int(width) for name, _, width in (text.partition("=") for text in widths)}

    def factory(width: Width, hr_size: int) -> nn.Module:
        share = width.channels[0] / 32
        sizes = {name: max(1, round(value * share)) for name, value in full.items()}
        create = getattr(importlib.import_module(f".{file}", __package__), kind)
        return create(**sizes, **options, hr_size=hr_size)

    return factory


C = "channels=64"

ROWS = (
    Row("dic", _build("dic.DIC", "features=48", C), "DIC x8: a face and its landmarks, each from the other", "FR"),
    Row("dic-nolm", _build("dic.DIC", "features=48", C, landmarks=False), "DIC x8 without landmarks (ours)", "FR"),
    Row("sisn", _build("sisn.SISN", C, scale=4), "SISN x4: split attention in split attention", "FR",
        "the authors' release counts 8,524,379: 450,560 of them are never used"),
    Row("sisn-x8", _build("sisn.SISN", C, scale=8), "SISN x8", "FR",
        "the authors' release counts 8,755,035: 450,560 of them are never used"),
    Row("wipa", _build("wipa.WIPA", C, scale=4), "WIPA x4 (no GAN): stages that also predict wavelets", "FR",
        version="2"),
    Row("wipa-x8", _build("wipa.WIPA", C, scale=8), "WIPA x8 (no GAN)", "FR", version="2"),
    Row("wipa-x16", _build("wipa.WIPA", C, scale=16), "WIPA x16 (no GAN)", "FR", version="2"),
    Row("wipa-gan", _build("wipa.WIPA", C, scale=4, gan=True), "WIPA x4, trained against a critic too", "FR",
        version="2"),
    Row("mlgdn", _build("mlgdn.MLGDN", "features=48", C), "MLGDN x8: DIC whose features the landmarks modulate", "FR",
        "the authors' release counts 25,913,249: 4,090,776 of them are never used"),
    Row("eipnet", _build("eipnet.EIPNet", C),
        "EIPNet's generator (no GAN) on I_LS reduced to an eighth of the output", "OR", version="2"),
    Row("eipnet-gan", _build("eipnet.EIPNet", C, gan=True), "eipnet, trained against a critic too", "OR",
        version="2"),
    Row("eipnet-full", _build("eipnet.EIPNet", C, full=True), "EIPNet's generator on all of I_LS (ours)", "OR",
        version="2"),
    Row("kdfsrnet", _build("kdfsrnet.KDFSRNet", C), "KDFSRNet: the student", "OR",
        "the authors' release counts 5,204,019: 24 of them are frozen and never used"),
    Row("kdfsrnet-teacher", _build("kdfsrnet.KDFSRTeacher", C),
        "KDFSRNet's teacher, by masks of the face's parts (ours)", "OR"),
    Row("liif", _build("liif.LIIF", C, "hidden=256"), "LIIF on EDSR-baseline, trained on squares of faces", "SASR",
        "the authors' release counts 1,567,323: 24 of them are frozen and never used"),
    Row("liif-whole", _build("liif.LIIF", C, "hidden=256", training="whole"),
        "liif trained on whole faces reduced to 1/8",
        "SASR"),
    Row("liif-mr", _build("liif.LIIF", C, "hidden=256", training="sizes"),
        "liif trained on whole faces at the view's sizes",
        "SASR"),
    Row("arbsr", _build("arbsr.ArbSR", C, "reduced=4"), "ArbSR: RCAN with adaptions to the scale", "SASR",
        "the authors' release counts 16,926,151: with 24 that are frozen"),
)  # fmt: skip

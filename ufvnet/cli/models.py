"""The commands about models: models list, models show and models export."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ufvnet.errors import ConfigError
from ufvnet.files import printed


def list_models() -> None:
    """List the names that configurations and tables know."""
    from ufvnet import models

    for name in models.names():
        entry = models.describe(name)
        print(f"{name:17} {entry.kind:4} {entry.summary}")


def show_model(
    name: Annotated[str, typer.Argument(help="A registered name.")],
    preset: Annotated[str, typer.Option(help="paper, small or tiny.")] = "paper",
    hr_size: Annotated[int, typer.Option(help="Side of the HR faces, 64 or 128.")] = 128,
) -> None:
    """Count parameters and multiply-accumulates for one face, block by block."""
    from ufvnet.models import UFVNet, describe
    from ufvnet.models.complexity import complexity
    from ufvnet.models.feed import feed_of
    from ufvnet.models.registry import outline

    try:
        network, anchor = outline(name, preset, hr_size), outline("onesrg", preset, hr_size)
    except ValueError as error:
        raise ConfigError(str(error)) from error
    feed, entry = feed_of(network), describe(name)
    try:
        counts = complexity(network, hr_size)
    except Exception as error:  # a plugin may raise anything
        reason = f"{type(error).__name__}: {printed(error)}"
        raise ConfigError(f"model = {name}: cannot be counted on torch's meta device ({reason})") from error
    side = feed.example_side(hr_size)
    print(f"{name} ({feed.kind}), preset {preset}, {side}x{side} -> {hr_size}x{hr_size}")
    for block in counts:
        macs = f"{block.macs / 1e9:>8.3f} GMAC" if block.macs or not block.params else "    not passed"
        print(f"{block.name:12} {block.params:>12,} parameters {macs}")
    if entry.note and preset == "paper":
        print(entry.note)
    if isinstance(network, UFVNet):
        srg = complexity(anchor, hr_size)[-1]
        print(
            f"{'each SRG':12} {srg.params:>12,} parameters {srg.macs / 1e9:>8.3f} GMAC, in stage 1; its encoder is kept"
        )


def export_model(
    name: Annotated[str, typer.Argument(help="A model folder, or the name of a model that ships with the package.")],
    format: Annotated[str, typer.Option(help="onnx, torchscript or torch-export.")] = "onnx",
    output: Annotated[
        Path | None,
        typer.Option(
            "-o", "--output", help="The file. Default: NAME with the format's suffix, in the working directory."
        ),
    ] = None,
) -> None:
    """Export a model as one file for other runtimes, checked against the model before it is kept."""
    from ufvnet.models.export import CHECKED, TOLERANCE, export

    file = export(name, format, output)
    sizes = ", ".join(map(str, CHECKED))
    print(f"{file}: {file.stat().st_size / 1e6:.1f} MB, within {TOLERANCE:g} of the model on batches of {sizes}")

"""The commands about built datasets: data show, data export and data push."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ufvnet.errors import PipelineError


def show_dataset(
    dataset: Annotated[Path, typer.Argument(help="Folder of a built dataset.")],
    sheet: Annotated[
        Path | None, typer.Option(help="File of the contact sheet. Default: <dataset>/cache/contact-sheet.png.")
    ] = None,
    faces: Annotated[int, typer.Option(min=1, help="Faces on the sheet.")] = 8,
) -> None:
    """Show a dataset's card and counts by status, and make a contact sheet."""
    from ufvnet.data import open as open_dataset
    from ufvnet.data.show import contact_sheet, describe

    built = open_dataset(dataset)
    for line in describe(built):
        print(line)
    if any(built.card["faces"].values()):
        print(f"  contact sheet: {contact_sheet(built, sheet, faces)}")


def export_images(
    dataset: Annotated[Path, typer.Argument(help="Folder of a built dataset.")],
    out: Annotated[Path, typer.Argument(help="Folder for the files, OUT/<size>/<face id>.png.")],
    view: Annotated[str, typer.Option(help="MR8, MR7 or MR3.")] = "MR8",
    split: Annotated[str, typer.Option(help="train, val or test.")] = "test",
    hr: Annotated[bool, typer.Option(help="Write HR images too, to OUT/hr.")] = False,
    damage: Annotated[
        list[str] | None,
        typer.Option(help="Damage of the LR images by name, e.g. jpeg75; again for more. Default: clean."),
    ] = None,
    size: Annotated[
        list[str] | None,
        typer.Option(help="Size of the LR images, e.g. 11 or 20x28; again for more. Default: the view's."),
    ] = None,
) -> None:
    """Write LR images as PNG files, for methods that work on folders."""
    from ufvnet.data import open as open_dataset
    from ufvnet.data.export import export

    count = export(open_dataset(dataset), out, view, split, hr, damage or ["clean"], size or ())
    print(f"{count:,} images: {out}")


def push_dataset(
    dataset: Annotated[Path, typer.Argument(help="Folder of a built dataset.")],
    url: Annotated[str, typer.Argument(help="Where to publish it, e.g. s3://bucket/faces.", metavar="URL")],
) -> None:
    """Publish a built dataset in an object store; files that are there already are left, the card is written last."""
    from ufvnet.data import open as open_dataset
    from ufvnet.data.push import push

    try:
        uploaded, present = push(open_dataset(dataset), url)
    except OSError as error:
        raise PipelineError(f"{url}: {error}; the same command goes on") from error
    print(f"{url}: {uploaded:,} files uploaded, {present:,} were there already")

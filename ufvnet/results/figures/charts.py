"""Drawing for print: sheets of faces, error maps and curves. Nothing is restored and no file is read here."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from PIL import Image

from ufvnet.files import write_atomically
from ufvnet.metrics import luma
from ufvnet.models import anchor_weights

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PAGE, COLUMN = 7.16, 3.5
"""Inches: width of a two-column page, and of one column."""
WIDEST_CELL = 0.9  # inches
GAP = 6  # pixels
FONT, SMALL = 7.0, 6.0  # points
MARKERS = "osD^vPX"
"""Seven, beside ten colours: only the 71st curve looks like the first."""


@dataclass(frozen=True)
class Cell:
    """What one method makes of one face at one size.

    image: (H, H, 3) uint8, or None where the method failed. psnr, ssim: primary protocol; NaN where it failed.
    reason: why it failed.
    """

    image: np.ndarray | None
    psnr: float
    ssim: float
    reason: str = ""


@dataclass(frozen=True)
class Line:
    """A row of a sheet: the LR face (h, w, 3), a cell a method, the HR face (H, H, 3), and whether a face starts."""

    lr: np.ndarray
    cells: Sequence[Cell]
    hr: np.ndarray
    first: bool = True


@dataclass(frozen=True)
class Extreme:
    """A face among the worst or best: ``other`` is the reference method's cell, ``cell`` the method's own."""

    face_id: str
    px: int
    lr: np.ndarray
    other: Cell | None
    cell: Cell
    hr: np.ndarray


@dataclass(frozen=True)
class Curve:
    """Values over input size. style: its colour and marker. low, high: a band. dashed: a reference, not measured."""

    label: str
    x: np.ndarray
    y: np.ndarray
    style: int
    low: np.ndarray | None = None
    high: np.ndarray | None = None
    dashed: bool = False


@dataclass(frozen=True)
class Panel:
    """A chart: curves over the input size. zero: whether to draw a line at 0."""

    title: str
    y_label: str
    curves: Sequence[Curve]
    zero: bool = False


def numbers(cell: Cell) -> str:
    """PSNR / SSIM as they stand under a face."""
    return f"{cell.psnr:.2f} / {cell.ssim:.3f}" if cell.image is not None else "failed"


def best_of(cells: Sequence[Cell]) -> float:
    """The highest PSNR of a row, NaN where all failed."""
    values = [c.psnr for c in cells if c.image is not None and not np.isnan(c.psnr)]
    return max(values, default=float("nan"))


def save(figure: Figure, path: Path) -> Path:
    """Write a figure in the format that the path's suffix names; the same figure gives the same bytes."""
    import matplotlib

    matplotlib.rcParams["pdf.fonttype"] = 42  # publishers refuse Type 3 fonts
    undated = {"pdf": {"CreationDate": None}, "png": {"Software": None}}.get(path.suffix[1:])
    options: dict[str, Any] = {"pil_kwargs": {"compress_level": 3}} if path.suffix == ".png" else {}
    write_atomically(
        path, lambda p: figure.savefig(p, format=path.suffix[1:], dpi="figure", metadata=undated, **options)
    )
    return path


class Sheet:
    """A page of equal square cells and text, laid out in pixels from the top left.

    side: of a cell in pixels, a multiple of the faces' own so that each of their pixels is drawn whole.
    """

    def __init__(self, columns: int, side: int, height: int, left: int = 0, right: int = 0):
        self.side, self.left = side, left
        width = left + columns * (side + GAP) - GAP + right
        self.per_inch = max(side / WIDEST_CELL, width / PAGE)
        self.pixels = np.full((height, width, 3), 255, np.uint8)
        self.texts: list[tuple[float, float, str, dict[str, Any]]] = []

    def x(self, column: int) -> int:
        return self.left + column * (self.side + GAP)

    def face(self, column: int, y: int, image: np.ndarray) -> None:
        """An image, enlarged to the cell by nearest neighbour."""
        if image.shape[:2] != (self.side, self.side):
            image = np.asarray(Image.fromarray(image).resize((self.side, self.side), Image.Resampling.NEAREST))
        self.pixels[y : y + self.side, self.x(column) : self.x(column) + self.side] = image

    def cell(self, column: int, y: int, cell: Cell) -> None:
        """A method's image, or why there is none."""
        if cell.image is not None:
            return self.face(column, y, cell.image)
        self.pixels[y : y + self.side, self.x(column) : self.x(column) + self.side] = 232
        reason = "\n".join(textwrap.wrap(cell.reason, 18)[:6])
        self.text(self.x(column) + self.side / 2, y + self.side / 2, reason, size=SMALL - 1, va="center", ha="center")

    def under(self, column: int, y: int, text: str, **style: Any) -> None:
        """Text centred under the cell whose top is at ``y``."""
        middle = self.x(column) + self.side / 2
        self.text(middle, y + self.side + 2, text, **{"size": SMALL, "va": "top", "ha": "center"} | style)

    def text(self, x: float, y: float, text: str, **style: Any) -> None:
        self.texts.append((x, y, text, style))

    def figure(self) -> Figure:
        from matplotlib.figure import Figure

        height, width = self.pixels.shape[:2]
        figure = Figure(figsize=(width / self.per_inch, height / self.per_inch), dpi=self.per_inch)
        axis = figure.add_axes((0, 0, 1, 1))
        axis.imshow(self.pixels, extent=(0, width, height, 0), interpolation="none", aspect="auto")
        axis.set_axis_off()
        for x, y, text, style in self.texts:
            axis.text(x, y, text, parse_math=False, **style)
        return figure


def cell_side(hr_size: int) -> int:
    """Pixels of a cell: the least multiple of the faces' side that is 128 or more."""
    return hr_size * max(1, -(-128 // hr_size))


def heading(label: str) -> str:
    """A label in at most three short lines."""
    lines = textwrap.wrap(label, 16, break_on_hyphens=False)
    return "\n".join(lines if len(lines) < 4 else [*lines[:2], lines[2][:15] + "…"])


def top_of(labels: Sequence[str]) -> int:
    """Pixels above the first row of a sheet: what its headings take."""
    return 20 + 18 * max(heading(label).count("\n") + 1 for label in labels)


def grid_sheet(labels: Sequence[str], lines: Sequence[Line]) -> Figure:
    """Rows: faces at sizes; columns: LR, each method with its PSNR / SSIM (a row's best in bold), HR (Figs. 4-7)."""
    side = cell_side(len(lines[0].hr))
    top, step = top_of(labels), side + 24
    breaks = np.cumsum([0] + [GAP * 2 if line.first else 0 for line in lines[1:]])
    sheet = Sheet(len(labels) + 2, side, top + step * len(lines) + int(breaks[-1]))
    for column, label in enumerate(["LR", *labels, "HR"]):
        sheet.text(sheet.x(column) + side / 2, top - 6, heading(label), size=FONT, va="bottom", ha="center")
    for i, line in enumerate(lines):
        y = top + step * i + int(breaks[i])
        sheet.face(0, y, line.lr)
        sheet.under(0, y, f"{line.lr.shape[1]}×{line.lr.shape[0]}")
        best = best_of(line.cells)
        for column, cell in enumerate(line.cells, start=1):
            sheet.cell(column, y, cell)
            sheet.under(column, y, numbers(cell), weight="bold" if cell.psnr == best else "normal")
        sheet.face(len(labels) + 1, y, line.hr)
        sheet.under(len(labels) + 1, y, "PSNR / SSIM")
    return sheet.figure()


def luma_error(sr: np.ndarray, hr: np.ndarray) -> np.ndarray:
    """|SR - HR| of BT.601 luma: (H, W) float64 in levels."""
    return np.abs(luma(sr) - luma(hr))


def error_limit(cells: Sequence[Cell], hrs: Sequence[np.ndarray]) -> int:
    """The end of a common colour scale, set by one method: 99.5 % of its errors lie below; a multiple of 10."""
    errors = [luma_error(c.image, hr) for c, hr in zip(cells, hrs) if c.image is not None]
    return max(10, int(np.ceil(np.percentile(np.stack(errors), 99.5) / 10)) * 10) if errors else 10


def error_sheet(labels: Sequence[str], lines: Sequence[Line], limit: int) -> Figure:
    """Each method's faces and, under each, the map of |SR - HR| in luma; one colour scale for all."""
    from matplotlib import colormaps
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    side = cell_side(len(lines[0].hr))
    top, step, bar = top_of(labels), 2 * side + 44, 104
    sheet = Sheet(len(labels) + 2, side, top + step * len(lines), right=bar)
    colours = colormaps["inferno"]
    for column, label in enumerate(["LR", *labels, "HR"]):
        sheet.text(sheet.x(column) + side / 2, top - 6, heading(label), size=FONT, va="bottom", ha="center")
    for i, line in enumerate(lines):
        y = top + step * i
        below = y + side + 22
        sheet.face(0, y, line.lr)
        sheet.under(0, y, f"{line.lr.shape[1]}×{line.lr.shape[0]}")
        sheet.text(sheet.x(0) + side - 4, below + side / 2, "|SR − HR|", size=FONT, va="center", ha="right")
        for column, cell in enumerate(line.cells, start=1):
            sheet.cell(column, y, cell)
            sheet.under(column, y, numbers(cell))
            if cell.image is not None:
                error = luma_error(cell.image, line.hr)
                sheet.face(column, below, (colours(error / limit)[..., :3] * 255).round().astype(np.uint8))
                sheet.under(column, below, f"mean {error.mean():.2f}")
        sheet.face(len(labels) + 1, y, line.hr)
        sheet.under(len(labels) + 1, y, "PSNR / SSIM")
    figure = sheet.figure()
    height, width = sheet.pixels.shape[:2]
    place = (1 - (bar - 16) / width, 1 - (top + 2 * side + 22) / height, 12 / width, (2 * side + 22) / height)
    scale = figure.colorbar(ScalarMappable(Normalize(0, limit), colours), cax=figure.add_axes(place), extend="max")
    scale.set_label("levels of luma", size=SMALL)
    scale.ax.tick_params(labelsize=SMALL)
    return figure


def extremes_sheet(label: str, where: str, other: str, worst: Sequence[Extreme], best: Sequence[Extreme]) -> Figure:
    """The worst faces of a method above its best: LR, another method, the method itself and HR, a column a face."""
    side = cell_side(len((worst or best)[0].hr))
    with_other = any(e.other is not None for e in (*worst, *best))
    names = ["LR", *([other] if with_other else []), label, "HR"]
    step, title = side + 24, 40
    block = title + step * len(names) + GAP
    blocks = [(word, faces) for word, faces in (("worst", worst), ("best", best)) if faces]
    sheet = Sheet(max(len(worst), len(best), 5), side, len(blocks) * block, left=34)
    for i, (word, faces) in enumerate(blocks):
        start = i * block
        sizes = sorted({e.px for e in faces})
        at = ", ".join(f"{px} px" for px in sizes)
        text = f"{label} on {where}: its {len(faces)} {word} faces by PSNR at {at}"
        if failed := sum(e.cell.image is None for e in faces):
            text += f", {failed} of them failed"
        sheet.text(sheet.left, start + title - 8, text, size=FONT + 1, va="bottom", ha="left")
        for row, name in enumerate(names):
            middle = start + title + step * row + side / 2
            sheet.text(sheet.left - 8, middle, heading(name), size=FONT, va="center", ha="right", rotation=90)
        for column, e in enumerate(faces):
            y = start + title
            sheet.face(column, y, e.lr)
            sheet.under(column, y, f"{e.lr.shape[1]}×{e.lr.shape[0]}")
            for cell in ([e.other or e.cell] if with_other else []) + [e.cell]:
                y += step
                sheet.cell(column, y, cell)
                sheet.under(column, y, numbers(cell))
            sheet.face(column, y + step, e.hr)
            sheet.under(column, y + step, e.face_id if len(e.face_id) < 18 else "…" + e.face_id[-16:], size=SMALL - 1)
    return sheet.figure()


def curves_figure(rows: Sequence[Sequence[Panel]]) -> Figure:
    """Panels in rows and columns with one legend below them."""
    from matplotlib.figure import Figure

    width = COLUMN if len(rows[0]) == 1 else max(PAGE, 2.4 * len(rows[0]))
    figure = Figure(figsize=(width, 2.5 * len(rows) + 0.5), layout="constrained", dpi=200)
    axes = figure.subplots(len(rows), len(rows[0]), squeeze=False, sharey="row")
    handles: dict[str, Any] = {}
    for line, panels in zip(axes, rows):
        for axis, panel in zip(line, panels):
            handles |= _draw(axis, panel)
    names = list(handles)
    columns = max(1, min(len(names), int(width / (0.5 + 0.065 * max(map(len, names), default=1)))))
    legend = figure.legend(
        [handles[n] for n in names], [f" {n}" for n in names], loc="outside lower center", ncols=columns, fontsize=FONT,
        frameon=False,
    )  # fmt: skip
    for text in legend.get_texts():
        text.set_parse_math(False)
    return figure


def _draw(axis: Any, panel: Panel) -> dict[str, Any]:
    """A panel onto its axes; gives what the legend shows of each curve."""
    handles = {}
    for curve in panel.curves:
        colour = f"C{curve.style % 10}"
        look: dict[str, Any] = (
            {"linestyle": "--", "linewidth": 1.0}
            if curve.dashed
            else {"marker": MARKERS[curve.style % len(MARKERS)], "markersize": 3.5, "linewidth": 1.3}
        )
        (handle,) = axis.plot(curve.x, curve.y, color=colour, **look)
        if not curve.dashed:
            handles[curve.label] = handle
        if curve.low is not None and curve.high is not None:
            axis.fill_between(curve.x, curve.low, curve.high, color=colour, alpha=0.18, linewidth=0)
    if panel.zero:
        axis.axhline(0, color="grey", linewidth=0.8)
    if any(c.dashed for c in panel.curves):
        (handles["Eq. 4"],) = axis.plot([], [], color="grey", linestyle="--", linewidth=1)
    axis.set_title(panel.title, fontsize=FONT + 1, parse_math=False)
    axis.set_xlabel("input size [px]", fontsize=FONT + 1)
    axis.set_ylabel(panel.y_label, fontsize=FONT + 1)
    axis.set_xticks(sorted({float(x) for c in panel.curves for x in c.x}))
    axis.tick_params(labelsize=FONT)
    axis.grid(alpha=0.25, linewidth=0.5)
    axis.spines[["top", "right"]].set_visible(False)
    return handles


def weights_panel(predicted: pd.DataFrame, anchors: Sequence[float], title: str = "") -> Panel:
    """Weights of the anchors over input size: predicted (mean, and the middle 90 % of faces) and by Eq. 4."""
    groups = predicted.groupby("px")
    sizes = predicted[["k", "px"]].drop_duplicates().sort_values("px")
    x = sizes["px"].to_numpy()
    true = anchor_weights(torch.as_tensor(sizes["k"].to_numpy() / 16), anchors).numpy()
    curves = []
    for i, anchor in enumerate(anchors):
        of = groups[f"w{i + 1}"]
        low, mean, high = (of.quantile(0.05), of.mean(), of.quantile(0.95))
        label = f"w{i + 1} (anchor 1/{1 / anchor:g})"
        curves.append(Curve(f"{label}, Eq. 4", x, true[:, i], i, dashed=True))
        curves.append(Curve(label, x, mean.to_numpy(), i, low.to_numpy(), high.to_numpy()))
    return Panel(title, "weight", curves)


def weights_figure(predicted: pd.DataFrame, anchors: Sequence[float]) -> Figure:
    """Weights of the anchors over input size: predicted (mean, and the middle 90 % of faces) against Eq. 4.

    Args:
        predicted: a row a face and size: ``k`` (sixteenths), ``px``, ``w1``, ``w2``, ...
        anchors: down-sampling rates, one a weight.
    """
    return curves_figure([[weights_panel(predicted, anchors)]])

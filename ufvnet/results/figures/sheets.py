"""Sheets of faces for print: methods side by side, error maps, worst and best faces."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from ufvnet.metrics import luma

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PAGE_WIDTH = 7.16
"""Inches, of a two-column page."""
WIDEST_CELL = 0.9  # inches
GAP = 6  # pixels
FONT, SMALL = 7.0, 6.0  # points
COLOUR_BAR = 104  # pixels beside a sheet of error maps
EXTREMES_TITLE = 40  # pixels above a block of extreme faces


@dataclass(frozen=True)
class RestoredFace:
    """What one method makes of one face at one size.

    image: (H, H, 3) uint8, or None if the method failed. psnr, ssim: primary protocol; NaN if it failed.
    reason: why it failed, else "".
    """

    image: np.ndarray | None
    psnr: float
    ssim: float
    reason: str = ""

    @property
    def caption(self) -> str:
        """PSNR / SSIM as they stand under the face."""
        return f"{self.psnr:.2f} / {self.ssim:.3f}" if self.image is not None else "failed"


def failed_face(reason: str) -> RestoredFace:
    """A face that a method failed on."""
    return RestoredFace(None, float("nan"), float("nan"), reason)


@dataclass(frozen=True)
class SheetRow:
    """A row of a sheet: the LR face (h, w, 3) uint8, what each method makes of it, and the HR face (H, H, 3) uint8.

    starts_face: True for the first row of a face, which stands apart from the rows above. damage: of the LR face, ""
    for none.
    """

    lr: np.ndarray
    restored: Sequence[RestoredFace]
    hr: np.ndarray
    starts_face: bool = True
    damage: str = ""


@dataclass(frozen=True)
class ExtremeFace:
    """A face among the worst or best of a method.

    input: what kind of LR image it has, e.g. ``16 px``. reference: bicubic's, None if the method is bicubic itself.
    """

    face_id: str
    input: str
    lr: np.ndarray
    reference: RestoredFace | None
    restored: RestoredFace
    hr: np.ndarray


def best_psnr(faces: Sequence[RestoredFace]) -> float:
    """The highest PSNR of a row, NaN if all failed."""
    values = [face.psnr for face in faces if face.image is not None and not np.isnan(face.psnr)]
    return max(values, default=float("nan"))


class Sheet:
    """A page of equal square cells and text, laid out in pixels from the top left.

    side: of a cell in pixels, a multiple of the faces' own so that each of their pixels is drawn whole.
    """

    def __init__(self, columns: int, side: int, height: int, left: int = 0, right: int = 0):
        self.side, self.left = side, left
        width = left + columns * (side + GAP) - GAP + right
        self.per_inch = max(side / WIDEST_CELL, width / PAGE_WIDTH)
        self.pixels = np.full((height, width, 3), 255, np.uint8)
        self.texts: list[tuple[float, float, str, dict[str, Any]]] = []

    def x(self, column: int) -> int:
        return self.left + column * (self.side + GAP)

    def face(self, column: int, y: int, image: np.ndarray) -> None:
        """An image, enlarged to the cell by nearest neighbour."""
        if image.shape[:2] != (self.side, self.side):
            image = np.asarray(Image.fromarray(image).resize((self.side, self.side), Image.Resampling.NEAREST))
        self.pixels[y : y + self.side, self.x(column) : self.x(column) + self.side] = image

    def restored(self, column: int, y: int, face: RestoredFace) -> None:
        """A method's image, or why there is none."""
        if face.image is not None:
            return self.face(column, y, face.image)
        self.pixels[y : y + self.side, self.x(column) : self.x(column) + self.side] = 232
        reason = "\n".join(textwrap.wrap(face.reason, 18)[:6])
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


def heading_height(labels: Sequence[str]) -> int:
    """Pixels that the headings take above the first row of a sheet."""
    return 20 + 18 * max(heading(label).count("\n") + 1 for label in labels)


def _draw_headings(sheet: Sheet, labels: Sequence[str], top: int) -> None:
    for column, label in enumerate(["LR", *labels, "HR"]):
        middle = sheet.x(column) + sheet.side / 2
        sheet.text(middle, top - 6, heading(label), size=FONT, va="bottom", ha="center")


def _draw_input(sheet: Sheet, y: int, lr: np.ndarray, column: int = 0, damage: str = "") -> None:
    sheet.face(column, y, lr)
    sheet.under(column, y, f"{damage} {lr.shape[1]}×{lr.shape[0]}".lstrip())


def grid_sheet(labels: Sequence[str], rows: Sequence[SheetRow]) -> Figure:
    """Rows: faces at sizes; columns: LR, each method with its PSNR / SSIM (a row's best in bold), HR (Figs. 4-7)."""
    side = cell_side(len(rows[0].hr))
    top, step = heading_height(labels), side + 24
    breaks = np.cumsum([0] + [GAP * 2 if row.starts_face else 0 for row in rows[1:]])
    sheet = Sheet(len(labels) + 2, side, top + step * len(rows) + int(breaks[-1]))
    _draw_headings(sheet, labels, top)
    for i, row in enumerate(rows):
        y = top + step * i + int(breaks[i])
        _draw_input(sheet, y, row.lr, damage=row.damage)
        best = best_psnr(row.restored)
        for column, face in enumerate(row.restored, start=1):
            sheet.restored(column, y, face)
            sheet.under(column, y, face.caption, weight="bold" if face.psnr == best else "normal")
        sheet.face(len(labels) + 1, y, row.hr)
        sheet.under(len(labels) + 1, y, "PSNR / SSIM")
    return sheet.figure()


def luma_error(sr: np.ndarray, hr: np.ndarray) -> np.ndarray:
    """|SR - HR| of BT.601 luma: (H, W) float64 in levels."""
    return np.abs(luma(sr) - luma(hr))


def error_limit(faces: Sequence[RestoredFace], hrs: Sequence[np.ndarray]) -> int:
    """The end of a common colour scale: 99.5 % of the errors of these faces lie below it; a multiple of 10."""
    errors = [luma_error(face.image, hr) for face, hr in zip(faces, hrs) if face.image is not None]
    return max(10, int(np.ceil(np.percentile(np.stack(errors), 99.5) / 10)) * 10) if errors else 10


def error_sheet(labels: Sequence[str], rows: Sequence[SheetRow], limit: int) -> Figure:
    """Each method's faces and, under each, the map of |SR - HR| in luma; one colour scale for all."""
    from matplotlib import colormaps

    side = cell_side(len(rows[0].hr))
    top, step = heading_height(labels), 2 * side + 44
    sheet = Sheet(len(labels) + 2, side, top + step * len(rows), right=COLOUR_BAR)
    colours = colormaps["inferno"]
    _draw_headings(sheet, labels, top)
    for i, row in enumerate(rows):
        y = top + step * i
        below = y + side + 22
        _draw_input(sheet, y, row.lr)
        sheet.text(sheet.x(0) + side - 4, below + side / 2, "|SR − HR|", size=FONT, va="center", ha="right")
        for column, face in enumerate(row.restored, start=1):
            sheet.restored(column, y, face)
            sheet.under(column, y, face.caption)
            if face.image is not None:
                error = luma_error(face.image, row.hr)
                sheet.face(column, below, (colours(error / limit)[..., :3] * 255).round().astype(np.uint8))
                sheet.under(column, below, f"mean {error.mean():.2f}")
        sheet.face(len(labels) + 1, y, row.hr)
        sheet.under(len(labels) + 1, y, "PSNR / SSIM")
    return _with_colour_bar(sheet, top, limit)


def _with_colour_bar(sheet: Sheet, top: int, limit: int) -> Figure:
    from matplotlib import colormaps
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    figure = sheet.figure()
    height, width = sheet.pixels.shape[:2]
    length = 2 * sheet.side + 22
    place = (1 - (COLOUR_BAR - 16) / width, 1 - (top + length) / height, 12 / width, length / height)
    colours = ScalarMappable(Normalize(0, limit), colormaps["inferno"])
    scale = figure.colorbar(colours, cax=figure.add_axes(place), extend="max")
    scale.set_label("levels of luma", size=SMALL)
    scale.ax.tick_params(labelsize=SMALL)
    return figure


def extremes_sheet(
    label: str, where: str, reference: str, worst: Sequence[ExtremeFace], best: Sequence[ExtremeFace]
) -> Figure:
    """The worst faces of a method above its best; a column per face: LR, the reference method, the method, HR.

    Args:
        where: the test set's name. reference: the reference method's label.
    """
    side = cell_side(len((worst or best)[0].hr))
    has_reference = any(face.reference is not None for face in (*worst, *best))
    names = ["LR", *([reference] if has_reference else []), label, "HR"]
    block = EXTREMES_TITLE + (side + 24) * len(names) + GAP
    blocks = [(word, faces) for word, faces in (("worst", worst), ("best", best)) if faces]
    sheet = Sheet(max(len(worst), len(best), 5), side, len(blocks) * block, left=34)
    for i, (word, faces) in enumerate(blocks):
        at = "; ".join(dict.fromkeys(face.input for face in faces))
        title = f"{label} on {where}: its {len(faces)} {word} faces by PSNR at {at}"
        if failed := sum(face.restored.image is None for face in faces):
            title += f", {failed} of them failed"
        _draw_extremes(sheet, i * block, title, names, faces)
    return sheet.figure()


def _draw_extremes(sheet: Sheet, start: int, title: str, names: Sequence[str], faces: Sequence[ExtremeFace]) -> None:
    """One block of an extremes sheet, from pixel ``start`` down: its title, the rows' names, a column per face."""
    top, step = start + EXTREMES_TITLE, sheet.side + 24
    sheet.text(sheet.left, top - 8, title, size=FONT + 1, va="bottom", ha="left")
    for row, name in enumerate(names):
        middle = top + step * row + sheet.side / 2
        sheet.text(sheet.left - 8, middle, heading(name), size=FONT, va="center", ha="right", rotation=90)
    for column, face in enumerate(faces):
        y = top
        _draw_input(sheet, y, face.lr, column)
        shown = [face.restored] if len(names) == 3 else [face.reference or face.restored, face.restored]
        for restored in shown:
            y += step
            sheet.restored(column, y, restored)
            sheet.under(column, y, restored.caption)
        sheet.face(column, y + step, face.hr)
        name = face.face_id if len(face.face_id) < 18 else "…" + face.face_id[-16:]
        sheet.under(column, y + step, name, size=SMALL - 1)

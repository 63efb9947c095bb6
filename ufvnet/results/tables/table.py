"""A table: its cells stay numbers until they are rendered."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ufvnet.metrics import Difference
from ufvnet.results.statistics import MeanScore

NOTHING = "–"
"""The text of a cell without a value."""
INCOMPLETE = "†"
"""Marks a mean, gain or share without the images that the method failed on."""


@dataclass(frozen=True)
class Number:
    """A number and how it is written, e.g. ``Number(8, "{} px")``; NaN is nothing.

    incomplete: of a mean or share that lacks images, as the method failed on them.
    """

    value: float
    form: str = "{:,}"
    incomplete: bool = False

    @property
    def text(self) -> str:
        if math.isnan(self.value):
            return NOTHING
        return self.form.format(self.value) + (INCOMPLETE if self.incomplete else "")


@dataclass(frozen=True)
class Score:
    """PSNR / SSIM; ``failed`` where no image has a score."""

    mean: MeanScore

    @property
    def value(self) -> float:
        return self.mean.psnr

    @property
    def text(self) -> str:
        mark = INCOMPLETE if self.mean.incomplete else ""
        if math.isnan(self.mean.psnr):
            return f"failed{mark}"
        return f"{self.mean.psnr:.2f} / {self.mean.ssim:.4f}{mark}"

    @property
    def rank(self) -> float:
        """What the best cells of a column are chosen by; NaN for an incomplete mean, which may lack the hardest."""
        return math.nan if self.mean.incomplete else self.mean.psnr


@dataclass(frozen=True)
class Gain:
    """A mean difference with its interval; n.s. if the interval holds zero. None is nothing; one image has none."""

    difference: Difference | None
    digits: int = 2

    @property
    def value(self) -> float:
        return math.nan if self.difference is None else self.difference.mean

    @property
    def mean(self) -> str:
        if math.isnan(self.value):  # no image in common, or infinite gains and losses
            return NOTHING
        mark = INCOMPLETE if self.difference and self.difference.incomplete else ""
        return (f"{self.value:+.{self.digits}f}" if math.isfinite(self.value) else f"{self.value:+}") + mark

    @property
    def interval(self) -> str:
        if self.difference is None or not math.isfinite(self.difference.low):
            return ""
        low, high = (f"{end:+.{self.digits}f}" for end in (self.difference.low, self.difference.high))
        return f"[{low}, {high}]" + ("" if self.difference.real else " n.s.")

    @property
    def text(self) -> str:
        return f"{self.mean} {self.interval}".rstrip()


@dataclass(frozen=True)
class Fingerprint:
    """A long hexadecimal text, of which a page shows the beginning."""

    text: str


Cell = str | Number | Score | Gain | Fingerprint
MEASURED, BESIDE_PAPER, OTHER_PROTOCOLS = "Measured", "Beside the paper", "Other protocols"
"""Headings that tables stand under in the report."""


@dataclass(frozen=True)
class Table:
    """A table before it is rendered.

    key: its file's name. rows: the first cell of each names the row. ranked: columns whose best scores are set in bold.
    group: the heading that it stands under in the report.
    """

    key: str
    caption: str
    header: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    ranked: tuple[int, ...] = ()
    group: str = MEASURED

    @property
    def best(self) -> frozenset[tuple[int, int]]:
        """(row, column) of the highest score of each ranked column; several may share it."""
        best = set()
        for column in self.ranked:
            ranks = {i: cell.rank for i, row in enumerate(self.rows) if isinstance(cell := row[column], Score)}
            highest = max((rank for rank in ranks.values() if not math.isnan(rank)), default=math.nan)
            best |= {(i, column) for i, rank in ranks.items() if rank == highest}
        return frozenset(best)


def cell_text(cell: Cell) -> str:
    """A cell as it is written everywhere."""
    return cell if isinstance(cell, str) else cell.text

"""Curves drawn for print, panels in rows and columns above one legend."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd

from .curves import Panel, weights_panel
from .sheets import FONT, PAGE_WIDTH

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLUMN_WIDTH = 3.5
"""Inches, of one of a page's two columns."""
MARKERS = "osD^vPX"
"""Seven, beside ten colours: only the 71st curve looks like the first."""


def curves_figure(rows: Sequence[Sequence[Panel]]) -> Figure:
    """Panels in rows and columns with one legend below them."""
    from matplotlib.figure import Figure

    width = COLUMN_WIDTH if len(rows[0]) == 1 else max(PAGE_WIDTH, 2.4 * len(rows[0]))
    figure = Figure(figsize=(width, 2.5 * len(rows) + 0.5), layout="constrained", dpi=200)
    axes = figure.subplots(len(rows), len(rows[0]), squeeze=False, sharey="row")
    handles: dict[str, Any] = {}
    for row, panels in zip(axes, rows):
        for axis, panel in zip(row, panels):
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
    """Draw a panel on its axes; returns what the legend shows of each curve."""
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


def weights_figure(predicted: pd.DataFrame, anchors: Sequence[float]) -> Figure:
    """A figure of one ``weights_panel``."""
    return curves_figure([[weights_panel(predicted, anchors)]])

"""Panels as inline SVG that takes its colours from the page, so that it is readable in light and dark."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ufvnet.results.figures.curves import Curve, Panel
from ufvnet.results.templating import render

if TYPE_CHECKING:
    from markupsafe import Markup

WIDTH, HEIGHT = 480, 300
LEFT, RIGHT, TOP, BOTTOM = 54, 14, 30, 44
SHAPES = 7
COLOURS = 10
"""Beside seven shapes: only the 71st curve looks like the first."""

Place = Callable[[float, float], tuple[float, float]]
"""Values to pixels."""


@dataclass(frozen=True)
class DrawnCurve:
    """A curve in pixels. line, band: paths. points: x, y, tooltip. shape, style: of the points and of the colour."""

    label: str
    style: int
    shape: int
    dashed: bool
    line: str
    band: str
    points: list[tuple[float, float, str]]


def panels_svg(panels: Sequence[Panel]) -> list[Markup]:
    """A chart per panel, all with one vertical scale; each point has its value as a tooltip."""
    curves = [curve for panel in panels for curve in panel.curves if len(curve.x)]
    if not curves:
        return []
    values = [v for curve in curves for v in (curve.y, curve.low, curve.high) if v is not None]
    ticks = _ticks(values, any(panel.zero for panel in panels))
    return [_panel(panel, ticks) for panel in panels]


def legend(panels: Sequence[Panel]) -> list[tuple[str, Markup]]:
    """(label, swatch) of every measured curve, once; and of Eq. 4 if there is a dashed one."""
    curves = [curve for panel in panels for curve in panel.curves]
    entries = {c.label: {"style": c.style % COLOURS, "shape": c.style % SHAPES} for c in curves if not c.dashed}
    if any(curve.dashed for curve in curves):
        entries["Eq. 4"] = {}
    return [(label, render("swatch.svg.j2", **look)) for label, look in entries.items()]


def _panel(panel: Panel, ticks: list[float]) -> Markup:
    curves = [curve for curve in panel.curves if len(curve.x)]
    xs = sorted({float(x) for curve in curves for x in curve.x}) or [0.0]

    def place(x: float, y: float) -> tuple[float, float]:
        across = (x - xs[0]) / ((xs[-1] - xs[0]) or 1)
        up = (y - ticks[0]) / ((ticks[-1] - ticks[0]) or 1)
        return (
            round(LEFT + 8 + across * (WIDTH - LEFT - RIGHT - 16), 1),
            round(HEIGHT - BOTTOM - up * (HEIGHT - TOP - BOTTOM), 1),
        )

    return render(
        "chart.svg.j2",
        panel=panel,
        width=WIDTH,
        height=HEIGHT,
        left=LEFT,
        right=WIDTH - RIGHT,
        bottom=HEIGHT - BOTTOM,
        rules=[(place(xs[0], value)[1], f"{value:.6g}", panel.zero and abs(value) < 1e-9) for value in ticks],
        sizes=[(place(x, ticks[0])[0], f"{x:g}") for x in xs],
        curves=[_drawn(curve, place) for curve in curves],
    )


def _ticks(values: Sequence[np.ndarray], zero: bool) -> list[float]:
    """Round numbers below, between and above all values."""
    from matplotlib.ticker import MaxNLocator

    finite = np.concatenate([v[np.isfinite(v)] for v in values] + ([np.zeros(1)] if zero else []))
    low, high = (float(finite.min()), float(finite.max())) if len(finite) else (0.0, 1.0)
    ticks = MaxNLocator(6, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high if high > low else low + 1)
    return [round(float(tick), 10) for tick in ticks]


def _drawn(curve: Curve, place: Place) -> DrawnCurve:
    band: list[tuple[float, float]] = []
    if curve.low is not None and curve.high is not None:
        low, high = ([place(x, y) for x, y in zip(curve.x, v) if np.isfinite(y)] for v in (curve.low, curve.high))
        band = low + high[::-1]
    finite = [(x, y) for x, y in zip(curve.x, curve.y) if np.isfinite(y)]
    points = [(*place(x, y), f"{curve.label}, {x:g} px: {y:.4g}") for x, y in finite]
    line = _path([(x, y) for x, y, _ in points])
    style, shape = curve.style % COLOURS, curve.style % SHAPES
    return DrawnCurve(curve.label, style, shape, curve.dashed, line, _path(band) + "Z" * bool(band), points)


def _path(points: Sequence[tuple[float, float]]) -> str:
    return "".join(f"{'L' if i else 'M'}{x} {y}" for i, (x, y) in enumerate(points))

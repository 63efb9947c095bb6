"""Panels as inline SVG that takes its colours from the page, so that it is readable in light and dark."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape

import numpy as np

from ufvnet.results.figures.charts import Curve, Panel

WIDTH, HEIGHT = 480, 300
LEFT, RIGHT, TOP, BOTTOM = 54, 14, 30, 44
SHAPES = (
    '<circle cx="{x}" cy="{y}" r="3.5"/>',
    '<path d="M{x} {y}m-3.3-3.3h6.6v6.6h-6.6z"/>',
    '<path d="M{x} {y}m0-4.4l4 7h-8z"/>',
    '<path d="M{x} {y}m0-4.6l4.3 4.6l-4.3 4.6l-4.3-4.6z"/>',
    '<path d="M{x} {y}m0 4.4l4-7h-8z"/>',
    '<path d="M{x} {y}m-1.4-4.2h2.8v2.8h2.8v2.8h-2.8v2.8h-2.8v-2.8h-2.8v-2.8h2.8z"/>',
    '<path transform="rotate(45 {x} {y})" d="M{x} {y}m-1.4-4.2h2.8v2.8h2.8v2.8h-2.8v2.8h-2.8v-2.8h-2.8v-2.8h2.8z"/>',
)
COLOURS = 10
"""Seven shapes beside them: only the 71st curve looks like the first."""


def panels_svg(panels: Sequence[Panel]) -> list[str]:
    """A chart a panel, all with one vertical scale; each point tells its value as a tooltip."""
    curves = [c for panel in panels for c in panel.curves if len(c.x)]
    if not curves:
        return []
    values = [v for c in curves for v in (c.y, c.low, c.high) if v is not None]
    ticks = _ticks(values, any(p.zero for p in panels))
    return [_panel(panel, ticks) for panel in panels]


def _panel(panel: Panel, ticks: list[float]) -> str:
    curves = [c for c in panel.curves if len(c.x)]
    xs = sorted({float(x) for c in curves for x in c.x}) or [0.0]

    def at(x: float, y: float) -> tuple[float, float]:
        across = (x - xs[0]) / ((xs[-1] - xs[0]) or 1)
        up = (y - ticks[0]) / ((ticks[-1] - ticks[0]) or 1)
        return (
            round(LEFT + 8 + across * (WIDTH - LEFT - RIGHT - 16), 1),
            round(HEIGHT - BOTTOM - up * (HEIGHT - TOP - BOTTOM), 1),
        )

    parts = [f'<text class="title" x="{LEFT}" y="16">{escape(f"{panel.title}: {panel.y_label}")}</text>']
    for value in ticks:
        y = at(xs[0], value)[1]
        kind = "zero" if panel.zero and abs(value) < 1e-9 else "rule"
        parts.append(f'<path class="{kind}" d="M{LEFT} {y}H{WIDTH - RIGHT}"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y + 4}" text-anchor="end">{value:.6g}</text>')
    for x in xs:
        parts.append(f'<text x="{at(x, ticks[0])[0]}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{x:g}</text>')
    middle = (LEFT + WIDTH - RIGHT) / 2
    parts.append(f'<text x="{middle}" y="{HEIGHT - 6}" text-anchor="middle">input size [px]</text>')
    for curve in curves:
        parts += _curve(curve, at)
    label = escape(f"{panel.y_label} over input size, {panel.title}", quote=True)
    return f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{label}">{"".join(parts)}</svg>'


def _ticks(values: Sequence[np.ndarray], zero: bool) -> list[float]:
    """Round numbers below, between and above all values."""
    from matplotlib.ticker import MaxNLocator

    every = np.concatenate([v[np.isfinite(v)] for v in values] + ([np.zeros(1)] if zero else []))
    low, high = (float(every.min()), float(every.max())) if len(every) else (0.0, 1.0)
    ticks = MaxNLocator(6, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high if high > low else low + 1)
    return [round(float(t), 10) for t in ticks]


def _curve(curve: Curve, at: Callable[[float, float], tuple[float, float]]) -> list[str]:
    style = f"s{curve.style % COLOURS}"
    places = [(*at(x, y), x, y) for x, y in zip(curve.x, curve.y) if np.isfinite(y)]
    line = "".join(f"{'L' if i else 'M'}{x} {y}" for i, (x, y, _, _) in enumerate(places))
    if curve.dashed:
        return [f'<path class="line dashed {style}" d="{line}"/>']
    parts = [f'<path class="line {style}" d="{line}"/>']
    if curve.low is not None and curve.high is not None:
        edge = [at(x, y) for x, y in zip(curve.x, curve.low) if np.isfinite(y)]
        edge += [at(x, y) for x, y in zip(curve.x, curve.high) if np.isfinite(y)][::-1]
        outline = "".join(f"{'L' if i else 'M'}{x} {y}" for i, (x, y) in enumerate(edge))
        parts.insert(0, f'<path class="band {style}" d="{outline}Z"/>')
    shape = SHAPES[curve.style % len(SHAPES)]
    for x, y, px, value in places:
        tip = escape(f"{curve.label}, {px:g} px: {value:.4g}")
        parts.append(f'<g class="point {style}">{shape.format(x=x, y=y)}<title>{tip}</title></g>')
    return parts


def legend(panels: Sequence[Panel]) -> list[tuple[str, str]]:
    """(label, swatch) of every measured curve, once; and of Eq. 4 where there is a dashed one."""
    entries: dict[str, str] = {}
    for curve in (c for panel in panels for c in panel.curves):
        shape = SHAPES[curve.style % len(SHAPES)].format(x=12, y=6)
        if not curve.dashed:
            style = f"s{curve.style % COLOURS}"
            entries[curve.label] = f'<path class="line {style}" d="M0 6H24"/><g class="point {style}">{shape}</g>'
    if any(c.dashed for panel in panels for c in panel.curves):
        entries["Eq. 4"] = '<path class="line dashed" d="M0 6H24"/>'
    return [(k, f'<svg class="swatch" viewBox="0 0 24 12" aria-hidden="true">{v}</svg>') for k, v in entries.items()]

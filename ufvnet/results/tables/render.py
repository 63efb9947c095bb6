"""A table as Markdown, CSV, LaTeX and HTML."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pandas as pd

from ufvnet.results.templating import render

from .table import INCOMPLETE, NOTHING, Cell, Fingerprint, Gain, Table, cell_text

if TYPE_CHECKING:
    from markupsafe import Markup

SHOWN_DIGITS = 16
"""Of a fingerprint, in HTML."""

TEX = str.maketrans({
    **{c: f"\\{c}" for c in "&%_#{}$"}, "\\": r"\textbackslash{}", "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}", "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", "±": r"$\pm$",
    "→": r"$\rightarrow$", INCOMPLETE: r"$\dagger$", NOTHING: "--",
})  # fmt: skip


def to_csv(table: Table) -> str:
    rows = [[cell_text(cell) for cell in row] for row in table.rows]
    return pd.DataFrame(rows, columns=list(table.header)).to_csv(index=False)


def to_markdown(table: Table) -> str:
    """The caption in bold, then a pipe table with its best cells in bold."""
    best = table.best
    rows = [
        [f"**{_markdown(c)}**" if (i, j) in best else _markdown(c) for j, c in enumerate(row)]
        for i, row in enumerate(table.rows)
    ]
    lines = [[_markdown(name) for name in table.header], ["---"] * len(table.header), *rows]
    return f"**{table.caption}**\n\n" + "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def to_latex(table: Table) -> str:
    """A booktabs table, its best cells in bold as the paper's."""
    best = table.best
    rows = [
        [rf"\textbf{{{_tex(c)}}}" if (i, j) in best else _tex(c) for j, c in enumerate(row)]
        for i, row in enumerate(table.rows)
    ]
    header, *body = [" & ".join(line) + r" \\" for line in [[_tex(name) for name in table.header], *rows]]
    return "\n".join(
        [r"\begin{table}", rf"\caption{{{_tex(table.caption)}}}",
         rf"\begin{{tabular}}{{l{'c' * (len(table.header) - 1)}}}", r"\toprule",
         header, r"\midrule", *body, r"\bottomrule", r"\end{tabular}", r"\end{table}", ""]
    )  # fmt: skip


@dataclass(frozen=True)
class HtmlCell:
    """What the template makes a cell from.

    note: set in small beside the text. title: a tooltip with the whole of a shortened text. value: what a script sorts
    the cell by: a number, "" for a cell without a value, None for text.
    """

    text: str
    note: str = ""
    title: str = ""
    value: str | None = None
    best: bool = False


def to_html(table: Table) -> Markup:
    """A <table> with its caption, its best cells in <b>; ``data-value`` is what a script sorts a cell by."""
    best = table.best
    rows = [[_html_cell(c, (i, j) in best) for j, c in enumerate(row)] for i, row in enumerate(table.rows)]
    return render("table.html.j2", table=table, rows=rows)


def _html_cell(cell: Cell, is_best: bool) -> HtmlCell:
    if isinstance(cell, str):
        return HtmlCell(cell, value="" if cell in ("", NOTHING) else None)
    if isinstance(cell, Fingerprint):
        is_long = len(cell.text) > SHOWN_DIGITS
        return HtmlCell(f"{cell.text[:SHOWN_DIGITS]}…", title=cell.text) if is_long else HtmlCell(cell.text)
    value = "" if math.isnan(cell.value) else f"{cell.value:.10g}".replace("inf", "Infinity")
    if isinstance(cell, Gain):
        return HtmlCell(cell.mean, cell.interval, value=value, best=is_best)
    return HtmlCell(cell.text, value=value, best=is_best)


def one_line(text: str) -> str:
    """A text with every run of white space as one space."""
    return " ".join(text.split())


def _markdown(cell: Cell) -> str:
    return one_line(cell_text(cell)).replace("|", "\\|")


def _tex(cell: Cell) -> str:
    return one_line(cell_text(cell)).translate(TEX)

"""Tables I-IV, measured beside the paper's, and tables a scale; Markdown, CSV, LaTeX, HTML."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from html import escape
from pathlib import Path

import numpy as np
import pandas as pd

from ufvnet.config import EvaluateConfig
from ufvnet.data.bicubic import VIEWS
from ufvnet.data.schema import write_text
from ufvnet.metrics import PRIMARY, PROTOCOLS, paired_difference
from ufvnet.models.inference import BICUBIC

from .paper import SAME_NETWORK, TABLES, Column, Numbers, PaperTable
from .scoring import Row, rows_of

NOTHING = "–"


@dataclass(frozen=True)
class Table:
    """A table ready to be written: cells are text; ``best`` marks (row, column) cells to set in bold."""

    key: str
    caption: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    best: frozenset[tuple[int, int]] = frozenset()

    def markdown(self) -> str:
        lines = [self.header, tuple("---" for _ in self.header), *self._with_best("**{}**")]
        return f"**{self.caption}**\n\n" + "\n".join("| " + " | ".join(cells) + " |" for cells in lines) + "\n"

    def csv(self) -> str:
        return pd.DataFrame(list(self.rows), columns=list(self.header)).to_csv(index=False)

    def latex(self) -> str:
        """booktabs, best in bold as the paper does."""
        rows = [" & ".join(_tex(c) for c in self.header) + r" \\"]
        body = [" & ".join(_tex(c) for c in cells) + r" \\" for cells in self._with_best(r"\textbf{{{}}}")]
        return "\n".join(
            [r"\begin{table}", rf"\caption{{{_tex(self.caption)}}}",
             rf"\begin{{tabular}}{{l{'c' * (len(self.header) - 1)}}}", r"\toprule",
             *rows, r"\midrule", *body, r"\bottomrule", r"\end{tabular}", r"\end{table}", ""]
        )  # fmt: skip

    def html(self) -> str:
        """A plain <table> with its caption; every text is escaped, best in <b>."""
        head = "".join(f'<th scope="col">{escape(c)}</th>' for c in self.header)
        body = []
        for i, cells in enumerate(self.rows):
            line = [f"<b>{escape(c)}</b>" if (i, j) in self.best else escape(c) for j, c in enumerate(cells)]
            body.append(f'<tr><th scope="row">{line[0]}</th>' + "".join(f"<td>{c}</td>" for c in line[1:]) + "</tr>")
        return "\n".join(
            ["<table>", f"<caption>{escape(self.caption)}</caption>", f"<thead><tr>{head}</tr></thead>",
             "<tbody>", *body, "</tbody>", "</table>", ""]
        )  # fmt: skip

    def _with_best(self, form: str) -> list[tuple[str, ...]]:
        return [
            tuple(form.format(c) if (i, j) in self.best else c for j, c in enumerate(cells))
            for i, cells in enumerate(self.rows)
        ]


def _tex(text: str) -> str:
    for plain, escaped in (("&", r"\&"), ("%", r"\%"), ("_", r"\_"), ("#", r"\#"), ("±", r"$\pm$"), (NOTHING, "--")):
        text = text.replace(plain, escaped)
    return text


def all_tables(config: EvaluateConfig, scores: pd.DataFrame) -> list[Table]:
    """The paper's four tables, then one a test set and protocol by scale, then gains over bicubic."""
    rows = rows_of(config)
    tables = [paper_table(t, config, scores, rows) for t in TABLES]
    for test_set in config.datasets:
        of_set = scores[scores["dataset"] == test_set.name]
        tables += [scale_table(of_set, test_set.name, protocol) for protocol in PROTOCOLS]
        if BICUBIC in set(of_set["model"]) and of_set["model"].nunique() > 1:
            tables.append(gain_table(of_set, test_set.name, config.seed))
    tables.append(assigned_table(config, scores))
    return tables


def write_tables(tables: Iterable[Table], folder: Path) -> None:
    """Each table as .md, .csv, .tex and .html."""
    for table in tables:
        texts = {".md": table.markdown(), ".csv": table.csv(), ".tex": table.latex(), ".html": table.html()}
        for suffix, text in texts.items():
            write_text(folder / f"{table.key}{suffix}", text)


def paper_table(paper: PaperTable, config: EvaluateConfig, scores: pd.DataFrame, rows: list[Row]) -> Table:
    """A table of the paper: PSNR / SSIM (protocol y, cross view) measured, then the paper's own number."""
    columns = [c for c in paper.columns if c.place < len(config.datasets)]
    header = ["method"]
    for c in columns:
        name = f"{config.datasets[c.place].name}-{c.tested}"
        header += [f"trained {c.trained} → {name}", f"paper: {c.paper}"]
    cells, measured = [], {}
    methods = [*paper.rows, *_new_methods(rows)]
    for i, method in enumerate(methods):
        printed = paper.rows.get(method)
        line = [method]
        for j, c in enumerate(columns):
            numbers = _measured(method, c, config, scores, rows)
            if numbers:
                measured[i, 2 * j + 1] = numbers[0]
            line += [_pair(numbers), _pair(printed[paper.columns.index(c)] if printed else None)]
        cells.append(tuple(line))
    best = {max((v, k) for k, v in measured.items() if k[1] == j)[1] for j in {k[1] for k in measured}}
    missing = [m for i, m in enumerate(methods) if not any(k[0] == i for k in measured)]
    presets = sorted({r.preset for r in rows if r.preset})
    caption = (
        f"Table {'I' * int(paper.number) if paper.number != '4' else 'IV'}: {paper.title}. PSNR / SSIM (protocol y, "
        f"every image at every scale). Measured on {', '.join(s.name for s in config.datasets)} with preset "
        f"{', '.join(presets) or 'none'}; the paper's columns are other data and full training, so compare gains "
        f"and order, not values." + (f" Not evaluated: {', '.join(missing)}." if missing else "")
    )
    return Table(f"table_{paper.number}", caption, tuple(header), tuple(cells), frozenset(best))


def _new_methods(rows: list[Row]) -> list[str]:
    """Evaluated models that the paper has in none of its tables: they stand below its rows in each."""
    known = {method for table in TABLES for method in table.rows} | set(SAME_NETWORK)
    return list(dict.fromkeys(r.name for r in rows if r.name not in known))


def _measured(method: str, c: Column, config: EvaluateConfig, scores: pd.DataFrame, rows: list[Row]) -> Numbers | None:
    names = (method, SAME_NETWORK.get(method, method))
    labels = [r.label for r in rows if r.name in names and r.trained_on in ("", c.trained)]
    ks = set(VIEWS[c.tested])
    of = scores[(scores["dataset"] == config.datasets[c.place].name) & scores["k"].isin(ks)]
    of = of[of["model"] == labels[0]] if labels else of[:0]
    if set(of["k"]) != ks:  # the evaluation's view lacks a scale of this table
        return None
    return float(of[f"psnr_{PRIMARY}"].mean()), float(of[f"ssim_{PRIMARY}"].mean())


def _pair(numbers: Numbers | None) -> str:
    return f"{numbers[0]:.2f} / {numbers[1]:.4f}" if numbers else NOTHING


def scale_table(scores: pd.DataFrame, dataset: str, protocol: str) -> Table:
    """PSNR / SSIM of each model at each LR size and in the mean, on one test set."""
    models, sizes = list(dict.fromkeys(scores["model"])), sorted(scores["px"].unique())
    means = scores.groupby(["model", "px"])[[f"psnr_{protocol}", f"ssim_{protocol}"]].mean()
    overall = scores.groupby("model")[[f"psnr_{protocol}", f"ssim_{protocol}"]].mean()
    cells = tuple(
        (m, *(_pair(tuple(means.loc[(m, px)])) for px in sizes), _pair(tuple(overall.loc[m]))) for m in models
    )
    values = np.array([[*(means.loc[(m, px)].iloc[0] for px in sizes), overall.loc[m].iloc[0]] for m in models])
    best = frozenset((int(i), j + 1) for j, i in enumerate(values.argmax(0)))
    faces = scores["face_id"].nunique()
    caption = f"{dataset}: PSNR / SSIM by input size, protocol {protocol}, {faces} faces at every scale."
    return Table(
        f"scales_{dataset}_{protocol}", caption, ("method", *(f"{px} px" for px in sizes), "mean"), cells, best
    )


def gain_table(scores: pd.DataFrame, dataset: str, seed: int) -> Table:
    """PSNR of each model over bicubic, paired by image, with bootstrap 95 % intervals."""
    wide = scores.pivot_table(index="face_id", columns=["model", "px"], values=f"psnr_{PRIMARY}")
    sizes = sorted(scores["px"].unique())
    models = [m for m in dict.fromkeys(scores["model"]) if m != BICUBIC]
    cells = []
    for model in models:
        pairs = [(wide[model][px].to_numpy(), wide[BICUBIC][px].to_numpy()) for px in sizes]
        pairs.append((wide[model][sizes].to_numpy().mean(1), wide[BICUBIC][sizes].to_numpy().mean(1)))
        differences = [paired_difference(a, b, seed) for a, b in pairs]
        cells.append((model, *(f"{d.mean:+.2f} [{d.low:+.2f}, {d.high:+.2f}]" for d in differences)))
    caption = f"{dataset}: gain over bicubic in dB (protocol {PRIMARY}), mean and bootstrap 95 % interval over images."
    return Table(f"gain_{dataset}", caption, ("method", *(f"{px} px" for px in sizes), "mean"), tuple(cells))


def assigned_table(config: EvaluateConfig, scores: pd.DataFrame) -> Table:
    """The assigned view: one seeded scale an image, balanced over the scales (METHOD.md section 6)."""
    cells = []
    models = list(dict.fromkeys(scores["model"]))
    parts = []
    for test_set in config.datasets:
        of = scores[scores["dataset"] == test_set.name]
        parts.append(of.merge(assigned_scales(of, config.seed), on=["face_id", "k"]))
    means = [p.groupby("model")[[f"psnr_{PRIMARY}", f"ssim_{PRIMARY}"]].mean() for p in parts]
    for model in models:
        cells.append((model, *(_pair(tuple(m.loc[model])) for m in means)))
    caption = (
        f"Assigned view: PSNR / SSIM (protocol {PRIMARY}) with one scale an image, seed {config.seed}. It carries "
        "sampling noise; the cross view above is primary."
    )
    return Table("assigned", caption, ("method", *(s.name for s in config.datasets)), tuple(cells))


def assigned_scales(scores: pd.DataFrame, seed: int) -> pd.DataFrame:
    """face_id and its k: a seeded permutation of the faces, dealt to the scales in turn."""
    faces, ks = sorted(scores["face_id"].unique()), sorted(scores["k"].unique())
    order = np.random.default_rng(seed).permutation(len(faces))
    return pd.DataFrame({"face_id": [faces[i] for i in order], "k": [ks[i % len(ks)] for i in range(len(faces))]})

"""Tables I-IV, measured beside the paper's, and tables a scale; Markdown, CSV, LaTeX, HTML."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from html import escape
from pathlib import Path

import numpy as np
import pandas as pd

from ufvnet.config import EvaluateConfig, TestSet
from ufvnet.data.bicubic import VIEWS
from ufvnet.data.schema import write_text
from ufvnet.metrics import PRIMARY, PROTOCOLS, Difference, paired_difference
from ufvnet.models.inference import BICUBIC

from .methods import Row, missing_of, rows_of
from .paper import SAME_NETWORK, TABLES, Column, Numbers, PaperTable

NOTHING = "–"
FAILED = "†"
"""Marks a mean without the images that the method failed on."""
ROMAN = {"1": "I", "2": "II", "3": "III", "4": "IV"}


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
    """The paper's four tables, then for each test set: by scale and protocol, gains over bicubic, differences of all
    pairs of methods, time and identity; then the assigned view.
    """
    rows = rows_of(config)
    tables = [paper_table(t, config, scores, rows) for t in TABLES]
    for test_set in config.datasets:
        of_set = scores[scores["dataset"] == test_set.name]
        tables += [scale_table(of_set, test_set.name, protocol) for protocol in PROTOCOLS]
        if BICUBIC in set(of_set["model"]) and of_set["model"].nunique() > 1:
            tables.append(gain_table(of_set, test_set.name, config.seed))
        if of_set["model"].nunique() > 1:
            tables.append(difference_table(of_set, test_set.name, config.seed))
        tables.append(cost_table(of_set, test_set.name))
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
            of = _measured(method, c, config, scores, rows)
            if of is not None:
                measured[i, 2 * j + 1] = _ranked(of, PRIMARY)
            line += [_cell(of, PRIMARY), _pair(printed[paper.columns.index(c)] if printed else None)]
        cells.append(tuple(line))
    best = {max((v, k) for k, v in measured.items() if k[1] == j and v == v)[1] for j in _full(measured)}
    missing = [m for i, m in enumerate(methods) if not any(k[0] == i for k in measured)]
    caption = (
        f"Table {ROMAN[paper.number]}: {paper.title}. PSNR / SSIM (protocol {PRIMARY}, every image at every scale), "
        f"measured on {' and '.join(_set_name(s) for s in config.datasets)}, beside the paper's numbers. "
        + _what_differs(rows)
        + (f" Not evaluated: {', '.join(missing)}." if missing else "")
        + "".join(f" Left out ({reason})." for reason in missing_of(config))
        + failures(scores)
    )
    return Table(f"table_{paper.number}", caption, tuple(header), tuple(cells), frozenset(best))


def _full(measured: dict[tuple[int, int], float]) -> set[int]:
    return {column for (_, column), value in measured.items() if value == value}


def _set_name(test_set: TestSet) -> str:
    return test_set.name + (f" (the first {test_set.limit} faces)" if test_set.limit else "")


def _what_differs(rows: list[Row]) -> str:
    """How the measured models were made, where the paper trained paper-size networks on CelebA."""
    made = []
    for row in rows:
        card = row.about()
        if "steps" in card and "trained_on" in card:
            on = card["trained_on"]
            made.append(
                f"{row.label}: preset {row.preset}, {card['hr_size']} px, {card['steps']:,} steps on {on['dataset']} "
                f"({on.get('faces', 0):,} faces)"
            )
    return (
        "The paper's columns are other photographs and full training (CelebA, 168,854 faces, 128 px): compare gains "
        "over bicubic and order, not values." + (f" Trained here: {'; '.join(made)}." if made else "")
    )


def failures(scores: pd.DataFrame) -> str:
    """A sentence for captions on methods that failed on images; empty where none did."""
    failed = scores[scores["status"] == "failed"]
    notes = [
        f"{model} on {len(of):,} of {int((scores['model'] == model).sum()):,} images ({_reason(of)})"
        for model, of in failed.groupby("model", sort=False)
    ]
    return f" {FAILED} Failed, and left out of the mean: {'; '.join(notes)}." if notes else ""


def _reason(failed: pd.DataFrame) -> str:
    """The most frequent reason, and how many others there are."""
    reasons = failed["reason"].value_counts()
    others = f", and {len(reasons) - 1} other reasons" if len(reasons) > 1 else ""
    return f"most often {reasons.index[0]}{others}" if others else str(reasons.index[0])


def _new_methods(rows: list[Row]) -> list[str]:
    """Evaluated models that the paper has in none of its tables: they stand below its rows in each."""
    known = {method for table in TABLES for method in table.rows} | set(SAME_NETWORK)
    return list(dict.fromkeys(r.name for r in rows if r.name not in known))


def _measured(
    method: str, c: Column, config: EvaluateConfig, scores: pd.DataFrame, rows: list[Row]
) -> pd.DataFrame | None:
    """The scores behind a cell, or None where the method, or a scale of this table, was not evaluated."""
    names = (method, SAME_NETWORK.get(method, method))
    labels = [r.label for r in rows if r.name in names and r.trained_on in ("", c.trained)]
    ks = set(VIEWS[c.tested])
    of = scores[(scores["dataset"] == config.datasets[c.place].name) & scores["k"].isin(ks)]
    of = of[of["model"] == labels[0]] if labels else of[:0]
    return of if set(of["k"]) == ks else None


def _pair(numbers: Numbers | None) -> str:
    return f"{numbers[0]:.2f} / {numbers[1]:.4f}" if numbers else NOTHING


def _cell(of: pd.DataFrame | None, protocol: str) -> str:
    """Mean PSNR / SSIM of scores, marked where images are missing from it."""
    if of is None:
        return NOTHING
    mark = FAILED if (of["status"] == "failed").any() else ""
    if (of["status"] == "failed").all():
        return f"failed{mark}"
    return _pair((of[f"psnr_{protocol}"].mean(), of[f"ssim_{protocol}"].mean())) + mark


def _ranked(of: pd.DataFrame, protocol: str) -> float:
    """The mean PSNR by which cells are compared; NaN where images are missing from it, perhaps the hardest."""
    return float("nan") if (of["status"] == "failed").any() else float(of[f"psnr_{protocol}"].mean())


def scale_table(scores: pd.DataFrame, dataset: str, protocol: str) -> Table:
    """PSNR / SSIM of each method at each LR size and in the mean, on one test set."""
    models, sizes = list(dict.fromkeys(scores["model"])), sorted(scores["px"].unique())
    parts = {m: of for m, of in scores.groupby("model")}
    columns = [[of[of["px"] == px] for px in sizes] + [of] for of in (parts[m] for m in models)]
    cells = tuple((m, *(_cell(of, protocol) for of in line)) for m, line in zip(models, columns))
    values = np.array([[_ranked(of, protocol) for of in line] for line in columns])
    values = np.where(np.isnan(values), -np.inf, values)
    best = frozenset((int(i), j + 1) for j, i in enumerate(values.argmax(0)) if values[i, j] > -np.inf)
    faces = scores["face_id"].nunique()
    caption = (
        f"{dataset}: PSNR / SSIM by input size, protocol {protocol}, {faces:,} faces at every scale.{failures(scores)}"
    )
    return Table(
        f"scales_{dataset}_{protocol}", caption, ("method", *(f"{px} px" for px in sizes), "mean"), cells, best
    )


def _wide(scores: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Faces x (model, px)."""
    return scores.pivot_table(index="face_id", columns=["model", "px"], values=metric, dropna=False)


def _interval(a: np.ndarray, b: np.ndarray, seed: int) -> Difference | None:
    """Paired over the images that both methods have; None where there are none."""
    both = np.isfinite(a) & np.isfinite(b)
    return paired_difference(a[both], b[both], seed) if both.any() else None


def _shown(d: Difference | None, digits: int = 2) -> str:
    if d is None:
        return NOTHING
    text = f"{d.mean:+.{digits}f} [{d.low:+.{digits}f}, {d.high:+.{digits}f}]"
    return text if d.real else f"{text} n.s."


def gain_table(scores: pd.DataFrame, dataset: str, seed: int) -> Table:
    """PSNR and SSIM of each method over bicubic, paired by image, with bootstrap 95 % intervals."""
    sizes = sorted(scores["px"].unique())
    models = [m for m in dict.fromkeys(scores["model"]) if m != BICUBIC]
    cells = []
    for metric, unit, digits in ((f"psnr_{PRIMARY}", "dB", 2), (f"ssim_{PRIMARY}", "SSIM", 4)):
        wide = _wide(scores, metric)
        for model in models:
            pairs = [(wide[model][px].to_numpy(), wide[BICUBIC][px].to_numpy()) for px in sizes]
            pairs.append((wide[model][sizes].to_numpy().mean(1), wide[BICUBIC][sizes].to_numpy().mean(1)))
            cells.append((f"{model}, {unit}", *(_shown(_interval(a, b, seed), digits) for a, b in pairs)))
    caption = (
        f"{dataset}: gain over bicubic (protocol {PRIMARY}), mean and bootstrap 95 % interval over images; n.s.: the "
        f"interval holds zero.{failures(scores)}"
    )
    return Table(f"gain_{dataset}", caption, ("method", *(f"{px} px" for px in sizes), "mean"), tuple(cells))


def difference_table(scores: pd.DataFrame, dataset: str, seed: int) -> Table:
    """Row minus column in PSNR, in the mean over all sizes, paired by image: which differences are real."""
    models = list(dict.fromkeys(scores["model"]))
    wide = _wide(scores, f"psnr_{PRIMARY}")
    means = {m: wide[m].to_numpy().mean(1) for m in models}
    cells = tuple(
        (a, *(NOTHING if a == b else _shown(_interval(means[a], means[b], seed)) for b in models)) for a in models
    )
    caption = (
        f"{dataset}: row minus column in dB (protocol {PRIMARY}), mean over sizes and images with a bootstrap 95 % "
        f"interval; n.s.: the interval holds zero, so the difference is not shown to be real.{failures(scores)}"
    )
    return Table(f"differences_{dataset}", caption, ("", *models), cells)


def cost_table(scores: pd.DataFrame, dataset: str) -> Table:
    """Time an image and identity similarity by size."""
    sizes = sorted(scores["px"].unique())
    times = scores.groupby(["model", "px"])["milliseconds"].median()
    alike = scores.groupby(["model", "px"])["identity"].mean()
    cells = []
    for model in dict.fromkeys(scores["model"]):
        cells.append((f"{model}, ms", *(_number(times[model][px], 1) for px in sizes), _number(times[model].mean(), 1)))
        if alike[model].notna().any():
            line = (_number(alike[model][px], 4) for px in sizes)
            cells.append((f"{model}, identity", *line, _number(alike[model].mean(), 4)))
    measured = scores.loc[scores["identity"].notna(), "face_id"].nunique()
    caption = f"{dataset}: median time an image as it was scored (one core, or the device), in ms" + (
        f"; identity: cosine of dlib's descriptors of SR and HR, mean over {measured:,} faces." if measured else "."
    )
    return Table(f"cost_{dataset}", caption, ("method", *(f"{px} px" for px in sizes), "mean"), tuple(cells))


def _number(value: float, digits: int) -> str:
    return f"{value:.{digits}f}" if value == value else NOTHING


def assigned_table(config: EvaluateConfig, scores: pd.DataFrame) -> Table:
    """The assigned view: one seeded scale an image, balanced over the scales (METHOD.md section 6)."""
    models = list(dict.fromkeys(scores["model"]))
    parts = []
    for test_set in config.datasets:
        of = scores[scores["dataset"] == test_set.name]
        parts.append(of.merge(assigned_scales(of, config.seed), on=["face_id", "k"]))
    cells = tuple((model, *(_cell(p[p["model"] == model], PRIMARY) for p in parts)) for model in models)
    caption = (
        f"Assigned view: PSNR / SSIM (protocol {PRIMARY}) with one scale an image, seed {config.seed}. It carries "
        f"sampling noise; the cross view above is primary.{failures(scores)}"
    )
    return Table("assigned", caption, ("method", *(s.name for s in config.datasets)), cells)


def assigned_scales(scores: pd.DataFrame, seed: int) -> pd.DataFrame:
    """face_id and its k: a seeded permutation of the faces, dealt to the scales in turn."""
    faces, ks = sorted(scores["face_id"].unique()), sorted(scores["k"].unique())
    order = np.random.default_rng(seed).permutation(len(faces))
    return pd.DataFrame({"face_id": [faces[i] for i in order], "k": [ks[i % len(ks)] for i in range(len(faces))]})

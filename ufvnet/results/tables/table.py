"""Tables I-IV, measured beside the paper's, and tables a scale; Markdown, CSV, LaTeX, HTML."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from html import escape
from pathlib import Path

import numpy as np
import pandas as pd

from ufvnet.config import EvaluateConfig, TestSet
from ufvnet.files import safe_name, write_text
from ufvnet.imaging.resize import VIEWS
from ufvnet.metrics import PRIMARY, PROTOCOLS, differences, mean_interval
from ufvnet.models.inference import BICUBIC
from ufvnet.results.methods.rows import Row, missing_of, rows_of

from .paper import SAME_NETWORK, TABLES, Column, Numbers, PaperTable

NOTHING = "–"
FAILED = "†"
"""Marks a mean without the images that the method failed on."""
LONGEST_REASON = 120
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
        header = tuple(_cell_text(c) for c in self.header)
        lines = [header, tuple("---" for _ in header), *self._with_best("**{}**", _cell_text)]
        return f"**{self.caption}**\n\n" + "\n".join("| " + " | ".join(cells) + " |" for cells in lines) + "\n"

    def csv(self) -> str:
        return pd.DataFrame(list(self.rows), columns=list(self.header)).to_csv(index=False)

    def latex(self) -> str:
        """booktabs, best in bold as the paper does."""
        rows = [" & ".join(_tex(c) for c in self.header) + r" \\"]
        body = [" & ".join(cells) + r" \\" for cells in self._with_best(r"\textbf{{{}}}", _tex)]
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

    def _with_best(self, form: str, escaped: Callable[[str], str]) -> list[tuple[str, ...]]:
        return [
            tuple(form.format(escaped(c)) if (i, j) in self.best else escaped(c) for j, c in enumerate(cells))
            for i, cells in enumerate(self.rows)
        ]


TEX = str.maketrans({
    **{c: f"\\{c}" for c in "&%_#{}$"}, "\\": r"\textbackslash{}", "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}", "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", "±": r"$\pm$",
    "→": r"$\rightarrow$", FAILED: r"$\dagger$", NOTHING: "--",
})  # fmt: skip


def _tex(text: str) -> str:
    return _one_line(text).translate(TEX)


def _cell_text(text: str) -> str:
    """Of a cell in Markdown."""
    return _one_line(text).replace("|", "\\|")


def _one_line(text: str) -> str:
    return " ".join(text.split())


def brief(reason: str) -> str:
    """A reason on one line, as captions and the report tell it; scores/ has all of it."""
    line = _one_line(reason)
    return line if len(line) <= LONGEST_REASON else line[: LONGEST_REASON - 1] + "…"


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


def write_tables(tables: Iterable[Table], folder: Path, place: Callable[[str], Path] | None = None) -> None:
    """Each table as .md, .csv, .tex and .html. place: the path of a name, where it is not just in the folder."""
    place = place or folder.joinpath
    for table in tables:
        texts = {".md": table.markdown(), ".csv": table.csv(), ".tex": table.latex(), ".html": table.html()}
        for suffix, text in texts.items():
            write_text(place(f"{safe_name(table.key)}{suffix}"), text)


def paper_table(paper: PaperTable, config: EvaluateConfig, scores: pd.DataFrame, rows: list[Row]) -> Table:
    """A table of the paper: PSNR / SSIM (protocol y, cross view) measured, then the paper's own number."""
    columns = [c for c in paper.columns if c.place < len(config.datasets)]
    header = ["method"]
    for c in columns:
        name = f"{config.datasets[c.place].name}-{c.tested}"
        header += [f"trained {c.trained} → {name}", f"paper: trained {c.trained} → {c.paper}"]
    cells, measured = [], {}
    lines = _lines(paper, columns, rows)
    for i, (method, labels) in enumerate(lines):
        printed = paper.rows.get(method)
        line = [method]
        for j, (c, label) in enumerate(zip(columns, labels)):
            of = _measured(label, c, config, scores)
            if of is not None:
                measured[i, 2 * j + 1] = ranking(of, PRIMARY)
            line += [_cell(of, PRIMARY), _pair(printed[paper.columns.index(c)] if printed else None)]
        cells.append(tuple(line))
    missing = [m for i, (m, _) in enumerate(lines) if not any(k[0] == i for k in measured)]
    caption = (
        f"Table {ROMAN[paper.number]}: {paper.title}. PSNR / SSIM (protocol {PRIMARY}, every image at every scale), "
        f"measured on {' and '.join(_set_name(s) for s in config.datasets)}, beside the paper's numbers. "
        + _what_differs(rows)
        + (f" Not evaluated: {', '.join(missing)}." if missing else "")
        + "".join(f" Left out ({brief(reason)})." for reason in missing_of(config))
        + failures(scores)
    )
    return Table(f"table_{paper.number}", caption, tuple(header), tuple(cells), best_of(measured))


def best_of(values: dict[tuple[int, int], float]) -> frozenset[tuple[int, int]]:
    """Of (row, column) cells those with their column's highest value, which several may share; NaN is no value."""
    highest: dict[int, float] = {}
    for (_, column), value in values.items():
        if value == value:
            highest[column] = max(value, highest.get(column, value))
    return frozenset(cell for cell, value in values.items() if value == highest.get(cell[1]))


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
    return f"most often {brief(reasons.index[0])}{others}" if others else brief(reasons.index[0])


def _new_methods(rows: list[Row]) -> list[str]:
    """Evaluated models that the paper has in none of its tables: they stand below its rows in each."""
    known = {method for table in TABLES for method in table.rows} | set(SAME_NETWORK)
    return list(dict.fromkeys(r.name for r in rows if r.name not in known))


def _lines(paper: PaperTable, columns: list[Column], rows: list[Row]) -> list[tuple[str, list[str | None]]]:
    """The table's rows: their name, and the label of the method that fills each column.

    A method whose place another fills has a row of its own, by its label, below.
    """
    lines: list[tuple[str, list[str | None]]] = []
    for name in [*paper.rows, *_new_methods(rows)]:
        places = [_labels(name, c, rows) for c in columns]
        lines.append((name, [of[0] if of else None for of in places]))
        others = dict.fromkeys(label for of in places for label in of[1:])
        lines += [(label, [label if label in of else None for of in places]) for label in others]
    return lines


def _labels(name: str, c: Column, rows: list[Row]) -> list[str]:
    """The methods that may fill a cell: those of its very name first, then those that were not trained on a view."""
    names = (name, SAME_NETWORK.get(name, name))
    found = [r for r in rows if r.name in names and r.trained_on in ("", c.trained)]
    return [r.label for r in sorted(found, key=lambda r: (r.name != name, r.trained_on != ""))]


def _measured(label: str | None, c: Column, config: EvaluateConfig, scores: pd.DataFrame) -> pd.DataFrame | None:
    """The scores behind a cell, or None where a scale of this table was not evaluated."""
    ks = set(VIEWS[c.tested])
    of = scores[(scores["dataset"] == config.datasets[c.place].name) & scores["k"].isin(ks)]
    of = of[of["model"] == label]
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


def ranking(of: pd.DataFrame, protocol: str) -> float:
    """The mean PSNR by which cells are compared; NaN where images are missing from it, perhaps the hardest."""
    return float("nan") if (of["status"] == "failed").any() else float(of[f"psnr_{protocol}"].mean())


def scale_table(scores: pd.DataFrame, dataset: str, protocol: str) -> Table:
    """PSNR / SSIM of each method at each LR size and in the mean, on one test set."""
    models, sizes = list(dict.fromkeys(scores["model"])), sorted(scores["px"].unique())
    parts = {m: of for m, of in scores.groupby("model")}
    columns = [[of[of["px"] == px] for px in sizes] + [of] for of in (parts[m] for m in models)]
    cells = tuple((m, *(_cell(of, protocol) for of in line)) for m, line in zip(models, columns))
    ranked = {(i, j): ranking(of, protocol) for i, line in enumerate(columns) for j, of in enumerate(line, start=1)}
    faces = scores["face_id"].nunique()
    caption = (
        f"{dataset}: PSNR / SSIM by input size, protocol {protocol}, {faces:,} faces at every scale.{failures(scores)}"
    )
    return Table(
        f"scales_{dataset}_{protocol}",
        caption,
        ("method", *(f"{px} px" for px in sizes), "mean"),
        cells,
        best_of(ranked),
    )


def _wide(scores: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Faces x (model, px)."""
    return scores.pivot_table(index="face_id", columns=["model", "px"], values=metric, dropna=False)


def _paired(wide: pd.DataFrame, a: str, b: str) -> np.ndarray:
    """a - b: (faces, sizes)."""
    return differences(wide[a].to_numpy(), wide[b].to_numpy())


def _shown(d: np.ndarray, seed: int, digits: int = 2) -> str:
    """The mean of (N,) differences and its interval, over the images that both methods have."""
    d = d[~np.isnan(d)]
    if not len(d):
        return NOTHING
    of = mean_interval(d, seed)
    if not np.isfinite(of.mean):  # NaN: gains and losses without end
        return NOTHING if np.isnan(of.mean) else f"{of.mean:+}"
    text = f"{of.mean:+.{digits}f} [{of.low:+.{digits}f}, {of.high:+.{digits}f}]"
    return text if of.real else f"{text} n.s."


def _mean(d: np.ndarray) -> np.ndarray:
    """Of each face over the sizes."""
    with np.errstate(invalid="ignore"):
        return d.mean(1)


def gain_table(scores: pd.DataFrame, dataset: str, seed: int) -> Table:
    """PSNR and SSIM of each method over bicubic, paired by image, with bootstrap 95 % intervals."""
    sizes = sorted(scores["px"].unique())
    models = [m for m in dict.fromkeys(scores["model"]) if m != BICUBIC]
    cells = []
    for metric, unit, digits in ((f"psnr_{PRIMARY}", "dB", 2), (f"ssim_{PRIMARY}", "SSIM", 4)):
        wide = _wide(scores, metric)
        for model in models:
            gains = _paired(wide, model, BICUBIC)
            cells.append((f"{model}, {unit}", *(_shown(d, seed, digits) for d in (*gains.T, _mean(gains)))))
    caption = (
        f"{dataset}: gain over bicubic (protocol {PRIMARY}), mean and bootstrap 95 % interval over images; n.s.: the "
        f"interval holds zero.{failures(scores)}"
    )
    return Table(f"gain_{dataset}", caption, ("method", *(f"{px} px" for px in sizes), "mean"), tuple(cells))


def difference_table(scores: pd.DataFrame, dataset: str, seed: int) -> Table:
    """Row minus column in PSNR, in the mean over all sizes, paired by image: which differences are real."""
    models = list(dict.fromkeys(scores["model"]))
    wide = _wide(scores, f"psnr_{PRIMARY}")
    cells = tuple(
        (a, *(NOTHING if a == b else _shown(_mean(_paired(wide, a, b)), seed) for b in models)) for a in models
    )
    caption = (
        f"{dataset}: row minus column in dB (protocol {PRIMARY}), mean over sizes and images with a bootstrap 95 % "
        f"interval; n.s.: the interval holds zero, so the difference is not shown to be real.{failures(scores)}"
    )
    return Table(f"differences_{dataset}", caption, ("row minus column", *models), cells)


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
    """The assigned view: one seeded scale an image, balanced over the scales (docs/method.md section 6)."""
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

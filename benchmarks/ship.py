"""Weights, card and results page of a shipped model: steps between which its evaluations run.

``python -m benchmarks.ship weights MODEL [NAME]`` puts a model folder's weights, in half precision, below
ufvnet/weights/NAME (ufvnet-routed). MODEL may be what ``benchmarks.keep`` wrote.

``python -m benchmarks.ship card EVALUATION GROUPS [NAME]`` fills the card's template (benchmarks/NAME.card.md) with
the numbers of two evaluations' folders, of configs/evaluations/real.yaml and groups.yaml, of these very weights.

``python -m benchmarks.ship page EVALUATION`` puts the tables of configs/evaluations/real.yaml's folder below the
introduction of results/real.md, which it leaves as it is.

The default of ``restore``, ``Restorer`` and ``serve`` is ``DEFAULT_MODEL`` in ufvnet/config/restore.py.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path
from string import Template
from typing import Any

import pandas as pd

from ufvnet.config import ConfigError, Method
from ufvnet.data.lr_images import size_of
from ufvnet.files import MARKER, write_json, write_text
from ufvnet.front_matter import with_front_matter
from ufvnet.models import create
from ufvnet.models.complexity import complexity
from ufvnet.models.readme import hub_fields, hub_result
from ufvnet.models.store import CARD, README, SHIPPED, WEIGHTS, read_card, save_half, sealed_card
from ufvnet.results.groups import EVERYONE, FAR_BELOW, is_far_below
from ufvnet.results.methods.resolve import resolve_method
from ufvnet.results.tables.summary import ALL, FILE
from ufvnet.results.tables.table import NOTHING

NAME = "ufvnet-routed"
GAINS = re.compile(r"^\*\*(.+?)\*\*, ([\d,]+) faces: gain over bicubic.*\n\n((?:\|.*\n)+)", re.MULTILINE)
"""A table of gains in a filled card: name of the test set, number of faces, lines of the table."""
DISTANCES = ("distance", "bicubic's distance")
"""Rows of a table of identity that a results page shows."""
MOST_BYTES = 25_000_000
"""Of all files of all shipped models."""


def ship_weights(model: Path, out: Path) -> Path:
    """Copy a model's weights in half precision to ``out``, under its name; an earlier card there is kept.

    Raises:
        ConfigError: there is no such model, it is of another kind than the one there, or its files are too large.
    """
    if (out / CARD).is_file() and (kind := read_card(model)["model"]) != (before := read_card(out)["model"]):
        raise ConfigError(f"{model}: is a {kind}, and {out} holds a {before}")
    readme = (out / README).read_text() if (out / README).is_file() else None
    save_half(model, out)
    (out / MARKER).unlink()  # the package is no output folder
    write_json(out / CARD, sealed_card(read_card(out) | {"name": out.name}, out))
    if readme is not None:
        write_text(out / README, readme)
    if (size := sum(file.stat().st_size for file in out.parent.rglob("*"))) > MOST_BYTES:
        raise ConfigError(f"{out.parent}: {size:,} bytes; shipped models have at most {MOST_BYTES:,}")
    return out


def fill_card(model: Path, template: Path, summaries: list[Path]) -> str:
    """The card's text, with numbers of the model and of the summaries of its evaluations.

    Raises:
        ConfigError: an evaluation is not of these weights, or one of the template's names has no number.
    """
    method = resolve_method(Method(model=model))
    rows = pd.concat([_rows(file, method.label, method.fingerprint) for file in summaries])
    card = read_card(model)
    total = complexity(create(card["model"], card["preset"], card["hr_size"], card.get("anchors")), card["hr_size"])[-1]
    groups = rows[rows["division"] != ""]
    values = {
        "params": f"{total.params:,}", "gmac": f"{total.macs / 1e9:.3f}",
        "megabytes": f"{(model / WEIGHTS).stat().st_size / 1e6:.1f}", "fingerprint": card["fingerprint"][:12],
        "faces": f"{card['trained_on'].get('faces', 0):,}", "dataset": card["trained_on"].get("dataset", ""),
        "results": "\n\n".join(_test_set(str(name), part) for name, part in rows[rows["division"] == ""].groupby(
            "test set", sort=False) if name not in set(groups["test set"])),
        "groups": "\n\n".join(_groups(str(name), part) for name, part in groups.groupby("test set", sort=False)),
        "far_below": _far_below(groups),
    }  # fmt: skip
    try:
        return with_front(card, Template(template.read_text()).substitute(values))
    except (KeyError, ValueError) as error:
        raise ConfigError(f"{template}: {error}: must be one of {', '.join(values)}") from error


def with_front(card: dict[str, Any], text: str) -> str:
    """A filled card under the Hub's front matter, whose numbers are the mean gains in the card's tables."""
    results = []
    for name, faces, table in GAINS.findall(text):
        rows = [[cell.strip() for cell in line.strip("| ").split("|")] for line in table.splitlines()[2:]]
        metrics = [
            ("psnr_gain", float(row[-1].split()[0]), f"Gain over bicubic, dB, {row[0]}") for row in rows if row[-1]
        ]
        results.append(hub_result(name, f"{name}, {faces} faces", "test", metrics))
    return with_front_matter(hub_fields(card, results) | {"license_name": "non-commercial-research"}, text)


def _rows(file: Path, label: str, fingerprint: str) -> pd.DataFrame:
    table = pd.read_csv(file, keep_default_na=False, na_values=["nan"], dtype={"size": str})
    numbers = list(table.columns[table.columns.get_loc("faces") :])
    table[numbers] = table[numbers].apply(pd.to_numeric, errors="coerce")
    rows = table[(table["method"] == label) & (table["evaluated"] == fingerprint)]
    if rows.empty:
        raise ConfigError(f"{file}: has no scores of {label} with these weights; evaluate them first")
    return rows


def _test_set(name: str, rows: pd.DataFrame) -> str:
    """A table of gains and shares worse, a row per damage; and one of identity, where it was measured."""
    title = f"**{name}**, {int(rows['faces'].max()):,} faces"
    parts = [
        f"{title}: gain over bicubic of the same LR image in dB (share of faces worse).\n\n{_by_size(rows, _gain)}"
    ]
    if rows["identity_distance"].notna().any():
        parts.append(
            f"{title}: identity distance from HR (dlib's descriptors), bicubic's, and the share of faces nearer to HR "
            f"than bicubic's.\n\n{_by_size(rows, _identity)}"
        )
    return "\n\n".join(parts)


def _by_size(rows: pd.DataFrame, cell: Callable[[pd.Series], str]) -> str:
    sizes = sorted(set(rows["size"]) - {ALL}, key=size_of)
    lines = [["damage", *(f"{size} px" for size in sizes), "mean"]]
    for damage, part in rows.groupby("damage", sort=False):
        by_size = {row["size"]: cell(row) for _, row in part.iterrows()}
        lines.append([str(damage), *(by_size.get(size, "") for size in [*sizes, ALL])])
    return _markdown(lines)


def _gain(row: pd.Series) -> str:
    """The mean; for all sizes together, its interval too. n.s.: the interval holds zero."""
    interval = f" [{row['gain_low']:+.2f}, {row['gain_high']:+.2f}]" if row["size"] == ALL else ""
    unsure = " n.s." if row["gain_low"] <= 0 <= row["gain_high"] else ""
    return f"{row['gain']:+.2f}{interval}{unsure} ({row['worse']:.0%})"


def _identity(row: pd.Series) -> str:
    if pd.isna(row["identity_distance"]):
        return NOTHING
    return f"{row['identity_distance']:.3f} / {row['bicubic_distance']:.3f} ({row['nearer']:.0%})"


def _groups(name: str, rows: pd.DataFrame) -> str:
    """A row per group with its faces; under each damage gain, share worse and identity."""
    damages = list(dict.fromkeys(rows["damage"]))
    lines = [["group", "faces", *(f"{damage}: {what}" for damage in damages for what in ("gain", "identity"))]]
    for title, part in rows.groupby(_group_names(rows), sort=False):
        by_damage = [part[part["damage"] == damage].iloc[0] for damage in damages]
        cells = [text for row in by_damage for text in (_gain(row), _identity(row))]
        lines.append([str(title), str(int(part["faces"].max())), *cells])
    return f"**{name}**, all sizes of its evaluation together.\n\n{_markdown(lines)}"


def _group_names(rows: pd.DataFrame) -> pd.Series:
    return rows["division"].where(rows["group"] == "", rows["division"] + ": " + rows["group"])


def _far_below(rows: pd.DataFrame) -> str:
    """A sentence on the groups whose gain is far below everyone's."""
    everyone = rows[rows["division"] == EVERYONE].set_index("damage")["gain"]
    is_far = [is_far_below(gain, everyone[damage]) for gain, damage in zip(rows["gain"], rows["damage"])]
    far = (_group_names(rows) + " (" + rows["damage"] + ")")[is_far]
    return f"Groups that gain less than {FAR_BELOW} of what everyone does: {', '.join(far) or 'none'}."


def _markdown(lines: list[list[str]]) -> str:
    head, *body = ["| " + " | ".join(line) + " |" for line in lines]
    return "\n".join([head, "|---" * len(lines[0]) + "|", *body])


def fill_page(page: str, tables: Path, model: str) -> str:
    """A results page with the tables of an evaluation: gain and identity of both test sets, clean and by damage.

    Args:
        page: the page as it is; what comes before its first table's heading stays.
        tables: the folder ``tables`` of the evaluation.
        model: the method whose rows are shown alone in the tables of identity by damage.
    """
    parts = [page.partition("\n## A, clean\n")[0].strip()]
    for name in ("A", "B"):
        parts += [
            f"## {name}, clean",
            _picked(tables / f"gain_{name}.md", lambda row: "SSIM" not in row[0]),
            _picked(tables / f"identity_{name}.md", lambda row: row[0] != "bicubic" and row[2] in DISTANCES),
        ]
    for name in ("A", "B"):
        parts += [
            f"## {name}, by damage",
            _picked(tables / f"damage_gain_{name} damaged.md"),
            _picked(tables / f"damage_worse_{name} damaged.md"),
            _picked(tables / f"identity_{name} damaged.md", lambda row: model in row[0] and row[2] in DISTANCES),
        ]
    return "\n\n".join(parts) + "\n"


def _picked(table: Path, shown: Callable[[list[str]], bool] = lambda _: True) -> str:
    """The caption, head and shown rows of a table in Markdown."""
    caption, _, head, rule, *rows = table.read_text().strip().split("\n")
    picked = [row for row in rows if shown([cell.strip() for cell in row.strip("| ").split(" | ")])]
    return "\n".join([caption, "", head, rule, *picked])


def main(step: str, *arguments: str) -> None:
    if step == "weights":
        model, name = (*arguments, NAME)[:2]
        print(ship_weights(Path(model), SHIPPED / name))
    elif step == "page":
        page = Path("results/real.md")
        write_text(page, fill_page(page.read_text(), Path(arguments[0]) / "tables", NAME))
        print(page)
    else:
        evaluation, groups, name = (*arguments, NAME)[:3]
        summaries = [Path(folder) / "tables" / FILE for folder in (evaluation, groups)]
        write_text(SHIPPED / name / README, fill_card(SHIPPED / name, Path(f"benchmarks/{name}.card.md"), summaries))
        print(SHIPPED / name / README)


if __name__ == "__main__":
    main(*sys.argv[1:])

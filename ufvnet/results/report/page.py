"""report.html: tables, curves, faces before and after, and how every number was made, in one self-contained file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ufvnet.files import write_text
from ufvnet.metrics import PRIMARY, PROTOCOLS
from ufvnet.results.evaluation import ScoredEvaluation
from ufvnet.results.figures.curves import Panel, curve_panels, damage_panels, weight_panels
from ufvnet.results.figures.gallery import Gallery
from ufvnet.results.folder import PathFor
from ufvnet.results.statistics import DISTANCE, PSNR, SSIM
from ufvnet.results.tables.captions import brief
from ufvnet.results.tables.overview import failure_table, overview_table
from ufvnet.results.tables.render import to_html
from ufvnet.results.tables.table import BESIDE_PAPER, MEASURED, OTHER_PROTOCOLS, Table
from ufvnet.results.templating import render, source

from .pictures import embedded_pictures
from .provenance import facts, method_table, provenance, test_set_table
from .svg import legend, panels_svg


def write_report(
    evaluation: ScoredEvaluation,
    tables: Sequence[Table],
    figures: Sequence[Path],
    galleries: Sequence[Gallery],
    path_for: PathFor,
) -> Path:
    """Write report.html. Pictures are embedded, so it holds photographs of the test sets, and says so.

    Args:
        figures: the files that were written beside it; they are named, not embedded.
        galleries: the faces that the figures show, so that none is restored twice.
        path_for: gives the path of the file, from its name.
    """
    origin = provenance(evaluation)
    failed = failure_table(evaluation.scores)
    html = render(
        "report.html.j2",
        title=evaluation.config.name,
        style=source("report.css"),
        script=source("report.js"),
        facts=facts(evaluation),
        groups=[(title, folded, [to_html(t) for t in group]) for title, folded, group in grouped(tables)],
        overview=to_html(overview_table(evaluation)),
        failures=to_html(failed) if failed else "",
        charts=[(title, note, panels_svg(panels), legend(panels)) for title, note, panels in chart_groups(evaluation)],
        figures=[f"figures/{path.name}" for path in figures],
        data=script_safe(embedded_pictures(galleries)),
        test_set_names=[test_set.name for test_set in evaluation.test_sets],
        test_sets=to_html(test_set_table(evaluation)),
        methods=to_html(method_table(evaluation.methods)),
        versions=origin["versions"],
        platform=origin["platform"],
        left_out=[brief(reason) for reason in evaluation.left_out],
        protocols=PROTOCOLS,
        primary=PRIMARY,
        seed=evaluation.config.seed,
        config=json.dumps(origin["config"], indent=2),
        provenance=json.dumps(origin, indent=2, default=str),
    )
    path = path_for("report.html")
    write_text(path, html)
    return path


def grouped(tables: Sequence[Table]) -> list[tuple[str, bool, list[Table]]]:
    """The tables under their headings: title, whether they are folded away, tables."""
    groups = {group: [t for t in tables if t.group == group] for group in (MEASURED, BESIDE_PAPER, OTHER_PROTOCOLS)}
    return [(group, group == OTHER_PROTOCOLS, members) for group, members in groups.items() if members]


def chart_groups(evaluation: ScoredEvaluation) -> list[tuple[str, str, list[Panel]]]:
    """Charts under their headings: title, note, panels."""
    test_sets = [curve_panels(evaluation.scores, test_set.name) for test_set in evaluation.config.datasets]
    notes = {"gain": "Means of differences paired by image, with the 95 % interval of the mean."}
    titles = {"gain": "Gain over bicubic", PSNR: "PSNR", SSIM: "SSIM", DISTANCE: "Identity distance"}
    groups = [
        (title, notes.get(metric, ""), [panels[metric] for panels in test_sets if metric in panels])
        for metric, title in titles.items()
    ]
    note = "Means of differences from bicubic's enlargement of the same damaged image."
    groups += [(f"Gain under damage: {label}", note, panels) for label, panels in damage_panels(evaluation).items()]
    weights = weight_panels(evaluation)
    note = "Means and the middle 90 % of faces; dashed: the target of Eq. 4."
    groups += [(f"Weights of the anchors: {label}", note, panels) for label, panels in weights.items()]
    return [group for group in groups if group[2]]


def script_safe(value: Any) -> Any:
    """JSON as markup, in which no text can end the script element that holds it."""
    from markupsafe import Markup

    return Markup(json.dumps(value, separators=(",", ":")).replace("<", "\\u003c").replace("&", "\\u0026"))

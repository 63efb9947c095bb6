"""One self-contained report.html: tables, curves, faces before and after, and how every number was made."""

from __future__ import annotations

import base64
import io
import json
import math
import platform
import re
from collections import Counter
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from PIL import Image

from ufvnet import data
from ufvnet.config import EvaluateConfig
from ufvnet.files import write_text
from ufvnet.imaging.resize import lr_side
from ufvnet.metrics import PRIMARY, PROTOCOLS, score
from ufvnet.models.inference import BICUBIC
from ufvnet.results.figures.charts import Cell
from ufvnet.results.figures.gallery import (
    PSNR,
    SSIM,
    Gallery,
    Pick,
    curve_panels,
    open_galleries,
    paired_gains,
    weight_panels,
)
from ufvnet.results.methods.rows import missing_of, rows_of
from ufvnet.results.tables.table import FAILED, NOTHING, Table, best_of, brief, ranking

from .svg import legend, panels_svg

if TYPE_CHECKING:
    from ufvnet.results.figures.charts import Panel

TEMPLATES = Path(__file__).parent / "templates"
SLIDER_BYTES = 9_000_000
"""Embedded pictures of the slider, all test sets together; at least one face of each is shown whatever it takes."""
MOST_EXTREMES = 120
"""Worst (and best) faces embedded, all methods and test sets together; three of each at least."""
PACKAGES = ("ufvnet", "torch", "numpy", "pillow", "pandas", "pyarrow")


def write_report(
    config: EvaluateConfig,
    tables: Sequence[Table],
    figures: Sequence[Path],
    scores: pd.DataFrame,
    galleries: list[Gallery] | None = None,
    place: Callable[[str], Path] | None = None,
) -> Path:
    """Write report.html. Pictures are embedded, so it holds photographs of the test sets, and says so.

    Args:
        figures: the files that were written beside it; they are named, not embedded.
        galleries: the faces that the figures show, so that none is restored twice.
        place: the path of a name, where it is not just in the evaluation's folder.
    """
    from jinja2 import Environment, FileSystemLoader
    from markupsafe import Markup

    galleries = galleries if galleries is not None else open_galleries(config, scores)
    made = provenance(config)
    page = Environment(autoescape=True, trim_blocks=True, loader=FileSystemLoader(TEMPLATES)).get_template(
        "report.html.j2"
    )
    html = page.render(
        name=config.name,
        style=Markup((TEMPLATES / "report.css").read_text()),
        script=Markup((TEMPLATES / "report.js").read_text()),
        facts=facts(config, scores),
        groups=[(title, note, [Markup(_small_intervals(t.html())) for t in of]) for title, note, of in grouped(tables)],
        overview=Markup(overview_table(config, scores).html()),
        failures=[Markup(t.html()) for t in failure_tables(scores)],
        charts=[(title, note, *_charts(panels)) for title, note, panels in chart_groups(config, scores)],
        figures=[f"figures/{p.name}" for p in figures],
        data=Markup(_script_safe(pictures_of(galleries))),
        test_sets=set_lines(config, scores, made),
        models=method_lines(made),
        made=made,
        left_out=[brief(reason) for reason in made["left out"]],
        protocols=PROTOCOLS,
        primary=PRIMARY,
        seed=config.seed,
        config=json.dumps(made["config"], indent=2),
        provenance=json.dumps(made, indent=2, default=str),
    )
    path = (place or (config.out / config.name).joinpath)("report.html")
    write_text(path, html)
    return path


def provenance(config: EvaluateConfig) -> dict[str, Any]:
    """Versions, configuration, and the cards of the datasets and models."""
    return {
        "versions": {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}},
        "platform": platform.platform(),
        "config": config.model_dump(mode="json", exclude={"cluster"}),
        "datasets": {t.name: data.open(t.path).card for t in config.datasets},
        "models": {r.label: {"ref": r.ref, "evaluated": r.fingerprint} | r.about() for r in rows_of(config)},
        "left out": missing_of(config),
    }  # fmt: skip


def facts(config: EvaluateConfig, scores: pd.DataFrame) -> list[tuple[str, str]]:
    """What was evaluated, in a few numbers."""
    faces = scores.groupby("dataset", sort=False)["face_id"].nunique()
    sizes = sorted(scores["px"].unique())
    failed = int(scores[PSNR].isna().sum())
    return [
        ("methods", str(scores["model"].nunique())),
        ("faces", " + ".join(f"{n:,} {name}" for name, n in faces.items())),
        ("input sizes", f"{', '.join(str(s) for s in sizes)} px"),
        ("images scored", f"{len(scores) - failed:,}" + (f", {failed:,} failed" if failed else "")),
        ("view", config.view),
    ]


def overview_table(config: EvaluateConfig, scores: pd.DataFrame) -> Table:
    """A row a method: means over all faces and sizes of each test set, and what failed."""
    models = list(dict.fromkeys(scores["model"]))
    has_identity = "identity" in scores and scores["identity"].notna().any()
    header, columns = ["method"], []
    ranked: dict[tuple[int, int], float] = {}
    for test_set in config.datasets:
        of = scores[scores["dataset"] == test_set.name]
        groups = of.groupby("model", sort=False)
        means = groups[[PSNR, SSIM]].mean().reindex(models)
        marks = [FAILED if (of.loc[of["model"] == m, PSNR].isna()).any() else "" for m in models]
        header.append(f"{test_set.name}: PSNR / SSIM")
        columns.append([_pair(p, s) + mark for p, s, mark in zip(means[PSNR], means[SSIM], marks)])
        ranked |= {(i, len(header) - 1): ranking(of[of["model"] == m], PRIMARY) for i, m in enumerate(models)}
        if BICUBIC in models and len(models) > 1:
            gains = paired_gains(of).groupby(of["model"]).mean().reindex(models)
            header.append(f"{test_set.name}: gain [dB]")
            columns.append([NOTHING if m == BICUBIC or math.isnan(g) else f"{g:+.2f}" for m, g in gains.items()])
        if has_identity:
            header.append(f"{test_set.name}: identity")
            values = groups["identity"].mean().reindex(models)
            columns.append([NOTHING if math.isnan(v) else f"{v:.3f}" for v in values])
    times = scores.groupby("model", sort=False)["milliseconds"].median().reindex(models)
    failed = scores[PSNR].isna().groupby(scores["model"], sort=False).sum().reindex(models)
    header += ["failed", "ms / face"]
    columns += [[f"{n:,}" for n in failed], [NOTHING if math.isnan(t) else f"{t:.1f}" for t in times]]
    caption = (
        f"All methods: means over all faces and input sizes, protocol {PRIMARY}; median time as they were "
        f"scored, on the device {config.device}; gains are paired by image."
        + (f" {FAILED} Without the images that the method failed on." if failed.any() else "")
    )
    return Table("overview", caption, tuple(header), tuple(zip(models, *columns)), best_of(ranked))


def _small_intervals(html: str) -> str:
    """Intervals on a line of their own, in small: nine columns of them fit a page."""
    return re.sub(r">([^<>]*?) (\[[^<>\]]*\](?: n\.s\.)?)<", r">\1 <small>\2</small><", html)


def _pair(psnr: float, ssim: float) -> str:
    return "failed" if math.isnan(psnr) else f"{psnr:.2f} / {ssim:.4f}"


def failure_tables(scores: pd.DataFrame) -> list[Table]:
    """Which images a method failed on and why; none where all were scored."""
    failed = scores[scores[PSNR].isna()]
    if failed.empty:
        return []
    reasons = failed["reason"].fillna("") if "reason" in failed else pd.Series("", index=failed.index)
    groups = failed.assign(why=reasons.replace("", "no score")).groupby(["model", "dataset", "px"], sort=False)
    rows = []
    for (model, dataset, px), of in groups:
        why = "; ".join(f"{brief(text)} ({n}×)" for text, n in Counter(of["why"]).most_common(3))
        faces = ", ".join(of["face_id"].head(3)) + (", …" if len(of) > 3 else "")
        rows.append((str(model), str(dataset), f"{px} px", str(len(of)), why, faces))
    header = ("method", "test set", "input size", "images", "most frequent reasons", "faces")
    caption = "Images without a score: no mean above holds them."
    return [Table("failures", caption, header, tuple(rows))]


def grouped(tables: Sequence[Table]) -> list[tuple[str, str, list[Table]]]:
    """The tables under their headings: (title, whether folded away, tables)."""
    others = tuple(f"_{p}" for p in PROTOCOLS if p != PRIMARY)
    groups: dict[str, list[Table]] = {"Measured": [], "Beside the paper": [], "Other protocols": []}
    for table in tables:
        if table.key.startswith("table_"):
            groups["Beside the paper"].append(table)
        elif table.key.startswith("scales_") and table.key.endswith(others):
            groups["Other protocols"].append(table)
        else:
            groups["Measured"].append(table)
    return [(title, "folded" if title == "Other protocols" else "", of) for title, of in groups.items() if of]


def chart_groups(config: EvaluateConfig, scores: pd.DataFrame) -> list[tuple[str, str, list[Panel]]]:
    """Charts under their headings: (title, note, panels)."""
    sets = {t.name: curve_panels(scores, t.name) for t in config.datasets}
    notes = {"gain": "Means of differences paired by image, with the 95 % interval of the mean."}
    names = ["gain", *(m for m in next(iter(sets.values())) if m != "gain")]
    titles = {"gain": "Gain over bicubic", PSNR: "PSNR", SSIM: "SSIM", "identity": "Identity similarity"}
    groups = [(titles[n], notes.get(n, ""), [of[n] for of in sets.values() if n in of]) for n in names]
    note = "Means and the middle 90 % of faces; dashed: the target of Eq. 4."
    groups += [(f"Weights of the anchors: {m}", note, of) for m, of in weight_panels(config, scores).items()]
    return [g for g in groups if g[2]]


def _charts(panels: Sequence[Panel]) -> tuple[list[Any], list[tuple[str, Any]]]:
    from markupsafe import Markup

    return [Markup(svg) for svg in panels_svg(panels)], [(label, Markup(swatch)) for label, swatch in legend(panels)]


def set_lines(config: EvaluateConfig, scores: pd.DataFrame, made: dict[str, Any]) -> list[dict[str, str]]:
    """A row a test set, for reading."""
    faces = scores.groupby("dataset")["face_id"].nunique()
    rows = []
    for t in config.datasets:
        card = made["datasets"][t.name]
        way = card.get("degradation", {})
        rows.append({
            "test set": t.name, "split": t.split,
            "faces scored": f"{faces.get(t.name, 0):,} of {card['faces'][t.split]:,}", "HR": f"{card['hr_size']} px",
            "LR made by": f"{way.get('name', '?')} v{way.get('version', '?')}",
            "fingerprint": card["fingerprints"][t.split], "path": str(t.path),
        })  # fmt: skip
    return rows


def method_lines(made: dict[str, Any]) -> list[dict[str, str]]:
    """A row a method, for reading."""
    rows = []
    for label, card in made["models"].items():
        trained = card.get("trained_on") or ""
        if isinstance(trained, dict):  # a model folder's card; of other methods only the view is told
            trained = f"{trained.get('dataset', '?')}, {trained.get('view', '?')}"
        recipe = card.get("recipe") or {}
        rows.append({
            "method": label, "preset": card.get("preset", NOTHING),
            "parameters": f"{card['params']:,}" if "params" in card else NOTHING,
            "trained on": trained or NOTHING,
            "steps": f"{card['steps']:,}" if "steps" in card else NOTHING,
            "seed": str(recipe.get("seed", NOTHING)), "fingerprint": card["evaluated"], "path": card["ref"],
        })  # fmt: skip
    return rows


class _Pictures:
    """Embedded pictures, each once."""

    def __init__(self) -> None:
        self.sources: list[str] = []
        self.places: dict[bytes, int] = {}
        self.size = 0

    def add(self, image: np.ndarray, exact: bool = True) -> int:
        """Its place in the list. exact: lossless, pixel for pixel what was measured."""
        key = image.tobytes() + bytes([exact])
        if key not in self.places:
            buffer = io.BytesIO()
            options: dict[str, Any] = {"lossless": True, "quality": 50, "exact": True} if exact else {"quality": 88}
            Image.fromarray(image).save(buffer, "WEBP", method=4, **options)
            source = "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode()
            self.places[key] = len(self.sources)
            self.sources.append(source)
            self.size += len(source)
        return self.places[key]


def pictures_of(galleries: Sequence[Gallery]) -> dict[str, Any]:
    """What the page's script shows: pictures, and which is what."""
    from matplotlib import colormaps

    pictures = _Pictures()
    sets = []
    for i, gallery in enumerate(galleries, start=1):
        faces: list[dict[str, Any]] = []
        for face in gallery.faces:
            if faces and pictures.size > SLIDER_BYTES * i / len(galleries):
                break
            faces.append(_face(gallery, face, pictures))
        sets.append({"name": gallery.test_set.name, "limit": gallery.error_limit(), "faces": faces})
    count = max(3, min(10, MOST_EXTREMES // max(1, sum(len(g.worst) for g in galleries))))
    extremes = [{label: _extremes(g, label, count, pictures) for label in g.worst} for g in galleries]
    return {
        "labels": galleries[0].labels,
        "bicubic": BICUBIC,
        "side": galleries[0].view.hr_size,
        "colours": [[round(255 * v) for v in colormaps["inferno"](i / 63)[:3]] for i in range(64)],
        "sets": sets,
        "extremes": extremes,
        "pictures": pictures.sources,
    }


def _face(gallery: Gallery, face: str, pictures: _Pictures) -> dict[str, Any]:
    """A face at every size by every method."""
    hr, side = gallery.hr(face), gallery.view.hr_size
    sizes = []
    for k in gallery.view.ks:
        pick = Pick(face, k)
        lr = gallery.lr(pick)
        nearest = np.asarray(Image.fromarray(lr).resize((side, side), Image.Resampling.NEAREST))
        of = score(nearest[None], hr[None])
        sizes.append({
            "px": lr_side(side, k),
            "lr": [pictures.add(lr), _number(of[PSNR][0], 2), _number(of[SSIM][0], 4), ""],
            "cells": [_shown(gallery.cells[label, pick], pictures) for label in gallery.labels],
        })  # fmt: skip
    return {"id": face, "hr": pictures.add(hr), "sizes": sizes}


def _extremes(gallery: Gallery, label: str, count: int, pictures: _Pictures) -> dict[str, list[dict[str, Any]]]:
    worst, best = gallery.extremes(label)
    return {
        name: [
            {
                "id": e.face_id, "px": e.px, "lr": pictures.add(e.lr), "hr": pictures.add(e.hr, False),
                "cell": _shown(e.cell, pictures, False), "other": e.other and _shown(e.other, pictures, False),
            }
            for e in faces[:count]
        ]
        for name, faces in (("worst", worst), ("best", best))
    }  # fmt: skip


def _shown(cell: Cell, pictures: _Pictures, exact: bool = True) -> list[Any]:
    """[picture or -1, PSNR, SSIM, reason]."""
    place = -1 if cell.image is None else pictures.add(cell.image, exact)
    return [place, _number(cell.psnr, 2), _number(cell.ssim, 4), brief(cell.reason)]


def _number(value: float, digits: int) -> float | None:
    return round(float(value), digits) if math.isfinite(value) else None


def _script_safe(value: Any) -> str:
    """JSON that no text in it can end the script element with."""
    return json.dumps(value, separators=(",", ":")).replace("<", "\\u003c").replace("&", "\\u0026")

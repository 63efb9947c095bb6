"""Every figure of an evaluation, as PNG and PDF."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ufvnet.config.lr_images import CLEAN
from ufvnet.data.lr_images import LRKind
from ufvnet.files import safe_name, write_atomically
from ufvnet.models.inference import BICUBIC
from ufvnet.results.evaluation import ScoredEvaluation
from ufvnet.results.folder import PathFor

from .charts import curves_figure
from .curves import curve_panels, damage_panels, weight_panels
from .gallery import Gallery, Pick
from .sheets import error_sheet, extremes_sheet, grid_sheet

if TYPE_CHECKING:
    from matplotlib.figure import Figure

GRID_SCALES = (1, 2, 4, 8)
"""Scales in the grid; of sizes that are none of them, GRID_SIZES are shown."""
GRID_SIZES = 4
FACES_PER_PAGE, METHODS_PER_PAGE, DAMAGES_PER_PAGE = 2, 6, 8


def write_figures(evaluation: ScoredEvaluation, galleries: Sequence[Gallery], path_for: PathFor) -> list[Path]:
    """Write every figure as PNG and PDF, at the paths that are given for their names; returns the PNGs.

    ``grid_*``: methods side by side (it shows faces, as do the next three). ``damage_*``: likewise, a row per damage.
    ``errors_*``: error maps. ``extremes_*``: the worst and best faces of a method. ``gain``, ``curves``: over input
    size. ``gain_damage_*``: of a method, a curve per damage. ``weights_*``: of the anchors.
    """
    pngs = []
    for gallery in galleries:
        for name, figure in face_figures(gallery):
            pngs.append(_save_both(figure, name, path_for))
    for name, figure in _curve_figures(evaluation):
        pngs.append(_save_both(figure, name, path_for))
    return pngs


def load() -> None:
    """Import what draws figures, with its list of fonts: a second's work for a process that waits for scores."""
    import matplotlib.backends.backend_agg
    import matplotlib.backends.backend_pdf
    import matplotlib.figure
    import matplotlib.font_manager  # noqa: F401 (all of them are imported to be there)


def save(figure: Figure, path: Path) -> Path:
    """Write a figure in the format that the path's suffix names; the same figure gives the same bytes."""
    import matplotlib

    matplotlib.rcParams["pdf.fonttype"] = 42  # publishers refuse Type 3 fonts
    undated = {"pdf": {"CreationDate": None}, "png": {"Software": None}}.get(path.suffix[1:])
    options: dict[str, Any] = {"pil_kwargs": {"compress_level": 3}} if path.suffix == ".png" else {}
    write_atomically(
        path, lambda p: figure.savefig(p, format=path.suffix[1:], dpi="figure", metadata=undated, **options)
    )
    return path


def _save_both(figure: Figure, name: str, path_for: PathFor) -> Path:
    save(figure, path_for(f"{safe_name(name)}.pdf"))
    return save(figure, path_for(f"{safe_name(name)}.png"))


def name_part(text: str) -> str:
    """A label as part of a file's name."""
    return re.sub(r"[^\w.+-]+", "-", text).strip("-.") or "unnamed"


def face_figures(gallery: Gallery) -> Iterator[tuple[str, Figure]]:
    """Names and sheets that show faces of one test set, drawn one at a time as they take much memory."""
    test_set, faces = gallery.test_set.name, list(gallery.faces)
    name, others = name_part(test_set), gallery.labels[1:]
    columns = [[BICUBIC, *others[i : i + METHODS_PER_PAGE]] for i in range(0, max(1, len(others)), METHODS_PER_PAGE)]
    kinds = _grid_kinds(gallery)
    pages = [faces[i : i + FACES_PER_PAGE] for i in range(0, len(faces) if kinds else 0, FACES_PER_PAGE)]
    for i, (page, labels) in enumerate((page, labels) for page in pages for labels in columns):
        picks = [Pick(face, kind) for face in page for kind in kinds]
        rows = [gallery.sheet_row(pick, labels, starts_face=pick.kind == kinds[0]) for pick in picks]
        yield f"grid_{name}{_page(i)}", grid_sheet(labels, rows)
    limit = gallery.error_limit()
    for i, labels in enumerate(columns if kinds else ()):
        rows = [gallery.sheet_row(Pick(faces[0], kind), labels) for kind in kinds]
        yield f"errors_{name}{_page(i)}", error_sheet(labels, rows, limit)
    damaged = [pick for pick in gallery.shown() if pick.kind.damage != CLEAN and pick.face_id == faces[0]]
    parts = [damaged[i : i + DAMAGES_PER_PAGE] for i in range(0, len(damaged), DAMAGES_PER_PAGE)]
    for i, (part, labels) in enumerate((part, labels) for part in parts for labels in columns):
        yield f"damage_{name}{_page(i)}", grid_sheet(labels, [gallery.sheet_row(p, labels, False) for p in part])
    for label in gallery.worst:
        worst, best = gallery.extremes(label)
        if worst or best:
            yield f"extremes_{name}_{name_part(label)}", extremes_sheet(label, test_set, BICUBIC, worst, best)


def _grid_kinds(gallery: Gallery) -> list[LRKind]:
    """The clean LR images of GRID_SCALES, or of GRID_SIZES other sizes."""
    test_set = gallery.test_set
    clean = [LRKind(CLEAN, size) for size in test_set.sizes if CLEAN in test_set.settings.damage]
    scales = [kind for kind in clean if kind.size.stored(gallery.hr_size) in GRID_SCALES]
    if scales or not clean:
        return scales
    places = np.linspace(0, len(clean) - 1, min(GRID_SIZES, len(clean))).round().astype(int)
    return [clean[i] for i in places]


def _page(i: int) -> str:
    return f"_{i + 1}" if i else ""


def _curve_figures(evaluation: ScoredEvaluation) -> Iterator[tuple[str, Figure]]:
    test_sets = [curve_panels(evaluation.scores, test_set.name) for test_set in evaluation.config.datasets]
    if gains := [panels["gain"] for panels in test_sets if "gain" in panels]:
        yield "gain", curves_figure([gains])
    if metrics := list(dict.fromkeys(metric for panels in test_sets for metric in panels if metric != "gain")):
        rows = [[panels[metric] for panels in test_sets if metric in panels] for metric in metrics]
        yield "curves", curves_figure(rows)
    for label, panels in damage_panels(evaluation).items():
        yield f"gain_damage_{name_part(label)}", curves_figure([panels])
    for label, panels in weight_panels(evaluation).items():
        yield f"weights_{name_part(label)}", curves_figure([panels])

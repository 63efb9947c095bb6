"""Figures of an evaluation: which faces are shown, what each method makes of them, and the curves over input size."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from PIL import Image

from ufvnet import data
from ufvnet.config import ConfigError, EvaluateConfig, TestSet
from ufvnet.data.dataset import DatasetView
from ufvnet.files import safe_name
from ufvnet.imaging.resize import lr_side, resize
from ufvnet.metrics import PRIMARY, differences, score
from ufvnet.models import describe
from ufvnet.models.inference import BICUBIC
from ufvnet.results.methods.own_process import MethodDied
from ufvnet.results.methods.restoring import Faces, Restoration, failed
from ufvnet.results.methods.rows import Row, restore, rows_of
from ufvnet.results.scoring import MOST_ANCHORS

from .charts import (
    Cell,
    Curve,
    Extreme,
    Line,
    Panel,
    curves_figure,
    error_limit,
    error_sheet,
    extremes_sheet,
    grid_sheet,
    save,
    weights_figure,
    weights_panel,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Gallery", "open_galleries", "restored", "save", "weights_figure", "write_figures"]

GRID_SCALES = (1, 2, 4, 8)
EXTREME_SCALE = 2
"""Worst and best faces are sought at 16 px (of an HR of 128), where methods differ and faces are still faces."""
EXTREMES = 10
FACES_A_PAGE, METHODS_A_PAGE = 2, 6
PSNR, SSIM = f"psnr_{PRIMARY}", f"ssim_{PRIMARY}"
Z95 = 1.96

log = logging.getLogger(__name__)


def restored(config: EvaluateConfig, row: Row, gallery: Gallery, faces: Sequence[str], k: int) -> Restoration:
    """What a method makes of some faces at k/16: the one place where figures and report get images from."""
    lr, side = np.stack([gallery.lr(Pick(face, k)) for face in faces]), gallery.view.hr_size
    shown = Faces(lr, k / 16, side, list(faces), gallery.test_set.name, lr_side(side, k))
    try:
        return restore(row, shown, config.batch_size, config.device)
    except MethodDied as error:
        return failed(shown, str(error))


@dataclass(frozen=True)
class Pick:
    """A face at a size (sixteenths)."""

    face_id: str
    k: int


@dataclass
class Gallery:
    """The faces of one test set that are shown, each read once and restored once by each method.

    labels: bicubic, then the evaluated methods. faces: seeded, of the scored ones, shown at every size.
    worst, best: of a method, at one size; failures at any size come first among the worst, half of them at most.
    """

    test_set: TestSet
    view: DatasetView
    labels: list[str]
    faces: list[str]
    worst: dict[str, list[Pick]]
    best: dict[str, list[Pick]]
    records: dict[str, dict[str, Any]] = field(default_factory=dict)
    cells: dict[tuple[str, Pick], Cell] = field(default_factory=dict)

    def hr(self, face_id: str) -> np.ndarray:
        return data.decode(self.records[face_id]["hr"])

    def lr(self, pick: Pick) -> np.ndarray:
        return data.decode(self.records[pick.face_id][f"lr_{pick.k}"])

    def picks(self, label: str) -> list[Pick]:
        """All that is shown of a method; bicubic stands beside every other."""
        shown = [Pick(face, k) for face in self.faces for k in self.view.ks]
        for of in self.worst if label == BICUBIC else [label]:
            shown += self.worst.get(of, []) + self.best.get(of, [])
        return list(dict.fromkeys(shown))

    def line(self, pick: Pick, labels: Sequence[str], first: bool = True) -> Line:
        return Line(self.lr(pick), [self.cells[label, pick] for label in labels], self.hr(pick.face_id), first)

    def extremes(self, label: str) -> tuple[list[Extreme], list[Extreme]]:
        """The worst and the best faces of a method."""
        return self._extremes(label, self.worst[label]), self._extremes(label, self.best[label])

    def _extremes(self, label: str, picks: Sequence[Pick]) -> list[Extreme]:
        return [
            Extreme(
                p.face_id, lr_side(self.view.hr_size, p.k), self.lr(p),
                None if label == BICUBIC else self.cells[BICUBIC, p], self.cells[label, p], self.hr(p.face_id),
            )
            for p in picks
        ]  # fmt: skip

    def error_limit(self) -> int:
        """The end of the common colour scale of the test set's error maps: bicubic sets it, whatever else is shown."""
        picks = [Pick(face, k) for face in self.faces for k in self.view.ks]
        return error_limit([self.cells[BICUBIC, p] for p in picks], [self.hr(p.face_id) for p in picks])


def open_galleries(config: EvaluateConfig, scores: pd.DataFrame) -> list[Gallery]:
    """A gallery a test set: faces chosen from the scores, read from the row groups that hold them, and restored.

    A method that raises, or whose scores are NaN, has a cell with the reason in place of a face.
    """
    rows = rows_of(config)
    labels = [BICUBIC, *(r.label for r in rows if r.label != BICUBIC)]
    galleries = [_choose(config, test_set, scores, labels) for test_set in config.datasets]
    tables = [_scores_of(gallery, scores) for gallery in galleries]
    for gallery, table in zip(galleries, tables):
        for pick in gallery.picks(BICUBIC):
            lr = Image.fromarray(gallery.lr(pick))
            gallery.cells[BICUBIC, pick] = _cell(np.asarray(resize(lr, gallery.view.hr_size)), BICUBIC, pick,
                                                 gallery, table)  # fmt: skip
    for row in rows:  # the outer loop: each model is loaded once
        for gallery, table in zip(galleries, tables):
            if row.label != BICUBIC:
                _restore(config, row, gallery, table)
    return galleries


def _choose(config: EvaluateConfig, test_set: TestSet, scores: pd.DataFrame, labels: list[str]) -> Gallery:
    """Which faces are shown: seeded ones, and the worst and best of each method."""
    view = data.open(test_set.path).view(config.view, test_set.split)
    of_set = scores[scores["dataset"] == test_set.name]
    ids = list(dict.fromkeys(of_set["face_id"]))
    order = np.random.default_rng(config.seed).permutation(len(ids))[: config.grid_faces]
    k = EXTREME_SCALE if EXTREME_SCALE in view.ks else view.ks[0]
    extremes = {m: _ends(of_set[of_set["model"] == m], k) for m in labels if m != BICUBIC or len(labels) == 1}
    gallery = Gallery(test_set, view, labels, [ids[i] for i in sorted(order)],
                      {m: w for m, (w, _) in extremes.items()}, {m: b for m, (_, b) in extremes.items()})  # fmt: skip
    wanted = {p.face_id for label in labels for p in gallery.picks(label)}
    gallery.records = {face["face_id"]: face for face in read_faces(view, wanted)}
    if missing := wanted - set(gallery.records):
        raise ConfigError(f"{test_set.path}: holds no face {min(missing)}, which was scored; evaluate again")
    return gallery


def _ends(of: pd.DataFrame, k: int) -> tuple[list[Pick], list[Pick]]:
    """The worst and the best of a method's scores, which share no face; failures are half of the worst at most."""
    failed = of[of[PSNR].isna()].drop_duplicates("face_id").head(EXTREMES // 2)
    ranked = of[(of["k"] == k) & of[PSNR].notna()].sort_values([PSNR, "face_id"])
    half = min(EXTREMES, max(1, len(ranked) // 2))
    worst = pd.concat([failed, ranked.head(half)]).head(EXTREMES)
    return _picks(worst), _picks(ranked.tail(half)[::-1])


def _picks(of: pd.DataFrame) -> list[Pick]:
    return [Pick(str(face), int(k)) for face, k in zip(of["face_id"], of["k"])]


def read_faces(view: DatasetView, wanted: set[str]) -> Iterator[dict[str, Any]]:
    """The rows of some faces; of row groups without any of them only the names are read."""
    columns = ["face_id", "photo", "sha256", "hr", *(f"lr_{k}" for k in view.ks)]
    left = set(wanted)
    for shard in view.shards if left else ():
        with pq.ParquetFile(shard) as file:
            for group in range(file.num_row_groups):
                names = file.read_row_group(group, columns=["face_id"])["face_id"].to_pylist()
                rows = [i for i, name in enumerate(names) if name in left]
                if rows:
                    yield from file.read_row_group(group, columns=columns).take(rows).to_pylist()
                    left -= {names[i] for i in rows}
                if not left:
                    return


def _scores_of(gallery: Gallery, scores: pd.DataFrame) -> dict[tuple[str, Pick], tuple[float, float, str]]:
    """PSNR, SSIM and reason of every cell that is shown, as they went into the tables."""
    of = scores[(scores["dataset"] == gallery.test_set.name) & scores["face_id"].isin(list(gallery.records))]
    reasons = of["reason"].fillna("") if "reason" in of else [""] * len(of)
    keys = zip(of["model"], of["face_id"], of["k"])
    return {
        (m, Pick(face, int(k))): (p, s, str(why)) for (m, face, k), p, s, why in zip(keys, of[PSNR], of[SSIM], reasons)
    }


def _cell(image: np.ndarray, label: str, pick: Pick, gallery: Gallery, table: dict) -> Cell:
    psnr, ssim, reason = table.get((label, pick), (None, None, ""))
    if psnr is None:  # bicubic, where it was not evaluated
        of = score(image[None], gallery.hr(pick.face_id)[None])
        psnr, ssim = of[PSNR][0], of[SSIM][0]
    if np.isnan(psnr):
        return Cell(None, psnr, ssim, reason or "no score")
    return Cell(image, float(psnr), float(ssim))


def _restore(config: EvaluateConfig, row: Row, gallery: Gallery, table: dict) -> None:
    """Fill the cells of one method, a size at a time; what failed is not tried again, as it may kill the process."""
    picks = gallery.picks(row.label)
    for pick in picks:
        if reason := table.get((row.label, pick), (0, 0, ""))[2]:
            gallery.cells[row.label, pick] = Cell(None, float("nan"), float("nan"), reason)
    for k in gallery.view.ks:
        some = [p for p in picks if p.k == k and (row.label, p) not in gallery.cells]
        if not some:
            continue
        done = restored(config, row, gallery, [p.face_id for p in some], k)
        for pick, image, reason in zip(some, done.sr, done.reasons):
            if reason:
                log.warning("%s, face %s at %d/16 was scored, but now: %s", row.label, pick.face_id, k, reason)
                gallery.cells[row.label, pick] = Cell(None, float("nan"), float("nan"), reason)
            else:
                gallery.cells[row.label, pick] = _cell(image, row.label, pick, gallery, table)


def write_figures(
    config: EvaluateConfig,
    scores: pd.DataFrame,
    galleries: list[Gallery] | None = None,
    place: Callable[[str], Path] | None = None,
) -> list[Path]:
    """Every figure under figures/, as PNG and PDF; returns the PNGs.

    ``grid_*``: methods side by side (it shows faces, as do the next two). ``errors_*``: error maps. ``extremes_*``:
    the worst and best faces of a method. ``gain``, ``curves``: over input size. ``weights_*``: of the anchors.

    Args:
        place: the path of a name, where it is not just in figures/.
    """
    place = place or (config.out / config.name / "figures").joinpath
    written = []
    for gallery in galleries if galleries is not None else open_galleries(config, scores):
        for name, figure in _sheets(gallery):
            written.append(_save_both(figure, name, place))
    for name, figure in _charts(config, scores):
        written.append(_save_both(figure, name, place))
    return written


def _save_both(figure: Figure, name: str, place: Callable[[str], Path]) -> Path:
    save(figure, place(f"{safe_name(name)}.pdf"))
    return save(figure, place(f"{safe_name(name)}.png"))


def file_name(text: str) -> str:
    """A label as part of a file's name."""
    return re.sub(r"[^\w.+-]+", "-", text).strip("-.") or "unnamed"


def _sheets(gallery: Gallery) -> Iterator[tuple[str, Figure]]:
    """The pages that show faces of one test set, one at a time: none is kept."""
    name, ks = file_name(gallery.test_set.name), [k for k in GRID_SCALES if k in gallery.view.ks]
    others = gallery.labels[1:]
    columns = [[BICUBIC, *others[i : i + METHODS_A_PAGE]] for i in range(0, max(1, len(others)), METHODS_A_PAGE)]
    pages = [gallery.faces[i : i + FACES_A_PAGE] for i in range(0, len(gallery.faces), FACES_A_PAGE)]
    for i, (faces, labels) in enumerate((f, c) for f in pages for c in columns):
        picks = [Pick(face, k) for face in faces for k in ks]
        yield f"grid_{name}{_page(i)}", grid_sheet(labels, [gallery.line(p, labels, p.k == ks[0]) for p in picks])
    limit = gallery.error_limit()
    for i, labels in enumerate(columns):
        lines = [gallery.line(Pick(gallery.faces[0], k), labels) for k in ks]
        yield f"errors_{name}{_page(i)}", error_sheet(labels, lines, limit)
    for label in gallery.worst:
        worst, best = gallery.extremes(label)
        if worst or best:
            yield (
                f"extremes_{name}_{file_name(label)}",
                extremes_sheet(label, gallery.test_set.name, BICUBIC, worst, best),
            )


def _page(i: int) -> str:
    return f"_{i + 1}" if i else ""


def _charts(config: EvaluateConfig, scores: pd.DataFrame) -> Iterator[tuple[str, Figure]]:
    panels = {t.name: curve_panels(scores, t.name) for t in config.datasets}
    if gains := [of["gain"] for of in panels.values() if "gain" in of]:
        yield "gain", curves_figure([gains])
    metrics = [m for m in next(iter(panels.values())) if m != "gain"]
    if metrics:
        yield "curves", curves_figure([[of[m] for of in panels.values()] for m in metrics])
    for label, of_model in weight_panels(config, scores).items():
        yield f"weights_{file_name(label)}", curves_figure([of_model])


CURVES = {PSNR: "PSNR [dB]", SSIM: "SSIM", "identity": "identity similarity"}


def curve_panels(scores: pd.DataFrame, dataset: str) -> dict[str, Panel]:
    """Charts of one test set by metric: means over images by input size; ``gain`` over bicubic is paired by image.

    Metrics that no method has on any test set have none.
    """
    of, models = scores[scores["dataset"] == dataset], list(dict.fromkeys(scores["model"]))
    panels = {
        name: Panel(dataset, title, [_mean_curve(of[of["model"] == m], m, name, i) for i, m in enumerate(models)])
        for name, title in CURVES.items() if name in of and scores[name].notna().any()
    }  # fmt: skip
    if BICUBIC in models and len(models) > 1:
        gain = of.assign(gain=paired_gains(of))
        panels["gain"] = Panel(
            dataset, "PSNR gain over bicubic [dB]",
            [_mean_curve(gain[gain["model"] == m], m, "gain", i, True) for i, m in enumerate(models) if m != BICUBIC],
            zero=True,
        )  # fmt: skip
    return panels


def paired_gains(of: pd.DataFrame) -> pd.Series:
    """PSNR over bicubic's of the same image, a value a row of one test set's scores."""
    base = of[of["model"] == BICUBIC].set_index(["face_id", "k"])[PSNR].rename("base")
    return pd.Series(differences(of[PSNR].to_numpy(), of.join(base, on=["face_id", "k"])["base"].to_numpy()), of.index)


def _mean_curve(of: pd.DataFrame, label: str, column: str, style: int, band: bool = False) -> Curve:
    """Means by input size; the band is the 95 % interval of the mean (normal approximation)."""
    groups = of[of[column].notna()].groupby("px")[column]
    mean = groups.mean()
    half = (Z95 * groups.std() / np.sqrt(groups.count())).fillna(0) if band else None
    low, high = (None, None) if half is None else ((mean - half).to_numpy(), (mean + half).to_numpy())
    return Curve(label, mean.index.to_numpy(dtype=float), mean.to_numpy(), style, low, high)


def weight_panels(config: EvaluateConfig, scores: pd.DataFrame) -> dict[str, list[Panel]]:
    """Label -> a chart a test set, of the models that predict weights of anchors."""
    columns = [f"w{i + 1}" for i in range(MOST_ANCHORS)]
    panels: dict[str, list[Panel]] = {}
    for row in rows_of(config):
        if row.method.self_ensemble:  # the model's own weights, shown with the model
            continue
        of = scores[(scores["model"] == row.label) & scores["w1"].notna()]
        anchors = anchors_of(row) if len(of) else None
        if anchors and of[columns].notna().any().sum() == len(anchors):
            panels[row.label] = [
                weights_panel(part, anchors, f"{row.label} on {name}")
                for name, part in of.groupby("dataset", sort=False)
            ]
    return panels


def anchors_of(row: Row) -> list[float] | None:
    """Down-sampling rates of a model's anchors; None where it has none."""
    card = row.about()
    if given := card.get("anchors"):
        return [k / 16 for k in given]
    try:
        return list(getattr(describe(card["model"]).factory, "anchors", ())) or None
    except (KeyError, ValueError):
        return None

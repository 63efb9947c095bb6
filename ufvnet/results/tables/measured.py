"""Tables of what was measured on a test set: by scale, gains, differences, time and identity; the assigned view."""

from __future__ import annotations

import pandas as pd

from ufvnet.metrics import PRIMARY
from ufvnet.models.inference import BICUBIC
from ufvnet.results.evaluation import ScoredEvaluation
from ufvnet.results.statistics import (
    PSNR,
    SSIM,
    assigned_scales,
    by_face,
    labels_in,
    mean_difference,
    mean_over_sizes,
    mean_score,
    paired_differences,
    sizes_in,
)

from .captions import failures
from .table import MEASURED, NOTHING, OTHER_PROTOCOLS, Cell, Gain, Number, Score, Table


def scale_table(scores: pd.DataFrame, dataset: str, protocol: str) -> Table:
    """PSNR / SSIM of each method at each LR size and in the mean, on one test set."""
    sizes = sizes_in(scores)
    parts = dict(list(scores.groupby("model")))
    rows: list[tuple[Cell, ...]] = []
    for label in labels_in(scores):
        part = parts[label]
        columns = [*(part[part["px"] == px] for px in sizes), part]
        rows.append((label, *(Score(mean_score(column, protocol)) for column in columns)))
    faces = scores["face_id"].nunique()
    caption = (
        f"{dataset}: PSNR / SSIM by input size, protocol {protocol}, {faces:,} faces at every scale.{failures(scores)}"
    )
    header, group = _size_header(sizes), MEASURED if protocol == PRIMARY else OTHER_PROTOCOLS
    ranked = tuple(range(1, len(header)))
    return Table(f"scales_{dataset}_{protocol}", caption, header, tuple(rows), ranked, group)


def gain_table(scores: pd.DataFrame, dataset: str, seed: int) -> Table:
    """PSNR and SSIM of each method over bicubic, paired by image, with bootstrap 95 % intervals."""
    rows: list[tuple[Cell, ...]] = []
    for metric, unit, digits in ((PSNR, "dB", 2), (SSIM, "SSIM", 4)):
        faces = by_face(scores, metric)
        for label in labels_in(scores):
            if label != BICUBIC:
                paired = paired_differences(faces, label, BICUBIC)
                columns = (*paired.T, mean_over_sizes(paired))
                rows.append((f"{label}, {unit}", *(Gain(mean_difference(c, seed), digits) for c in columns)))
    caption = (
        f"{dataset}: gain over bicubic (protocol {PRIMARY}), mean and bootstrap 95 % interval over images; n.s.: the "
        f"interval holds zero.{failures(scores)}"
    )
    return Table(f"gain_{dataset}", caption, _size_header(sizes_in(scores)), tuple(rows))


def difference_table(scores: pd.DataFrame, dataset: str, seed: int) -> Table:
    """Row minus column in PSNR, in the mean over all sizes, paired by image: which differences are real."""
    labels, faces = labels_in(scores), by_face(scores, PSNR)

    def cell(a: str, b: str) -> Cell:
        return NOTHING if a == b else Gain(mean_difference(mean_over_sizes(paired_differences(faces, a, b)), seed))

    rows = tuple((a, *(cell(a, b) for b in labels)) for a in labels)
    caption = (
        f"{dataset}: row minus column in dB (protocol {PRIMARY}), mean over sizes and images with a bootstrap 95 % "
        f"interval; n.s.: the interval holds zero, so the difference is not shown to be real.{failures(scores)}"
    )
    return Table(f"differences_{dataset}", caption, ("row minus column", *labels), rows)


def cost_table(scores: pd.DataFrame, dataset: str) -> Table:
    """Time per image and identity similarity by size."""
    sizes = sizes_in(scores)
    times = scores.groupby(["model", "px"])["milliseconds"].median()
    similarity = scores.groupby(["model", "px"])["identity"].mean()
    rows: list[tuple[Cell, ...]] = []
    for label in labels_in(scores):
        rows.append((f"{label}, ms", *_by_size(times[label], sizes, "{:.1f}")))
        if similarity[label].notna().any():
            rows.append((f"{label}, identity", *_by_size(similarity[label], sizes, "{:.4f}")))
    measured = scores.loc[scores["identity"].notna(), "face_id"].nunique()
    caption = f"{dataset}: median time per image as it was scored (one core, or the device), in ms" + (
        f"; identity: cosine of dlib's descriptors of SR and HR, mean over {measured:,} faces." if measured else "."
    )
    return Table(f"cost_{dataset}", caption, _size_header(sizes), tuple(rows))


def _size_header(sizes: list[int]) -> tuple[str, ...]:
    return ("method", *(f"{px} px" for px in sizes), "mean")


def _by_size(values: pd.Series, sizes: list[int], form: str) -> list[Number]:
    """A value at each size, then their mean."""
    return [Number(value, form) for value in (*(values[px] for px in sizes), values.mean())]


def assigned_table(evaluation: ScoredEvaluation) -> Table:
    """The assigned view: one seeded scale per image, balanced over the scales (docs/method.md section 6)."""
    config, parts = evaluation.config, []
    for test_set in config.datasets:
        scores = evaluation.scores_on(test_set.name)
        parts.append(scores.merge(assigned_scales(scores, config.seed), on=["face_id", "k"]))
    rows: tuple[tuple[Cell, ...], ...] = tuple(
        (label, *(Score(mean_score(part[part["model"] == label])) for part in parts))
        for label in labels_in(evaluation.scores)
    )
    caption = (
        f"Assigned view: PSNR / SSIM (protocol {PRIMARY}) with one scale per image, seed {config.seed}. It carries "
        f"sampling noise; the cross view above is primary.{failures(evaluation.scores)}"
    )
    return Table("assigned", caption, ("method", *(s.name for s in config.datasets)), rows)

"""Tables of a test set's clean LR images: scores by size, gains, differences, time; and the assigned view."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd

from ufvnet.data.lr_images import Size
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
    of_size,
    paired_differences,
    share_below_zero,
    share_worse,
    sizes_in,
    square,
    undamaged,
)

from .captions import ONE_SEED, failures, test_set_name
from .table import MEASURED, NOTHING, OTHER_PROTOCOLS, Cell, Gain, Number, Score, Table


def scale_table(scores: pd.DataFrame, dataset: str, protocol: str) -> Table:
    """PSNR / SSIM of each method at each LR size and in the mean, on one test set."""
    sizes = sizes_in(scores)
    parts = dict(list(scores.groupby("model")))
    rows: list[tuple[Cell, ...]] = []
    for label in labels_in(scores):
        part = parts[label]
        columns = [*(of_size(part, size) for size in sizes), part]
        rows.append((label, *(Score(mean_score(column, protocol)) for column in columns)))
    faces = scores["face_id"].nunique()
    caption = (
        f"{dataset}: PSNR / SSIM by input size, protocol {protocol}, {faces:,} faces at every size.{failures(scores)}"
    )
    header, group = ("method", *size_header(sizes)), MEASURED if protocol == PRIMARY else OTHER_PROTOCOLS
    ranked = tuple(range(1, len(header)))
    return Table(f"scales_{dataset}_{protocol}", caption, header, tuple(rows), ranked, group)


def gain_table(scores: pd.DataFrame, dataset: str, seed: int) -> Table:
    """PSNR and SSIM over bicubic, paired by image, with bootstrap 95 % intervals; share of images that are worse."""
    rows: list[tuple[Cell, ...]] = []
    for metric, unit, digits in ((PSNR, "dB", 2), (SSIM, "SSIM", 4)):
        faces = by_face(scores, metric)
        for label in labels_in(scores):
            if label != BICUBIC:
                paired = paired_differences(faces, label, BICUBIC)
                columns = (*paired.T, mean_over_sizes(paired))
                rows.append((f"{label}, {unit}", *(Gain(mean_difference(c, seed), digits) for c in columns)))
    faces = by_face(scores, PSNR)
    for label in labels_in(scores):
        if label != BICUBIC:
            paired = paired_differences(faces, label, BICUBIC)
            shares = (*((share_below_zero(size), size) for size in paired.T), (share_worse(paired), paired))
            rows.append((f"{label}, worse", *(percent(share, bool(np.isnan(of).any())) for share, of in shares)))
    caption = (
        f"{dataset}: gain over bicubic (protocol {PRIMARY}), mean and bootstrap 95 % interval over images; n.s.: the "
        f"interval holds zero; worse: share of images whose PSNR is below bicubic's.{failures(scores, True)}"
    )
    return Table(f"gain_{dataset}", caption, ("method", *size_header(sizes_in(scores))), tuple(rows))


def difference_table(scores: pd.DataFrame, dataset: str, seed: int) -> Table:
    """Row minus column in PSNR, in the mean over all sizes, paired by image, with the interval of that over images."""
    labels, faces = labels_in(scores), by_face(scores, PSNR)

    def cell(a: str, b: str) -> Cell:
        return NOTHING if a == b else Gain(mean_difference(mean_over_sizes(paired_differences(faces, a, b)), seed))

    rows = tuple((a, *(cell(a, b) for b in labels)) for a in labels)
    caption = (
        f"{dataset}: row minus column in dB (protocol {PRIMARY}), mean over sizes and images with a bootstrap 95 % "
        f"interval; n.s.: the interval holds zero. {ONE_SEED}{failures(scores, True)}"
    )
    return Table(f"differences_{dataset}", caption, ("row minus column", *labels), rows)


def cost_table(scores: pd.DataFrame, dataset: str) -> Table:
    """Time per image by size."""
    sizes = sizes_in(scores)
    times = scores.groupby(["model", "width", "height"])["milliseconds"].median()
    rows: list[tuple[Cell, ...]] = []
    for label in labels_in(scores):
        values = [times.get((label, size.width, size.height), math.nan) for size in sizes]
        rows.append((f"{label}, ms", *(Number(v, "{:.1f}") for v in (*values, times[label].mean()))))
    caption = f"{dataset}: median time per image as it was scored (one core, or the device), in ms."
    return Table(f"cost_{dataset}", caption, ("method", *size_header(sizes)), tuple(rows))


def size_header(sizes: Sequence[Size]) -> tuple[str, ...]:
    """The headers of a column for each size and one for all."""
    return (*(f"{size.name} px" for size in sizes), "mean")


def percent(share: float, incomplete: bool = False) -> Number:
    """A share as whole per cent; NaN is nothing. incomplete: as a number's."""
    return Number(100 * share, "{:.0f} %", incomplete)


def assigned_table(evaluation: ScoredEvaluation) -> Table:
    """The assigned view: one seeded scale per image, balanced over the scales (docs/method.md section 6)."""
    config, parts = evaluation.config, []
    for test_set in config.datasets:
        scores = square(undamaged(evaluation.scores_on(test_set.name)))
        parts.append(scores.merge(assigned_scales(scores, config.seed), on=["face_id", "k"]) if len(scores) else scores)
    rows: tuple[tuple[Cell, ...], ...] = tuple(
        (label, *(Score(mean_score(part[part["model"] == label])) if len(part) else NOTHING for part in parts))
        for label in labels_in(evaluation.scores)
    )
    caption = (
        f"Assigned view on {' and '.join(map(test_set_name, config.datasets))}: PSNR / SSIM (protocol {PRIMARY}) with "
        f"one scale per image, seed {config.seed}. It carries sampling noise; the cross view above is primary."
        f"{failures(square(undamaged(evaluation.scores)))}"
    )
    return Table("assigned", caption, ("method", *(s.name for s in config.datasets)), rows)

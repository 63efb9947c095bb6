"""Tables of the report alone: the overview of all methods, and what failed."""

from __future__ import annotations

import math
from collections import Counter

import pandas as pd

from ufvnet.metrics import PRIMARY
from ufvnet.models.inference import BICUBIC
from ufvnet.results.evaluation import ScoredEvaluation
from ufvnet.results.statistics import (
    DISTANCE,
    LR_IMAGE,
    PSNR,
    can_gain,
    labels_in,
    mean_score,
    paired_gains,
    share_below_zero,
    sizes_in,
)

from .captions import brief
from .measured import percent
from .table import INCOMPLETE, NOTHING, Cell, Number, Score, Table


def overview_table(evaluation: ScoredEvaluation) -> Table:
    """A row per method: means over all faces and sizes of each test set, and how many images failed."""
    scores, labels = evaluation.scores, labels_in(evaluation.scores)
    header, ranked = ["method"], []
    columns: list[list[Cell]] = [list(labels)]
    has_identity = DISTANCE in scores and scores[DISTANCE].notna().any()
    for test_set in evaluation.config.datasets:
        part = evaluation.scores_on(test_set.name)
        ranked.append(len(header))
        header.append(f"{test_set.name}: PSNR / SSIM")
        columns.append([Score(mean_score(part[part["model"] == label])) for label in labels])
        if can_gain(scores):
            paired = paired_gains(part).groupby(part["model"])
            gains, worse = paired.mean(), paired.agg(lambda gain: share_below_zero(gain.to_numpy()))
            header += [f"{test_set.name}: gain [dB]", f"{test_set.name}: worse"]
            columns.append([NOTHING if m == BICUBIC else Number(gains.get(m, math.nan), "{:+.2f}") for m in labels])
            columns.append([NOTHING if m == BICUBIC else percent(worse.get(m, math.nan)) for m in labels])
        if has_identity:
            header.append(f"{test_set.name}: identity distance")
            columns.append(_numbers(part.groupby("model")[DISTANCE].mean(), labels, "{:.3f}"))
    failed = scores[PSNR].isna().groupby(scores["model"]).sum()
    header += ["failed", "ms / face"]
    columns += [
        _numbers(failed, labels, "{:,}"),
        _numbers(scores.groupby("model")["milliseconds"].median(), labels, "{:.1f}"),
    ]
    caption = (
        f"All methods: means over all faces, damages and input sizes, protocol {PRIMARY}; median time as they were "
        f"scored, on the device {evaluation.config.device}; gains are paired by image; worse: share of images below "
        "bicubic's." + (f" {INCOMPLETE} Without the images that the method failed on." if failed.any() else "")
    )
    return Table("overview", caption, tuple(header), tuple(zip(*columns)), tuple(ranked))


def _numbers(values: pd.Series, labels: list[str], form: str) -> list[Cell]:
    return [Number(values.get(label, math.nan), form) for label in labels]


def failure_table(scores: pd.DataFrame) -> Table | None:
    """Which images a method failed on and why; None if all were scored."""
    failed = scores[scores[PSNR].isna()]
    if failed.empty:
        return None
    reasons = failed["reason"].fillna("").replace("", "no score")
    rows: list[tuple[Cell, ...]] = []
    by = ["model", "dataset", *LR_IMAGE]
    for (label, dataset, damage, *_), images in failed.assign(why=reasons).groupby(by, sort=False):
        why = "; ".join(f"{brief(text)} ({n}×)" for text, n in Counter(images["why"]).most_common(3))
        faces = ", ".join(images["face_id"].head(3)) + (", …" if len(images) > 3 else "")
        (size,) = sizes_in(images)
        rows.append((str(label), str(dataset), str(damage), f"{size.name} px", Number(len(images), "{}"), why, faces))
    header = ("method", "test set", "damage", "input size", "images", "most frequent reasons", "faces")
    return Table("failures", "Images without a score: no mean above holds them.", header, tuple(rows))

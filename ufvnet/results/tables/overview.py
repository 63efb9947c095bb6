"""Tables of the report alone: the overview of all methods, and what failed."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection

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
from .table import INCOMPLETE, NOTHING, Cell, Number, Score, Table


def overview_table(evaluation: ScoredEvaluation) -> Table:
    """A row per method: means over all faces and sizes of each test set, and how many images failed."""
    scores, labels = evaluation.scores, labels_in(evaluation.scores)
    header, ranked = ["method"], []
    columns: list[list[Cell]] = [list(labels)]
    has_identity = DISTANCE in scores and scores[DISTANCE].notna().any()
    for test_set in evaluation.config.datasets:
        part = evaluation.scores_on(test_set.name)
        means = {label: mean_score(part[part["model"] == label]) for label in labels}
        lacking = {label for label, mean in means.items() if mean.incomplete}
        ranked.append(len(header))
        header.append(f"{test_set.name}: PSNR / SSIM")
        columns.append([Score(mean) for mean in means.values()])
        if can_gain(scores):
            gains = paired_gains(part)[part["model"] != BICUBIC].groupby(part["model"])
            worse = gains.agg(lambda gain: 100 * share_below_zero(gain.to_numpy()))
            header += [f"{test_set.name}: gain [dB]", f"{test_set.name}: worse"]
            columns.append(_numbers(gains.mean(), labels, "{:+.2f}", lacking))
            columns.append(_numbers(worse, labels, "{:.0f} %", lacking))
        if has_identity:
            header.append(f"{test_set.name}: identity distance")
            distances = part.groupby("model")[DISTANCE].mean()
            columns.append(_numbers(distances, labels, "{:.3f}", _lacking_identity(part)))
    failed = scores[PSNR].isna().groupby(scores["model"]).sum()
    devices = scores.groupby("model")["device"].unique()
    header += ["failed", "ms / face", "device"]
    columns += [
        _numbers(failed, labels, "{:,}"),
        _numbers(scores.groupby("model")["milliseconds"].median(), labels, "{:.1f}"),
        [
            ", ".join("unknown" if pd.isna(device) else device or NOTHING for device in devices[label])
            for label in labels
        ],
    ]
    caption = (
        f"All methods: means over all faces, damages and input sizes, protocol {PRIMARY}; median time as they were "
        "scored, on that device; gains are paired by image; worse: share of images below "
        "bicubic's." + (f" {INCOMPLETE} Without the images that the method failed on." if failed.any() else "")
    )
    return Table("overview", caption, tuple(header), tuple(zip(*columns)), tuple(ranked))


def _lacking_identity(scores: pd.DataFrame) -> set[str]:
    """The methods without the identity of an image that another method has, as they failed on it."""
    measured = scores.groupby(["face_id", *LR_IMAGE])[DISTANCE].transform("count") > 0
    return set(scores.loc[measured & scores[DISTANCE].isna(), "model"])


def _numbers(values: pd.Series, labels: list[str], form: str, lacking: Collection[str] = ()) -> list[Cell]:
    """A cell for each method. lacking: those whose values lack images."""
    return [Number(values.get(label, math.nan), form, label in lacking) for label in labels]


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

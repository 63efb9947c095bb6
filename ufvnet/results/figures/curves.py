"""Curves over the input size, as data: means of metrics, gains over bicubic, weights of the anchors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import torch

from ufvnet.config.lr_images import CLEAN
from ufvnet.models import anchor_weights, describe
from ufvnet.models.inference import BICUBIC
from ufvnet.results.evaluation import ScoredEvaluation
from ufvnet.results.methods.resolve import ResolvedMethod
from ufvnet.results.scoring import MOST_ANCHORS
from ufvnet.results.statistics import (
    DISTANCE,
    PSNR,
    SSIM,
    can_gain,
    clean_title,
    damages_in,
    labels_in,
    paired_gains,
    square,
    undamaged,
)

METRICS = {PSNR: "PSNR [dB]", SSIM: "SSIM", DISTANCE: "identity distance"}
"""Columns of scores that have curves, and the name of their axis."""
Z95 = 1.96


@dataclass(frozen=True)
class Curve:
    """Values over input size. style: its colour and marker. low, high: a band. dashed: a reference, not measured."""

    label: str
    x: np.ndarray
    y: np.ndarray
    style: int
    low: np.ndarray | None = None
    high: np.ndarray | None = None
    dashed: bool = False


@dataclass(frozen=True)
class Panel:
    """A chart: curves over the input size. zero: whether to draw a line at 0."""

    title: str
    y_label: str
    curves: Sequence[Curve]
    zero: bool = False


def curve_panels(scores: pd.DataFrame, dataset: str) -> dict[str, Panel]:
    """Charts of one test set's clean images by metric: means over images by input size.

    ``gain`` over bicubic is paired by image. A metric that no method has on any test set has no chart, and a test set
    without clean images has none.
    """
    part = square(undamaged(scores[scores["dataset"] == dataset]))
    if part.empty:
        return {}
    title = clean_title(dataset, damages_in(scores[scores["dataset"] == dataset]))
    styles = {label: i for i, label in enumerate(labels_in(scores))}
    panels = {
        metric: Panel(title, axis, [_mean_curve(part, label, metric, style) for label, style in styles.items()])
        for metric, axis in METRICS.items()
        if metric in part and scores[metric].notna().any()
    }
    if can_gain(scores):
        gains = part.assign(gain=paired_gains(part))
        curves = [_mean_curve(gains, m, "gain", style, band=True) for m, style in styles.items() if m != BICUBIC]
        panels["gain"] = Panel(title, "PSNR gain over bicubic [dB]", curves, zero=True)
    return panels


def damage_panels(evaluation: ScoredEvaluation) -> dict[str, list[Panel]]:
    """Label -> a chart per test set with damage: the gain over bicubic by input size, a curve for each damage."""
    panels: dict[str, list[Panel]] = {}
    for test_set in evaluation.config.datasets:
        part = square(evaluation.scores_on(test_set.name))
        damages = damages_in(part)
        if damages == [CLEAN] or not can_gain(part):
            continue
        gains = part.assign(gain=paired_gains(part))
        for label in (label for label in labels_in(part) if label != BICUBIC):
            mine = gains[gains["model"] == label]
            curves = [
                replace(_mean_curve(mine[mine["damage"] == damage], label, "gain", style), label=damage)
                for style, damage in enumerate(damages)
            ]
            panel = Panel(f"{label} on {test_set.name}", "PSNR gain over bicubic [dB]", curves, zero=True)
            panels.setdefault(label, []).append(panel)
    return panels


def _mean_curve(scores: pd.DataFrame, label: str, column: str, style: int, band: bool = False) -> Curve:
    """A method's means by input size; the band is the 95 % interval of the mean (normal approximation)."""
    groups = scores[(scores["model"] == label) & scores[column].notna()].groupby("px")[column]
    mean = groups.mean()
    half = (Z95 * groups.std() / np.sqrt(groups.count())).fillna(0) if band else None
    low, high = (None, None) if half is None else ((mean - half).to_numpy(), (mean + half).to_numpy())
    return Curve(label, mean.index.to_numpy(dtype=float), mean.to_numpy(), style, low, high)


def weight_panels(evaluation: ScoredEvaluation) -> dict[str, list[Panel]]:
    """Label -> a chart per test set, for the models that predict weights of anchors."""
    columns = [f"w{i + 1}" for i in range(MOST_ANCHORS)]
    panels: dict[str, list[Panel]] = {}
    for method in evaluation.methods:
        if method.settings.self_ensemble:  # the model's own weights, shown with the model
            continue
        scores = square(undamaged(evaluation.scores))
        predicted = scores[(scores["model"] == method.label) & scores["w1"].notna()]
        anchors = anchors_of(method) if len(predicted) else None
        if anchors and predicted[columns].notna().any().sum() == len(anchors):
            parts = {str(name): part for name, part in predicted.groupby("dataset", sort=False)}
            titles = {name: clean_title(name, damages_in(evaluation.scores_on(name))) for name in parts}
            panels[method.label] = [
                weights_panel(part, anchors, f"{method.label} on {titles[name]}") for name, part in parts.items()
            ]
    return panels


def anchors_of(method: ResolvedMethod) -> list[float] | None:
    """Down-sampling rates of a model's anchors; None if it has none."""
    if ks := method.card.get("anchors"):
        return [k / 16 for k in ks]
    try:
        return list(getattr(describe(method.card["model"]).factory, "anchors", ())) or None
    except (KeyError, ValueError):
        return None


def weights_panel(predicted: pd.DataFrame, anchors: Sequence[float], title: str = "") -> Panel:
    """Weights of the anchors over input size: predicted (mean, and the middle 90 % of faces) and by Eq. 4.

    Args:
        predicted: a row per face and size: ``k`` (sixteenths), ``px``, ``w1``, ``w2``, ...
        anchors: down-sampling rates, one per weight.
    """
    groups = predicted.groupby("px")
    sizes = predicted[["k", "px"]].drop_duplicates().sort_values("px")
    x = sizes["px"].to_numpy()
    target = anchor_weights(torch.as_tensor(sizes["k"].to_numpy() / 16), anchors).numpy()
    curves = []
    for i, anchor in enumerate(anchors):
        weights = groups[f"w{i + 1}"]
        low, mean, high = (weights.quantile(0.05), weights.mean(), weights.quantile(0.95))
        label = f"w{i + 1} (anchor 1/{1 / anchor:g})"
        curves.append(Curve(f"{label}, Eq. 4", x, target[:, i], i, dashed=True))
        curves.append(Curve(label, x, mean.to_numpy(), i, low.to_numpy(), high.to_numpy()))
    return Panel(title, "weight", curves)

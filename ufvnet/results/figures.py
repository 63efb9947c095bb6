"""Figures of an evaluation: the visual grid, the gain and the anchors' weights over input size."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import torch

from ufvnet import data
from ufvnet.config import EvaluateConfig
from ufvnet.data.schema import write_atomically
from ufvnet.metrics import PRIMARY, score
from ufvnet.models import anchor_weights
from ufvnet.models.inference import BICUBIC, ready, super_resolve

from .methods import rows_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

GRID_SCALES = (1, 2, 4, 8)


def write_figures(config: EvaluateConfig, scores: pd.DataFrame) -> list[Path]:
    """grid_<test set>.png (it shows faces) and gain.png / .pdf under figures/; returns the PNGs."""
    folder = config.out / config.name / "figures"
    written = [save(_grid(config, i), folder / f"grid_{t.name}.png") for i, t in enumerate(config.datasets)]
    if BICUBIC in set(scores["model"]) and scores["model"].nunique() > 1:
        figure = _gains(scores)
        save(figure, folder / "gain.pdf")
        written.append(save(figure, folder / "gain.png"))
    return written


def _new_figure(rows: int, columns: int, width: float, height: float) -> tuple[Figure, Any]:
    """A figure without pyplot: nothing global, safe in worker threads."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False)


def save(figure: Figure, path: Path) -> Path:
    """Write a figure in the format that the path's suffix names."""
    write_atomically(path, lambda p: figure.savefig(p, format=path.suffix[1:], dpi=100))
    return path


def _grid(config: EvaluateConfig, index: int) -> Figure:
    """Rows: faces x scales; columns: LR, each model with its PSNR and SSIM, HR (as in Figs. 4-7)."""
    test_set, rows = config.datasets[index], rows_of(config)
    view = data.open(test_set.path).view(config.view, test_set.split)
    ks = [k for k in GRID_SCALES if k in view.ks]
    table = pq.ParquetFile(view.shards[0]).read_row_group(0).slice(0, config.grid_faces).to_pylist()
    lines = [(face, k) for face in table for k in ks]
    figure, axes = _new_figure(len(lines), len(rows) + 2, 1.6 * (len(rows) + 2), 1.85 * len(lines))
    pairs = [(data.decode(face[f"lr_{k}"])[None], data.decode(face["hr"])[None], k / 16) for face, k in lines]
    for line, (lr, hr, _) in zip(axes, pairs):
        _show(line[0], lr[0], f"{lr.shape[2]}×{lr.shape[1]}")
        _show(line[-1], hr[0], "HR")
    for column, row in enumerate(rows, start=1):
        network = ready(row.ref, row.fingerprint, view.hr_size, config.device)
        for line, (lr, hr, rate) in zip(axes, pairs):
            sr, _ = super_resolve(network, lr, view.hr_size, rate, 1)
            s = score(sr, hr)
            _show(line[column], sr[0], f"{row.label}\n{s[f'psnr_{PRIMARY}'][0]:.2f} / {s[f'ssim_{PRIMARY}'][0]:.3f}")
    return figure


def _show(axis: Any, image: np.ndarray, title: str) -> None:
    axis.imshow(image, interpolation="nearest")
    axis.set_title(title, fontsize=7)
    axis.set_axis_off()


def weights_figure(predicted: pd.DataFrame, anchors: Sequence[float]) -> Figure:
    """Weights of the anchors over input size: predicted (mean, and the middle 90 % of faces) against Eq. 4.

    Args:
        predicted: a row a face and size: ``k`` (sixteenths), ``px``, ``w1``, ``w2``, ...
        anchors: down-sampling rates, one a weight.
    """
    figure, axes = _new_figure(1, 1, 5.5, 3.8)
    axis, groups = axes[0, 0], predicted.groupby("px")
    sizes = predicted[["k", "px"]].drop_duplicates().sort_values("px")
    true = anchor_weights(torch.as_tensor(sizes["k"].to_numpy() / 16), anchors).numpy()
    for i, anchor in enumerate(anchors):
        column, colour = f"w{i + 1}", f"C{i}"
        low, mean, high = groups[column].quantile(0.05), groups[column].mean(), groups[column].quantile(0.95)
        axis.plot(sizes["px"], true[:, i], color=colour, linestyle="--", linewidth=1)
        axis.plot(mean.index, mean, color=colour, marker="o", label=f"{column} (anchor 1/{1 / anchor:g})")
        axis.fill_between(mean.index, low, high, color=colour, alpha=0.2, linewidth=0)
    axis.plot([], [], color="grey", linestyle="--", linewidth=1, label="Eq. 4")
    axis.set_xlabel("input size [px]")
    axis.set_ylabel("weight")
    axis.legend(fontsize=7)
    return figure


def _gains(scores: pd.DataFrame) -> Figure:
    datasets = list(dict.fromkeys(scores["dataset"]))
    figure, axes = _new_figure(1, len(datasets), 5 * len(datasets), 3.5)
    for axis, dataset in zip(axes[0], datasets):
        means = scores[scores["dataset"] == dataset].pivot_table(index="px", columns="model", values=f"psnr_{PRIMARY}")
        for model in means.columns.drop(BICUBIC):
            axis.plot(means.index, means[model] - means[BICUBIC], marker="o", label=model)
        axis.axhline(0, color="grey", linewidth=0.8)
        axis.set_title(dataset)
        axis.set_xlabel("input size [px]")
        axis.set_ylabel("PSNR gain over bicubic [dB]")
        axis.legend(fontsize=7)
    return figure

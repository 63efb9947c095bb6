"""How well a regressor knows the rate: ``python -m benchmarks.regressor MODEL DATASET [SPLIT [PLOT.png]]``.

MODEL is the model folder of a regressor (runs/regressor-*/model) or of a whole model. Prints KL (nats) and MAE of the
weights at each of MR8's sizes, and their means.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from ufvnet import data
from ufvnet.imaging.resize import VIEWS, lr_side
from ufvnet.imaging.upscale import upscale
from ufvnet.models import PRESETS, UFVNet, WeightRegressor, anchor_weights, to_network
from ufvnet.models.store import load, load_weights, read_card
from ufvnet.results.figures.charts import weights_figure
from ufvnet.results.figures.write import save
from ufvnet.training.losses import weight_errors

BATCH = 64


def regressor_of(folder: Path) -> tuple[WeightRegressor, list[float]]:
    """The regressor in a model folder, and its anchors' rates."""
    card = read_card(folder)
    anchors = [k / 16 for k in card["anchors"]]
    if card["model"] == "regressor":
        regressor = WeightRegressor(len(anchors), PRESETS[card["preset"]].regressor, card["hr_size"])
        load_weights(regressor, folder)
        return regressor.eval(), anchors
    network = load(folder)[0]
    assert isinstance(network, UFVNet)
    assert network.regressor is not None
    return network.regressor, anchors


@torch.inference_mode()
def predict(regressor: WeightRegressor, anchors: list[float], path: Path, split: str) -> Iterator[pd.DataFrame]:
    """One frame per size, with one row per face: k, px, w1 ..., kl, mae."""
    dataset = data.open(path)
    arrays = dataset.view("MR8", split).arrays()
    for k in VIEWS["MR8"]:
        weights = []
        for start in range(0, len(arrays), BATCH):
            lr = np.stack([arrays.lr[k][i] for i in range(start, min(start + BATCH, len(arrays)))])
            x = torch.from_numpy(lr.transpose(0, 3, 1, 2).copy())
            weights.append(regressor(to_network(upscale(x, dataset.hr_size))))
        w = torch.cat(weights)
        kl, mae = weight_errors(w, anchor_weights(torch.full((len(w),), k / 16), anchors))
        columns = {f"w{i + 1}": w[:, i].numpy() for i in range(len(anchors))}
        yield pd.DataFrame({"k": k, "px": lr_side(dataset.hr_size, k), **columns, "kl": kl.numpy(), "mae": mae.numpy()})


def main(model: str, dataset: str, split: str = "test", plot: str | None = None) -> None:
    regressor, anchors = regressor_of(Path(model))
    predicted = pd.concat(predict(regressor, anchors, Path(dataset), split), ignore_index=True)
    means: pd.DataFrame = predicted.groupby("px").mean()
    columns = [f"w{i + 1}" for i in range(len(anchors))]
    print("| px | KL [nats] | MAE | " + " | ".join(columns) + " |\n" + "|---" * (3 + len(columns)) + "|")
    for row in means.reset_index().to_dict("records"):
        weights = " | ".join(f"{row[c]:.4f}" for c in columns)
        print(f"| {row['px']:.0f} | {row['kl']:.4f} | {row['mae']:.4f} | {weights} |")
    print(f"| mean | {means['kl'].mean():.4f} | {means['mae'].mean():.4f} |" + " |" * len(columns))
    if plot:
        save(weights_figure(predicted, anchors), Path(plot))


if __name__ == "__main__":
    main(*sys.argv[1:])

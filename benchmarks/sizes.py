"""Gain over bicubic at every input size: ``python -m benchmarks.sizes MODEL DATASET SPLIT FACES OUT.csv OUT.png``.

LR images are made from HR by PIL bicubic at each size of 6 ... 80 pixels, and 20x28 and 28x20; protocol y. Sizes that
are not multiples of 8, or are above 64, lie between or outside the sizes of the training.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image

from ufvnet import Restorer, data
from ufvnet.imaging.resize import resize
from ufvnet.metrics import luma, psnr, ssim
from ufvnet.results.figures.write import save

SIZES = [(px, px) for px in (*range(6, 33), *range(34, 81, 2))] + [(20, 28), (28, 20)]
TRAINED = tuple(range(8, 65, 8))
BATCH = 25


def measure(restorer: Restorer, hr: np.ndarray, width: int, height: int) -> dict[str, float]:
    """Mean gains of one size."""
    side = restorer.hr_size
    lr = [resize(Image.fromarray(face), width, height) for face in hr]
    up = np.stack([np.asarray(resize(image, side)) for image in lr])
    restored = [r for i in range(0, len(lr), BATCH) for r in restorer.batch(lr[i : i + BATCH])]
    sr = np.stack([np.asarray(r.image) for r in restored])
    y_sr, y_up, y_hr = luma(sr), luma(up), luma(hr)
    gain = psnr(y_sr, y_hr) - psnr(y_up, y_hr)
    weights = np.mean([r.weights or () for r in restored], axis=0)
    return {
        "width": width, "height": height, "bicubic": psnr(y_up, y_hr).mean(), "gain": gain.mean(),
        "worse": float((gain < 0).mean()), "ssim_gain": (ssim(y_sr, y_hr) - ssim(y_up, y_hr)).mean(),
        **{f"w{i + 1}": w for i, w in enumerate(weights)},
    }  # fmt: skip


def main(model: str, dataset: str, split: str, faces: str, table: str, plot: str) -> None:
    torch.set_num_threads(1)
    arrays = data.open(dataset).view("MR8", split).arrays()
    step = max(1, len(arrays) // int(faces))
    hr = np.stack([arrays.hr[i] for i in range(0, len(arrays), step)][: int(faces)])
    restorer = Restorer.load(model, "cpu")
    rows = []
    for width, height in SIZES:
        rows.append(measure(restorer, hr, width, height))
        print({k: round(float(v), 4) for k, v in rows[-1].items()}, flush=True)
    frame = pd.DataFrame(rows)
    frame.round(4).to_csv(table, index=False)
    _plot(frame, Path(plot))


def _plot(frame: pd.DataFrame, path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 3.6), layout="constrained")
    axis = figure.subplots()
    square = frame[frame["width"] == frame["height"]]
    axis.plot(square["width"], square["gain"], linewidth=1.5, label="square inputs")
    trained = square[square["width"].isin(TRAINED)]
    axis.plot(trained["width"], trained["gain"], "o", label="sizes of MR8")
    for row in frame[frame["width"] != frame["height"]].to_dict("records"):
        w, h = int(row["width"]), int(row["height"])
        axis.plot((w * h) ** 0.5, row["gain"], "^", color="C3", label=f"{w}x{h}")
    axis.axhline(0, color="grey", linewidth=0.8)
    axis.set_xlabel("input size [px]")
    axis.set_ylabel("PSNR gain over bicubic [dB]")
    axis.legend(fontsize=8)
    save(figure, path)


if __name__ == "__main__":
    main(*sys.argv[1:])

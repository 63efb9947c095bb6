"""Gain over bicubic under damage: ``python -m benchmarks.real MODEL DATASET [--split val] [--faces 100]``.

For every damage of docs/method.md section 8 (``ufvnet/data/damage/named.py``) at each size, protocol ``y``: the mean
gain over the bicubic enlargement of the same damaged LR image, and the share of faces that become worse. Prints a
table; ``--out`` also writes the rows as CSV.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from ufvnet import data
from ufvnet.data.damage.named import NAMES, UNSEEN, damaged
from ufvnet.data.damage.recut import recut
from ufvnet.data.dataset import FaceArrays
from ufvnet.imaging.upscale import upscale
from ufvnet.metrics import luma, psnr
from ufvnet.models import load, to_network, to_pixels
from ufvnet.models.inference import channels_last, forward

SIZES, BATCH, SEED = (16, 24, 32, 48), 25, 9
CROP = "crop"
"""Name of clean faces that are cut again from their photographs."""


@torch.inference_mode()
def gains(network: torch.nn.Module, hr: np.ndarray, name: str, side: int) -> np.ndarray:
    """(N,) gains in dB of (N, H, H, 3) faces under a damage at a size."""
    kind = "clean" if name == CROP else name
    lr = np.stack([damaged(kind, face, side, side, (SEED, i)) for i, face in enumerate(hr)])
    up = upscale(torch.from_numpy(lr.transpose(0, 3, 1, 2).copy()), hr.shape[1])
    parts = [forward(network, to_network(x), torch.full((len(x),), side / hr.shape[1])).sr for x in up.split(BATCH)]
    sr = to_pixels(torch.cat(parts))
    y = luma(hr)
    return psnr(luma(sr.permute(0, 2, 3, 1).numpy()), y) - psnr(luma(up.permute(0, 2, 3, 1).numpy()), y)


def measure(model: Path, faces: FaceArrays, count: int, names: list[str], sizes: list[int]) -> pd.DataFrame:
    """One row per damage and size: damage, px, gain, worse."""
    network = channels_last(load(model)[0])
    built = np.stack([faces.hr[i] for i in range(count)])
    hr = {name: cut_anew(faces, count) if name == CROP else built for name in names}
    measured = {(name, side): gains(network, hr[name], name, side) for name in names for side in sizes}
    return pd.DataFrame(
        [{"damage": n, "px": s, "gain": g.mean(), "worse": (g < 0).mean()} for (n, s), g in measured.items()]
    )


def cut_anew(faces: FaceArrays, count: int) -> np.ndarray:
    """The faces with enough room, cut again from their photographs."""
    generators = [np.random.default_rng((SEED, i)) for i in range(count)]
    cut = [recut(o.read(), o.box, faces.hr.shape[1], rng) for o, rng in zip(faces.originals, generators)]
    return np.stack([face for face in cut if face is not None])


def table(rows: pd.DataFrame) -> str:
    """Markdown: one line per damage, with gain in dB and share of worse faces at every size."""
    sizes = sorted(set(rows["px"]))
    lines = [f"| damage | {' | '.join(f'{s} px' for s in sizes)} | mean |", "|---" * (len(sizes) + 2) + "|"]
    for name, group in rows.groupby("damage", sort=False):
        cells = [f"{r.gain:+.2f} ({r.worse:.0%})" for r in group.sort_values("px").itertuples()]
        lines.append(f"| {name} | {' | '.join(cells)} | {group['gain'].mean():+.2f} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--split", default="val")
    parser.add_argument("--faces", type=int, default=100)
    parser.add_argument(
        "--damage", default=",".join(NAMES), help=f"names, or all ({CROP}, {', '.join(UNSEEN)} as well)"
    )
    parser.add_argument("--sizes", default=",".join(map(str, SIZES)))
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    names = list((*NAMES, CROP, *UNSEEN)) if options.damage == "all" else options.damage.split(",")
    dataset = data.open(options.dataset)
    arrays = dataset.view("MR8", options.split).arrays(dataset.photos if CROP in names else None)
    count, sizes = min(options.faces, len(arrays)), [int(s) for s in options.sizes.split(",")]
    rows = measure(options.model, arrays, count, names, sizes)
    if options.out:
        rows.round(4).to_csv(options.out, index=False)
    print(table(rows))


if __name__ == "__main__":
    main()

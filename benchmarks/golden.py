"""Bicubic's scores against an independent computation: PIL for the images, scikit-image for luma, PSNR and SSIM.

``python -m benchmarks.golden DATASET SPLIT``: scores every face at the eight sizes with the three correct protocols,
prints the largest differences, and fails above 1e-4 dB or 1e-6 of SSIM. 819 faces take 2 minutes of one core.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from skimage.color import rgb2ycbcr
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from ufvnet import data
from ufvnet.config import EvaluateConfig, load
from ufvnet.results import scoring
from ufvnet.results.evaluation import resolve_evaluation

SETTINGS: dict[str, Any] = {"data_range": 255, "gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
LIMITS = (1e-4, 1e-6)


def main(path: Path, split: str) -> None:
    with tempfile.TemporaryDirectory() as out:
        entry = {"name": path.name, "path": path, "split": split}
        config = load(EvaluateConfig, {"name": "golden", "models": ["bicubic"], "datasets": [entry], "out": out})
        evaluation = resolve_evaluation(config)
        for task in scoring.plan_scoring(evaluation):
            scoring.score_faces(task)
        scores = scoring.read_scores(evaluation).scores.set_index(["face_id", "k"]).to_dict("index")
    view = data.open(path).view("MR8", split).arrays()
    worst: dict[str, list[float]] = {}
    for place, face in enumerate(view.face_ids):
        hr = np.asarray(view.hr[place])
        for k in range(1, 9):
            row = scores[face, k]
            for protocol, (a, b) in scored_pairs(hr, bicubic(hr, 8 * k)).items():
                colour = {"channel_axis": -1} if a.ndim == 3 else {}
                both = worst.setdefault(protocol, [0.0, 0.0])
                both[0] = max(both[0], abs(row[f"psnr_{protocol}"] - peak_signal_noise_ratio(b, a, data_range=255)))
                theirs = structural_similarity(a, b, **SETTINGS, **colour)
                both[1] = max(both[1], abs(row[f"ssim_{protocol}"] - theirs))
    for protocol, (db, similarity) in worst.items():
        print(f"{len(view.face_ids)} faces, {protocol}: at most {db:.1e} dB and {similarity:.1e} of SSIM apart")
    sys.exit(any(value > limit for both in worst.values() for value, limit in zip(both, LIMITS)))


def bicubic(hr: np.ndarray, side: int) -> np.ndarray:
    """HR reduced and enlarged again by PIL."""
    small = Image.fromarray(hr).resize((side, side), Image.Resampling.BICUBIC)
    return np.asarray(small.resize((hr.shape[1], hr.shape[0]), Image.Resampling.BICUBIC))


def scored_pairs(hr: np.ndarray, up: np.ndarray) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """What each protocol compares (docs/method.md section 6)."""
    y, true = rgb2ycbcr(up)[..., 0], rgb2ycbcr(hr)[..., 0]
    return {"y": (y, true), "y-crop8": (y[8:-8, 8:-8], true[8:-8, 8:-8]), "rgb": (up, hr)}


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])

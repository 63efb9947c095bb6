"""Means, pairings and intervals of scores: the numbers that tables, figures and report quote."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from ufvnet.metrics import PRIMARY, Difference, differences, mean_interval
from ufvnet.models.inference import BICUBIC

PSNR, SSIM = f"psnr_{PRIMARY}", f"ssim_{PRIMARY}"
"""Columns of scores under the primary protocol."""


@dataclass(frozen=True)
class MeanScore:
    """Mean PSNR (dB) and SSIM over the images that have a score; NaN where none has.

    incomplete: the method failed on some images, perhaps the hardest.
    """

    psnr: float
    ssim: float
    incomplete: bool = False


def labels_in(scores: pd.DataFrame) -> list[str]:
    """Labels of the methods, in the order of the scores."""
    return list(dict.fromkeys(scores["model"]))


def sizes_in(scores: pd.DataFrame) -> list[int]:
    """Input sizes in pixels, ascending."""
    return sorted(scores["px"].unique())


def failures(scores: pd.DataFrame) -> list[str]:
    """A line for each method and test set with images that have no score: how many they are, and the first reason."""
    lines = []
    for (label, test_set), rows in scores.groupby(["model", "dataset"], sort=False):
        failed = rows[rows["status"] != "ok"]
        if len(failed):
            count = f"all {len(rows):,}" if len(failed) == len(rows) else f"{len(failed):,} of {len(rows):,}"
            lines.append(f"{label}: failed on {count} images of {test_set} ({failed['reason'].iloc[0]})")
    return lines


def can_gain(scores: pd.DataFrame) -> bool:
    """True if bicubic and another method were scored, so that there is a gain over bicubic."""
    labels = labels_in(scores)
    return BICUBIC in labels and len(labels) > 1


def mean_score(scores: pd.DataFrame, protocol: str = PRIMARY) -> MeanScore:
    """The mean of some rows of scores under a protocol."""
    incomplete = bool((scores["status"] == "failed").any())
    return MeanScore(float(scores[f"psnr_{protocol}"].mean()), float(scores[f"ssim_{protocol}"].mean()), incomplete)


def by_face(scores: pd.DataFrame, metric: str) -> pd.DataFrame:
    """A metric of one test set as faces x (label, px)."""
    return scores.pivot_table(index="face_id", columns=["model", "px"], values=metric, dropna=False)


def paired_differences(faces: pd.DataFrame, a: str, b: str) -> np.ndarray:
    """Method a minus method b: (faces, sizes) float64.

    Args:
        faces: as ``by_face`` gives it.
        a, b: labels.
    """
    return differences(faces[a].to_numpy(), faces[b].to_numpy())


def mean_over_sizes(paired: np.ndarray) -> np.ndarray:
    """(faces, sizes) -> (faces,)."""
    with np.errstate(invalid="ignore"):  # infinities of both signs
        return paired.mean(1)


def mean_difference(paired: np.ndarray, seed: int) -> Difference | None:
    """The mean of (N,) differences with its bootstrap interval, over the images that both methods have.

    Returns:
        None where there is no such image.
    """
    both = paired[~np.isnan(paired)]
    return mean_interval(both, seed) if len(both) else None


def paired_gains(scores: pd.DataFrame) -> pd.Series:
    """PSNR over bicubic's of the same image, for each row of one test set's scores."""
    bicubic = scores[scores["model"] == BICUBIC].set_index(["face_id", "k"])[PSNR].rename("bicubic")
    base = scores.join(bicubic, on=["face_id", "k"])["bicubic"]
    return pd.Series(differences(scores[PSNR].to_numpy(), base.to_numpy()), scores.index)


def assigned_scales(scores: pd.DataFrame, seed: int) -> pd.DataFrame:
    """One scale for each face: a seeded permutation of the faces, dealt to the scales in turn.

    Returns:
        Columns ``face_id`` and ``k`` (sixteenths).
    """
    faces, ks = sorted(scores["face_id"].unique()), sorted(scores["k"].unique())
    order = np.random.default_rng(seed).permutation(len(faces))
    return pd.DataFrame({"face_id": [faces[i] for i in order], "k": [ks[i % len(ks)] for i in range(len(faces))]})

"""Means, pairings and intervals of scores: the numbers that tables, figures and report quote."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from ufvnet.config.lr_images import CLEAN
from ufvnet.data.lr_images import Size
from ufvnet.metrics import PRIMARY, Difference, differences, mean_interval
from ufvnet.models.inference import BICUBIC

PSNR, SSIM = f"psnr_{PRIMARY}", f"ssim_{PRIMARY}"
"""Columns of scores under the primary protocol."""
DISTANCE = "identity_distance"
LR_IMAGE = ["damage", "px", "width"]
"""Columns that tell the LR images of a face apart; mean side and width give the height."""


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


def sizes_in(scores: pd.DataFrame) -> list[Size]:
    """Input sizes, ascending."""
    return sorted(Size(int(w), int(h)) for w, h in scores[["width", "height"]].drop_duplicates().to_numpy())


def damages_in(scores: pd.DataFrame) -> list[str]:
    """Names of the damages, in the order of the scores."""
    return list(dict.fromkeys(scores["damage"]))


def undamaged(scores: pd.DataFrame) -> pd.DataFrame:
    """The scores of clean LR images."""
    return scores[scores["damage"] == CLEAN]


CLEAN_IMAGES = "clean LR images"


def clean_title(dataset: str, damages: Iterable[str]) -> str:
    """How captions and charts of its clean LR images name a test set, which may have damaged ones beside them."""
    return dataset if set(damages) == {CLEAN} else f"{dataset} ({CLEAN_IMAGES})"


def of_size(scores: pd.DataFrame, size: Size) -> pd.DataFrame:
    """The scores of LR images of one size."""
    return scores[(scores["width"] == size.width) & (scores["height"] == size.height)]


def square(scores: pd.DataFrame) -> pd.DataFrame:
    """The scores of square LR images, which have a place on the axis of a curve."""
    return scores[scores["width"] == scores["height"]]


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
    """A metric of one test set and damage as faces x (label, mean side, width): the sizes of each label ascend."""
    values = scores.set_index(["face_id", "model", "px", "width"])[metric]
    return values.unstack(["model", "px", "width"]).sort_index(axis=1)


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
    return replace(mean_interval(both, seed), incomplete=len(both) < len(paired)) if len(both) else None


def paired_gains(scores: pd.DataFrame) -> pd.Series:
    """PSNR over bicubic's of the same image, for each row of one test set's scores."""
    image = ["face_id", *LR_IMAGE]
    bicubic = scores[scores["model"] == BICUBIC].set_index(image)[PSNR].rename("bicubic")
    base = scores.join(bicubic, on=image)["bicubic"]
    return pd.Series(differences(scores[PSNR].to_numpy(), base.to_numpy()), scores.index)


def assigned_scales(scores: pd.DataFrame, seed: int) -> pd.DataFrame:
    """One scale for each face: a seeded permutation of the faces, dealt to the scales in turn.

    Args:
        scores: of square LR images.

    Returns:
        Columns ``face_id`` and ``k`` (sixteenths).
    """
    faces, ks = sorted(scores["face_id"].unique()), sorted(scores["k"].unique())
    order = np.random.default_rng(seed).permutation(len(faces))
    return pd.DataFrame({"face_id": [faces[i] for i in order], "k": [ks[i % len(ks)] for i in range(len(faces))]})


@dataclass(frozen=True)
class Outcome:
    """What a method made of some images of one test set and damage, beside what bicubic makes of them.

    faces: how many. mean: of their scores. gain: in dB, with its interval over the faces that have all sizes; None
    without bicubic, or such a face. worse: share of images whose PSNR is below bicubic's; NaN without a gain. cosine,
    distance: mean identity, over the images that were measured; bicubic_distance: bicubic's of the same images.
    nearer: share of images nearer to HR than bicubic's. identity_incomplete: these four lack images that the method
    failed on. NaN for what there is not.
    """

    faces: int
    mean: MeanScore
    gain: Difference | None
    worse: float
    cosine: float
    distance: float
    bicubic_distance: float
    nearer: float
    identity_incomplete: bool


def outcome(scores: pd.DataFrame, label: str, seed: int) -> Outcome:
    """The outcome of a method.

    Args:
        scores: all methods' rows of the images, of one test set and damage.
    """
    mine = scores[scores["model"] == label]
    distances = by_face(scores, DISTANCE)
    distance, is_measured = distances[label].to_numpy(), distances.notna().any(axis=1).to_numpy()
    gain, worse, bicubic_distance, nearer = None, math.nan, math.nan, math.nan
    if BICUBIC in set(scores["model"]) and label != BICUBIC:
        paired = paired_differences(by_face(scores, PSNR), label, BICUBIC)
        gain, worse = mean_difference(mean_over_sizes(paired), seed), share_worse(paired)
        bicubic = distances[BICUBIC].to_numpy()
        nearer = share_below_zero(differences(distance, bicubic))
        distance, bicubic = np.where(np.isnan(bicubic), np.nan, distance), np.where(np.isnan(distance), np.nan, bicubic)
        bicubic_distance = _mean(bicubic)
    return Outcome(
        mine["face_id"].nunique(), mean_score(mine), gain, worse, float(mine["identity"].mean()),
        _mean(distance), bicubic_distance, nearer, bool(np.isnan(distance[is_measured]).any()),
    )  # fmt: skip


def _mean(values: np.ndarray) -> float:
    """Over those that are not NaN; NaN if all are."""
    return float(pd.Series(values.ravel()).mean())


def share_worse(paired: np.ndarray) -> float:
    """The share of images that are worse, from (faces, sizes) differences; NaN where they have no mean gain."""
    return math.nan if np.isnan(mean_over_sizes(paired)).all() else share_below_zero(paired)


def share_below_zero(paired: np.ndarray) -> float:
    """The share of negative differences among those that are not NaN; NaN if all are."""
    both = paired[~np.isnan(paired)]
    return float((both < 0).mean()) if len(both) else math.nan


Outcomes = dict[tuple[str, Size | None, str], Outcome]
"""By damage, size (None: all sizes together) and label."""


def outcomes(scores: pd.DataFrame, seed: int) -> Outcomes:
    """The outcomes of one test set: of each method under each damage, at each size and over all sizes."""
    results: Outcomes = {}
    for damage, part in scores.groupby("damage", sort=False):
        sizes = sizes_in(part)
        for size in [*sizes, None]:
            images = part if size is None else of_size(part, size)
            results |= {(str(damage), size, label): outcome(images, label, seed) for label in labels_in(part)}
    return results

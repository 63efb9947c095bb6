"""Means and pairings of scores that are made by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from ufvnet.data.lr_images import Size
from ufvnet.results.statistics import (
    assigned_scales,
    by_face,
    can_gain,
    failures,
    labels_in,
    mean_difference,
    mean_score,
    outcome,
    paired_differences,
    paired_gains,
    sizes_in,
)

FACES, KS = list("abcde"), (1, 2, 4)


@pytest.fixture
def scores() -> pd.DataFrame:
    """Of ``mine`` and bicubic, in another order of faces each; ``mine`` is better by k dB and fails on one image."""
    rows = []
    for label, faces in (("mine", FACES), ("bicubic", FACES[::-1])):
        for face in faces:
            for k in KS:
                psnr = 20 + ord(face) + (k if label == "mine" else 0)
                failed = (label, face, k) == ("mine", "c", 2)
                rows.append({
                    "model": label, "damage": "clean", "face_id": face, "k": k, "px": 8 * k, "width": 8 * k,
                    "height": 8 * k, "status": "failed" if failed else "ok",
                    "psnr_y": np.nan if failed else psnr, "ssim_y": np.nan if failed else 0.5,
                })  # fmt: skip
    return pd.DataFrame(rows)


def test_a_failed_method_has_a_line_for_each_test_set_with_the_first_reason(scores: pd.DataFrame) -> None:
    failed = scores["status"] == "failed"
    first = scores.assign(dataset="A", reason=np.where(failed, "ValueError: no face", ""))
    second = first[first["model"] == "mine"].assign(dataset="B", status="failed", reason="it is broken")
    assert failures(pd.concat([first, second])) == [
        "mine: failed on 1 of 15 images of A (ValueError: no face)",
        "mine: failed on all 15 images of B (it is broken)",
    ]
    assert failures(first[first["model"] == "bicubic"]) == []


def test_a_mean_is_over_the_images_that_have_a_score_and_says_so(scores: pd.DataFrame) -> None:
    mine = scores[(scores["model"] == "mine") & (scores["k"] == 2)]
    mean = mean_score(mine)
    assert (mean.psnr, mean.ssim, mean.incomplete) == (np.mean([22 + ord(f) for f in "abde"]), 0.5, True)
    assert not mean_score(scores[scores["model"] == "bicubic"]).incomplete
    assert np.isnan(mean_score(mine[mine["status"] == "failed"]).psnr)


def test_gains_are_paired_by_image_whatever_the_order(scores: pd.DataFrame) -> None:
    gains = paired_gains(scores)
    expected = scores["k"].where(scores["model"] == "mine", 0).where(scores["status"] == "ok")
    pd.testing.assert_series_equal(gains, expected.astype(float), check_names=False)
    paired = paired_differences(by_face(scores, "psnr_y"), "mine", "bicubic")
    assert paired.shape == (len(FACES), len(KS))
    difference = mean_difference(paired[:, 1], seed=0)
    assert difference is not None
    assert (difference.mean, difference.low, difference.high) == (2, 2, 2)


def test_without_an_image_in_common_there_is_no_difference() -> None:
    assert mean_difference(np.full(3, np.nan), seed=0) is None


def test_bicubic_s_identity_is_of_the_images_that_the_method_has(scores: pd.DataFrame) -> None:
    mine, failed = scores["model"] == "mine", scores["status"] == "failed"
    hard = (scores["face_id"] == "c") & (scores["k"] == 2)
    distance = pd.Series(np.where(mine, 0.4, 0.5)).mask(hard, 0.9).mask(failed).mask(scores["face_id"] == "e")
    scores = scores.assign(identity=1 - distance, identity_distance=distance)
    found = outcome(scores, "mine", 0)
    assert (found.distance, found.bicubic_distance, found.nearer) == pytest.approx((0.4, 0.5, 1))
    assert found.identity_incomplete
    assert found.gain is not None
    assert (found.gain.mean, found.gain.incomplete) == (pytest.approx(7 / 3), True)
    others = scores[scores["face_id"] != "c"]
    assert not outcome(others, "mine", 0).identity_incomplete  # nobody measured e


def test_without_a_mean_gain_there_is_no_share_worse_but_identity(scores: pd.DataFrame) -> None:
    mine = scores["model"] == "mine"
    scores = scores.assign(identity=0.9, identity_distance=np.where(mine, 0.4, 0.5))
    lost = ["psnr_y", "ssim_y", "identity", "identity_distance"]
    scores.loc[mine & (scores["k"] == 2), lost] = np.nan
    found = outcome(scores, "mine", 0)
    assert found.gain is None
    assert np.isnan(found.worse)
    assert (found.distance, found.bicubic_distance, found.nearer) == pytest.approx((0.4, 0.5, 1))


def test_methods_stand_in_the_order_of_the_scores_and_sizes_ascend(scores: pd.DataFrame) -> None:
    assert labels_in(scores) == ["mine", "bicubic"]
    assert sizes_in(scores[::-1]) == [Size(8, 8), Size(16, 16), Size(32, 32)]
    assert can_gain(scores)
    assert not can_gain(scores[scores["model"] == "bicubic"])
    assert not can_gain(scores[scores["model"] == "mine"])


def test_the_assigned_view_gives_each_image_one_scale_balanced_and_seeded(scores: pd.DataFrame) -> None:
    first, same, other = (assigned_scales(scores, seed) for seed in (0, 0, 1))
    assert first.equals(same)
    assert not first.equals(other)
    assert sorted(first["face_id"]) == FACES
    assert first["k"].value_counts().max() - first["k"].value_counts().min() <= 1

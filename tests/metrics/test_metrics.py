"""PSNR and SSIM under the four protocols of docs/method.md section 6, and the paired bootstrap."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
from skimage.color import rgb2ycbcr
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from ufvnet.metrics import PRIMARY, PROTOCOLS, luma, paired_difference, psnr, score, ssim
from ufvnet.results.tables.table import Gain


@pytest.fixture(scope="module")
def pairs() -> tuple[np.ndarray, np.ndarray]:
    """Three pairs of 64x56 pictures: noise on a ramp, two unrelated ones, and a nearly equal dark one."""
    rng = np.random.default_rng(0)
    ramp = np.add.outer(np.arange(64) * 2, np.arange(56) * 2)[..., None] + np.array([0, 10, 20])
    hr = np.stack([ramp, rng.integers(0, 256, (64, 56, 3)), rng.integers(0, 30, (64, 56, 3))])
    sr = np.stack([ramp + rng.normal(0, 12, ramp.shape), rng.integers(0, 256, (64, 56, 3)), hr[2] + 1])
    return sr.clip(0, 255).astype(np.uint8), hr.clip(0, 255).astype(np.uint8)


def _y(image: np.ndarray) -> np.ndarray:
    return rgb2ycbcr(image)[..., 0]


def _crop(image: np.ndarray) -> np.ndarray:
    return image[8:-8, 8:-8]


def _reference_ssim(a: np.ndarray, b: np.ndarray, **more: int) -> float:
    return structural_similarity(  # pyright: ignore
        a, b, data_range=255, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, **more
    )


def _naive_ssim(a: np.ndarray, b: np.ndarray) -> float:
    """Wang et al. 2004, window by window."""
    taps = [math.exp(-(i**2) / (2 * 1.5**2)) for i in range(-5, 6)]
    window = np.outer(taps, taps) / sum(taps) ** 2
    values = []
    for top in range(a.shape[0] - 10):
        for left in range(a.shape[1] - 10):
            x, y = (image[top : top + 11, left : left + 11].astype(float) for image in (a, b))
            mx, my = (window * x).sum(), (window * y).sum()
            vx, vy = (window * (x - mx) ** 2).sum(), (window * (y - my) ** 2).sum()
            cov = (window * (x - mx) * (y - my)).sum()
            c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
            values.append((2 * mx * my + c1) * (2 * cov + c2) / ((mx**2 + my**2 + c1) * (vx + vy + c2)))
    return sum(values) / len(values)


def test_luma_is_the_studio_swing_of_bt_601(pairs: tuple[np.ndarray, np.ndarray]) -> None:
    corners = np.array([[0, 0, 0], [255, 255, 255], [255, 0, 0], [0, 255, 0], [0, 0, 255]], dtype=np.uint8)
    assert luma(corners).tolist() == pytest.approx([16, 235, 81.481, 144.553, 40.966])
    np.testing.assert_allclose(luma(pairs[0]), np.stack([_y(i) for i in pairs[0]]), atol=1e-9)


def test_every_protocol_has_a_psnr_and_an_ssim_an_image(pairs: tuple[np.ndarray, np.ndarray]) -> None:
    scores = score(*pairs)
    assert PROTOCOLS == ("y", "rgb", "y-crop8", "y-crop8-dic")
    assert PRIMARY == "y"
    assert set(scores) == {f"{metric}_{p}" for metric in ("psnr", "ssim") for p in PROTOCOLS}
    assert {values.shape for values in scores.values()} == {(3,)}


def test_protocol_y_equals_scikit_image_s_on_the_same_y(pairs: tuple[np.ndarray, np.ndarray]) -> None:
    scores = score(*pairs)
    for i, (sr, hr) in enumerate(zip(*pairs, strict=True)):
        a, b = _y(sr), _y(hr)
        assert scores["psnr_y"][i] == pytest.approx(peak_signal_noise_ratio(b, a, data_range=255), abs=1e-6)
        assert scores["ssim_y"][i] == pytest.approx(_reference_ssim(a, b), abs=1e-6)


def test_protocol_rgb_equals_scikit_image_s_of_three_channels(pairs: tuple[np.ndarray, np.ndarray]) -> None:
    scores = score(*pairs)
    for i, (sr, hr) in enumerate(zip(*pairs, strict=True)):
        assert scores["psnr_rgb"][i] == pytest.approx(peak_signal_noise_ratio(hr, sr, data_range=255), abs=1e-6)
        assert scores["ssim_rgb"][i] == pytest.approx(_reference_ssim(sr, hr, channel_axis=-1), abs=1e-6)


def test_protocol_y_crop8_equals_scikit_image_s_without_the_border(pairs: tuple[np.ndarray, np.ndarray]) -> None:
    scores = score(*pairs)
    for i, (sr, hr) in enumerate(zip(*pairs, strict=True)):
        a, b = _crop(_y(sr)), _crop(_y(hr))
        assert scores["psnr_y-crop8"][i] == pytest.approx(peak_signal_noise_ratio(b, a, data_range=255), abs=1e-6)
        assert scores["ssim_y-crop8"][i] == pytest.approx(_reference_ssim(a, b), abs=1e-6)


def test_protocol_y_crop8_dic_equals_a_naive_ssim_of_wrapped_pixels(pairs: tuple[np.ndarray, np.ndarray]) -> None:
    sr, hr = (images[:, :32, :34] for images in pairs)
    scores = score(sr, hr)
    for i in range(3):
        a, b = (np.round(_crop(_y(images[i]))).astype(int) for images in (sr, hr))
        assert scores["ssim_y-crop8-dic"][i] == pytest.approx(_naive_ssim(a * 255 % 256, b * 255 % 256), abs=1e-9)
        mse = ((a - b) ** 2).mean()
        assert scores["psnr_y-crop8-dic"][i] == pytest.approx(10 * math.log10(255**2 / mse), abs=1e-9)


def test_the_wrapping_of_protocol_y_crop8_dic_makes_a_difference(pairs: tuple[np.ndarray, np.ndarray]) -> None:
    scores = score(*pairs)
    assert np.abs(scores["ssim_y-crop8-dic"] - scores["ssim_y-crop8"]).max() > 1e-3


def test_an_error_in_the_border_counts_only_where_the_border_does(pairs: tuple[np.ndarray, np.ndarray]) -> None:
    hr = pairs[1]
    sr = hr.copy()
    sr[:, :8] = 255 - sr[:, :8]
    scores = score(sr, hr)
    assert np.isfinite(scores["psnr_y"]).all()
    assert (scores["ssim_y"] < 0.99).all()
    assert np.isinf(scores["psnr_y-crop8"]).all()
    np.testing.assert_allclose(scores["ssim_y-crop8"], 1)


def test_equal_images_have_an_infinite_psnr_and_an_ssim_of_one_without_a_warning() -> None:
    images = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scores = score(images, images)
    assert all(np.isinf(scores[f"psnr_{p}"]).all() for p in PROTOCOLS)
    assert all(np.allclose(scores[f"ssim_{p}"], 1) for p in PROTOCOLS)


def test_psnr_follows_its_definition() -> None:
    a = np.zeros((2, 4, 4), np.uint8)
    b = np.stack([np.full((4, 4), 1), np.full((4, 4), 255)]).astype(np.uint8)
    assert psnr(a, b).tolist() == pytest.approx([20 * math.log10(255), 0])
    assert psnr(b, a).tolist() == psnr(a, b).tolist()


def test_ssim_equals_the_naive_one_and_is_symmetric(pairs: tuple[np.ndarray, np.ndarray]) -> None:
    a, b = (images[:, :20, :23, 0] for images in pairs)
    assert ssim(a, b).tolist() == pytest.approx([_naive_ssim(x, y) for x, y in zip(a, b, strict=True)], abs=1e-9)
    np.testing.assert_allclose(ssim(a, b), ssim(b, a))


def test_an_image_s_score_does_not_depend_on_the_others(pairs: tuple[np.ndarray, np.ndarray]) -> None:
    together = score(*pairs)
    for i in range(3):
        alone = score(*(images[i : i + 1] for images in pairs))
        assert {k: v[0] for k, v in alone.items()} == pytest.approx({k: v[i] for k, v in together.items()}, abs=1e-9)


@pytest.mark.parametrize(
    ("sr", "hr"),
    [
        (np.zeros((1, 32, 32, 3), np.uint8), np.zeros((1, 32, 33, 3), np.uint8)),
        (np.zeros((1, 32, 32, 3), np.float32), np.zeros((1, 32, 32, 3), np.uint8)),
        (np.zeros((32, 32, 3), np.uint8), np.zeros((32, 32, 3), np.uint8)),
        (np.zeros((1, 32, 32, 1), np.uint8), np.zeros((1, 32, 32, 1), np.uint8)),
    ],
    ids=["shapes differ", "float", "no batch", "grey"],
)
def test_anything_but_uint8_rgb_of_one_shape_is_refused(sr: np.ndarray, hr: np.ndarray) -> None:
    with pytest.raises(ValueError, match="uint8 arrays, got"):
        score(sr, hr)


def test_an_image_smaller_than_the_window_has_no_ssim() -> None:
    with pytest.raises(ValueError, match="sides of 11"):
        ssim(np.zeros((1, 10, 32)), np.zeros((1, 10, 32)))


def test_images_of_different_shapes_have_no_psnr() -> None:
    with pytest.raises(ValueError, match="differ in shape"):
        psnr(np.zeros((1, 8, 8)), np.zeros((1, 8, 9)))


@pytest.fixture(scope="module")
def two_methods() -> tuple[np.ndarray, np.ndarray]:
    """Scores of two methods on 400 images that vary by 3 dB among images and by 0.2 dB between methods."""
    rng = np.random.default_rng(0)
    images = rng.normal(28, 3, 400)
    return images + 0.1 + rng.normal(0, 0.2, 400), images


def test_the_interval_is_that_of_the_mean_of_the_differences(two_methods: tuple[np.ndarray, np.ndarray]) -> None:
    a, b = two_methods
    difference = paired_difference(a, b)
    error = (a - b).std(ddof=1) / math.sqrt(len(a))
    assert difference.mean == pytest.approx((a - b).mean())
    assert difference.low == pytest.approx(difference.mean - 1.96 * error, abs=0.15 * error)
    assert difference.high == pytest.approx(difference.mean + 1.96 * error, abs=0.15 * error)
    assert difference.real


def test_a_difference_is_real_only_because_it_is_paired(two_methods: tuple[np.ndarray, np.ndarray]) -> None:
    a, b = two_methods
    shuffled = paired_difference(a, np.random.default_rng(1).permutation(b))
    assert shuffled.mean == pytest.approx(paired_difference(a, b).mean)
    assert not shuffled.real


def test_exchanging_two_methods_turns_their_difference_round(two_methods: tuple[np.ndarray, np.ndarray]) -> None:
    a, b = two_methods
    there, back = paired_difference(a, b), paired_difference(b, a)
    assert (back.mean, back.low, back.high) == pytest.approx((-there.mean, -there.high, -there.low))
    assert back.real


def test_the_seed_fixes_the_interval(two_methods: tuple[np.ndarray, np.ndarray]) -> None:
    assert paired_difference(*two_methods, seed=1) == paired_difference(*two_methods, seed=1)
    assert paired_difference(*two_methods, seed=1) != paired_difference(*two_methods, seed=2)


def test_a_method_does_not_differ_from_itself(two_methods: tuple[np.ndarray, np.ndarray]) -> None:
    itself = paired_difference(two_methods[0], two_methods[0])
    assert (itself.mean, itself.low, itself.high) == (0, 0, 0)
    assert not itself.real


def test_the_difference_of_one_image_has_no_interval() -> None:
    alone = paired_difference(np.array([30.0]), np.array([28.5]))
    assert (alone.mean, np.isnan([alone.low, alone.high]).all(), alone.real) == (1.5, True, False)
    assert Gain(alone).text == "+1.50"


@pytest.mark.parametrize(("a", "b"), [((3,), (4,)), ((0,), (0,)), ((2, 2), (2, 2))])
def test_scores_that_are_not_paired_are_refused(a: tuple[int, ...], b: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="paired scores"):
        paired_difference(np.zeros(a), np.zeros(b))


def test_without_numba_ssim_is_the_same_to_1e_12() -> None:
    from ufvnet.metrics import ssim_kernel, ssim_matrix
    from ufvnet.metrics.psnr_ssim import TAPS

    a, b = np.random.default_rng(0).uniform(0, 255, (2, 3, 40, 52))
    arguments = (a, b, TAPS, 8, 255.0, (0.01 * 255) ** 2, (0.03 * 255) ** 2)
    for fast, plain in zip(ssim_kernel.sums(*arguments), ssim_matrix.sums(*arguments)):
        np.testing.assert_allclose(plain, fast, rtol=1e-12)

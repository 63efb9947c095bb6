"""Named degradations: HR faces to LR images, the same wherever and in whatever order they are made."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from ufvnet.config import BuildConfig
from ufvnet.data.build.degrade import BLUR, DEGRADATIONS, NOISE, QUALITY, degrade

SIDES = [8 * k for k in range(1, 9)]
BICUBICS = [name for name, way in DEGRADATIONS.items() if not way.random]

each = pytest.mark.parametrize("name", DEGRADATIONS)
each_bicubic = pytest.mark.parametrize("name", BICUBICS)


def _noise(side: int = 128) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8))


def _smooth() -> Image.Image:
    """Something like a face: smooth, with an edge."""
    y, x = np.mgrid[:128, :128]
    waves = 128 + 60 * np.sin(x / 17) + 50 * np.cos(y / 11) + 40 * (x > y)
    return Image.fromarray(np.clip(np.stack([waves, waves[::-1], waves.T], -1), 0, 255).astype(np.uint8))


def _bytes(images: list[Image.Image]) -> list[bytes]:
    return [i.tobytes() for i in images]


@each
def test_images_are_rgb_of_the_sides_asked_for(name: str) -> None:
    made = degrade(name, _noise(), SIDES, (0, 1, 2))
    assert [(i.mode, i.size) for i in made] == [("RGB", (s, s)) for s in SIDES]


def test_the_default_is_pillow_s_bicubic() -> None:
    assert BuildConfig.model_fields["degradation"].default == "pil-bicubic"
    for side, lr in zip(SIDES, degrade("pil-bicubic", _noise(), SIDES, ())):
        assert lr.tobytes() == _noise().resize((side, side), Image.Resampling.BICUBIC).tobytes()


@each_bicubic
def test_bicubics_do_not_depend_on_the_seed_and_keep_a_plain_image(name: str) -> None:
    assert _bytes(degrade(name, _noise(), SIDES, (1,))) == _bytes(degrade(name, _noise(), SIDES, (2,)))
    plain = Image.new("RGB", (128, 128), (3, 128, 250))
    assert all(set(i.get_flattened_data()) == {(3, 128, 250)} for i in degrade(name, plain, SIDES, ()))


def test_random_ones_depend_on_seed_and_side_alone() -> None:
    made = _bytes(degrade("blur-noise-jpeg", _smooth(), SIDES, (7, 8)))
    assert made == _bytes(degrade("blur-noise-jpeg", _smooth(), SIDES[::-1], (7, 8)))[::-1]
    assert made[3:4] == _bytes(degrade("blur-noise-jpeg", _smooth(), SIDES[3:4], (7, 8)))
    other = _bytes(degrade("blur-noise-jpeg", _smooth(), SIDES, (7, 9)))
    assert all(a != b for a, b in zip(made, other))


def test_random_ones_blur_and_add_noise_within_their_ranges() -> None:
    clean = [np.asarray(i, float) for i in degrade("pil-bicubic", _smooth(), [64] * 200, ())]
    made = [degrade("blur-noise-jpeg", _smooth(), [64], (i,))[0] for i in range(200)]
    errors = np.array([np.abs(np.asarray(m, float) - c)[8:-8, 8:-8].mean() for m, c in zip(made, clean)])
    assert len({m.tobytes() for m in made}) == 200
    assert errors.min() < 2
    assert 4 < errors.max() < NOISE[1] + 8
    for text in (f"{BLUR[0]}-{BLUR[1]}", f"{QUALITY[0]}-{QUALITY[1]}", f"{NOISE[1]:.0f} levels"):
        assert text in DEGRADATIONS["blur-noise-jpeg"].summary


def test_antialiased_ones_average_a_checkerboard_that_opencv_s_cubic_samples() -> None:
    board = (np.indices((128, 128)).sum(0) // 3 % 2 * 255).astype(np.uint8)
    image = Image.fromarray(np.stack([board] * 3, -1))
    spread = {name: np.asarray(degrade(name, image, [16], ())[0], float)[2:-2, 2:-2].std() for name in BICUBICS}
    assert spread["pil-bicubic"] < 10
    assert spread["matlab-bicubic"] < 10
    assert spread["cv2-bicubic"] > 60


def test_matlab_s_and_pillow_s_differ_at_the_borders_alone() -> None:
    pil, matlab = (np.asarray(degrade(n, _smooth(), [32], ())[0], int) for n in ("pil-bicubic", "matlab-bicubic"))
    apart = np.abs(pil - matlab)
    assert apart[2:-2, 2:-2].max() <= 1
    assert apart.max() > 1


def test_matlab_s_weights_are_those_of_a_halving_worked_out_by_hand() -> None:
    # imresize by 1/2: pixel 4 lies 1.75, 0.75, 0.25, 1.25 kernel units from the four centres
    row = np.zeros((8, 8, 3), np.uint8)
    row[:, 4] = 255
    lr = np.asarray(degrade("matlab-bicubic", Image.fromarray(row), [4], ())[0])[0, :, 0]
    near = [1.5 * x**3 - 2.5 * x**2 + 1 for x in (0.25, 0.75)]
    far = [-0.5 * x**3 + 2.5 * x**2 - 4 * x + 2 for x in (1.25, 1.75)]
    weights = (far[1] / 2, near[1] / 2, near[0] / 2, far[0] / 2)
    expected = [max(0, int(np.floor(255 * w + 0.5))) for w in weights]
    assert lr.tolist() == expected


def test_opencv_s_own_numbers_come_out() -> None:
    # cv2 5.0.0, INTER_CUBIC, the second channel of this noise at 6x6
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8))
    assert np.asarray(degrade("cv2-bicubic", noise, [6], ())[0])[:, :, 1].tolist() == [
        [136, 124, 95, 165, 46, 45], [58, 175, 147, 211, 48, 154], [207, 59, 229, 108, 150, 161],
        [197, 213, 17, 4, 167, 197], [185, 159, 92, 145, 172, 138], [96, 193, 0, 64, 114, 204],
    ]  # fmt: skip


def test_an_unknown_name_is_refused_by_those_there_are() -> None:
    with pytest.raises(ValueError, match="'lanczos': must be one of pil-bicubic, matlab-bicubic, cv2-bicubic"):
        degrade("lanczos", _noise(), [8], ())

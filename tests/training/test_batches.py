"""Training batches: balanced scales, true pairs, and a pure function of seed and step."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ufvnet import data
from ufvnet.config import ConfigError, Damage
from ufvnet.data import FaceArrays
from ufvnet.data.damage.recut import recut
from ufvnet.data.dataset import join
from ufvnet.training.batches import Batch, TrainingLoader

MR8 = tuple(range(1, 9))


@pytest.fixture(scope="module")
def faces(built: Path) -> FaceArrays:
    """The twelve training faces of the built dataset."""
    return data.open(built).view("MR8", "train").arrays()


def _nobody(n: int) -> FaceArrays:
    """So many faces of which only the number matters."""
    return FaceArrays(np.zeros((n, 16, 16, 3), np.uint8), {}, tuple(map(str, range(n))))


def _same(a: Batch, b: Batch) -> bool:
    return all(x is y or torch.equal(x, y) for x, y in zip(a, b))


@pytest.mark.parametrize("n", [96, 100])
def test_an_epoch_visits_every_face_once_and_every_scale_equally_often(n: int) -> None:
    loader = TrainingLoader(_nobody(n), MR8, batch_size=4, seed=3)
    for epoch in range(3):
        rows, ks, *_ = (np.concatenate(a) for a in zip(*(loader.plan(epoch * n // 4 + i) for i in range(n // 4))))
        counts = Counter(ks.tolist())
        assert sorted(rows) == list(range(n))
        assert set(counts) == set(MR8)
        assert max(counts.values()) - min(counts.values()) <= 1


def test_a_batch_holds_every_scale_equally_often() -> None:
    _, ks, *_ = TrainingLoader(_nobody(64), MR8, batch_size=32, seed=0).plan(1)
    assert Counter(ks.tolist()) == dict.fromkeys(MR8, 4)


def test_every_face_comes_at_every_scale_in_time() -> None:
    loader = TrainingLoader(_nobody(10), (2, 4, 8), batch_size=10, seed=0)
    seen = {pair for step in range(60) for pair in zip(*(a.tolist() for a in loader.plan(step)[:2]))}
    assert seen == {(row, k) for row in range(10) for k in (2, 4, 8)}


def test_epochs_differ_in_their_order() -> None:
    loader = TrainingLoader(_nobody(40), MR8, batch_size=40, seed=0)
    assert not np.array_equal(loader.plan(0)[0], loader.plan(1)[0])


def test_batches_run_on_over_the_ends_of_epochs() -> None:
    one_by_one = TrainingLoader(_nobody(10), MR8, batch_size=1, seed=5)
    by_seven = TrainingLoader(_nobody(10), MR8, batch_size=7, seed=5)
    for a, b in zip(
        (np.concatenate(a) for a in zip(*(one_by_one.plan(i) for i in range(35)))),
        (np.concatenate(a) for a in zip(*(by_seven.plan(i) for i in range(5)))),
        strict=True,
    ):
        np.testing.assert_array_equal(a, b)


def test_a_batch_may_be_larger_than_the_set_of_faces(faces: FaceArrays) -> None:
    batch = TrainingLoader(faces, MR8, batch_size=30, seed=0)[2]
    assert batch.fed.shape == (30, 3, 64, 64)
    assert set(Counter(batch.rows.tolist()).values()) <= {2, 3, 4}


def test_a_batch_is_a_pure_function_of_seed_and_step(faces: FaceArrays) -> None:
    forward = TrainingLoader(faces, MR8, batch_size=4, seed=1)
    in_order = [forward[step] for step in range(5)]
    resumed = TrainingLoader(faces, MR8, batch_size=4, seed=1)
    assert all(_same(resumed[step], in_order[step]) for step in (4, 1, 3))
    assert not _same(in_order[0], in_order[1])
    assert not _same(TrainingLoader(faces, MR8, batch_size=4, seed=2)[0], in_order[0])


def test_a_pair_is_one_face_and_its_lr_image_scaled_up_by_pil(faces: FaceArrays) -> None:
    loader = TrainingLoader(faces, MR8, batch_size=12, seed=0, flip=False)
    batch, (rows, ks, flips, _) = loader[1], loader.plan(1)
    assert not flips.any()
    assert batch.rate.dtype == torch.float32
    assert batch.rate.tolist() == (ks / 16).tolist()
    np.testing.assert_array_equal(batch.rows, rows)
    for i, (row, k) in enumerate(zip(rows, ks, strict=True)):
        up = Image.fromarray(faces.lr[int(k)][row]).resize((64, 64), Image.Resampling.BICUBIC)
        np.testing.assert_array_equal(batch.fed[i].permute(1, 2, 0).numpy(), np.asarray(up))
        np.testing.assert_array_equal(batch.hr[i].permute(1, 2, 0).numpy(), faces.hr[row])


def test_flipping_mirrors_both_images_of_some_pairs_and_changes_no_other(faces: FaceArrays) -> None:
    flipping = TrainingLoader(faces, MR8, batch_size=12, seed=0)
    plain = TrainingLoader(faces, MR8, batch_size=12, seed=0, flip=False)[0]
    batch, flips = flipping[0], flipping.plan(0)[2].astype(bool)
    assert 0 < flips.sum() < 12
    np.testing.assert_array_equal(batch.rows, plain.rows)
    for i, flipped in enumerate(flips):
        ls, hr = (x.flip(-1) if flipped else x for x in (plain.fed[i], plain.hr[i]))
        assert torch.equal(batch.fed[i], ls)
        assert torch.equal(batch.hr[i], hr)


def test_about_half_of_the_pairs_are_mirrored() -> None:
    loader = TrainingLoader(_nobody(1000), MR8, batch_size=1000, seed=0)
    assert 450 < loader.plan(0)[2].sum() < 550


@pytest.mark.parametrize("world", [2, 4])
def test_processes_share_a_batch_out_among_them(faces: FaceArrays, world: int) -> None:
    loader = TrainingLoader(faces, MR8, batch_size=8, seed=0)
    whole = loader[3]
    for rank in range(world):
        share = TrainingLoader(faces, MR8, batch_size=8, seed=0, rank=rank, world=world)[3]
        assert torch.equal(share.fed, whole.fed[rank::world])
        assert torch.equal(share.hr, whole.hr[rank::world])
        assert torch.equal(share.rate, whole.rate[rank::world])
        np.testing.assert_array_equal(share.rows, whole.rows[rank::world])


def test_a_batch_that_cannot_be_shared_out_evenly_is_refused(faces: FaceArrays) -> None:
    with pytest.raises(ValueError, match="batches of 8 cannot be shared out evenly among 3 processes"):
        TrainingLoader(faces, MR8, batch_size=8, seed=0, world=3)


@pytest.mark.parametrize("workers", [1, 2])
def test_worker_processes_give_the_same_batches_in_the_same_order(faces: FaceArrays, workers: int) -> None:
    loader = TrainingLoader(faces, MR8, batch_size=4, seed=1, colour=0.2)
    state = torch.get_rng_state()
    batches = list(loader.batches(3, 9, workers))
    assert torch.equal(torch.get_rng_state(), state)
    assert len(batches) == 6
    assert all(_same(batch, loader[3 + i]) for i, batch in enumerate(batches))


def test_colour_gains_differ_by_face_channel_and_step_and_are_off_by_default(faces: FaceArrays) -> None:
    assert (TrainingLoader(faces, MR8, batch_size=8, seed=0)[0].gain == 1).all()
    loader = TrainingLoader(faces, MR8, batch_size=8, seed=0, colour=0.1)
    gains = torch.stack([loader[0].gain, loader[1].gain])
    assert len(gains.unique()) == gains.numel() == 2 * 8 * 3
    assert gains.min() >= 0.9
    assert gains.max() <= 1.1


def test_joined_datasets_are_one_set_of_faces(faces: FaceArrays) -> None:
    double = join([faces, faces])
    assert len(double) == 2 * len(faces)
    assert double.hr.shape == (2 * len(faces), 64, 64, 3)
    for row in (0, len(faces) - 1, len(faces), 2 * len(faces) - 1):
        np.testing.assert_array_equal(double.hr[row], faces.hr[row % len(faces)])
        np.testing.assert_array_equal(double.lr[3][row], faces.lr[3][row % len(faces)])
    rows = TrainingLoader(double, MR8, batch_size=2 * len(faces), seed=0)[0].rows
    assert sorted(rows.tolist()) == list(range(2 * len(faces)))


def test_no_faces_are_refused() -> None:
    with pytest.raises(ValueError, match="no faces to train on"):
        TrainingLoader(_nobody(0), MR8, batch_size=4, seed=0)


def test_a_share_of_faces_is_made_anew_at_sizes_between_the_scales(faces: FaceArrays) -> None:
    loader = TrainingLoader(faces, MR8, batch_size=12, seed=0, flip=False, between=0.5)
    sizes = np.concatenate([loader.sizes(step, 128) for step in range(200)])
    made = sizes[sizes[:, 0] > 0]
    assert 0.45 < len(made) / len(sizes) < 0.55
    assert 5 <= made.min() <= 7
    assert 105 < made.max() < 128
    assert 0.4 < (made[:, 0] == made[:, 1]).mean() < 0.7
    batch, at = loader[0], loader.sizes(0, faces.hr[0].shape[0])
    assert (at > 0).any()
    for i, (h, w) in enumerate(at.tolist()):
        if h:
            hr = Image.fromarray(faces.hr[int(batch.rows[i])])
            up = hr.resize((w, h), Image.Resampling.BICUBIC).resize(hr.size, Image.Resampling.BICUBIC)
            assert np.array_equal(batch.fed[i].permute(1, 2, 0).numpy(), np.asarray(up))
            assert batch.by_axis[i].tolist() == pytest.approx([h / hr.height, w / hr.width])
            assert batch.rate[i] == pytest.approx((h + w) / (2 * hr.height))
    assert _same(loader[3], TrainingLoader(faces, MR8, batch_size=12, seed=0, flip=False, between=0.5)[3])


@pytest.fixture(scope="module")
def cut(built: Path) -> FaceArrays:
    """The same with their photographs."""
    dataset = data.open(built)
    return dataset.view("MR8", "train").arrays(dataset.photos)


def _damaging(faces: FaceArrays, **settings: int) -> TrainingLoader:
    return TrainingLoader(faces, MR8, 4, 1, between=0.75, recut=0.5, damage=Damage(clean=0), **settings)


@pytest.mark.parametrize("workers", [1, 2])
def test_damaged_batches_depend_on_the_seed_alone_and_not_on_workers_or_where_a_training_goes_on(
    cut: FaceArrays, workers: int
) -> None:
    whole = [_damaging(cut)[step] for step in range(9)]
    resumed = list(_damaging(cut).batches(4, 9, workers))
    assert all(_same(a, b) for a, b in zip(whole[4:], resumed, strict=True))
    assert not _same(TrainingLoader(cut, MR8, 4, 2, between=0.75, recut=0.5, damage=Damage(clean=0))[0], whole[0])


def test_processes_share_damaged_faces_out_as_one_process_has_them(cut: FaceArrays) -> None:
    whole, parts = _damaging(cut)[3], [_damaging(cut, rank=rank, world=2)[3] for rank in range(2)]
    for field, first, second in zip(whole, *parts):
        assert field is first is second or torch.equal(field, torch.stack([first, second], 1).flatten(0, 1))


def test_damage_leaves_rows_sizes_and_flips_as_they_are_and_tells_what_it_did(faces: FaceArrays) -> None:
    damaged, plain = (
        TrainingLoader(faces, MR8, batch_size=12, seed=1, between=0.75, damage=damage)[2]
        for damage in (Damage(clean=0, grey=0), None)
    )
    for field in ("hr", "rate", "by_axis", "rows"):
        assert torch.equal(getattr(damaged, field), getattr(plain, field))
    assert damaged.damage.shape == (12, 5)
    assert damaged.damage.dtype == torch.float32
    assert not plain.damage.any()
    changed = (damaged.fed != plain.fed).flatten(1).any(1)
    assert torch.equal(changed, damaged.damage[:, 4] > 0)
    assert changed.sum() > 4


def test_faces_cut_anew_are_new_pairs_and_the_others_stay_as_they_were(cut: FaceArrays) -> None:
    new, plain = (TrainingLoader(cut, MR8, 12, seed=0, recut=share)[0] for share in (0.5, 0.0))
    changed = (new.hr != plain.hr).flatten(1).any(1)
    assert 0 < changed.sum() < 12
    assert torch.equal(changed, (new.fed != plain.fed).flatten(1).any(1))
    for field in ("rate", "rows"):
        assert torch.equal(getattr(new, field), getattr(plain, field))


def test_without_photographs_nothing_can_be_cut_anew(built: Path, tmp_path: Path) -> None:
    view = data.open(built).view("MR8", "train")
    assert view.arrays().originals == ()
    with pytest.raises(ConfigError, match="is not there; faces are cut again from it"):
        view.arrays(tmp_path)


def test_another_photograph_than_the_built_one_is_refused(built: Path, tmp_path: Path) -> None:
    original = data.open(built).view("MR8", "train").originals(data.open(built).photos)[0]
    assert original.read().mode == "RGB"
    other = replace(original, path=tmp_path / "x.png")
    with pytest.raises(ConfigError, match=r"x\.png: cannot be read"):
        other.read()
    Image.new("RGB", (50, 50)).save(other.path)
    with pytest.raises(ConfigError, match="is not the photograph that the dataset was built from"):
        other.read()


def test_a_cut_lies_inside_the_photograph_and_moves_scales_and_turns() -> None:
    x, y = np.meshgrid(np.arange(200), np.arange(160))
    photo = Image.fromarray(np.stack([x, y, np.full_like(x, 200)], 2).astype(np.uint8))  # a pixel tells its place
    box, rng = (40, 30, 140, 130), np.random.default_rng(0)
    cuts = [recut(photo, box, 64, rng) for _ in range(40)]
    assert all(c is not None and c.shape == (64, 64, 3) for c in cuts)
    found = np.array([c.astype(int) for c in cuts if c is not None])
    assert (found[..., 2] == 200).all()  # no black corner of a turned photograph
    centres = found[:, 31:33, 31:33, :2].mean((1, 2))
    assert (np.abs(centres - (90, 80)) < 12).all()
    assert centres.std(0).min() > 3
    across = found[:, 32, -1, :2] - found[:, 32, 0, :2]
    lengths, angles = np.hypot(*across.T), np.degrees(np.arctan2(across[:, 1], across[:, 0]))
    assert lengths.min() < 90 < 110 < lengths.max() < 135
    assert angles.min() < -8 < 8 < angles.max() < 16


def test_where_no_cut_has_room_there_is_none() -> None:
    photo = Image.new("RGB", (400, 40))
    assert recut(photo, (0, 0, 400, 400), 64, np.random.default_rng(0)) is None

"""UFVNet-Routed: what its router sees, which expert a face passes, training, places in a batch."""

from __future__ import annotations

import functools
import io

import numpy as np
import pytest
import torch
from PIL import Image
from skimage.data import astronaut
from torch import Tensor

from ufvnet.models import create
from ufvnet.models.complexity import complexity
from ufvnet.models.inference import channels_last, forward
from ufvnet.models.routed import BLOCK, CANVAS, Router, UFVNetRouted
from ufvnet.models.srg import to_network


def image(n: int, side: int = 128) -> Tensor:
    return torch.rand(n, 3, side, side, generator=torch.Generator().manual_seed(0)) * 2 - 1


def network(preset: str = "tiny", side: int = 128) -> UFVNetRouted:
    """Both experts change the image, each in its own way."""
    torch.manual_seed(0)
    made = create("ufvnet-routed", preset, side)
    assert isinstance(made, UFVNetRouted)
    with torch.no_grad():
        for parameter in made.parameters():
            if not parameter.any():
                parameter.normal_(std=0.05)
    return made.eval()


def enlarged(lr: np.ndarray) -> tuple[Tensor, Tensor]:
    """I_LS and rate of an LR image."""
    ls = np.array(Image.fromarray(lr).resize((128, 128), Image.Resampling.BICUBIC))
    return to_network(torch.from_numpy(ls).permute(2, 0, 1)[None]), torch.tensor([lr.shape[:2]]) / 128


@functools.cache
def router() -> Router:
    return Router(128)


class Told(Router):
    """A router that says what it is told."""

    def __init__(self, *is_clean: bool):
        super().__init__(128)
        self.is_clean = torch.tensor(is_clean)

    def forward(self, ls: Tensor, rate: Tensor) -> tuple[Tensor, Tensor]:
        return self.is_clean.float() - 0.5, torch.zeros(len(ls), 5)


def test_it_costs_less_than_one_gmac() -> None:
    blocks = {block.name: block for block in complexity(create("ufvnet-routed"), 128)}
    alone = {name: complexity(create(name), 128)[-1] for name in ("ufvnet-lite", "ufvnet-real")}
    assert blocks["total"].params == sum(part.params for part in alone.values()) + blocks["router"].params
    assert blocks["total"].macs == alone["ufvnet-real"].macs + blocks["router"].macs <= 1.0e9


@pytest.mark.parametrize("size", [(6, 8), (16, 16), (37, 21), (60, 64), (110, 110)])
def test_the_lr_image_is_brought_back_from_its_enlargement(size: tuple[int, int]) -> None:
    height, width = size
    smooth = np.random.default_rng(0).integers(40, 216, (3, 3, 3), dtype=np.uint8)
    lr = np.array(Image.fromarray(smooth).resize((width, height), Image.Resampling.BICUBIC))
    pixels, sides = router().lr_pixels(*enlarged(lr))
    rows, columns = min(height, CANVAS), min(width, CANVAS)
    top, left = (height - rows) // 2, (width - columns) // 2
    assert sides.tolist() == [[rows, columns]]
    seen = pixels[0, :, :rows, :columns].permute(1, 2, 0).numpy()
    assert np.abs(seen - lr[top : top + rows, left : left + columns]).mean() < 0.5  # I_LS is rounded
    assert not pixels[0, :, rows:].any()
    assert not pixels[0, :, :, columns:].any()


def test_measurements_tell_damage() -> None:
    """A JPEG lacks frequencies, most of all on its own grid; noise adds energy to the high ones."""
    rng = np.random.default_rng(0)
    face = np.asarray(Image.fromarray(astronaut()[0:224, 110:334]).resize((32, 32), Image.Resampling.BICUBIC))
    buffer = io.BytesIO()
    Image.fromarray(face).save(buffer, "JPEG", quality=50)
    noisy = (face + rng.normal(0, 10, face.shape)).clip(0, 255).astype(np.uint8)
    clean, jpeg, noise = (router().measure(*enlarged(np.array(lr)))[0] for lr in (face, Image.open(buffer), noisy))
    assert clean.isfinite().all()
    count = 3 * (BLOCK - 1)
    absent, fine = slice(2 * count, 3 * count), slice(2 * count - 3, 2 * count)
    assert jpeg[absent].mean() > 1.5 * clean[absent].mean()
    largest, mean, own = jpeg[3 * count : 3 * count + 3]
    assert own == largest > 1.2 * mean
    assert (noise[fine] > clean[fine]).all()


@torch.inference_mode()
def test_each_face_passes_the_expert_that_the_router_chooses() -> None:
    routed, ls, rate = network(), image(5), torch.full((5, 2), 0.25)
    clean, damaged = routed.clean(ls, rate), routed.damaged(ls, rate)
    for choice in [(True,) * 5, (False,) * 5, (True, False, True, False, False)]:
        routed.router = Told(*choice)
        output = routed(ls, rate)
        for i, is_clean in enumerate(choice):
            expert = clean if is_clean else damaged
            assert torch.allclose(output.sr[i], expert.sr[i], atol=1e-5)
            assert torch.allclose(output.weights[i], expert.weights[i], atol=1e-5)
    assert not torch.allclose(clean.sr, damaged.sr, atol=1e-2)


def test_in_training_every_part_has_a_say() -> None:
    routed = network(side=64).train()
    output = routed(image(2, 64), torch.tensor([0.25, 0.5]))
    (output.sr.square().sum() + output.damage.sum() + output.logits[:, 0].sum()).backward()
    unheard = {"damaged.estimate.weight", "damaged.estimate.bias"}  # the router's estimate is the whole's
    assert {n for n, p in routed.named_parameters() if p.grad is None or not p.grad.any()} == unheard


@torch.inference_mode()
def test_a_face_comes_out_alike_whatever_shares_its_batch() -> None:
    routed, ls, rate = channels_last(network()), image(16), torch.full((16, 2), 0.25)
    routed.router = Told(*[i % 3 == 0 for i in range(16)])
    mixed = forward(routed, ls, rate).sr
    routed.router = Told(*[True] * 16)
    assert torch.equal(forward(routed, ls, rate).sr[0], mixed[0])
    routed.router = Told(*[False] * 16)
    assert torch.equal(forward(routed, ls, rate).sr[1], mixed[1])


def test_wrong_input_is_refused() -> None:
    with pytest.raises(ValueError, match="takes \\(N, 3, 128, 128\\)"):
        network()(image(1, 64), torch.tensor([0.25]))
    with pytest.raises(ValueError, match="needs the down-sampling rate"):
        network()(image(1))

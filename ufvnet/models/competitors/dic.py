"""DIC: four steps of restoring a face and finding its landmarks, each from the other; MLGDN is built on it.

C. Ma, Z. Jiang, Y. Rao, J. Lu, J. Zhou, "Deep Face Super-Resolution with Iterative Collaboration between Attentive
Recovery and Landmark Estimation", CVPR 2020.

Decisions, where the paper leaves it open:

- The fourth picture is the one that is scored; each step adds its residual to the input enlarged bilinearly.
- The picture enters the hourglass as the network makes it, with its gradient; so do the heat maps enter the fusion.
- Kaiming-normal weights start the restoring part only. The hourglass, which is trained on landmarks before, starts as
  PyTorch does: without norms, Kaiming-normal weights would start its heat maps at thousands, and each step would
  multiply them by hundreds.
- ``landmarks=False`` is a variant for data without landmarks: no hourglass, and all components weigh a fifth.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..srg import HR_SIZES
from ..supervision import Needs, Target
from .common import check_input, from_unit, to_unit

SCALE = 8
STEPS = 4
GROUPS = 6
"""Pairs of an up- and a down-projection in a block."""
LANDMARKS = 68
COMPONENTS = (range(36, 42), range(42, 48), range(27, 36), range(48, 68), range(27))
"""Landmarks of the left eye, right eye, nose, mouth, and contour (jaw and brows)."""
HEAT = 0.1
"""Weight of the loss of the heat maps."""
FROZEN = 2_000 / 150_000
"""Share of the steps in which the hourglass, which was trained on landmarks before, stays as it is."""
MEAN = (0.509, 0.424, 0.378)
"""Of the faces in [0, 1]; subtracted from the input, added to the output."""


@dataclass(frozen=True)
class DICOutput:
    """sr: (N, 3, H, H) float, nominally in [-1, 1]: the last step's picture.

    pictures: each step's picture, the last being ``sr``.
    heat_maps: each step's heat maps (N, 68, H/4, H/4); a landmark's peak is trained to 1. Empty without landmarks.
    """

    sr: Tensor
    pictures: tuple[Tensor, ...]
    heat_maps: tuple[Tensor, ...]


def with_prelu(layer: nn.Module) -> nn.Sequential:
    """A layer, then PReLU of one slope."""
    return nn.Sequential(layer, nn.PReLU(init=0.2))


def reduced(layer: nn.Module, maps: Sequence[Tensor]) -> Tensor:
    """``layer(torch.cat(maps, 1))`` for a 1x1 convolution and its activation, map by map.

    Training then keeps no copies of the maps: a quarter less memory and time (benchmarks/README.md).
    """
    convolution, activation = layer.children()
    assert isinstance(convolution, nn.Conv2d)
    first, *others = zip(maps, convolution.weight.split([m.shape[1] for m in maps], 1))
    total = F.conv2d(*first, convolution.bias)
    for x, weight in others:
        total = total + F.conv2d(x, weight)
    return activation(total)


class Projections(nn.Module):
    """Six times up to twice the picture's side and down again, densely connected: what both blocks share.

    Args:
        c_in: channels of the block's input. features: f, channels of everything after it.
    """

    def __init__(self, c_in: int, features: int):
        super().__init__()
        f = features
        self.compress_in = with_prelu(nn.Conv2d(c_in, f, 1))
        self.up = nn.ModuleList(with_prelu(nn.ConvTranspose2d(f, f, 12, 8, 2)) for _ in range(GROUPS))
        self.down = nn.ModuleList(with_prelu(nn.Conv2d(f, f, 12, 8, 2)) for _ in range(GROUPS))
        self.reduce_low = nn.ModuleList(with_prelu(nn.Conv2d(f * g, f, 1)) for g in range(2, GROUPS + 1))
        self.reduce_high = nn.ModuleList(with_prelu(nn.Conv2d(f * g, f, 1)) for g in range(2, GROUPS + 1))
        self.compress_out = with_prelu(nn.Conv2d(f * GROUPS, f, 1))

    def project(self, x: Tensor, modulate: Callable[[Tensor], Tensor] | None = None) -> Tensor:
        """(N, f, s, s) -> (N, f, s, s); ``modulate`` changes the map that the last projection up starts from."""
        lows, highs = [x], []
        for g in range(GROUPS):
            low = reduced(self.reduce_low[g - 1], lows) if g else x
            if modulate is not None and g == GROUPS - 1:
                low = modulate(low)
            highs.append(self.up[g](low))  # (N, f, 8 s, 8 s)
            high = reduced(self.reduce_high[g - 1], highs) if g else highs[0]
            lows.append(self.down[g](high))
        return reduced(self.compress_out, lows[1:])


class CoarseBlock(Projections):
    """The block of step 1: (N, f, s, s) -> (N, f, s, s), s = H/4."""

    def __init__(self, features: int):
        super().__init__(features, features)

    def forward(self, shallow: Tensor) -> Tensor:
        return self.project(self.compress_in(shallow))


class GroupBlock(nn.Module):
    """x + conv(LReLU(conv(x))), 3x3 in five groups, one per component: (N, 5 f, s, s) -> (N, 5 f, s, s)."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, groups=len(COMPONENTS))
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, groups=len(COMPONENTS))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv2(F.leaky_relu(self.conv1(x), 0.2))


class AttentiveFusion(nn.Module):
    """Five groups of maps, weighed at every pixel by the component that lies there.

    x (N, f, s, s) and components (N, 5, s, s) -> (N, f, s, s).
    """

    def __init__(self, features: int):
        super().__init__()
        wide = features * len(COMPONENTS)
        self.expand = nn.Sequential(nn.Conv2d(features, wide, 1), nn.LeakyReLU(0.2))
        self.blocks = nn.Sequential(*(GroupBlock(wide) for _ in range(7)))

    def forward(self, x: Tensor, components: Tensor) -> Tensor:
        groups = self.blocks(self.expand(x)).unflatten(1, (len(COMPONENTS), -1))  # (N, 5, f, s, s)
        return (groups * components.softmax(1)[:, :, None]).sum(1)


class FeedbackBlock(Projections):
    """The block of steps 2 to 4: it also sees the previous step's output and the components."""

    def __init__(self, features: int):
        super().__init__(2 * features, features)
        self.fusion = AttentiveFusion(features)

    def fuse(self, shallow: Tensor, hidden: Tensor, components: Tensor) -> Tensor:
        """Shallow features, previous output (N, f, s, s) and components (N, 5, s, s) -> (N, f, s, s)."""
        return self.fusion(self.compress_in(torch.cat([shallow, hidden], 1)), components)

    def forward(self, shallow: Tensor, hidden: Tensor, components: Tensor) -> Tensor:
        return self.project(self.fuse(shallow, hidden, components))


class Residual(nn.Module):
    """The hourglass's block: (N, c, s, s) -> (N, d, s, s); no activation between its last two convolutions."""

    def __init__(self, c: int, d: int):
        super().__init__()
        self.conv1 = nn.Conv2d(c, d // 2, 1)
        self.conv2 = nn.Conv2d(d // 2, d // 2, 3, padding=1)
        self.conv3 = nn.Conv2d(d // 2, d, 1)
        self.skip = nn.Identity() if c == d else nn.Conv2d(c, d, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.skip(x) + self.conv3(self.conv2(F.relu(self.conv1(x))))


class Level(nn.Module):
    """A level of the hourglass and those below it: (N, c, s, s) -> (N, c, s, s)."""

    def __init__(self, channels: int, depth: int):
        super().__init__()
        self.same = Residual(channels, channels)
        self.enter = Residual(channels, channels)
        self.inner = Level(channels, depth - 1) if depth > 1 else Residual(channels, channels)
        self.leave = Residual(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        below = self.leave(self.inner(self.enter(F.max_pool2d(x, 2))))
        return self.same(x) + F.interpolate(below, scale_factor=2, mode="bilinear", align_corners=True)


class Hourglass(nn.Module):
    """Finds landmarks in a picture, with what it saw in the step before.

    Args:
        channels: c, of the maps at half the picture's side; the hourglass itself has 8 c.
    """

    def __init__(self, channels: int = 64):
        super().__init__()
        c = channels
        self.front = nn.Sequential(
            nn.Conv2d(3, c, 7, 2, 3),
            nn.ReLU(),
            Residual(c, 2 * c),
            nn.MaxPool2d(2),
            Residual(2 * c, 2 * c),
            Residual(2 * c, 4 * c),
        )
        self.join = nn.Conv2d(8 * c, 8 * c, 1)
        self.levels = Level(8 * c, 4)
        self.heat = nn.Sequential(
            Residual(4 * c, 4 * c), nn.Conv2d(4 * c, 4 * c, 1), nn.ReLU(), nn.Conv2d(4 * c, LANDMARKS, 1)
        )

    def forward(self, picture: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Picture (N, 3, H, H), mean subtracted, and the last state (None: the first step) -> heat maps and state.

        Heat maps (N, 68, H/4, H/4), state (N, 4 c, H/4, H/4).
        """
        front = self.front(picture)
        seen = self.levels(self.join(torch.cat([front, front if state is None else state], 1)))
        heat, state = seen.chunk(2, 1)
        return self.heat(heat), state


def merge(heat_maps: Tensor, components: Sequence[Sequence[int]]) -> Tensor:
    """Heat maps (N, 68, s, s) -> component maps (N, 5, s, s): sums of maps that were scaled to a peak of 1."""
    peaks = heat_maps.amax((2, 3), keepdim=True).clamp(min=0.05)  # an untrained hourglass has peaks below 0
    scaled = heat_maps / peaks
    return torch.stack([scaled[:, list(points)].sum(1) for points in components], 1)


def landmark_maps(landmarks: Tensor, hr_size: int) -> Tensor:
    """Landmarks (N, 68, 2) as x, y in pixels of the HR image -> heat maps to learn, (N, 68, H/4, H/4), peaks of 1.

    A landmark lies at a quarter of its coordinates, without a shift by half a pixel; sigma is 1.
    """
    places = torch.arange(hr_size // 4, dtype=landmarks.dtype, device=landmarks.device)
    along_x, along_y = torch.exp(-((places - landmarks[..., None] / 4) ** 2) / 2).unbind(2)  # (N, 68, H/4) each
    return along_y[..., :, None] * along_x[..., None, :]


class DIC(nn.Module):
    """DIC for inputs an eighth of the output's side.

    Args:
        features: channels of the restoring part. channels: ``Hourglass``'s.
        hr_size: side of the output, 64 or 128 pixels.
        landmarks: find landmarks and attend to them.

    Raises:
        ValueError: hr_size is not one of HR_SIZES.
    """

    components: Sequence[Sequence[int]] = COMPONENTS
    mean: Tensor  # (3, 1, 1)

    def __init__(self, features: int = 48, channels: int = 64, hr_size: int = 128, landmarks: bool = True):
        super().__init__()
        if hr_size not in HR_SIZES:
            raise ValueError(f"hr_size must be one of {HR_SIZES}, got {hr_size}")
        f = features
        self.lr_size, self.channels = hr_size // SCALE, channels
        self.needs = Needs(landmarks=landmarks)
        self.shallow = nn.Sequential(with_prelu(nn.Conv2d(3, 4 * f, 3, padding=1)), nn.PixelShuffle(2))
        self.coarse = CoarseBlock(f)
        self.feedback = self.feedback_block(f)
        self.reconstruct = nn.Sequential(with_prelu(nn.ConvTranspose2d(f, f, 8, 4, 2)), nn.Conv2d(f, 3, 3, padding=1))
        self.register_buffer("mean", torch.tensor(MEAN)[:, None, None], persistent=False)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
                nn.init.kaiming_normal_(layer.weight)
                nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
        self.hourglass = Hourglass(channels) if landmarks else None  # after the loop: it starts as PyTorch does

    def feedback_block(self, features: int) -> FeedbackBlock:
        """The block of steps 2 to 4."""
        return FeedbackBlock(features)

    def generate(self, x: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """(N, 3, H/8, H/8) in [0, 1], mean subtracted -> each step's picture (N, 3, H, H) likewise, and heat maps."""
        shallow = self.shallow(x)  # (N, 48, 32, 32)
        enlarged = F.interpolate(x, scale_factor=SCALE, mode="bilinear", align_corners=False)
        # Equal components weigh a fifth each. Not len(x): an exported network would keep the size of that batch.
        components = shallow.new_zeros(x.shape[0], len(self.components), *shallow.shape[2:])
        hidden, state = shallow, None
        pictures: list[Tensor] = []
        heat_maps: list[Tensor] = []
        for step in range(STEPS):
            hidden = self.feedback(shallow, hidden, components) if step else self.coarse(shallow)
            pictures.append(enlarged + self.reconstruct(hidden))
            if self.hourglass is not None:
                heat, state = self.hourglass(pictures[-1], state)
                components = merge(heat, self.components)
                heat_maps.append(heat)
        return pictures, heat_maps

    def forward(self, lr: Tensor, rate: Tensor | None = None) -> DICOutput:
        """(N, 3, H/8, H/8) in [-1, 1] -> DICOutput; ``rate`` is taken for uniformity and not used."""
        check_input(lr, self.lr_size)
        pictures, heat_maps = self.generate(to_unit(lr) - self.mean)
        shown = tuple(from_unit(picture + self.mean) for picture in pictures)
        return DICOutput(shown[-1], shown, tuple(heat_maps))

    def loss(self, fed: Tensor, rate: Tensor, target: Target) -> Tensor:
        """Summed over the steps: mean absolute error in [0, 1], and 0.1 times the heat maps' mean squared error."""
        output = self(fed)
        loss = torch.stack([F.l1_loss(picture, target.hr) / 2 for picture in output.pictures]).sum()
        if self.hourglass is None:
            return loss
        assert target.landmarks is not None
        maps = landmark_maps(target.landmarks, target.hr.shape[-1])
        return loss + HEAT * torch.stack([F.mse_loss(heat, maps) for heat in output.heat_maps]).sum()

    def landmark_finder(self) -> LandmarkFinder | None:
        """A new hourglass to train on landmarks before the whole, or None without landmarks."""
        return None if self.hourglass is None else LandmarkFinder(self.channels)

    def frozen(self, progress: float) -> Iterable[nn.Parameter]:
        """Parameters that do not move at this share of the steps."""
        return self.hourglass.parameters() if self.hourglass is not None and progress < FROZEN else ()


class LandmarkFinder(nn.Module):
    """The hourglass alone, which learns landmarks from HR faces before DIC is trained."""

    mean: Tensor
    needs = Needs(landmarks=True)

    def __init__(self, channels: int = 64):
        super().__init__()
        self.hourglass = Hourglass(channels)
        self.register_buffer("mean", torch.tensor(MEAN)[:, None, None], persistent=False)

    def loss(self, fed: Tensor, rate: Tensor, target: Target) -> Tensor:
        """Mean squared error of the heat maps of the HR faces; the input is not used."""
        assert target.landmarks is not None
        heat, _ = self.hourglass(to_unit(target.hr) - self.mean)
        return F.mse_loss(heat, landmark_maps(target.landmarks, target.hr.shape[-1]))

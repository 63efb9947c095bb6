"""MLGDN: DIC with other face components, and a modulation of its features by them.

C. Zhuang, M. Li, K. Zhang, Z. Li, J. Lu, "Multi-level landmark-guided deep network for face super-resolution",
Neural Networks 152, 2022.

Decisions, where the paper leaves it open:

- Components are the full parts: eyes with their brows, nose, mouth, jaw, each from its first landmark on.
- The paper places the modulation halfway through the backbone, the authors' own network has it in the last group of
  projections: here it is in the last group.
- There is no variant without landmarks: it would be DIC's, with a constant modulation.
- All layers but the hourglass start as DIC's do (Kaiming-normal), those of the modulation too. With them the maps grow
  by tens from step to step at first, and the first losses are 10 to 60 times DIC's: a rate that rises and clipped
  gradients (``warm_up``, ``clip_norm``) get it over that.
"""

from __future__ import annotations

from torch import Tensor, nn

from .dic import DIC, FeedbackBlock

COMPONENTS = (
    (*range(36, 42), *range(17, 22)),
    (*range(42, 48), *range(22, 27)),
    range(27, 36),
    range(48, 68),
    range(17),
)
"""Landmarks of the left eye with its brow, right eye with its brow, nose, mouth, and jaw."""
CONDITIONS = 32


class Condition(nn.Sequential):
    """What the components say of each pixel: (N, 5, s, s) -> (N, 32, s, s)."""

    def __init__(self) -> None:
        super().__init__(
            nn.Conv2d(len(COMPONENTS), 64, 3, padding=1),
            nn.LeakyReLU(0.1),
            nn.Conv2d(64, 64, 1),
            nn.LeakyReLU(0.1),
            nn.Conv2d(64, 64, 1),
            nn.LeakyReLU(0.1),
            nn.Conv2d(64, CONDITIONS, 1),
        )


class Modulation(nn.Module):
    """f (1 + alpha) + beta, both from the condition: f (N, F, s, s), condition (N, 32, s, s) -> (N, F, s, s)."""

    def __init__(self, features: int):
        super().__init__()
        self.alpha = self.branch(features)
        self.beta = self.branch(features)

    @staticmethod
    def branch(features: int) -> nn.Sequential:
        """(N, 32, s, s) -> (N, F, s, s)."""
        return nn.Sequential(
            nn.Conv2d(CONDITIONS, CONDITIONS, 1), nn.LeakyReLU(0.1), nn.Conv2d(CONDITIONS, features, 1)
        )

    def forward(self, f: Tensor, condition: Tensor) -> Tensor:
        return f * (1 + self.alpha(condition)) + self.beta(condition)


class ModulatedFeedbackBlock(FeedbackBlock):
    """DIC's block, with the last group of projections modulated by the components."""

    def __init__(self, features: int):
        super().__init__(features)
        self.condition = Condition()
        self.modulation = Modulation(features)

    def forward(self, shallow: Tensor, hidden: Tensor, components: Tensor) -> Tensor:
        condition = self.condition(components)
        return self.project(self.fuse(shallow, hidden, components), lambda f: self.modulation(f, condition))


class MLGDN(DIC):
    """MLGDN for inputs an eighth of the output's side.

    Args:
        features: channels of the restoring part. channels: ``Hourglass``'s.
        hr_size: side of the output, 64 or 128 pixels.

    Raises:
        ValueError: hr_size is not one of HR_SIZES.
    """

    components = COMPONENTS

    def __init__(self, features: int = 48, channels: int = 64, hr_size: int = 128):
        super().__init__(features, channels, hr_size)

    def feedback_block(self, features: int) -> FeedbackBlock:
        return ModulatedFeedbackBlock(features)

"""What a network may ask for to be trained by a loss of its own, and what it is then given.

A network without a method ``loss`` is trained by the mean absolute error. One with a method
``loss(fed, rate, target) -> Tensor``, which calls the network itself, may have ``needs``: what the target holds beside
the HR faces. One with a method ``make_critic() -> nn.Module | None`` is given the result as its submodule ``critic``
while it is trained; it is left out of the model's folder.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor, nn


@dataclass(frozen=True)
class Needs:
    """What a loss needs beside the HR faces.

    landmarks: the 68 landmarks. masks: masks of the face's parts, made of them. edges: Canny's edges.
    points: colours at so many random points of a face instead of the whole face.
    squares: with points: the input is made from HR anew, reduced to an eighth of hr_size: ``cut``: from a random square
        of the face, a quarter of its side or more, to which the points belong; ``whole``: from the whole face, and the
        points belong to the face at a random size.
    """

    landmarks: bool = False
    masks: bool = False
    edges: bool = False
    points: int = 0
    squares: Literal["", "cut", "whole"] = ""


@dataclass(frozen=True)
class Target:
    """What a loss compares with; all of it for the same (mirrored) faces as the input.

    hr: (N, 3, H, H) float in [-1, 1].
    progress: share of the training's steps that are done, in [0, 1).
    landmarks: (N, 68, 2) float32, x and y in HR pixels.
    masks: (N, 3, H, H) float32, 0 or 1: face; eyes and brows; nose and lips.
    edges: (N, 1, s, s) float32, 0 or 255, s = H/4, H/2 and H.
    points: (N, Q, 2) float32, pairs (y, x) in [-1, 1]. colours: (N, Q, 3) float32 in [-1, 1], what is there.
    extent: (N, 2) float32, height and width of a pixel of the picture that the points belong to, in their coordinates.
    taught: the output of the teacher for the same input, if there is one.
    """

    hr: Tensor
    progress: float = 0.0
    landmarks: Tensor | None = None
    masks: Tensor | None = None
    edges: tuple[Tensor, ...] | None = None
    points: Tensor | None = None
    colours: Tensor | None = None
    extent: Tensor | None = None
    taught: Any = None


NOTHING = Needs()


def needs_of(network: nn.Module) -> Needs:
    """What a network's loss needs; nothing for a network without one."""
    return getattr(network, "needs", None) or NOTHING


def with_critic(network: nn.Module) -> nn.Module:
    """The network, with the critic that it learns against, if it has one."""
    critic = getattr(network, "make_critic", lambda: None)()
    if critic is not None:
        network.critic = critic
    return network


def without_critic(network: nn.Module) -> nn.Module:
    """The network, without the critic that it learned against."""
    if hasattr(network, "critic"):
        del network.critic
    return network

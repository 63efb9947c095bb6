"""Training batches from decoded views: a pure function of seed and step, so that resuming is exact."""

from __future__ import annotations

import functools
import multiprocessing.util
import os
import signal
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from ufvnet.config import Damage
from ufvnet.data.damage.chain import KINDS, damaged
from ufvnet.data.damage.recut import recut
from ufvnet.data.dataset import FaceArrays
from ufvnet.imaging.resize import lr_side, resize
from ufvnet.models.feed import Feed
from ufvnet.models.supervision import Needs

from .face_parts import edges, masks, mirrored, random_points, square_of, whole_at_random_size


class Batch(NamedTuple):
    """Training pairs.

    fed: what the network takes, (B, 3, h, w) uint8: I_LS for most.
    hr: I_HR, (B, 3, H, H) uint8.
    rate: (B,) float32, r = k / 16, or the mean of by_axis.
    by_axis: (B, 2) float32, the rates of rows and columns, which differ where an LR image is not square.
    gain: (B, 3, 1, 1) float32, the colour augmentation: a factor for each channel, the same for both images.
    rows: (B,) int64 row numbers in the view.
    damage: (B, 5) float32, how much of each damage each LR image has (``chain.Damaged.amounts``); 0 if it is clean.
    landmarks ... extent: what the network's loss needs, as in ``ufvnet.models.supervision.Target``; masks and edges are
        uint8. None if it is not needed.
    """

    fed: Tensor
    hr: Tensor
    rate: Tensor
    by_axis: Tensor
    gain: Tensor
    rows: Tensor
    damage: Tensor
    landmarks: Tensor | None = None
    masks: Tensor | None = None
    edges: tuple[Tensor, ...] | None = None
    points: Tensor | None = None
    colours: Tensor | None = None
    extent: Tensor | None = None


class Drawn(NamedTuple):
    """What is drawn for the faces of a batch.

    rows, ks, flips: (B,) int64. gains: (B, 3) float32. sizes: (B, 2) int64, 0 for images of a scale.
    places: (B,) int64 in the whole batch, of all processes.
    """

    rows: np.ndarray
    ks: np.ndarray
    flips: np.ndarray
    gains: np.ndarray
    sizes: np.ndarray
    places: np.ndarray


BETWEEN = (6 / 128, 112 / 128)
"""Smallest and largest rate of LR images at sizes between the scales; the rates are drawn log-uniformly."""
STRETCH = 0.35
"""Half of those LR images are not square: log(height / width) is drawn from -STRETCH ... STRETCH."""


PREFETCHED = 4
"""Most batches that each loader process keeps ready, in shared memory."""


class TrainingLoader(Dataset):
    """Each epoch visits every face once, at one scale; the scales are balanced within it, or over the batches if all
    faces of a batch have the same (for networks that take the LR image as it is).

    Args:
        faces: the decoded view.
        ks: scales to draw from, as sixteenths.
        batch_size: faces per batch, of all processes together.
        seed: fixes order, scales and augmentation.
        flip: mirror each pair with probability 1/2.
        colour: each channel's gain is drawn from 1 - colour ... 1 + colour.
        between: share of faces whose LR image is made from HR by PIL bicubic at a randomly drawn size, which need not
            be one of the scales, nor square.
        recut: share of faces that are cut again from their photographs. The other faces, and those without room in
            their photographs, stay as they were built.
        damage: damage of the LR images; a grey LR image gets a grey HR image. None leaves the images clean.
        feed: makes the network's input.
        needs: what the network's loss needs; landmarks and masks need ``faces.landmarks``.
        rank, world: this process takes every ``world``-th face of a batch, starting with face ``rank``.

    Raises:
        ValueError: there are no faces, or batch_size is not a multiple of ``world``.
    """

    def __init__(
        self,
        faces: FaceArrays,
        ks: tuple[int, ...],
        batch_size: int,
        seed: int,
        flip: bool = True,
        colour: float = 0.0,
        between: float = 0.0,
        recut: float = 0.0,
        damage: Damage | None = None,
        feed: Feed | None = None,
        needs: Needs | None = None,
        rank: int = 0,
        world: int = 1,
    ):
        if not len(faces):
            raise ValueError("there are no faces to train on")
        if batch_size % world:
            raise ValueError(f"batches of {batch_size} cannot be shared out evenly among {world} processes")
        self.faces, self.batch_size, self.seed, self.flip, self.colour = faces, batch_size, seed, flip, colour
        self.ks, self.recut = np.array(ks), recut
        self.between, self.damage, self.rank, self.world = between, damage, rank, world
        self.feed, self.needs = feed or Feed(), needs or Needs()

    def plan(self, step: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Rows, scales k, flips and (B, 3) colour gains of batch ``step``; a batch may span two epochs."""
        n = len(self.faces)
        positions = np.arange(step * self.batch_size, (step + 1) * self.batch_size)
        rows, ks, flips = (np.empty(len(positions), dtype=np.int64) for _ in range(3))
        for epoch in np.unique(positions // n):
            order, shift, coins = _epoch(self.seed, int(epoch), n, len(self.ks))
            here = positions // n == epoch
            at = positions[here] % n
            rows[here] = order[at]
            ks[here] = self.ks[(at + shift) % len(self.ks)]
            flips[here] = coins[at] if self.flip else 0
        if self.feed.kind == "SASR":
            turn, place = divmod(step, len(self.ks))
            ks[:] = np.random.default_rng((self.seed, turn, 5)).permutation(self.ks)[place]
        gains = np.random.default_rng((self.seed, step, 1)).uniform(-self.colour, self.colour, (len(positions), 3)) + 1
        return rows, ks, flips, gains.astype(np.float32)

    def sizes(self, step: int, hr_size: int) -> np.ndarray:
        """(B, 2) heights and widths of the LR images that batch ``step`` makes from HR; 0 for images of a scale."""
        rng = np.random.default_rng((self.seed, step, 2))
        chosen, square = rng.random(self.batch_size) < self.between, rng.random(self.batch_size) < 0.5
        low, high = np.log(BETWEEN)
        sides = hr_size * np.exp(rng.uniform(low, high, self.batch_size))
        stretch = np.exp(np.where(square, 0, rng.uniform(-STRETCH, STRETCH, self.batch_size)) / 2)
        sizes = np.stack([sides * stretch, sides / stretch], 1).round().astype(int).clip(2, hr_size - 1)
        return np.where(chosen[:, None], sizes, 0)

    def drawn(self, step: int) -> Drawn:
        """What is drawn for this process's share of batch ``step``."""
        plan = (*self.plan(step), self.sizes(step, self.hr_size), np.arange(self.batch_size))
        return Drawn(*(array[self.rank :: self.world] for array in plan))

    @property
    def hr_size(self) -> int:
        return self.faces.hr.shape[1]

    def by_axis(self, drawn: Drawn) -> np.ndarray:
        """(B, 2) float32, the rates of rows and columns."""
        return np.where(drawn.sizes > 0, drawn.sizes / self.hr_size, drawn.ks[:, None] / 16).astype(np.float32)

    def cut_anew(self, step: int, drawn: Drawn) -> dict[int, np.ndarray]:
        """The faces that are cut again from their photographs, (H, H, 3) uint8 by their number in the share."""
        cut = (self._cut(int(row), (self.seed, step, 4, int(place))) for row, place in zip(drawn.rows, drawn.places))
        return {n: face for n, face in enumerate(cut) if face is not None}

    def damaged(
        self, step: int, drawn: Drawn, faces: list[np.ndarray], small: list[np.ndarray]
    ) -> tuple[list[np.ndarray], list[np.ndarray], np.ndarray]:
        """HR and LR images after the damage, and its (B, 5) amounts. Images that it does not change stay the same."""
        if self.damage is None:
            return faces, small, np.zeros((len(drawn.rows), len(KINDS)), dtype=np.float32)
        seeds = [(self.seed, step, 3, int(place)) for place in drawn.places]  # whichever process prepares the face
        results = [damaged(face, lr, self.damage, seed) for face, lr, seed in zip(faces, small, seeds)]
        return [r.hr for r in results], [r.lr for r in results], np.stack([r.amounts for r in results])

    def __getitem__(self, step: int) -> Batch:
        """This process's share of batch ``step``."""
        drawn = self.drawn(step)
        rows, ks, flips, gains, sizes, places = drawn
        cut = self.cut_anew(step, drawn)
        faces = [cut.get(n, self.faces.hr[int(i)]) for n, i in enumerate(rows)]
        small = [
            self.faces.lr[k][i] if n not in cut and not h else reduced_face(face, k, h, w)
            for n, (face, i, k, (h, w)) in enumerate(zip(faces, rows.tolist(), ks.tolist(), sizes.tolist()))
        ]
        faces, small, amounts = self.damaged(step, drawn, faces, small)
        by_axis = self.by_axis(drawn)
        points: dict[str, Any] = {}
        if self.needs.points:
            rngs = [np.random.default_rng((self.seed, step, 6, place)) for place in places]
            small, points = self._points(faces, small, flips, rngs)
        hr = torch.from_numpy(np.stack([face.transpose(2, 0, 1) for face in faces]))
        fed = self.feed.batch(small, hr.shape[-1])
        mirror = torch.from_numpy(flips.astype(bool))
        fed[mirror], hr[mirror] = fed[mirror].flip(-1), hr[mirror].flip(-1)
        axes, gain, row, damage = (torch.from_numpy(array) for array in (by_axis, gains, rows, amounts))
        batch = Batch(fed, hr, torch.from_numpy(by_axis.mean(1)), axes, gain[:, :, None, None], row, damage)
        return batch._replace(**self.parts(rows, flips, hr), **points)

    def parts(self, rows: np.ndarray, flips: np.ndarray, hr: Tensor | None = None) -> dict[str, Any]:
        """Landmarks, masks and edges of the mirrored faces, as far as they are needed; edges need the faces."""
        needs, side, parts = self.needs, self.hr_size, dict[str, Any]()
        if needs.landmarks or needs.masks:
            assert self.faces.landmarks is not None
            found = [
                mirrored(self.faces.landmarks[row], side) if flip else self.faces.landmarks[row]
                for row, flip in zip(rows, flips)
            ]
            if needs.landmarks:
                parts["landmarks"] = torch.from_numpy(np.stack(found))
            if needs.masks:
                parts["masks"] = torch.from_numpy(np.stack([masks(points, side) for points in found]))
        if needs.edges:
            assert hr is not None
            maps = zip(*(edges(face.permute(1, 2, 0).numpy()) for face in hr))
            parts["edges"] = tuple(torch.from_numpy(np.stack(size))[:, None] for size in maps)
        return parts

    def _points(
        self, faces: list[np.ndarray], small: list[np.ndarray], flips: np.ndarray, rngs: list[np.random.Generator]
    ) -> tuple[list[np.ndarray], dict[str, Any]]:
        """Inputs, not yet mirrored, and random points of the mirrored pictures with their colours."""
        pictures = faces
        if self.needs.squares == "cut":
            pictures = [square_of(face, rng) for face, rng in zip(faces, rngs)]
        elif self.needs.squares == "whole":
            pictures = [whole_at_random_size(face, rng) for face, rng in zip(faces, rngs)]
        if self.needs.squares:
            sources = pictures if self.needs.squares == "cut" else faces
            small = [np.asarray(resize(Image.fromarray(s), len(face) // 8)) for s, face in zip(sources, faces)]
        shown = [picture[:, ::-1] if flip else picture for picture, flip in zip(pictures, flips)]
        points, colours, extent = zip(*(random_points(p, self.needs.points, rng) for p, rng in zip(shown, rngs)))
        pixels = torch.tensor(extent, dtype=torch.float32)[:, None].repeat(1, 2)  # a GPU's loader pins no expanded view
        stacked = (torch.from_numpy(np.stack(x)) for x in (points, colours))
        return small, dict(zip(("points", "colours", "extent"), (*stacked, pixels)))

    def _cut(self, row: int, seed: tuple[int, ...]) -> np.ndarray | None:
        """The face cut again from its photograph, or None if it stays as it was built."""
        rng = np.random.default_rng(seed)
        if not self.recut or rng.random() >= self.recut:
            return None
        original = self.faces.originals[row]
        return recut(original.read(), original.box, self.faces.hr.shape[1], rng)

    def batches(self, start: int, end: int, workers: int = 0, pin: bool = False) -> Iterable[Batch]:
        """Batches ``start`` to ``end`` - 1, prepared by ``workers`` processes, or by this one if it is 0."""
        return prepared(self, start, end, workers, pin)


def prepared(loader: Dataset, start: int, end: int, workers: int, pin: bool) -> Iterator[Any]:
    """Items ``start`` to ``end`` - 1 of a loader, as ``TrainingLoader.batches`` gives its own.

    Raises:
        RuntimeError: a process that prepares them ended; the message begins with "DataLoader worker".
    """
    source = DataLoader(
        loader,
        batch_size=None,
        collate_fn=_as_it_is,
        sampler=range(start, end),
        num_workers=workers,
        prefetch_factor=PREFETCHED if workers else None,
        pin_memory=pin,
        generator=torch.Generator(),  # a separate one: the network's random numbers stay the same
        worker_init_fn=_start_worker,
    )
    try:
        yield from source
    except (
        ConnectionError,
        EOFError,
        FileNotFoundError,
    ) as error:  # a batch is handed over by the process that made it
        if not workers:
            raise
        raise RuntimeError("DataLoader worker ended while its batch was taken over") from error


@functools.lru_cache(maxsize=2)
def _epoch(seed: int, epoch: int, faces: int, scales: int) -> tuple[np.ndarray, int, np.ndarray]:
    """An epoch's order of the faces, the shift of their scales, and their coins for mirroring."""
    rng = np.random.default_rng((seed, epoch))
    return rng.permutation(faces), int(rng.integers(scales)), rng.integers(0, 2, faces)


def reduced_face(face: np.ndarray, k: int, height: int, width: int) -> np.ndarray:
    """The LR image of this height and width, or of scale k if they are 0."""
    side = lr_side(len(face), k)
    return np.asarray(resize(Image.fromarray(face), width or side, height or side))


def _as_it_is(item: Any) -> Any:
    return item


def _start_worker(_: int) -> None:
    """A signal to the whole group must not end the workers before the trainer has written its checkpoint, and what
    this process registered for its own end (Prefect does, where a flow ran in it) is not a forked worker's to run: it
    would fail there, and the training with it."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    multiprocessing.util.Finalize(None, os._exit, (0,), exitpriority=-1000)  # the last of its finalizers

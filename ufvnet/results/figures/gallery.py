"""Galleries: which faces of a test set are shown, and what each method makes of them, restored once."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from PIL import Image

from ufvnet.config import ConfigError, EvaluateConfig
from ufvnet.config.lr_images import CLEAN
from ufvnet.data.lr_images import FaceUnderDamage, LRKind, Size, columns, face_under
from ufvnet.imaging.resize import resize
from ufvnet.metrics import score
from ufvnet.models.inference import BICUBIC
from ufvnet.results.evaluation import OpenedTestSet, ScoredEvaluation
from ufvnet.results.methods.faces import Faces, Restoration, failed_restoration
from ufvnet.results.methods.own_process import MethodDied
from ufvnet.results.methods.resolve import ResolvedMethod
from ufvnet.results.methods.restore import restore
from ufvnet.results.statistics import PSNR, SSIM, of_size

from .sheets import ExtremeFace, RestoredFace, SheetRow, error_limit, failed_face

EXTREME_SCALE = 2
"""Worst and best faces are sought at 16 px (of an HR of 128), where methods differ and faces are still faces."""
EXTREMES = 10
DAMAGE_RATE = 1 / 4
"""Damage is shown at the size nearest to this rate, 32 px of an HR of 128."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Pick:
    """A face with an LR image of one kind."""

    face_id: str
    kind: LRKind


PickScores = dict[tuple[str, Pick], tuple[float, float, str]]
"""PSNR, SSIM and reason of each label and pick, as they went into the tables."""


@dataclass
class Gallery:
    """The faces of one test set that are shown, each read once and restored once by each method.

    labels: bicubic, then the evaluated methods. faces: seeded, of the scored ones, with the kinds of LR images that
    are shown of each: clean ones of every size, damaged ones of one size. worst, best: of a method, of one kind;
    failures of any kind come first among the worst, half of them at most. read: by face and damage. restored: what
    each method makes of each pick.
    """

    test_set: OpenedTestSet
    labels: list[str]
    faces: dict[str, list[LRKind]]
    worst: dict[str, list[Pick]]
    best: dict[str, list[Pick]]
    read: dict[tuple[str, str], FaceUnderDamage] = field(default_factory=dict)
    restored: dict[tuple[str, Pick], RestoredFace] = field(default_factory=dict)

    @property
    def hr_size(self) -> int:
        return self.test_set.view.hr_size

    def hr(self, pick: Pick) -> np.ndarray:
        """(H, H, 3) uint8; for ``crop`` another cut of the photograph."""
        return self.read[pick.face_id, pick.kind.damage].hr

    def lr(self, pick: Pick) -> np.ndarray:
        """(h, w, 3) uint8."""
        return self.read[pick.face_id, pick.kind.damage].lr(pick.kind.size)

    def shown(self) -> list[Pick]:
        """The seeded faces, with each kind of LR image that is shown."""
        return [Pick(face, kind) for face, kinds in self.faces.items() for kind in kinds]

    def picks(self, label: str) -> list[Pick]:
        """All that is shown of a method; bicubic stands beside every other."""
        picks = self.shown()
        for other in self.worst if label == BICUBIC else [label]:
            picks += self.worst.get(other, []) + self.best.get(other, [])
        return list(dict.fromkeys(picks))

    def sheet_row(self, pick: Pick, labels: Sequence[str], starts_face: bool = True) -> SheetRow:
        restored = [self.restored[label, pick] for label in labels]
        damage = "" if pick.kind.damage == CLEAN else pick.kind.damage
        return SheetRow(self.lr(pick), restored, self.hr(pick), starts_face, damage)

    def extremes(self, label: str) -> tuple[list[ExtremeFace], list[ExtremeFace]]:
        """The worst and the best faces of a method."""
        return self._extremes(label, self.worst[label]), self._extremes(label, self.best[label])

    def _extremes(self, label: str, picks: Sequence[Pick]) -> list[ExtremeFace]:
        return [
            ExtremeFace(
                pick.face_id, pick.kind.name, self.lr(pick),
                None if label == BICUBIC else self.restored[BICUBIC, pick], self.restored[label, pick],
                self.hr(pick),
            )
            for pick in picks
        ]  # fmt: skip

    def error_limit(self) -> int:
        """The end of the common colour scale of the test set's error maps: bicubic sets it, whatever else is shown."""
        picks = self.shown()
        return error_limit([self.restored[BICUBIC, p] for p in picks], [self.hr(p) for p in picks])


def open_galleries(evaluation: ScoredEvaluation) -> list[Gallery]:
    """A gallery per test set: faces chosen from the scores, read from the row groups that hold them, and restored.

    Where a method fails, or has no score, the reason stands in place of a face.

    Raises:
        ConfigError: a test set no longer holds a face that was scored.
    """
    labels = [BICUBIC, *(method.label for method in evaluation.methods if method.label != BICUBIC)]
    galleries = [_choose(evaluation, test_set, labels) for test_set in evaluation.test_sets]
    scores = [_pick_scores(gallery, evaluation) for gallery in galleries]
    for gallery, pick_scores in zip(galleries, scores):
        for pick in gallery.picks(BICUBIC):
            sr = np.asarray(resize(Image.fromarray(gallery.lr(pick)), gallery.hr_size))
            gallery.restored[BICUBIC, pick] = _restored_face(sr, BICUBIC, pick, gallery, pick_scores)
    for method in evaluation.methods:  # the outer loop, so that each model is loaded once
        for gallery, pick_scores in zip(galleries, scores):
            if method.label != BICUBIC:
                _fill(gallery, method, pick_scores, evaluation.config)
    return galleries


def _choose(evaluation: ScoredEvaluation, test_set: OpenedTestSet, labels: list[str]) -> Gallery:
    """A gallery without restored faces: seeded faces, and the worst and best of each method."""
    config, scores = evaluation.config, evaluation.scores_on(test_set.name)
    ids = list(dict.fromkeys(scores["face_id"]))
    order = np.random.default_rng(config.seed).permutation(len(ids))[: config.grid_faces]
    scored = set(zip(scores["face_id"], scores["damage"]))  # not every face has every damage
    kinds = _kinds_shown(test_set)
    faces = {ids[i]: [kind for kind in kinds if (ids[i], kind.damage) in scored] for i in sorted(order)}
    worst, best = {}, {}
    for label in labels:
        if label != BICUBIC or len(labels) == 1:
            worst[label], best[label] = _worst_and_best(scores[scores["model"] == label], _extreme_kind(test_set))
    gallery = Gallery(test_set, labels, faces, worst, best)
    wanted = {(pick.face_id, pick.kind.damage) for label in labels for pick in gallery.picks(label)}
    hr_size = test_set.view.hr_size
    for record in read_faces(test_set, {face for face, _ in wanted}):
        for face, damage in wanted:
            if face == record["face_id"] and (under := face_under(damage, record, hr_size, test_set.photos)):
                gallery.read[face, damage] = under
    if missing := {face for face, _ in wanted - set(gallery.read)}:
        path = test_set.settings.path
        raise ConfigError(f"{path}: holds no face {min(missing)}, which was scored; evaluate again")
    return gallery


def _kinds_shown(test_set: OpenedTestSet) -> list[LRKind]:
    """Clean LR images of every size, then each other damage at one size."""
    damages, middle = test_set.settings.damage, DAMAGE_RATE * test_set.view.hr_size
    size = min(test_set.sizes, key=lambda size: (not size.square, abs(size.px - middle)))
    clean = [LRKind(CLEAN, size) for size in test_set.sizes if CLEAN in damages]
    return clean + [LRKind(damage, size) for damage in damages if damage != CLEAN]


def _extreme_kind(test_set: OpenedTestSet) -> LRKind:
    damages = test_set.settings.damage
    stored = {size.stored(test_set.view.hr_size): size for size in test_set.sizes}
    return LRKind(CLEAN if CLEAN in damages else damages[0], stored.get(EXTREME_SCALE, test_set.sizes[0]))


def _worst_and_best(scores: pd.DataFrame, kind: LRKind) -> tuple[list[Pick], list[Pick]]:
    """Picks from a method's scores; the two share no face, and failures are at most half of the worst."""
    failed = scores[scores[PSNR].isna()].drop_duplicates("face_id").head(EXTREMES // 2)
    of_kind = of_size(scores[scores["damage"] == kind.damage], kind.size)
    ranked = of_kind[of_kind[PSNR].notna()].sort_values([PSNR, "face_id"])
    half = min(EXTREMES, max(1, len(ranked) // 2))
    worst = pd.concat([failed, ranked.head(half)]).head(EXTREMES)
    return _picks(worst), _picks(ranked.tail(half)[::-1])


def _picks(scores: pd.DataFrame) -> list[Pick]:
    columns = (scores[name] for name in ("face_id", "damage", "width", "height"))
    return [Pick(str(face), LRKind(str(damage), Size(int(w), int(h)))) for face, damage, w, h in zip(*columns)]


def read_faces(test_set: OpenedTestSet, wanted: set[str]) -> Iterator[dict[str, Any]]:
    """The dataset's rows of some faces; of row groups without any of them only the names are read."""
    needed = [columns(damage, test_set.sizes, test_set.view.hr_size) for damage in test_set.settings.damage]
    names_needed, left = list(dict.fromkeys(name for names in needed for name in names)), set(wanted)
    for shard, groups in groupby(test_set.row_groups, key=lambda group: group.shard):
        if not left:
            return
        with pq.ParquetFile(shard) as file:
            for number in (group.number for group in groups):
                names = file.read_row_group(number, columns=["face_id"])["face_id"].to_pylist()
                rows = [i for i, name in enumerate(names) if name in left]
                if rows:
                    yield from file.read_row_group(number, columns=names_needed).take(rows).to_pylist()
                    left -= {names[i] for i in rows}
                if not left:
                    return


def _pick_scores(gallery: Gallery, evaluation: ScoredEvaluation) -> PickScores:
    """The scores of everything that is shown."""
    scores = evaluation.scores_on(gallery.test_set.name)
    scores = scores[scores["face_id"].isin({face for face, _ in gallery.read})]
    columns = (scores[name] for name in ("model", PSNR, SSIM))
    return {
        (label, pick): (psnr, ssim, str(reason))
        for pick, label, psnr, ssim, reason in zip(_picks(scores), *columns, scores["reason"].fillna(""))
    }


def _restored_face(sr: np.ndarray, label: str, pick: Pick, gallery: Gallery, scores: PickScores) -> RestoredFace:
    """A face with its scores of the tables; without an image if it has no score."""
    if (label, pick) in scores:
        psnr, ssim, reason = scores[label, pick]
    else:  # bicubic where it was not evaluated
        values = score(sr[None], gallery.hr(pick)[None])
        psnr, ssim, reason = values[PSNR][0], values[SSIM][0], ""
    return failed_face(reason or "no score") if np.isnan(psnr) else RestoredFace(sr, float(psnr), float(ssim))


def _fill(gallery: Gallery, method: ResolvedMethod, scores: PickScores, config: EvaluateConfig) -> None:
    """Restore what is shown of one method, kind by kind; what failed is not tried again, it may kill a process."""
    label, picks = method.label, gallery.picks(method.label)
    for pick in picks:
        if (label, pick) in scores and (reason := scores[label, pick][2]):
            gallery.restored[label, pick] = failed_face(reason)
    for kind in dict.fromkeys(pick.kind for pick in picks):
        left = [pick for pick in picks if pick.kind == kind and (label, pick) not in gallery.restored]
        if not left:
            continue
        restoration = restore_picks(gallery, method, left, kind, config)
        for pick, sr, reason in zip(left, restoration.sr, restoration.reasons):
            if reason:
                log.warning("%s, face %s at %s was scored, but now: %s", label, pick.face_id, kind.name, reason)
                gallery.restored[label, pick] = failed_face(reason)
            else:
                gallery.restored[label, pick] = _restored_face(sr, label, pick, gallery, scores)


def restore_picks(
    gallery: Gallery, method: ResolvedMethod, picks: Sequence[Pick], kind: LRKind, config: EvaluateConfig
) -> Restoration:
    """What a method makes of some faces of a kind: the one place where figures and report get images from."""
    lr, side = np.stack([gallery.lr(pick) for pick in picks]), gallery.hr_size
    ids = [pick.face_id for pick in picks]
    faces = Faces(lr, kind.size.px / side, side, ids, gallery.test_set.name, kind.folder)
    try:
        return restore(method, faces, config.batch_size, config.device)
    except MethodDied as error:
        return failed_restoration(faces, str(error))

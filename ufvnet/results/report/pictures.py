"""Pictures embedded in the report, each once, and which of them the page's script shows where."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from ufvnet.metrics import score
from ufvnet.models.inference import BICUBIC
from ufvnet.results.figures.gallery import Gallery, Pick
from ufvnet.results.figures.sheets import ExtremeFace, RestoredFace
from ufvnet.results.statistics import PSNR, SSIM
from ufvnet.results.tables.captions import brief

SLIDER_BYTES = 9_000_000
"""Upper bound on the slider's pictures, all test sets together; at least one face of each is always shown."""
MOST_EXTREMES = 120
"""Worst (and best) faces embedded, all methods and test sets together; three of each at least."""


class Pictures:
    """Encoded pictures; equal ones are kept once."""

    def __init__(self) -> None:
        self.sources: list[str] = []
        self.places: dict[bytes, int] = {}
        self.size = 0

    def add(self, image: np.ndarray, exact: bool = True) -> int:
        """Encode a picture; returns its place in ``sources``.

        Args:
            image: (h, w, 3) uint8.
            exact: lossless, pixel for pixel what was measured.
        """
        key = image.tobytes() + bytes([exact])
        if key not in self.places:
            buffer = io.BytesIO()
            options: dict[str, Any] = {"lossless": True, "quality": 50, "exact": True} if exact else {"quality": 88}
            Image.fromarray(image).save(buffer, "WEBP", method=4, **options)
            source = "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode()
            self.places[key] = len(self.sources)
            self.sources.append(source)
            self.size += len(source)
        return self.places[key]


def embedded_pictures(galleries: Sequence[Gallery]) -> dict[str, Any]:
    """What the page's script shows: encoded pictures, and the faces, sizes and methods that they belong to."""
    from matplotlib import colormaps

    pictures = Pictures()
    test_sets = []
    for i, gallery in enumerate(galleries, start=1):
        faces: list[dict[str, Any]] = []
        for face in gallery.faces:
            if faces and pictures.size > SLIDER_BYTES * i / len(galleries):
                break
            faces.append(_face(gallery, face, pictures))
        test_sets.append({"name": gallery.test_set.name, "limit": gallery.error_limit(), "faces": faces})
    count = max(3, min(10, MOST_EXTREMES // max(1, sum(len(gallery.worst) for gallery in galleries))))
    extremes = [{label: _extremes(g, label, count, pictures) for label in g.worst} for g in galleries]
    return {
        "labels": galleries[0].labels,
        "bicubic": BICUBIC,
        "side": galleries[0].hr_size,
        "colours": [[round(255 * v) for v in colormaps["inferno"](i / 63)[:3]] for i in range(64)],
        "sets": test_sets,
        "extremes": extremes,
        "pictures": pictures.sources,
    }


def _face(gallery: Gallery, face: str, pictures: Pictures) -> dict[str, Any]:
    """A face with every LR image that is shown, by every method."""
    side, sizes = gallery.hr_size, []
    for kind in gallery.faces[face]:
        pick = Pick(face, kind)
        lr, hr = gallery.lr(pick), gallery.hr(pick)
        nearest = np.asarray(Image.fromarray(lr).resize((side, side), Image.Resampling.NEAREST))
        values = score(nearest[None], hr[None])
        sizes.append({
            "name": kind.name, "shape": f"{lr.shape[1]}×{lr.shape[0]}", "hr": pictures.add(hr),
            "lr": [pictures.add(lr), _rounded(values[PSNR][0], 2), _rounded(values[SSIM][0], 4), ""],
            "cells": [_restored(gallery.restored[label, pick], pictures) for label in gallery.labels],
        })  # fmt: skip
    return {"id": face, "hr": sizes[0]["hr"], "sizes": sizes}


def _extremes(gallery: Gallery, label: str, count: int, pictures: Pictures) -> dict[str, list[dict[str, Any]]]:
    worst, best = gallery.extremes(label)
    return {name: [_extreme(f, pictures) for f in faces[:count]] for name, faces in (("worst", worst), ("best", best))}


def _extreme(face: ExtremeFace, pictures: Pictures) -> dict[str, Any]:
    return {
        "id": face.face_id, "name": face.input, "lr": pictures.add(face.lr), "hr": pictures.add(face.hr, False),
        "cell": _restored(face.restored, pictures, False),
        "other": face.reference and _restored(face.reference, pictures, False),
    }  # fmt: skip


def _restored(face: RestoredFace, pictures: Pictures, exact: bool = True) -> list[Any]:
    """[place of the picture or -1, PSNR, SSIM, reason]."""
    place = -1 if face.image is None else pictures.add(face.image, exact)
    return [place, _rounded(face.psnr, 2), _rounded(face.ssim, 4), brief(face.reason)]


def _rounded(value: float, digits: int) -> float | None:
    return round(float(value), digits) if math.isfinite(value) else None

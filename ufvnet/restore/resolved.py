"""What restoring a picture needs, found, read and checked once: the model, and the faces that are known."""

from __future__ import annotations

from dataclasses import dataclass

from ufvnet.config import RestoreConfig, fingerprint
from ufvnet.faces.finders import choose_finder

from .face_crops import CropRule
from .face_finder import FaceFinder
from .known_faces import KnownFaces, read_known_faces
from .restorer import Restorer

ALGORITHM = 4
"""Part of every key; another number makes all earlier outputs stale."""
DECISIVE = ("backend", "mode", "min_face", "max_face", "effective_size", "size", "scale", "format", "quality", "suffix",
            "image_column", "unrestored", "precision", "self_ensemble", "max_pixels")  # fmt: skip
"""Settings that decide what an output holds or is called."""


@dataclass(frozen=True)
class ResolvedRestore:
    """A configuration with its model loaded and its files of faces read; every stage of a run receives it.

    config: what the user asked for, with the finder by its name.
    restorer: the model on its device.
    face_finder: finds the faces of a picture.
    """

    config: RestoreConfig
    restorer: Restorer
    face_finder: FaceFinder

    @property
    def hr_size(self) -> int:
        """Side of the model's output."""
        return self.restorer.hr_size

    @property
    def crop_rule(self) -> CropRule:
        """Which faces are restored."""
        return CropRule(self.hr_size, self.config.max_face, self.config.effective_size)

    def key(self) -> str:
        """Fingerprint of everything that decides an output besides its input."""
        settings = {name: getattr(self.config, name) for name in DECISIVE}
        searched = None if self.config.mode == "aligned" else self.face_finder.finder.VERSION
        faces = (searched, self.face_finder.known_faces.fingerprint)
        estimator = self.crop_rule.fingerprint()
        return fingerprint(ALGORITHM, self.restorer.fingerprint, self.hr_size, settings, faces, estimator)[:32]


def resolve(config: RestoreConfig, known_faces: KnownFaces | None = None) -> ResolvedRestore:
    """Load the model of a configuration and read its files of faces.

    Args:
        config: what and how.
        known_faces: what its files hold, if they have been read already.

    Raises:
        ConfigError: there is no such model, device, back end or finder, or a file of faces is missing or malformed.
    """
    restorer = Restorer.load(
        config.model, config.device, config.backend, self_ensemble=config.self_ensemble, precision=config.precision
    )
    known_faces = read_known_faces(config) if known_faces is None else known_faces
    finder = choose_finder(config.finder)
    config = config.model_copy(update={"finder": finder.NAME})
    return ResolvedRestore(config, restorer, FaceFinder(config, finder, known_faces, restorer.hr_size))

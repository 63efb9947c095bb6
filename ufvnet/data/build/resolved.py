"""A build that is resolved: its settings with absolute paths, and the photos of its source, listed once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ufvnet.config import BuildConfig
from ufvnet.data.sources.listing import list_photos
from ufvnet.data.sources.photo import Photo

from .folder import check_folder, dataset_root


@dataclass(frozen=True)
class ResolvedBuild:
    """What every later step of a build receives.

    config: the settings with absolute paths, as workers may run in other folders.
    written: the settings as the user wrote them, which the card keeps.
    photos: every photo of the source, by path.
    """

    config: BuildConfig
    written: BuildConfig
    photos: tuple[Photo, ...]

    @property
    def root(self) -> Path:
        """The dataset's folder."""
        return dataset_root(self.config)


def resolve(config: BuildConfig) -> ResolvedBuild:
    """Check the dataset's folder and list the photos of the source.

    Raises:
        ConfigError: the source is not as it should be, or the dataset's folder is not ours.
    """
    check_folder(config)
    folders = {key: getattr(config.source, key, None) for key in ("root", "image_root")}
    source = config.source.model_copy(update={key: folder.absolute() for key, folder in folders.items() if folder})
    absolute = config.model_copy(update={"source": source, "out": config.out.absolute()})
    return ResolvedBuild(absolute, config, tuple(list_photos(absolute)))

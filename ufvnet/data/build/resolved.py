"""A build that is resolved: its settings with absolute paths, and the photos of its source, listed once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ufvnet.config import BuildConfig
from ufvnet.data.packed import Packed
from ufvnet.data.sources.listing import list_photos
from ufvnet.data.sources.photo import Photo
from ufvnet.faces.finders import choose_finder

from .folder import check_folder, dataset_root


@dataclass(frozen=True)
class ResolvedBuild:
    """What every later step of a build receives.

    config: the settings with absolute paths, as workers may run in other folders, and with the finder by its name.
    written: the settings as the user wrote them, which the card keeps.
    photos: every photo of the source, by path.
    """

    config: BuildConfig
    written: BuildConfig
    photos: Packed[Photo]

    @property
    def root(self) -> Path:
        """The dataset's folder."""
        return dataset_root(self.config)


def resolve(config: BuildConfig) -> ResolvedBuild:
    """Check the dataset's folder, choose the finder and list the photos of the source.

    Raises:
        ConfigError: the source is not as it should be, the dataset's folder is not ours, or the finder cannot be used.
    """
    check_folder(config)
    folders = {key: getattr(config.source, key, None) for key in ("root", "image_root")}
    source = config.source.model_copy(update={key: folder.absolute() for key, folder in folders.items() if folder})
    finder = choose_finder(config.finder).NAME
    changes = {"source": source, "out": config.out.absolute(), "finder": finder}
    absolute = config.model_copy(update=changes)
    return ResolvedBuild(absolute, config, list_photos(absolute))

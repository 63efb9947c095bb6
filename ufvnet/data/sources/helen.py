"""Helen as its authors publish it: folders of photos and two lists."""

from __future__ import annotations

from pathlib import Path

from ufvnet.config import HelenSource
from ufvnet.errors import ConfigError
from ufvnet.remote import AnyPath

from .files import paths_in
from .photo import Photo
from .splits import with_lists


def list_helen(source: HelenSource) -> list[Photo]:
    """The photos of the folders, with the splits of Helen's own lists unless the configuration gives others.

    Raises:
        ConfigError: there are no such folders, or a list is missing or malformed.
    """
    files = [path for folder in _folders(source.root) for path in paths_in(folder, source.root)]
    if not files:
        raise ConfigError(f"source.root = {source.root}: must hold folders helen_1, helen_2, ... with photos")
    photos = [Photo(path) for path in files]
    if source.splits:
        return photos
    lists = {"train": source.root / "trainnames.txt", "test": source.root / "testnames.txt"}
    return with_lists(photos, source, lists, missing="{}.jpg")


def _folders(root: AnyPath) -> list[AnyPath]:
    return [*sorted(root.glob("helen_*"))] if isinstance(root, Path) else [*root.glob("helen_*")]

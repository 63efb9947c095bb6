"""A built dataset published in an object store: its files, then its card, which says that they are all there."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ufvnet.errors import ConfigError
from ufvnet.files import is_intact, printed, unseal
from ufvnet.remote import RemotePath, path_or_url

from .build.folder import PAIRS
from .card import CARD
from .dataset import Dataset
from .readme import README, is_made

BUILT = re.compile(rf"photos/part-\d{{5,9}}\.parquet|faces/split=[^/]+/part-\d{{5,9}}\.parquet|{re.escape(PAIRS)}")
"""Names of a dataset's files below its folder, other than its card and README."""

Digests = dict[str, str]
"""sha256 of files by name below the dataset's folder."""


def push(dataset: Dataset, url: str) -> tuple[int, int]:
    """Publish a dataset.

    The card there is removed first and written last: whoever finds a card finds all files that it names. Files that the
    earlier card names with the same sha256 are not uploaded again. Shards that this dataset does not have are removed,
    because ``datasets`` reads all that are there. A README.md that somebody wrote there stays if this one was made by a
    build.

    Args:
        dataset: all its files are verified.
        url: of a folder in a store; it is empty, or holds a dataset that was published.

    Returns:
        The numbers of files with a digest that were uploaded, and that were there already.

    Raises:
        ConfigError: the URL is not one of a store or holds something else, the store does not answer or refuses, or a
            file of the dataset is damaged.
        OSError: the store fails later; there is no card then, and a second push uploads all files.
    """
    try:
        target = path_or_url(url)
    except ConfigError as error:
        raise ConfigError(f"url = {printed(url)}: {error}") from error
    if not isinstance(target, RemotePath):
        raise ConfigError(f"url = {printed(url)}: must be a URL of a store, e.g. s3://bucket/{dataset.root.name}")
    files = dict(_digests(dataset.card))
    for name, digest in files.items():
        if not is_intact(dataset.root / name, digest):
            raise ConfigError(f"dataset = {printed(dataset.root)}: {name} is missing or damaged; build it again")
    try:
        there = {path.name_below(target) for path in target.files()}
        earlier = _published(target, there)
        (target / CARD).unlink(missing_ok=True)
    except OSError as error:
        raise ConfigError(f"url = {target}: cannot be used ({printed(error)})") from error
    missing = [name for name, digest in files.items() if earlier.get(name) != digest]
    for name in missing:
        (target / name).upload(dataset.root / name)
    for name in filter(BUILT.fullmatch, there - files.keys()):
        (target / name).unlink(missing_ok=True)
    readme, their_readme = dataset.root / README, target / README
    if readme.is_file() and (README not in there or is_made(their_readme) or not is_made(readme)):
        their_readme.upload(readme)
    (target / CARD).upload(dataset.root / CARD)
    return len(missing), len(files) - len(missing)


def _digests(card: dict[str, object]) -> Iterator[tuple[str, str]]:
    """Every file that a card names with a digest."""
    for shard in card["shards"]:  # type: ignore[attr-defined]
        yield shard["photos"], shard["photos_sha256"]
        if shard["faces"]:
            yield shard["faces"], shard["faces_sha256"]
    if card["near_duplicates_sha256"]:
        yield PAIRS, str(card["near_duplicates_sha256"])


def _published(target: RemotePath, there: set[str]) -> Digests:
    """The files of the dataset that was published there and that are still there.

    Args:
        target: the folder.
        there: names of the objects in it. Without a card, they may be what an interrupted push left.

    Raises:
        ConfigError: something else is there.
    """
    card = unseal((target / CARD).read_bytes()) if CARD in there else None
    built = set(filter(BUILT.fullmatch, there))
    others = there - built
    if card is None and not (others <= {README} and (built or not others or is_made(target / README))):
        raise ConfigError(f"url = {target}: is not empty, and no dataset that ufvnet published; name another folder")
    return {} if card is None else {name: digest for name, digest in _digests(card) if name in there}

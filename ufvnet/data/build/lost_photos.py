"""No mass loss by a rebuild: photos that the earlier build used and the next one would no longer use."""

from __future__ import annotations

import hashlib
import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator

import numpy as np

from ufvnet.errors import PipelineError
from ufvnet.files import printed

MOST = 0.05
"""Greatest share of the earlier build's photos that a rebuild may lose; more stop it, however few they are."""

AT_ONCE = 10_000
"""Photos that are looked up at once."""

GONE = "not in the source any more"

Outcome = tuple[str, str | None]
"""(status, sha256) of a photo."""

Used = Callable[[], Iterator[tuple[str, str]]]
"""Gives path and sha256 of the photos that an earlier build used, as often as it is called."""


def check_lost(name: object, used: Used, photos: Iterable[tuple[str, Outcome]]) -> None:
    """Compare two builds; a photo that only has another name now is not lost.

    There may be many millions: of each, 64 bits of a hash of its name and of its content are in memory.

    Args:
        name: of the dataset, for the message.
        used: the photos that the earlier build used.
        photos: (path, outcome) of each photo of this build.

    Raises:
        PipelineError: more than MOST of them would be lost.
    """
    before = np.fromiter(((_short(path), _short(digest)) for path, digest in used()), np.dtype((np.uint64, 2)))
    order, contents = np.argsort(before[:, 0]), np.unique(before[:, 1])
    paths, found = before[order, 0], np.zeros(len(contents), bool)
    statuses, now = [GONE], np.zeros(len(before), np.int16)
    photos = iter(photos)
    while len(before) and (some := list(itertools.islice(photos, AT_ONCE))):
        codes = []
        for _, (status, _) in some:
            if status not in statuses:
                statuses.append(status)
            codes.append(statuses.index(status))
        at, there = _places(paths, [_short(path) for path, _ in some])
        now[order[at[there]]] = np.array(codes)[there]
        at, there = _places(contents, [_short(digest) for _, (status, digest) in some if status == "ok" and digest])
        found[at[there]] = True
    ok = statuses.index("ok") if "ok" in statuses else -1
    lost = np.flatnonzero((now != ok) & ~found[np.searchsorted(contents, before[:, 1])])
    if len(lost) <= MOST * len(before):
        return
    reasons = Counter(statuses[code] for code in now[lost].tolist())
    listed = ", ".join(f"{n:,} {reason}" for reason, n in reasons.most_common())
    example = next(itertools.islice(used(), int(lost[0]), None))[0]
    raise PipelineError(
        f"{printed(name)}: of {len(before):,} photos that the earlier build used, {len(lost):,} would be lost "
        f"({listed}; e.g. {printed(example)}), more than {MOST:.0%}. Nothing of the dataset was changed. "
        "If this is meant, allow it: --allow-loss, or allow_loss: true in the configuration"
    )


def _short(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big")


def _places(ordered: np.ndarray, numbers: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """Where numbers are among ordered ones, and which of them are there."""
    wanted = np.array(numbers, np.uint64)
    at = np.minimum(np.searchsorted(ordered, wanted), len(ordered) - 1)
    return at, ordered[at] == wanted

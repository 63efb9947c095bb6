"""No mass loss by a rebuild: photos that the earlier build used and the next one would no longer use."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from ufvnet.errors import PipelineError
from ufvnet.files import printed

MOST = 0.05
"""Greatest share of the earlier build's photos that a rebuild may lose; more stop it, however few they are."""


Outcome = tuple[str, str | None]
"""(status, sha256) of a photo."""


def check_lost(name: object, before: Mapping[str, str], photos: Iterable[tuple[str, Outcome]]) -> None:
    """Compare two builds; a photo that only has another name now is not lost.

    Args:
        name: of the dataset, for the message.
        before: the photos that the earlier build used: sha256 by path.
        photos: (path, outcome) of each photo of this build.

    Raises:
        PipelineError: more than MOST of them would be lost.
    """
    known, now, content = set(before.values()), dict[str, Outcome](), set[str | None]()
    for path, (status, digest) in photos:
        if path in before:
            now[path] = status, digest
        if status == "ok" and digest in known:
            content.add(digest)
    lost = [p for p, digest in before.items() if now.get(p, ("",))[0] != "ok" and digest not in content]
    if len(lost) <= MOST * len(before):
        return
    reasons = Counter(now[p][0] if p in now else "not in the source any more" for p in lost)
    listed = ", ".join(f"{n:,} {reason}" for reason, n in reasons.most_common())
    raise PipelineError(
        f"{printed(name)}: of {len(before):,} photos that the earlier build used, {len(lost):,} would be lost "
        f"({listed}; e.g. {printed(lost[0])}), more than {MOST:.0%}. Nothing of the dataset was changed. "
        "If this is meant, allow it: --allow-loss, or allow_loss: true in the configuration"
    )

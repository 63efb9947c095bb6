"""Reasons of what was not restored: counted by status, and what would help."""

from __future__ import annotations

from collections import Counter, defaultdict

MOST = 1000
"""Different reasons of a status that are counted apart; reasons that quote a name may be as many as pictures."""
OTHER = "other reasons"
LISTED = 5
"""Reasons of a status that the summary tells."""

STRETCHED = "taken for a face crop and not square"
"""Begins the clause of a restored picture whose proportions its output does not have."""

ADVICE = {
    "faces already larger than": "--max-face N restores those below N pixels too",
    "no face found": "--min-face 8 searches for smaller ones; --mode aligned takes every picture for a face crop",
}
"""What would restore pictures whose reason begins so."""


class ReasonCounts:
    """Counts reasons by status; the first clause of a reason counts, the others tell what was converted."""

    def __init__(self) -> None:
        self._counts: defaultdict[str, Counter[str]] = defaultdict(Counter)

    def add(self, status: str, reason: str) -> None:
        """Count a picture; restored ones need no reason."""
        if status == "restored" or not reason:
            return
        counts, clause = self._counts[status], reason.split("; ")[0]
        counts[clause if clause in counts or len(counts) < MOST else OTHER] += 1

    def most_common(self) -> dict[str, dict[str, int]]:
        """By status, the LISTED most frequent reasons and the number of pictures with any other."""
        found = {}
        for status, counts in self._counts.items():
            listed = dict(counts.most_common(LISTED))
            rest = sum(counts.values()) - sum(listed.values())
            found[status] = listed | ({OTHER: listed.get(OTHER, 0) + rest} if rest else {})
        return found


def advice(reason: str) -> str:
    """What would restore a picture with this reason; empty if nothing is known to."""
    return next((help for beginning, help in ADVICE.items() if reason.startswith(beginning)), "")

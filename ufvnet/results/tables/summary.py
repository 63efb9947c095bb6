"""summary.csv: everything that the tables tell of damage, size, identity and groups, as plain numbers."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from ufvnet.metrics import Difference
from ufvnet.results.groups import GroupOutcome
from ufvnet.results.methods.resolve import ResolvedMethod
from ufvnet.results.statistics import Outcome, Outcomes

FILE = "summary.csv"
ALL = "mean"
"""What stands in the column ``size`` for all sizes together."""


def summary_rows(
    dataset: str, outcomes: Outcomes, groups: list[GroupOutcome], methods: Sequence[ResolvedMethod]
) -> list[dict[str, object]]:
    """A row per damage, size and method of a test set, and one per group, damage and method.

    ``evaluated`` is the method's fingerprint.
    """
    fingerprints = {method.label: method.fingerprint for method in methods}

    def row(division: str, group: str, damage: str, size: str, label: str, result: Outcome) -> dict[str, object]:
        return {
            "test set": dataset, "division": division, "group": group, "damage": damage, "size": size, "method": label,
            "evaluated": fingerprints.get(label, ""), **_numbers(result),
        }  # fmt: skip

    rows = [row("", "", d, ALL if s is None else s.name, label, o) for (d, s, label), o in outcomes.items()]
    return rows + [row(g.division, g.group, g.damage, ALL, g.label, g.outcome) for g in groups]


def _numbers(result: Outcome) -> dict[str, object]:
    gain = result.gain or Difference(float("nan"), float("nan"), float("nan"))
    return {
        "faces": result.faces, "incomplete": result.mean.incomplete, "psnr": result.mean.psnr, "ssim": result.mean.ssim,
        "gain": gain.mean, "gain_low": gain.low, "gain_high": gain.high, "worse": result.worse,
        "identity": result.cosine, "identity_distance": result.distance, "bicubic_distance": result.bicubic_distance,
        "nearer": result.nearer,
    }  # fmt: skip


def summary_csv(rows: list[dict[str, object]]) -> str:
    return pd.DataFrame(rows).to_csv(index=False, float_format="%.6g")

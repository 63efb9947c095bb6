"""summary.csv: everything that the tables tell of damage, size, identity and groups, as plain numbers."""

from __future__ import annotations

import pandas as pd

from ufvnet.metrics import Difference
from ufvnet.results.groups import GroupOutcome
from ufvnet.results.statistics import Outcome, Outcomes

FILE = "summary.csv"
ALL = "mean"
"""What stands in the column ``size`` for all sizes together."""


def summary_rows(dataset: str, outcomes: Outcomes, groups: list[GroupOutcome]) -> list[dict[str, object]]:
    """A row per test set, damage, size and method, and one per group, damage and method."""
    rows = [
        {"test set": dataset, "division": "", "group": "", "damage": damage,
         "size": ALL if size is None else size.name, "method": label, **_numbers(result)}
        for (damage, size, label), result in outcomes.items()
    ]  # fmt: skip
    return rows + [
        {"test set": dataset, "division": g.division, "group": g.group, "damage": g.damage, "size": ALL,
         "method": g.label, **_numbers(g.outcome)}
        for g in groups
    ]  # fmt: skip


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

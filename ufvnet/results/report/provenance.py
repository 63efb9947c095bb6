"""How the numbers of a report were made: versions, configuration, and the cards of test sets and methods."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

from ufvnet.config.lr_images import CLEAN
from ufvnet.results.evaluation import ScoredEvaluation
from ufvnet.results.methods.resolve import ResolvedMethod
from ufvnet.results.statistics import PSNR, damages_in, sizes_in
from ufvnet.results.tables.captions import ON_FROM
from ufvnet.results.tables.table import NOTHING, Cell, Fingerprint, Number, Table

PACKAGES = ("ufvnet", "torch", "numpy", "pillow", "pandas", "pyarrow")


def provenance(evaluation: ScoredEvaluation) -> dict[str, Any]:
    """Versions, configuration, and the cards of the datasets and methods."""
    return {
        "versions": {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}},
        "platform": platform.platform(),
        "config": evaluation.config.model_dump(mode="json", exclude={"cluster"}),
        "datasets": {test_set.name: test_set.card for test_set in evaluation.test_sets},
        "models": {m.label: {"ref": m.ref, "evaluated": m.fingerprint} | m.card for m in evaluation.methods},
        "left out": list(evaluation.left_out),
    }


def facts(evaluation: ScoredEvaluation) -> list[tuple[str, str]]:
    """What was evaluated, in a few numbers."""
    scores = evaluation.scores
    faces = scores.groupby("dataset", sort=False)["face_id"].nunique()
    failed, damages = int(scores[PSNR].isna().sum()), damages_in(scores)
    return [
        ("methods", str(scores["model"].nunique())),
        ("faces", " + ".join(f"{n:,} {name}" for name, n in faces.items())),
        ("input sizes", f"{', '.join(size.name for size in sizes_in(scores))} px"),
        *([] if damages == [CLEAN] else [("damage", ", ".join(damages))]),
        ("images scored", f"{len(scores) - failed:,}" + (f", {failed:,} failed" if failed else "")),
        *([("view", evaluation.config.view)] if any(s.sizes is None for s in evaluation.config.datasets) else []),
    ]


def test_set_table(evaluation: ScoredEvaluation) -> Table:
    """A row per test set: split, faces, how its LR images were made, fingerprint, path."""
    faces = evaluation.scores.groupby("dataset")["face_id"].nunique()
    rows: list[tuple[Cell, ...]] = []
    for test_set in evaluation.test_sets:
        card, split = test_set.card, test_set.settings.split
        degradation = card.get("degradation", {})
        rows.append((
            test_set.name, split, Number(faces.get(test_set.name, 0), f"{{:,}} of {card['faces'][split]:,}"),
            Number(card["hr_size"], "{} px"),
            f"{degradation.get('name', '?')} v{degradation.get('version', '?')}",
            Fingerprint(card["fingerprints"][split]), str(test_set.settings.path),
        ))  # fmt: skip
    header = ("test set", "split", "faces scored", "HR", "LR made by", "fingerprint", "path")
    return Table("test_sets", "Test sets", header, tuple(rows))


def method_table(methods: Sequence[ResolvedMethod]) -> Table:
    """A row per method: how it was trained, fingerprint, path."""
    rows: list[tuple[Cell, ...]] = []
    for method in methods:
        card, recipe = method.card, method.card.get("recipe") or {}
        steps = _count(card, "steps", f"{{:,}}, {ON_FROM}" if card.get("start") else "{:,}")
        trained_on = card.get("trained_on") or NOTHING
        if isinstance(trained_on, dict):  # in a model's card; of other methods only the view is known
            trained_on = f"{trained_on.get('dataset', '?')}, {trained_on.get('view', '?')}"
        rows.append((
            method.label, card.get("preset", NOTHING), _count(card, "params"), trained_on, steps,
            Number(recipe["seed"], "{}") if "seed" in recipe else NOTHING, Fingerprint(method.fingerprint), method.ref,
        ))  # fmt: skip
    header = ("method", "preset", "parameters", "trained on", "steps", "seed", "fingerprint", "path")
    return Table("methods", "Methods", header, tuple(rows))


def _count(card: dict[str, Any], key: str, form: str = "{:,}") -> Cell:
    return Number(card[key], form) if key in card else NOTHING

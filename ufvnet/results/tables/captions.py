"""Sentences of captions: what failed and why, how test sets and models differ from the paper's."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import pandas as pd

from ufvnet.config import TestSet
from ufvnet.config.lr_images import CLEAN
from ufvnet.results.methods.resolve import ResolvedMethod
from ufvnet.results.statistics import CLEAN_IMAGES

from .render import one_line
from .table import INCOMPLETE

LONGEST_REASON = 120
ON_FROM = "on from other weights"
ONE_SEED = (
    "Intervals are over images, for these weights: the same training with another seed may differ by more, which rows "
    "named NAME seed N show."
)


def brief(reason: str) -> str:
    """A reason on one line, shortened for captions and the report; scores/ has all of it."""
    line = one_line(reason)
    return line if len(line) <= LONGEST_REASON else line[: LONGEST_REASON - 1] + "…"


def failures(scores: pd.DataFrame, whole_faces: bool = False) -> str:
    """A sentence on methods that failed on images, which explains INCOMPLETE; empty if none did.

    whole_faces: the table has mean gains over sizes, which are paired by face.
    """
    failed = scores[scores["status"] == "failed"]
    notes = [
        f"{label} on {len(images):,} of {int((scores['model'] == label).sum()):,} images ({_reason(images)})"
        for label, images in failed.groupby("model", sort=False)
    ]
    lacking = ", a gain over several sizes lacks the whole face" if whole_faces else ""
    return f" {INCOMPLETE} Failed, and left out of the mean{lacking}: {'; '.join(notes)}." if notes else ""


def _reason(failed: pd.DataFrame) -> str:
    """The most frequent reason, and how many others there are."""
    reasons = failed["reason"].value_counts()
    if len(reasons) == 1:
        return brief(reasons.index[0])
    return f"most often {brief(reasons.index[0])}, and {len(reasons) - 1} other reasons"


def test_set_name(test_set: TestSet) -> str:
    """Its name, and of which of its faces and LR images the paper's tables are if not of all."""
    part = [f"the first {test_set.limit} faces"] if test_set.limit else []
    part += [CLEAN_IMAGES] if set(test_set.damage) != {CLEAN} else []
    return test_set.name + (f" ({', '.join(part)})" if part else "")


def how_models_were_made(methods: Sequence[ResolvedMethod]) -> str:
    """How the measured models were trained, where the paper trained paper-size networks on CelebA."""
    trained = []
    for method in methods:
        card = method.card
        if "steps" in card and "trained_on" in card:
            data, batch = card["trained_on"], card.get("recipe", {}).get("batch_size", "?")
            device = card.get("device", "")
            stage1 = " + ".join(f"{name} {steps:,}" for name, steps in _stage1_steps(card).items() if steps)
            trained.append(
                f"{method.label}: preset {method.preset}, {card['hr_size']} px, {card['steps']:,} steps of {batch} "
                f"faces{f' after stage 1 ({stage1} steps)' if stage1 else ''} on {data['dataset']} "
                f"({data.get('faces', 0):,} faces){_own_sizes(data, card['hr_size'])}"
                f"{', taught by a teacher' if card.get('teacher') else ''}"
                f"{f', {ON_FROM}, whose training is not counted' if card.get('start') else ''}"
                f"{f', on a GPU ({device})' if device not in ('', 'cpu') else ''}"
            )
    return (
        "The paper's columns are other photographs and full training (CelebA, 168,854 faces, 128 px): compare gains "
        "over bicubic and order, not values." + (f" Trained here: {'; '.join(trained)}." if trained else "")
    )


def _own_sizes(trained_on: dict[str, Any], hr_size: int) -> str:
    """The sizes of a model that was trained at chosen ones, e.g. ", at 16 px alone"; empty for a view's."""
    scales = re.fullmatch(r"k=\[([\d, ]+)\]", str(trained_on.get("view", "")))
    sizes = [str(int(k) * hr_size // 16) for k in scales[1].split(",")] if scales else []
    return f", at {', '.join(sizes)} px alone" if sizes else ""


def _stage1_steps(card: dict[str, Any]) -> dict[str, int]:
    """Steps of each part of stage 1; for cards of earlier releases, which do not say them, by the recipe."""
    recipe = card.get("recipe", {})
    by_recipe = {name: recipe.get(f"{name.partition('-')[0]}_steps", 0) for name in card.get("stage1", {})}
    return card.get("stage1_steps", by_recipe)

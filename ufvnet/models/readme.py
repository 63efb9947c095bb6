"""The README.md of a model folder: its card in words, under what the Hugging Face Hub reads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ufvnet.config import fingerprint
from ufvnet.data.damage.chain import VERSION as DAMAGE_VERSION
from ufvnet.front_matter import NO_LICENCE, with_front_matter

TAGS = ("super-resolution", "face-super-resolution", "image-restoration", "ufvnet")

STAGE1 = ("anchor", "regressor", "landmarks")
"""Models of parts of stage 1, which sees clean faces whatever the recipe says of the whole."""

CLEAN = (
    "Face crops made as `ufvnet build` makes them and reduced by bicubic interpolation are what it was trained for; "
    "other crops, blur, noise and compression are outside its training."
)
DAMAGED = (
    "Face crops made as `ufvnet build` makes them are what it was trained for, reduced in many ways, blurred, with "
    "noise and compressed (`ufvnet/data/damage/chain.py`, version {version}; ranges and shares: `recipe.damage` in "
    "model.json); other crops are outside its training."
)
USE = """## Use

```python
from PIL import Image
from ufvnet import Restorer

Restorer.load("path/of/this/folder")(Image.open("small-face.png")).save("face.png")
```
"""


def model_readme(card: dict[str, Any]) -> str:
    """The README of a model whose card (``ModelCard``) this is.

    The validation's PSNR, if there is one, is the result that the Hub shows.
    """
    on = card["trained_on"]
    measured = "\n".join(f"| {name} | {value:.4f} |" for name, value in card["validation"].items())
    is_restorer = "psnr" in card["validation"]
    is_best = card.get("best_step") is not None
    best = f" (the weights are those of step {card['best_step']:,}, the best measured)" if is_best else ""
    measurement = "Measurement at that step" if is_best else "Last measurement"
    text = (
        f"# {card['name']}\n\n"
        f"`{card['model']}`, preset `{card['preset']}`, {card['hr_size']}x{card['hr_size']} output, "
        f"{card['params']:,} parameters.\n\n"
        f"Trained for {card['steps']:,} steps{best} on {on['faces']:,} faces of `{on['dataset']}` "
        f"({on['view']}, fingerprint `{fingerprint(on['fingerprint'])[:16]}`)"
        f"{f', device {device}' if (device := card.get('device')) else ''}. "
        "The terms of those photographs bind its use.\n\n"
        f"{_trained_for(card)} It invents plausible detail: never identify a person by it.\n\n"
        f"## Validation\n\n{measurement} (PSNR of Y in dB; gain over bicubic; KL in nats):\n\n"
        f"| quantity | value |\n|---|---|\n{measured}\n" + (f"\n{USE}" if is_restorer else "")
    )
    return with_front_matter(hub_fields(card, _validation(card)), text)


def _trained_for(card: dict[str, Any]) -> str:
    saw_damage = card["recipe"].get("damage") and card["model"] not in STAGE1
    return DAMAGED.format(version=DAMAGE_VERSION) if saw_damage else CLEAN


def hub_fields(card: dict[str, Any], results: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The front matter of a model.

    Args:
        card: as ``model_readme``.
        results: as ``hub_result`` gives them.
    """
    fields: dict[str, Any] = {
        "library_name": "ufvnet",
        "pipeline_tag": "image-to-image",
        "tags": [*TAGS, card["model"]],
        "datasets": list(filter(None, card["trained_on"].get("dataset", "").split(" + "))),
        **NO_LICENCE,
    }
    if results:
        fields |= {
            "metrics": ["psnr"],
            "model-index": [{"name": card.get("name") or card["model"], "results": list(results)}],
        }
    return fields


def hub_result(dataset: str, title: str, split: str, metrics: Sequence[tuple[str, float, str]]) -> dict[str, Any]:
    """Measurements on one test set, as the Hub's model-index has them.

    Args:
        dataset: its name. title: for readers. split: of the dataset.
        metrics: (type, value, title) of each.
    """
    return {
        "task": {"type": "image-to-image", "name": "face super-resolution"},
        "dataset": {"type": dataset, "name": title, "split": split},
        "metrics": [{"type": kind, "value": value, "name": name} for kind, value, name in metrics],
    }


def _validation(card: dict[str, Any]) -> list[dict[str, Any]]:
    """The validation's result; none for parts that make no images."""
    measured = card["validation"]
    titles = {"psnr": ("psnr", "PSNR of luma, dB"), "gain": ("psnr_gain", "Gain over bicubic, dB")}
    metrics = [(kind, round(measured[key], 4), title) for key, (kind, title) in titles.items() if key in measured]
    dataset = card["trained_on"]["dataset"].split(" + ")[0]
    return [hub_result(dataset, f"{dataset}, validation split", "val", metrics)] if "psnr" in measured else []

"""The README.md of a model folder: its card in words, under what the Hugging Face Hub reads."""

from __future__ import annotations

from typing import Any

from ufvnet.config import fingerprint
from ufvnet.data.damage.chain import VERSION as DAMAGE_VERSION
from ufvnet.front_matter import NO_LICENCE, with_front_matter

TAGS = ("super-resolution", "face-super-resolution", "image-restoration", "ufvnet")

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
    text = (
        f"# {card['name']}\n\n"
        f"`{card['model']}`, preset `{card['preset']}`, {card['hr_size']}x{card['hr_size']} output, "
        f"{card['params']:,} parameters.\n\n"
        f"Trained for {card['steps']:,} steps on {on['faces']:,} faces of `{on['dataset']}` "
        f"({on['view']}, fingerprint `{fingerprint(on['fingerprint'])[:16]}`). "
        "The terms of those photographs bind its use.\n\n"
        f"{_trained_for(card)} It invents plausible detail: never identify a person by it.\n\n"
        f"## Validation\n\nLast measurement (PSNR of Y in dB; gain over bicubic; KL in nats):\n\n"
        f"| quantity | value |\n|---|---|\n{measured}\n" + (f"\n{USE}" if is_restorer else "")
    )
    return with_front_matter(_fields(card), text)


def _trained_for(card: dict[str, Any]) -> str:
    return DAMAGED.format(version=DAMAGE_VERSION) if card["recipe"].get("damage") else CLEAN


def _fields(card: dict[str, Any]) -> dict[str, Any]:
    datasets = card["trained_on"]["dataset"].split(" + ")
    fields: dict[str, Any] = {
        "library_name": "ufvnet",
        "pipeline_tag": "image-to-image",
        "tags": [*TAGS, card["model"]],
        "datasets": datasets,
        **NO_LICENCE,
    }
    if "psnr" in card["validation"]:
        fields["metrics"] = ["psnr"]
        names = {"psnr": "PSNR of luma, dB", "gain": "Gain over bicubic, dB"}
        metrics = [
            {"type": "psnr" if key == "psnr" else "psnr_gain", "value": round(card["validation"][key], 4), "name": name}
            for key, name in names.items()
            if key in card["validation"]
        ]
        dataset = {"type": datasets[0], "name": f"{datasets[0]}, validation split", "split": "val"}
        task = {"type": "image-to-image", "name": "face super-resolution"}
        fields["model-index"] = [
            {"name": card["name"], "results": [{"task": task, "dataset": dataset, "metrics": metrics}]}
        ]
    return fields

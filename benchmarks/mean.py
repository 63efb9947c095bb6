"""The mean of two models' weights as a model folder: ``python -m benchmarks.mean MODEL MODEL OUT``.

The second must be a training that went on from the first: weights of separate trainings have no useful mean. The card
is the second's, without its measurements; its fingerprint holds both.
"""

from __future__ import annotations

import sys
from pathlib import Path

from safetensors.torch import load_file, save_file

from ufvnet.config import fingerprint
from ufvnet.errors import ConfigError
from ufvnet.files import claim, write_atomically, write_json, write_text
from ufvnet.models.readme import model_readme
from ufvnet.models.store import CARD, README, WEIGHTS, check_model_folder, find, read_card, sealed_card


def mean(first: Path, second: Path, out: Path) -> Path:
    """Write the mean of two models' weights, in float32.

    Raises:
        ConfigError: the second is not of a training that started from the first, or a folder is no model.
    """
    before, card = read_card(first), read_card(second)
    if card.get("start") != before["fingerprint"]:
        raise ConfigError(f"{second}: its training did not start from {first}")
    check_model_folder("OUT", out)
    claim(out, "model")
    a, b = load_file(find(first) / WEIGHTS), load_file(find(second) / WEIGHTS)
    weights = {
        name: (a[name].float() + tensor.float()) / 2 if tensor.is_floating_point() else tensor
        for name, tensor in b.items()
    }
    write_atomically(out / WEIGHTS, lambda path: save_file(weights, path))
    both = fingerprint("mean", before["fingerprint"], card["fingerprint"])
    kept = {key: value for key, value in card.items() if key not in ("precision", "sealed", "sha256")}
    card = kept | {"name": out.name, "validation": {}, "fingerprint": both}
    write_text(out / README, model_readme(card))
    write_json(out / CARD, sealed_card(card, out))
    return out


if __name__ == "__main__":
    print(mean(*map(Path, sys.argv[1:4])))

"""An expert of a routed model as a model folder of its own: ``python -m benchmarks.expert clean|damaged MODEL OUT``.

Trainings start from it (``start: OUT``), and ``benchmarks.router`` takes it. MODEL may be a shipped model's name.
"""

from __future__ import annotations

import sys
from pathlib import Path

from safetensors.torch import load_file, save_file

from ufvnet.errors import ConfigError
from ufvnet.files import claim, write_atomically, write_json
from ufvnet.models.store import CARD, WEIGHTS, check_model_folder, find, read_card, sealed_card

EXPERTS = {"clean": "ufvnet-lite", "damaged": "ufvnet-real"}


def expert(which: str, model: Path, out: Path) -> Path:
    """Write an expert's weights and card.

    Raises:
        ConfigError: there is no such expert, or the model is not a routed one.
    """
    card = read_card(model)
    if which not in EXPERTS or card["model"] != "ufvnet-routed":
        raise ConfigError(f"{which} of {model}: must be one of {', '.join(EXPERTS)} of a ufvnet-routed")
    check_model_folder("OUT", out)
    claim(out, "model")
    tensors = load_file(find(model) / WEIGHTS)
    own = {n.removeprefix(f"{which}."): t.contiguous() for n, t in tensors.items() if n.startswith(f"{which}.")}
    write_atomically(out / WEIGHTS, lambda path: save_file(own, path))
    kept = {key: card[key] for key in ("preset", "hr_size", "anchors", "scales", "trained_on", "precision")}
    about = {
        "name": out.name, "model": EXPERTS[which], "params": sum(t.numel() for t in own.values()),
        "fingerprint": card["experts"][list(EXPERTS).index(which)],
    }  # fmt: skip
    write_json(out / CARD, sealed_card(kept | about, out))
    return out


if __name__ == "__main__":
    print(expert(sys.argv[1], *map(Path, sys.argv[2:4])))

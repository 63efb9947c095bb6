"""A training's newest state as a model folder: ``python -m benchmarks.keep CONFIG OUT [key=value]``.

Reads the last checkpoint of the whole model (the average of the weights if the recipe keeps one), and writes weights in
half precision, model.json and model card to OUT; the training may still be running. Another training can start from it
with ``start: OUT``, but without the optimizer's state, which stays in the run folder.
"""

from __future__ import annotations

import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from safetensors.torch import load_file

from ufvnet.config import TrainConfig, load
from ufvnet.errors import TrainingError
from ufvnet.models.store import save_half
from ufvnet.training.checkpoints import last_whole
from ufvnet.training.curves import read_log
from ufvnet.training.publish import publish
from ufvnet.training.stages import resolve_parts


def keep(config: TrainConfig, out: Path) -> Path:
    """Write the newest state to ``out``.

    Raises:
        TrainingError: there is no checkpoint yet.
    """
    _, whole = resolve_parts(config)
    last = last_whole(whole.folder)
    if last is None:
        raise TrainingError(f"{whole.folder}: no checkpoint yet")
    averaged = last / "ema.safetensors"
    state = load_file(averaged if averaged.exists() else last / "model.safetensors")
    weights = {name.removeprefix("module."): t for name, t in state.items() if name != "n_averaged"}
    network = whole.network()
    network.load_state_dict(weights)
    recipe = config.recipe.model_copy(update={"steps": int(last.name.removeprefix("step-"))})
    with tempfile.TemporaryDirectory() as folder:
        so_far = config.model_copy(update={"recipe": recipe, "out": Path(folder)})
        part = replace(whole, config=so_far)
        publish(part, network, read_log(last))
        return save_half(part.model_folder, out)


if __name__ == "__main__":
    print(keep(load(TrainConfig, sys.argv[1], sys.argv[3:]), Path(sys.argv[2])))

"""Finished models of an experiment, from one machine to another: ``python -m benchmarks.carry out|in CONFIG FOLDER``.

``out`` copies every finished part to FOLDER, with weights in half precision, so that git can carry it; ``in`` puts them
where the experiment looks for them, and ``ufvnet reproduce CONFIG`` goes on after them. The datasets are built there
first: a part that saw other faces is another part. A card says ``"precision": "half"`` if its model came this way.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from ufvnet.config import ExperimentConfig, TrainConfig, load
from ufvnet.files import claim, write_atomically, write_bytes, write_json
from ufvnet.models.store import CARD, README, WEIGHTS, find, read_card, sealed_card
from ufvnet.training.part import Part
from ufvnet.training.stages import resolve_parts


def parts_of(trainings: Sequence[TrainConfig]) -> Iterator[Part]:
    """Every part, stage 1 before the whole; one that models share comes once.

    A training whose teacher or start is not there yet has none.
    """
    folders = set()
    for training in trainings:
        if any(path and not (find(path) / CARD).is_file() for path in (training.teacher, training.start)):
            continue
        stage1, whole = resolve_parts(training)
        for part in (*stage1, whole):
            if part.folder not in folders:
                folders.add(part.folder)
                yield part


def copy(source: Path, target: Path, precision: torch.dtype) -> None:
    """A model folder, its weights in another precision; its card keeps the fingerprint of how it was trained."""
    claim(target, "model")
    tensors = {name: t.to(precision) if t.is_floating_point() else t for name, t in load_file(source / WEIGHTS).items()}
    write_atomically(target / WEIGHTS, lambda path: save_file(tensors, path))
    for file in (source / README, *source.glob("log.*")):
        write_bytes(target / file.name, file.read_bytes())
    write_json(target / CARD, sealed_card(read_card(source) | {"precision": "half"}, target))


def carry_out(trainings: Sequence[TrainConfig], folder: Path) -> Iterator[Path]:
    """Copy finished parts that are not in ``folder`` yet; yields what was written."""
    for part in parts_of(trainings):
        target = folder / part.folder.name
        if part.done() and not (target / CARD).exists():
            copy(part.model_folder, target, torch.float16)
            yield target


def carry_in(trainings: Sequence[TrainConfig], folder: Path) -> Iterator[Path]:
    """Put parts from ``folder`` where the trainings look for them, if they are not there; yields what was written."""
    for part in parts_of(trainings):
        source = folder / part.folder.name
        if not part.done() and (source / CARD).exists():
            part.check_folders()
            claim(part.folder, "run")
            copy(source, part.model_folder, torch.float32)
            yield part.model_folder


if __name__ == "__main__":
    way = {"out": carry_out, "in": carry_in}[sys.argv[1]]
    for written in way(load(ExperimentConfig, sys.argv[2], []).train, Path(sys.argv[3])):
        print(written)

"""``python -m benchmarks.gpu STAGE``: prove and measure everything on a GPU that is lent for minutes.

pack DATASET OUT        a dataset's HR faces in zip files of at most 60 MiB, to be carried along
check, speed, train     one stage; each goes on from the results that it finds in --out or --earlier
all                     the three, in this order, within one limit

It needs PyTorch, numpy, Pillow, pandas, safetensors, accelerate and pydantic; no pyarrow, Numba, Prefect, Dask or dlib.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import time
from pathlib import Path

import torch

from ufvnet.files import write_text
from ufvnet.models.inference import best_device

from . import check, pack, speed
from .report import report
from .results import Results
from .train import ROWS, Stage

STAGES = ("check", "speed", "train")
SHARES = {"check": 0.2, "speed": 0.4, "train": 1.0}
"""Of ``all``: the largest share of the limit that is used up when a stage ends."""


def main(arguments: list[str]) -> int:
    """Do what the command line says; 1 if something failed or a check was left out."""
    options = _parser().parse_args(arguments)
    if options.stage == "pack":
        print(*pack.pack(options.dataset, options.out, options.faces), sep="\n")
        return 0
    options.out.mkdir(parents=True, exist_ok=True)
    for name in STAGES:
        earlier = options.earlier / f"{name}.json" if options.earlier else None
        if earlier is not None and earlier.exists() and not (options.out / earlier.name).exists():
            shutil.copy(earlier, options.out)
    device, started, passed = best_device(options.device), time.perf_counter(), True
    torch.set_num_threads(options.threads or torch.get_num_threads())
    for name in STAGES if options.stage == "all" else (options.stage,):
        share = SHARES[name] if options.stage == "all" else 1.0
        limit = options.limit * share - (time.perf_counter() - started)
        results = Results(options.out / f"{name}.json", device, limit)
        if name == "check":
            passed &= check.run(results, device)
        elif name == "speed":
            speed.run(results, device, *((options.hr, options.preset) if options.preset else ()))
        else:
            _train(results, device, options)
        passed &= results.passed
        write_text(options.out / "gpu.md", report(options.out))
    print(report(options.out))
    return 0 if passed else 1


def _train(results: Results, device: torch.device, options: argparse.Namespace) -> None:
    """Unpack the faces, or draw some where none were packed, and train on them."""
    work = options.work
    groups: dict[str, list[Path]] = {}
    for part in sorted(options.packed.glob("*-*.zip")) if options.packed else ():
        groups.setdefault(part.stem.rpartition("-")[0], []).append(part)
    datasets = [pack.unpack(parts, work / "data" / name) for name, parts in groups.items()]
    if not datasets:
        counts = (("train", 16), ("val", 2), ("test", 2))
        datasets = [check.drawn_dataset(work / "data" / "drawn", options.hr, counts)]
    Stage(results, device, datasets, work, options.preset or "paper", options.models).run(options.out)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    stages = parser.add_subparsers(dest="stage", required=True)
    packing = stages.add_parser("pack")
    packing.add_argument("dataset", type=Path)
    packing.add_argument("out", type=Path)
    packing.add_argument("--faces", type=int, help="of the training split; all if left out")
    for name in (*STAGES, "all"):
        stage = stages.add_parser(name)
        stage.add_argument("--out", type=Path, required=True, help="folder of the results")
        stage.add_argument("--earlier", type=Path, help="folder of results to go on from")
        stage.add_argument("--limit", type=float, default=540, help="seconds")
        stage.add_argument("--device", default="auto", help="auto, cuda or cpu")
        stage.add_argument("--packed", type=Path, help="folder with parts that pack wrote")
        stage.add_argument("--work", type=Path, default=Path("build/gpu"), help="folder for datasets and runs")
        stage.add_argument("--preset", help="instead of paper, e.g. tiny to try the stages on a processor")
        stage.add_argument("--hr", type=int, default=128, help="with --preset: the side of HR faces")
        stage.add_argument("--models", nargs="+", default=[*ROWS, "real"], help="that train trains")
        stage.add_argument("--threads", type=int, default=0)
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

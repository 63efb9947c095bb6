"""``python -m benchmarks.drill``: the site of docs/operations.md on network namespaces, and everything that breaks it.

It needs root for the namespaces, and is skipped with a message where they are refused. ``--only chain sigterm`` runs
single scenarios (the chain is always first: it builds and trains what the others use). The report is Markdown; the exit
code is 1 if anything was wrong.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
import traceback
from pathlib import Path

from .hosts import isolate
from .listening import listening
from .scenarios import SCENARIOS, Drill, prepare
from .site import site


def main() -> int:
    names = [scenario.__name__ for scenario in (*SCENARIOS, listening)]
    parser = argparse.ArgumentParser(prog="python -m benchmarks.drill", description=__doc__)
    parser.add_argument("--only", nargs="+", choices=names, default=names, help="scenarios; the chain is always first")
    parser.add_argument("--photos", type=int, default=48, help="photos of the dataset")
    parser.add_argument("--pictures", type=int, default=5000, help="pictures to restore")
    parser.add_argument("--steps", type=int, default=400, help="steps of the training")
    parser.add_argument("--away", type=float, default=60, help="seconds for which something is away")
    parser.add_argument("--keep", type=Path, help="folder for everything, which stays; default: a temporary one")
    options = parser.parse_args()
    isolate()
    folder = options.keep or Path(tempfile.mkdtemp(prefix="ufvnet-drill-"))
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o755)  # PostgreSQL's user looks into it
    failed = 0
    with site(folder.resolve()) as here:
        drill = Drill(here, options.photos, options.pictures, options.steps, options.away)
        prepare(drill)
        print("| scenario | seconds | what was seen | passed |\n|---|---|---|---|", flush=True)
        for scenario in (*SCENARIOS, listening):
            if scenario.__name__ in (*options.only, "chain"):
                failed += _run(scenario, drill)
    if options.keep is None:
        shutil.rmtree(folder)
    return bool(failed)


def _run(scenario: object, drill: Drill) -> bool:
    """Run a scenario and print its row; whether it failed."""
    drill.saw.clear()
    drill.wrong.clear()
    started = time.monotonic()
    try:
        scenario(drill)  # type: ignore[operator]
    except Exception as error:
        traceback.print_exc()
        drill.wrong.append(f"{type(error).__name__}: {error}")
    title = (scenario.__doc__ or "").split("\n")[0].rstrip(".")
    verdict = "**no**: " + "; ".join(drill.wrong) if drill.wrong else "yes"
    seconds = time.monotonic() - started
    print(f"| {title} | {seconds:.0f} | {'; '.join(drill.saw)} | {verdict} |".replace("\n", " "), flush=True)
    return bool(drill.wrong)


if __name__ == "__main__":
    sys.exit(main())

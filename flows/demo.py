"""demo: the whole pipeline on a small sample; ``make demo`` runs it. It has no deployment."""

from __future__ import annotations

from pathlib import Path

from flows.build_datasets import build_datasets
from flows.evaluate import evaluate
from flows.super_resolve import super_resolve
from flows.train import train
from tasks.runtime import flow
from ufvnet import data
from ufvnet.config import DEFAULT_MODEL, ExperimentConfig, load
from ufvnet.data.sample import KIND, demo_folders, jittered_photos, small_faces
from ufvnet.files import claim
from ufvnet.models.store import read_card

EXPERIMENT = Path(__file__).parents[1] / "configs" / "experiments" / "demo.yaml"
START = "ufvnet-lite"
"""The shipped model that `tuned` starts from: it is made for clean faces, as the demo's are."""
ROWS = {
    "bicubic": "enlargement without a model",
    DEFAULT_MODEL: "the shipped model that `ufvnet restore` uses",
    "scratch": "a narrow network of the same kind, trained here from nothing; it has only begun to learn",
    "tuned": f"the shipped {START}, trained on a little with the training photos of this demo",
}
"""What the rows of the demo's table mean."""
FEW = 20
"""Fewer faces than this in a test set say little of a model."""
SAMPLE_NOTE = (
    "The photos are one photo, jittered, so that `tuned` knows the face: these numbers only show that the pipeline "
    "works. `make demo PHOTOS=path/to/photos` takes yours."
)


@flow(name="demo")
def demo(photos: Path | None = None, out: Path = Path("demo")) -> Path | None:
    """Build, train, evaluate, restore; prints a table, what its rows mean, and the path of the report.

    Raises:
        ConfigError: a folder in ``out`` holds files of another origin.
    """
    for folder in demo_folders(out, photos):
        claim(folder, KIND)
    sample = jittered_photos(out / "photos") if photos is None else photos
    experiment = load(ExperimentConfig, EXPERIMENT, _inside(out, sample))
    build, test, restore = experiment.build[0], experiment.evaluate, experiment.restore
    assert test is not None
    assert restore is not None
    card = build_datasets(build)
    for training in experiment.train:
        train(training)
    report = evaluate(test)
    small_faces(data.open(build.out / build.name).view("MR8", "test"), out / "small-faces")
    restored = super_resolve(restore)
    print((report.parent / "tables" / f"scales_{build.name}_y.md").read_text())
    print((report.parent / "tables" / f"gain_{build.name}.md").read_text())
    for name, meaning in ROWS.items():
        print(f"{name}: {meaning}")
    print()
    if photos is None:
        print(SAMPLE_NOTE)
    elif build.limit and card["photos"] >= build.limit:
        print(f"A seeded subset of {photos}: {card['photos']:,} photos, at most {build.limit:,} per split.")
    if card["faces"]["test"] < FEW:
        print(f"Only {card['faces']['test']} faces were scored: too few to judge the models by. Give it more photos.")
    print(f"{card['counts']['ok']} of {card['photos']} photos became faces.")
    print(f"Restored {restored['counts']['restored']} small faces: {out / 'restored'}")
    print(f"Report: {report.resolve()}")
    return report


def _inside(out: Path, photos: Path) -> list[str]:
    """Overrides that keep everything the demo writes in one folder, and that name the shipped models."""
    dataset, models, start = out / "data" / "demo-faces", out / "models", read_card(Path(START))
    return [
        f"build.0.source.root={photos}", f"build.0.out={out / 'data'}",
        *(f"train.{i}.{key}={value}" for i in (0, 1)
          for key, value in (("dataset", dataset), ("out", models), ("runs", out / "runs"))),
        f"train.1.start={START}", f"train.1.model={start['model']}", f"train.1.preset={start['preset']}",
        f"evaluate.out={out / 'evaluations'}", f"evaluate.datasets.0.path={dataset}",
        f"evaluate.models.1={DEFAULT_MODEL}",
        *(f"evaluate.models.{i}.model={models / name}" for i, name in ((2, "scratch"), (3, "tuned"))),
        f"restore.input={out / 'small-faces'}", f"restore.output={out / 'restored'}",
    ]  # fmt: skip

"""demo: the whole pipeline on a small sample; ``make demo`` runs it. It has no deployment."""

from __future__ import annotations

from pathlib import Path

from flows.build_datasets import build_datasets
from flows.evaluate import evaluate
from flows.super_resolve import super_resolve
from flows.train import train
from tasks.runtime import flow
from ufvnet import data
from ufvnet.config import ExperimentConfig, load
from ufvnet.data.sample import KIND, demo_folders, jittered_photos, small_faces
from ufvnet.files import claim

EXPERIMENT = Path(__file__).parents[1] / "configs" / "experiments" / "demo.yaml"
TRAINING_NOTE = "Such a short training stays behind bicubic on large inputs; results/tiny-aaf.md shows a longer one."
SAMPLE_NOTE = "Made from one photo, jittered: these numbers only show that the pipeline works."


@flow(name="demo")
def demo(photos: Path | None = None, out: Path = Path("demo")) -> Path | None:
    """Build, train (tiny), evaluate, restore; prints tables and the path of the report.

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
    if photos is None:
        print(SAMPLE_NOTE)
    elif build.limit and card["photos"] >= build.limit:
        print(f"A seeded subset of {photos}: {card['photos']:,} photos, at most {build.limit:,} per split.")
    print(TRAINING_NOTE)
    print(f"{card['counts']['ok']} of {card['photos']} photos became faces.")
    print(f"Restored {restored['counts']['restored']} small faces: {out / 'restored'}")
    print(f"Report: {report.resolve()}")
    return report


def _inside(out: Path, photos: Path) -> list[str]:
    """Overrides that keep everything the demo writes in one folder."""
    dataset, models = out / "data" / "demo-faces", out / "models"
    return [
        f"build.0.source.root={photos}", f"build.0.out={out / 'data'}",
        *(f"train.{i}.{key}={value}" for i in (0, 1)
          for key, value in (("dataset", dataset), ("out", models), ("runs", out / "runs"))),
        f"evaluate.out={out / 'evaluations'}", f"evaluate.datasets.0.path={dataset}",
        f"evaluate.models.1={models / 'onesrg'}", f"evaluate.models.2={models / 'ufvnet'}",
        f"restore.input={out / 'small-faces'}", f"restore.output={out / 'restored'}",
        f"restore.model={models / 'ufvnet'}",
    ]  # fmt: skip

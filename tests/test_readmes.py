"""READMEs of model and dataset folders, as huggingface_hub reads them, and models from the Hub's cache. All offline."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from PIL import Image

from benchmarks.ship import with_front
from ufvnet import Restorer
from ufvnet.config import BuildConfig, FolderSource
from ufvnet.data import open as open_dataset
from ufvnet.data.build.assembly import finish_dataset
from ufvnet.data.build.resolved import resolve
from ufvnet.data.build.shard_writer import build_shard
from ufvnet.data.build.shards import plan_shards
from ufvnet.data.readme import MARK, dataset_readme
from ufvnet.models.readme import model_readme
from ufvnet.models.store import find, read_card, shipped

hub = pytest.importorskip("huggingface_hub")


@pytest.mark.parametrize("name", shipped())
def test_the_hub_reads_a_shipped_model_s_terms_and_numbers(repo: Path, name: str) -> None:
    data = hub.ModelCard.load(find(name) / "README.md").data
    assert (data.library_name, data.pipeline_tag) == ("ufvnet", "image-to-image")
    assert (data.license, data.license_name) == ("other", "non-commercial-research")
    assert set(data.datasets) == set(read_card(Path(name))["trained_on"]["dataset"].split(" + "))
    measured = "".join(file.read_text() for file in (repo / "results").glob("*.md"))
    measured += hub.ModelCard.load(find(name) / "README.md").text
    assert len(data.eval_results) >= 2
    for result in data.eval_results:
        assert isinstance(result, hub.EvalResult)
        assert str(abs(result.metric_value)).lstrip("0") in measured, result


def test_a_shipped_card_s_front_matter_has_the_gains_of_its_tables() -> None:
    card = read_card(Path("ufvnet-lite"))
    text = (
        "**A**, 1,000 faces: gain over bicubic (share of faces worse).\n\n| damage | 16 px | mean |\n|---|---|---|\n"
        "| clean | +2.75 (0%) | +2.95 [+2.58, +3.36] (0%) |\n| jpeg30 | -0.10 (9%) | -0.04 [-0.1, +0.1] n.s. (2%) |\n\n"
        "**A**, 1,000 faces: identity distance.\n\n| damage | mean |\n|---|---|\n| clean | 0.356 / 0.389 (75%) |\n"
    )
    data = hub.ModelCard(with_front(card, text)).data
    assert [(r.dataset_name, r.metric_value) for r in data.eval_results] == [
        ("A, 1,000 faces", 2.95), ("A, 1,000 faces", -0.04),
    ]  # fmt: skip
    assert data.license_name == "non-commercial-research"


def test_the_hub_reads_a_trained_model_s_validation() -> None:
    card = read_card(Path("ufvnet-lite"))
    data = hub.ModelCard(model_readme(card)).data
    assert data.model_name == card["name"]
    assert {r.metric_type: r.metric_value for r in data.eval_results} == {
        "psnr": round(card["validation"]["psnr"], 4), "psnr_gain": round(card["validation"]["gain"], 4),
    }  # fmt: skip
    assert {r.dataset_split for r in data.eval_results} == {"val"}
    assert "never identify a person" in hub.ModelCard(model_readme(card)).text


def test_a_part_without_images_has_a_readme_without_results() -> None:
    card = read_card(Path("ufvnet-lite")) | {"model": "regressor", "validation": {"kl": 0.1, "mae": 0.2}}
    data = hub.ModelCard(model_readme(card)).data
    assert data.eval_results is None
    assert "regressor" in data.tags


def test_splits_get_names_that_datasets_allows() -> None:
    card = {"name": "x", "hr_size": 64, "photos": 3, "counts": {"ok": 3}, "faces": {"ALL": 1, "val-2": 2, "empty": 0},
            "degradation": {"name": "pil-bicubic", "version": 1, "summary": "bicubic"}}  # fmt: skip
    faces, photos = hub.DatasetCard(dataset_readme(card)).data.configs
    assert [files["split"] for files in faces["data_files"]] == ["all_faces", "val_2"]
    assert [files["path"] for files in faces["data_files"]] == [
        "faces/split=ALL/*.parquet",
        "faces/split=val-2/*.parquet",
    ]
    assert photos["config_name"] == "photos"


def test_the_hub_and_datasets_read_a_built_dataset(built: Path, tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    data = hub.DatasetCard.load(built / "README.md").data
    assert data.pretty_name == "faces"
    assert data.size_categories == ["n<1K"]
    assert data.license == "other"
    read = datasets.load_dataset(str(built), cache_dir=str(tmp_path))
    assert {split: len(rows) for split, rows in read.items()} == {"train": 12, "val": 6, "test": 6}
    photos = datasets.load_dataset(str(built), "photos", cache_dir=str(tmp_path))
    assert sum(map(len, photos.values())) == open_dataset(built).card["photos"]


def test_a_build_replaces_only_a_readme_of_a_build(tmp_path: Path) -> None:
    photo = tmp_path / "photos" / "grey.png"
    photo.parent.mkdir()
    Image.new("RGB", (30, 30)).save(photo)
    build = resolve(BuildConfig(name="set", source=FolderSource(root=photo.parent), out=tmp_path))
    readme = tmp_path / "set" / "README.md"

    def finish() -> None:
        shards = plan_shards(build)
        finish_dataset(build, shards, [build_shard(shard) for shard in shards])

    finish()
    made = readme.read_text()
    assert MARK in made
    readme.write_text(made + "changed")
    finish()
    assert readme.read_text() == made
    for mine in (made.replace(MARK, "") + "mine", ""):
        readme.write_text(mine)
        finish()
        assert readme.read_text() == mine
    (tmp_path / "elsewhere.md").write_text(made + "mine")
    readme.unlink()
    readme.symlink_to(tmp_path / "elsewhere.md")
    finish()
    assert (tmp_path / "elsewhere.md").read_text() == made + "mine"


def test_a_snapshot_of_the_hub_s_cache_is_a_model_folder(tmp_path: Path) -> None:
    blobs, snapshot = tmp_path / "models--me--lite" / "blobs", tmp_path / "models--me--lite" / "snapshots" / "0f1e2d"
    blobs.mkdir(parents=True)
    snapshot.mkdir(parents=True)
    for number, file in enumerate(sorted(find("ufvnet-lite").iterdir())):
        shutil.copy(file, blobs / f"{number:040x}")
        (snapshot / file.name).symlink_to(Path("..") / ".." / "blobs" / f"{number:040x}")
    (snapshot / ".gitattributes").write_text("*.safetensors filter=lfs\n")
    image = Image.new("RGB", (20, 28), "tan")
    restorer = Restorer.load(snapshot, "cpu")
    assert restorer(image).tobytes() == Restorer.load("ufvnet-lite", "cpu")(image).tobytes()

"""Damage, sizes, identity and groups of a test set: from the configuration to scores, tables, figures and report."""

from __future__ import annotations

import io
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from benchmarks.ship import fill_card, fill_page, ship_weights
from tests.results.conftest import save_untrained, scored
from ufvnet import data
from ufvnet.config import ConfigError, EvaluateConfig, load
from ufvnet.data.export import export
from ufvnet.data.lr_images import LRKind, Size
from ufvnet.metrics import luma, psnr
from ufvnet.models import create
from ufvnet.models.inference import super_resolve
from ufvnet.models.store import read_card
from ufvnet.results import scoring
from ufvnet.results.evaluation import ScoredEvaluation, resolve_evaluation
from ufvnet.results.figures.curves import curve_panels
from ufvnet.results.groups import far_below
from ufvnet.results.scoring import plan_scoring
from ufvnet.results.tables.overview import overview_table
from ufvnet.results.tables.table import cell_text
from ufvnet.results.tables.write import all_tables
from ufvnet.results.write import Results, write_results

SIZES, DAMAGE = ["12x16", 11, 32], ["clean", "jpeg50", "crop"]
KEY = ["model", "damage", "face_id", "px", "width"]


@pytest.fixture(scope="module")
def groups(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CSV of two divisions: the first two photographs are old; the last has no shape."""
    view = data.open(built).view("MR8", "test")
    photos = [view.face(i)["photo"] for i in range(4)]
    file = tmp_path_factory.mktemp("groups") / "groups.csv"
    rows = {"photo": photos, "age": ["60+", "60+", "9-20", "9-20"], "shape": ["round", "long", "round", ""]}
    pd.DataFrame(rows).to_csv(file, index=False)
    return file


@pytest.fixture(scope="module")
def config(built: Path, groups: Path, tmp_path_factory: pytest.TempPathFactory) -> EvaluateConfig:
    root = tmp_path_factory.mktemp("damage")
    sets = [{
        "name": "A", "path": built, "limit": 4, "sizes": SIZES, "damage": DAMAGE, "groups": groups,
    }]  # fmt: skip
    models = ["bicubic", save_untrained(root / "onesrg", "onesrg")]
    return load(
        EvaluateConfig,
        {"name": "e", "models": models, "datasets": sets, "out": root, "identity_faces": 2, "grid_faces": 1},
    )


@pytest.fixture(scope="module")
def evaluation(config: EvaluateConfig) -> ScoredEvaluation:
    return scored(config)


@pytest.fixture(scope="module")
def results(evaluation: ScoredEvaluation) -> Results:
    return write_results(evaluation)


@pytest.fixture(scope="module")
def summary(results: Results) -> pd.DataFrame:
    table = pd.read_csv(results.folder / "tables" / "summary.csv", keep_default_na=False, na_values=[""])
    return table.fillna({"division": "", "group": ""}).set_index(["division", "group", "damage", "size", "method"])


def _jpeg(image: Image.Image) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=50)
    return Image.open(buffer)


def test_images_of_other_sizes_and_with_damage_are_made_from_hr_as_the_method_page_says(
    evaluation: ScoredEvaluation, built: Path
) -> None:
    arrays = data.open(built).view("MR8", "test").arrays()
    rows = evaluation.scores.query("model == 'bicubic'").set_index(["damage", "face_id", "width", "height"])
    for width, height in ((11, 11), (12, 16), (32, 32)):
        for face_id, hr in zip(arrays.face_ids[:4], arrays.hr):
            lr = Image.fromarray(np.asarray(hr)).resize((width, height), Image.Resampling.BICUBIC)
            for damage, image in (("clean", lr), ("jpeg50", _jpeg(lr))):
                up = np.asarray(image.resize((64, 64), Image.Resampling.BICUBIC))
                expected = psnr(luma(up[None]), luma(np.asarray(hr)[None]))[0]
                row = rows.loc[(damage, face_id, width, height)]
                assert row["psnr_y"] == pytest.approx(expected, abs=1e-6)
                assert row["k"] == (width + height) / 8


def test_every_method_has_a_row_for_every_damage_and_size(evaluation: ScoredEvaluation) -> None:
    scores = evaluation.scores
    assert not scores.duplicated(KEY).any()
    counts = scores.groupby(["model", "damage"]).size()
    assert all(counts[label, damage] == 12 for label, damage in counts.index if damage != "crop")
    assert set(counts.index.get_level_values("damage")) == {*DAMAGE}
    assert 0 < counts["bicubic", "crop"] <= 12  # photographs without room leave faces out
    assert (scores["status"] == "ok").all()


def test_a_face_cut_again_is_scored_against_its_own_hr_and_its_landmarks_move_along(
    evaluation: ScoredEvaluation,
) -> None:
    fine = evaluation.scores.query("model == 'bicubic' and px == 32").set_index(["damage", "face_id"])
    cut = fine.loc["crop"]
    assert (cut["psnr_y"] > 20).all()
    assert (cut["psnr_y"] != fine.loc["clean"]["psnr_y"].reindex(cut.index)).all()
    measured = cut["identity_distance"].dropna()
    assert len(measured)
    assert (measured < 0.45).all()  # a chip in a wrong place would be another person


def test_a_damage_or_method_that_is_added_scores_nothing_again(config: EvaluateConfig, evaluation: Any) -> None:
    again = load(EvaluateConfig, config, [f"datasets.0.damage={[*DAMAGE, 'grey']}"])
    done = {task.damage: scoring.score_faces(task) for task in plan_scoring(resolve_evaluation(again))}
    assert done == dict.fromkeys(DAMAGE, False) | {"grey": True}
    other = load(EvaluateConfig, config, ["datasets.0.sizes=[11]"])
    assert all(scoring.read_finished(task) is None for task in plan_scoring(resolve_evaluation(other)))


def test_tables_tell_gain_worse_and_identity_by_damage_as_the_scores_do(
    results: Results, summary: pd.DataFrame, evaluation: ScoredEvaluation
) -> None:
    keys = {table.key for table in results.tables}
    assert {"damage_scores_A", "damage_gain_A", "damage_worse_A", "identity_A", "gain_A", "scales_A_y"} <= keys
    scores = evaluation.scores.query("damage == 'jpeg50' and width == 12")
    mine, bicubic = (scores[scores["model"] == m].set_index("face_id") for m in ("onesrg (MR8)", "bicubic"))
    row = summary.loc[("", "", "jpeg50", "12x16", "onesrg (MR8)")]
    gain = mine["psnr_y"] - bicubic["psnr_y"]
    assert row["gain"] == pytest.approx(gain.mean(), rel=1e-5)
    assert row["gain_low"] <= row["gain"] <= row["gain_high"]
    assert row["worse"] == (gain < 0).mean()
    distance, reference = mine["identity_distance"], bicubic["identity_distance"]
    assert (row["identity_distance"], row["bicubic_distance"]) == pytest.approx(
        (distance.mean(), reference.mean()), rel=1e-5
    )
    assert row["nearer"] == (distance < reference)[distance.notna()].mean()
    table = pd.read_csv(results.folder / "tables" / "damage_gain_A.csv").set_index(["method", "damage"])
    assert table.loc[("onesrg (MR8)", "jpeg50"), "12x16 px"].startswith(f"{gain.mean():+.2f} [")
    assert list(table.columns) == ["faces", "11 px", "12x16 px", "32 px", "mean"]
    worse = pd.read_csv(results.folder / "tables" / "damage_worse_A.csv").set_index(["method", "damage"])
    assert worse.loc[("onesrg (MR8)", "jpeg50"), "12x16 px"] == f"{(gain < 0).mean():.0%}".replace("%", " %")
    assert "bicubic" not in table.index.get_level_values("method")


def test_every_mean_gain_and_share_without_a_failed_image_is_marked_and_every_caption_says_why(
    evaluation: ScoredEvaluation,
) -> None:
    """A face whose identity was measured, clean at 11 px."""
    label, scores = "onesrg (MR8)", evaluation.scores.copy()
    face = scores["face_id"].iloc[0]
    failed = scores.eval("model == @label and damage == 'clean' and width == 11") & (scores["face_id"] == face)
    scores.loc[failed, [c for c in scores if c.startswith(("psnr_", "ssim_", "identity"))]] = np.nan
    scores.loc[failed, ["status", "reason"]] = ["failed", "it is too dark"]
    broken = evaluation.with_scores(scores)
    tables = {table.key: table for table in [*all_tables(broken), overview_table(broken)]}
    of_its_own = {"assigned", "cost_A", "overview"} | {f"table_{n}" for n in range(1, 5)}
    for key in set(tables) - of_its_own:
        assert "† Failed, and left out of the mean" in tables[key].caption, key
        assert "onesrg (MR8) on 1 of " in tables[key].caption, key
    for key in ("damage_scores_A", "damage_gain_A", "damage_worse_A", "identity_A"):
        for row in (row for row in tables[key].rows if row[0] == label):
            marked = [name for name, cell in zip(tables[key].header, row) if "†" in cell_text(cell)]
            assert marked == (["11 px", "mean"] if row[1] == "clean" else []), (key, row[:3])
    for row in (row for row in tables["gain_A"].rows if str(row[0]).startswith(label)):
        assert [name for name, cell in zip(tables["gain_A"].header, row) if "†" in cell_text(cell)] == ["11 px", "mean"]
    (differences,) = (row for row in tables["differences_A"].rows if row[0] == label)
    assert cell_text(differences[1]).split()[0].endswith("†")
    everyone, group = tables["groups_A_onesrg (MR8)"].rows[0], tables["groups_A_onesrg (MR8)"].header
    assert [name for name, cell in zip(group, everyone) if "†" in cell_text(cell)] == [
        name for name in group if name.startswith("clean: ")
    ]
    overview = dict(zip(tables["overview"].header, map(cell_text, tables["overview"].rows[1])))
    assert all(overview[name].endswith("†") for name in overview if name.startswith("A: "))
    assert "†" not in "".join(map(cell_text, tables["overview"].rows[0]))


def test_what_is_of_clean_images_alone_says_so(results: Results, evaluation: ScoredEvaluation) -> None:
    captions = {table.key: table.caption for table in results.tables}
    for key in ("scales_A_y", "scales_A_rgb", "gain_A", "differences_A", "cost_A"):
        assert captions[key].startswith("A (clean LR images): "), key
    for key in ("table_1", "assigned"):
        assert " on A (the first 4 faces, clean LR images)" in captions[key], key
    for key in ("damage_gain_A", "identity_A"):
        assert "clean LR images" not in captions[key]
    assert {panel.title for panel in curve_panels(evaluation.scores, "A").values()} == {"A (clean LR images)"}
    undamaged = evaluation.scores[evaluation.scores["damage"] == "clean"]
    assert {panel.title for panel in curve_panels(undamaged, "A").values()} == {"A"}


def test_figures_and_report_show_damage(results: Results) -> None:
    names = {figure.stem for figure in results.figures}
    assert {"damage_A", "gain_damage_onesrg-MR8", "grid_A", "gain", "curves"} <= names
    html = results.report.read_text()
    for text in ("Gain under damage: onesrg (MR8)", "clean, jpeg50, crop", '"11 px, jpeg50"', '"12×16"'):
        assert text in html or text.replace("×", "\\u00d7") in html, text


def test_groups_have_gain_and_identity_and_the_number_of_faces(results: Results, summary: pd.DataFrame) -> None:
    (table,) = [t for t in results.tables if t.key.startswith("groups_")]
    assert [str(row[0]) for row in table.rows] == ["all", "age: 9-20", "age: 60+", "shape: long", "shape: round"]
    assert "clean: identity distance" in table.header
    old = summary.loc[("age", "60+", "clean", "mean", "onesrg (MR8)")]
    everyone = summary.loc[("", "", "clean", "mean", "onesrg (MR8)")]
    young = summary.loc[("age", "9-20", "clean", "mean", "onesrg (MR8)")]
    assert (old["faces"], summary.loc[("shape", "long", "clean", "mean", "onesrg (MR8)")]["faces"]) == (2, 1)
    assert (old["gain"] + young["gain"]) / 2 == pytest.approx(everyone["gain"], rel=1e-4)


def test_a_group_below_eight_tenths_of_everyone_s_gain_is_named(evaluation: ScoredEvaluation, groups: Path) -> None:
    scores = evaluation.scores.copy()
    mine, clean = scores["model"] != "bicubic", scores["damage"] == "clean"
    scores["psnr_y"] = np.where(mine, 31.0, 30.0)
    old = evaluation.test_sets[0].groups
    assert old is not None
    scores.loc[mine & clean & scores["face_id"].isin(old.index[old["age"] == "60+"]), "psnr_y"] = 30.6
    found = far_below(evaluation.with_scores(scores).group_outcomes["A"])
    assert [(result.name, result.damage) for result in found] == [("age: 60+", "clean"), ("shape: long", "clean")]
    scores["psnr_y"] = np.where(mine, 29.0, 30.0)  # everyone loses
    assert not far_below(evaluation.with_scores(scores).group_outcomes["A"])
    scores.loc[mine & clean & scores["face_id"].isin(old.index[old["age"] == "60+"]), "psnr_y"] = 28.0
    found = far_below(evaluation.with_scores(scores).group_outcomes["A"])
    assert ("age: 60+", "clean") in [(result.name, result.damage) for result in found]
    assert not [result for result in found if result.name in ("all", "age: 9-20")]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("datasets.0.damage=[jepg75]", r"datasets.0.damage.0 = 'jepg75'.*must be one of clean, jpeg90.*sharpened"),
        ("datasets.0.damage=[jpeg50, jpeg50]", "jpeg50 is there twice"),
        ("datasets.0.sizes=[5]", "sizes.0 = 5: .*sides from 6 to 110"),
        ("datasets.0.sizes=[16, 20x111]", "sizes.1 = '20x111'"),
        ("datasets.0.sizes=[16, 16x16]", "16 is there twice"),
        ("datasets.0.sizes=[16, big]", "sizes.1 = 'big'"),
        ("datasets.0.sizes=[64]", "datasets.A.sizes = 64: must be below 64 pixels"),
        ("datasets.0.groups=nowhere.csv", "groups = nowhere.csv: cannot be read"),
        ("datasets.0.photos=nowhere", "the photograph nowhere/.* is not there"),
    ],
)
def test_wrong_damage_sizes_groups_and_photographs_are_refused_before_any_work(
    config: EvaluateConfig, override: str, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        resolve_evaluation(load(EvaluateConfig, config.model_dump(mode="json"), [override]))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name,age\nx,1\n", "must have a column photo"),
        ("photo,age\nelse.jpg,1\n", "none of its photographs is in split 'test'"),
        ("photo,age\na,1\na,2\n", "a is there twice"),
    ],
)
def test_a_table_of_other_photographs_is_refused(
    config: EvaluateConfig, tmp_path: Path, text: str, message: str
) -> None:
    (tmp_path / "g.csv").write_text(text)
    with pytest.raises(ConfigError, match=message):
        resolve_evaluation(load(EvaluateConfig, config, [f"datasets.0.groups={tmp_path / 'g.csv'}"]))


def test_damage_is_refused_where_the_dataset_s_own_images_are_made_otherwise(
    config: EvaluateConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = data.open(config.datasets[0].path)
    opened.card["degradation"] = {"name": "cv2-bicubic"}
    monkeypatch.setattr(data, "open", lambda _: opened)
    with pytest.raises(
        ConfigError, match=r"11, 12x16, jpeg50, crop: .*are made by cv2-bicubic; only where they are made by pil"
    ):
        resolve_evaluation(load(EvaluateConfig, config, ["datasets.0.sizes=[12x16, 8, 11]"]))
    stored = resolve_evaluation(load(EvaluateConfig, config, ["datasets.0.sizes=[8, 32]", "datasets.0.damage=[clean]"]))
    assert [size.name for size in stored.test_sets[0].sizes] == ["8", "32"]


def test_exported_images_are_those_that_are_scored_and_come_back_as_a_method(
    config: EvaluateConfig, built: Path, tmp_path: Path
) -> None:
    export(data.open(built), tmp_path / "lr", split="test", damage=["noise5"], sizes=["12x16"], hr=True)
    folder = tmp_path / "mine" / "A" / "noise5" / "12x16"
    folder.mkdir(parents=True)
    for file in (tmp_path / "lr" / "noise5" / "12x16").iterdir():
        Image.open(file).resize((64, 64), Image.Resampling.BICUBIC).save(folder / file.name)
    models = [{"name": "mine", "images": str(tmp_path / "mine")}]
    overrides = [
        f"models={models}",
        f"out={tmp_path}",
        "identity_faces=0",
        "datasets.0.damage=[noise5]",
        "datasets.0.sizes=[12x16]",
    ]
    mine = scored(load(EvaluateConfig, config, overrides)).scores
    bicubic = scored(load(EvaluateConfig, config, [*overrides[1:], "models=[bicubic]"])).scores
    np.testing.assert_array_equal(mine["psnr_y"], bicubic["psnr_y"])
    with pytest.raises(ConfigError, match="must be one of clean"):
        export(data.open(built), tmp_path / "lr", damage=["rain"])


def test_a_shipped_model_s_card_has_the_numbers_of_its_evaluations(
    results: Results, config: EvaluateConfig, tmp_path: Path
) -> None:
    table = pd.read_csv(results.folder / "tables" / "summary.csv", keep_default_na=False)
    table[table["division"] == ""].to_csv(tmp_path / "sets.csv", index=False)
    table[table["division"] != ""].assign(**{"test set": "held"}).to_csv(tmp_path / "groups.csv", index=False)
    template = tmp_path / "card.md"
    template.write_text("$params $gmac\n$results\n$groups\n$far_below\n")
    model = Path(str(config.models[1]))
    summaries = [tmp_path / "sets.csv", tmp_path / "groups.csv"]
    text = fill_card(model, template, summaries)
    mine = table[(table["method"] == "onesrg (MR8)") & (table["division"] == "")].set_index(["damage", "size"])
    row = mine.loc[("jpeg50", "12x16")]
    (line,) = [line for line in text.splitlines() if line.startswith("| jpeg50") and "/" not in line]
    assert line.split(" | ")[2].startswith(f"{float(row['gain']):+.2f}")
    assert f"({float(row['worse']):.0%})" in line.split(" | ")[2]
    assert "| age: 60+ | 2 |" in text
    assert "Groups that gain less than 0.8 of what everyone does: " in text
    lost = pd.read_csv(summaries[1], keep_default_na=False).assign(gain=-1.0)  # everyone loses as much
    lost.to_csv(tmp_path / "lost.csv", index=False)
    assert "does: none." in fill_card(model, template, [summaries[0], tmp_path / "lost.csv"])
    ship_weights(model, tmp_path / "shipped")
    assert read_card(tmp_path / "shipped")["name"] == "shipped"
    with pytest.raises(ConfigError, match=r"has no scores of .* with these weights; evaluate them first"):
        fill_card(tmp_path / "shipped", template, summaries)
    template.write_text("$nothing")
    with pytest.raises(ConfigError, match="'nothing': must be one of params, gmac"):
        fill_card(model, template, summaries)


def test_a_network_sees_the_rate_of_rows_and_of_columns() -> None:
    network = create("ufvnet-lite", "tiny", 64).eval()
    seen = []
    network.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[1]))
    super_resolve(network, np.zeros((3, 16, 12, 3), np.uint8), 64, 14 / 64, 2)
    assert [rate.tolist() for rate in seen] == [[[0.25, 0.1875]] * 2, [[0.25, 0.1875]]]


def test_names_and_order_of_sizes() -> None:
    sizes = sorted([Size(20, 28), Size(28, 20), Size(24, 24), Size(8, 8)])
    assert [LRKind("clean", size).name for size in sizes] == ["8 px", "20x28 px", "24 px", "28x20 px"]
    assert LRKind("jpeg75", sizes[1]).folder == "jpeg75/20x28"
    assert [size.stored(128) for size in sizes] == [1, None, 3, None]
    assert math.isclose(sizes[1].px, 24)


def test_a_results_page_keeps_its_introduction_and_has_the_tables_rows(tmp_path: Path) -> None:
    head = "| method | k | value | 32 px |\n|---|---|---|---|\n"
    rows = (
        "| bicubic | 4 | distance | 0.5 |\n| ufvnet-routed | 4 | distance | 0.4 |\n"
        "| ufvnet-lite, SSIM | 4 | nearer, % | 9 |\n"
    )
    for name in ("gain_A", "identity_A", "damage_gain_A damaged", "damage_worse_A damaged", "identity_A damaged"):
        for of in (name, name.replace("A", "B", 1)):
            (tmp_path / f"{of}.md").write_text(f"**{of}**\n\n{head}{rows}")
    page = fill_page("# A model\n\nWhat came out.\n\n## A, clean\n\nold\n", tmp_path, "ufvnet-routed")
    assert page.startswith("# A model\n\nWhat came out.\n\n## A, clean\n\n**gain_A**\n\n| method |")
    assert page == fill_page(page, tmp_path, "ufvnet-routed")
    assert page.count("| method | k |") == 10
    assert page.count("| bicubic |") == 6  # the gains, clean and damaged, and the shares worse
    assert page.count("ufvnet-routed") == 10
    assert page.count("SSIM") == 4  # by damage only

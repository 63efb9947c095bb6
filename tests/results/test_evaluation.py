"""Scores and tables of a real evaluation of small models, and what is refused before any work."""

from __future__ import annotations

import pickle
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from skimage.color import rgb2ycbcr
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from tests.results.conftest import scored
from ufvnet import data
from ufvnet.config import ConfigError, EvaluateConfig, load
from ufvnet.files import write_json
from ufvnet.models import SRG, create, register
from ufvnet.results import scoring
from ufvnet.results.evaluation import Evaluation, ScoredEvaluation, resolve_evaluation
from ufvnet.results.methods import resolve
from ufvnet.results.scoring import plan_scoring
from ufvnet.results.tables.paper import TABLES
from ufvnet.results.write import Results, write_results

NEW = "a-new-method"
register(NEW, lambda width, hr_size: SRG(width, hr_size), "one that the paper does not have")


def save_untrained(folder: Path, model: str, view: str = "MR8") -> Path:
    """A model folder with a network as it is initialised."""
    from safetensors.torch import save_model

    folder.mkdir(parents=True)
    torch.manual_seed(0)
    save_model(create(model, "tiny", 64), str(folder / "model.safetensors"))
    card = {
        "model": model, "preset": "tiny", "hr_size": 64, "fingerprint": f"{model}-{view}",
        "trained_on": {"view": view, "dataset": "none"},
    }  # fmt: skip
    write_json(folder / "model.json", card)
    return folder


@pytest.fixture(scope="module")
def config(built: Path, tmp_path_factory: pytest.TempPathFactory) -> EvaluateConfig:
    root = tmp_path_factory.mktemp("evaluation")
    models = ["bicubic", *(str(save_untrained(root / m, m)) for m in ("onesrg", "ufvnet", "foursrg", NEW))]
    sets = [{"name": "A", "path": built, "split": "test"}, {"name": "B", "path": built, "split": "train", "limit": 5}]
    return load(EvaluateConfig, {"name": "small", "models": models, "datasets": sets, "out": root, "grid_faces": 1})


@pytest.fixture(scope="module")
def evaluation(config: EvaluateConfig) -> ScoredEvaluation:
    return scored(config)


@pytest.fixture(scope="module")
def results(evaluation: ScoredEvaluation) -> Results:
    """Written where methods and datasets cannot be resolved a second time."""

    def fail(*_: object) -> None:
        raise AssertionError("it is resolved already")

    with pytest.MonkeyPatch.context() as patch:
        for module, name in ((resolve, "resolve_method"), (resolve, "read_card"), (data, "open")):
            patch.setattr(module, name, fail)
        tasks = plan_scoring(evaluation)
        assert len(tasks) == len(evaluation.methods) * sum(len(t.row_groups) for t in evaluation.test_sets)
        return write_results(evaluation)


@pytest.fixture(scope="module")
def scores(evaluation: ScoredEvaluation) -> pd.DataFrame:
    return evaluation.scores


def test_every_model_has_a_row_for_every_image_at_every_scale(scores: pd.DataFrame, built: Path) -> None:
    faces = {"A": len(data.open(built).view("MR8", "test")), "B": 5}
    counts = scores.groupby(["dataset", "model"]).size()
    for (dataset, _), rows in counts.items():  # type: ignore[misc]
        assert rows == faces[dataset] * 8
    assert counts.index.get_level_values("model").nunique() == 5


def test_bicubic_scores_equal_an_independent_computation(scores: pd.DataFrame, built: Path) -> None:
    arrays = data.open(built).view("MR8", "test").arrays()
    bicubic = scores[(scores["model"] == "bicubic") & (scores["dataset"] == "A")].set_index(["face_id", "k"])
    same = {"data_range": 255, "gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    for i, face_id in enumerate(arrays.face_ids):
        hr = np.asarray(arrays.hr[i])
        for k, lr in arrays.lr.items():
            up = np.asarray(Image.fromarray(lr[i]).resize((64, 64), Image.Resampling.BICUBIC))
            row = bicubic.loc[(face_id, k)]
            y, y_hr = (rgb2ycbcr(image)[..., 0] for image in (up, hr))
            for protocol, a, b in (("y", y, y_hr), ("y-crop8", y[8:-8, 8:-8], y_hr[8:-8, 8:-8]), ("rgb", up, hr)):
                more = {"channel_axis": -1} if protocol == "rgb" else {}
                expected = peak_signal_noise_ratio(b, a, data_range=255)
                assert row[f"psnr_{protocol}"] == pytest.approx(expected, abs=1e-6)
                assert row[f"ssim_{protocol}"] == pytest.approx(structural_similarity(b, a, **same, **more), abs=1e-8)


def test_weights_are_recorded_where_the_model_has_them(scores: pd.DataFrame) -> None:
    ufvnet = scores[scores["model"] == "ufvnet (MR8)"]
    np.testing.assert_allclose(ufvnet[["w1", "w2", "w3"]].sum(axis=1), 1, atol=1e-5)
    assert ufvnet["w4"].isna().all()
    assert scores[scores["model"] == "foursrg (MR8)"]["w4"].notna().all()
    assert scores[scores["model"] == "bicubic"]["w1"].isna().all()


def test_a_rerun_scores_nothing_and_a_broken_file_is_scored_again(evaluation: Evaluation) -> None:
    tasks = plan_scoring(evaluation)
    assert not any(scoring.score_faces(task) for task in tasks)
    whole = tasks[0].file.read_bytes()
    tasks[0].file.write_bytes(whole[:100])
    assert scoring.score_faces(tasks[0])


def test_models_evaluated_together_or_apart_have_the_same_scores(
    config: EvaluateConfig, scores: pd.DataFrame, tmp_path: Path
) -> None:
    alone = load(EvaluateConfig, config, [f"out={tmp_path}", f"models=['bicubic', '{config.models[2]}']"])
    again = scored(alone).scores
    columns = [c for c in again.columns if c != "milliseconds"]
    key = ["dataset", "model", "face_id", "k"]
    together = scores[scores["model"].isin(again["model"].unique())].sort_values(key)
    again = again.sort_values(key)
    pd.testing.assert_frame_equal(
        together[columns].sort_values(key).reset_index(drop=True),
        again[columns].sort_values(key).reset_index(drop=True),
    )


def test_the_four_tables_stand_there_in_four_formats_with_the_paper_s_numbers(results: Results) -> None:
    folder = results.folder / "tables"
    for number in range(1, 5):
        for suffix in ("md", "csv", "tex", "html"):
            assert (folder / f"table_{number}.{suffix}").stat().st_size > 100
    markdown = (folder / "table_4.md").read_text()
    assert "24.27 / 0.7612" in markdown
    assert "Not evaluated: ufvnet-nw, ufvnet-fm, twosrg" in markdown
    assert r"\toprule" in (folder / "table_2.tex").read_text()


def test_measured_cells_are_the_means_of_the_scores(results: Results, scores: pd.DataFrame) -> None:
    table = pd.read_csv(results.folder / "tables" / "table_3.csv").set_index("method")
    cell = scores[(scores["dataset"] == "A") & (scores["model"] == "bicubic") & (scores["k"] >= 2)]
    expected = f"{cell['psnr_y'].mean():.2f} / {cell['ssim_y'].mean():.4f}"
    assert table.loc["bicubic", "trained MR7 → A-MR7"] == expected
    assert table.loc["ufvnet", "trained MR7 → A-MR7"] == "–"  # it was trained on MR8


def test_sparnet_s_row_is_filled_by_onesrg_the_same_network(results: Results) -> None:
    two = pd.read_csv(results.folder / "tables" / "table_2.csv").set_index("method")
    four = pd.read_csv(results.folder / "tables" / "table_4.csv").set_index("method")
    column = "trained MR8 → A-MR8"
    assert two.loc["sparnet", column] == four.loc["onesrg", column] != "–"


def test_the_best_measured_cell_of_a_column_is_bold(results: Results) -> None:
    text = (results.folder / "tables" / "scales_A_y.md").read_text()
    assert re.search(r"\| bicubic \|.*\*\*\d+\.\d\d / 0\.\d{4}\*\*", text)  # untrained networks lose everywhere


def test_a_method_that_the_paper_does_not_have_is_a_row_of_each_of_its_tables(results: Results) -> None:
    for number in (1, 2, 4):
        table = pd.read_csv(results.folder / "tables" / f"table_{number}.csv").set_index("method")
        assert table.loc[NEW, "trained MR8 → A-MR8"] != "–"
        assert table.loc[NEW, "paper: trained MR8 → CelebA-MR8"] == "–"


def test_the_paper_s_tables_have_a_number_for_every_column() -> None:
    for table in TABLES:
        for method, numbers in table.rows.items():
            assert len(numbers) == len(table.columns), (table.number, method)
    assert TABLES[3].rows["ufvnet"] == TABLES[1].rows["ufvnet"]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("models=['nowhere']", "no model folder there.*else FILE.onnx, FILE.pt, module:function"),
        ("models=['mine:']", r"python = 'mine:': must be module:function"),
        ("out=/dev/null", "out = /dev/null/small: /dev/null is not a folder that can be written to"),
        ("models=['bicubic', 'bicubic']", "bicubic is there twice"),
        ("datasets.0.split=holdout", "no faces in split 'holdout'"),
        ("datasets.0.path=nowhere", "no built dataset there"),
    ],
)
def test_a_wrong_evaluation_fails_before_any_work(config: EvaluateConfig, override: str, message: str) -> None:
    wrong = config.model_dump(mode="json")
    with pytest.raises(ConfigError, match=message):
        resolve_evaluation(load(EvaluateConfig, wrong, [override]))


def test_what_was_resolved_is_not_resolved_again_by_plan_tables_figures_and_report(results: Results) -> None:
    assert results.report.is_file()  # written where resolving anything fails
    assert {path.suffix for path in (results.folder / "tables").iterdir()} == {".csv", ".html", ".md", ".tex"}
    assert all(figure.is_file() for figure in results.figures)


def test_what_a_worker_receives_is_a_part_of_the_evaluation_that_can_be_pickled(evaluation: ScoredEvaluation) -> None:
    task = plan_scoring(evaluation)[-1]
    assert pickle.loads(pickle.dumps(task)) == task


def test_a_model_of_another_hr_size_is_refused(config: EvaluateConfig, tmp_path: Path) -> None:
    folder = save_untrained(tmp_path / "big", "onesrg")
    card = (folder / "model.json").read_text().replace('"hr_size": 64', '"hr_size": 128')
    (folder / "model.json").write_text(card)
    with pytest.raises(ConfigError, match="makes 128-pixel faces"):
        resolve_evaluation(load(EvaluateConfig, config.model_dump(mode="json"), [f"models=['{folder}']"]))

"""Figures: what they show is what was scored, and each is there as PNG and PDF."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from PIL import Image

from tests.results.conftest import part_of
from ufvnet.config import EvaluateConfig, load
from ufvnet.data.lr_images import LRKind, Size
from ufvnet.metrics import luma, score
from ufvnet.results.evaluation import ScoredEvaluation, open_test_set
from ufvnet.results.figures.charts import curves_figure
from ufvnet.results.figures.curves import Curve, Panel, curve_panels, weight_panels, weights_panel
from ufvnet.results.figures.gallery import Gallery, Pick, open_galleries, read_faces
from ufvnet.results.figures.sheets import GAP, PAGE_WIDTH, error_limit, failed_face, heading_height, luma_error
from ufvnet.results.figures.write import face_figures, save, write_figures
from ufvnet.results.methods import restore as methods
from ufvnet.results.methods.faces import Faces
from ufvnet.results.report.svg import legend
from ufvnet.results.tables.measured import gain_table
from ufvnet.results.tables.table import cell_text

UFVNET = "ufvnet (MR8)"


def pick_of(face: str, px: int) -> Pick:
    return Pick(face, LRKind("clean", Size(px, px)))


@pytest.fixture(scope="module")
def galleries(shown: ScoredEvaluation) -> list[Gallery]:
    return open_galleries(shown)


@pytest.fixture(scope="module")
def written(shown: ScoredEvaluation, galleries: list[Gallery]) -> list[Path]:
    return write_figures(shown, galleries, (shown.folder / "figures").joinpath)


def test_every_figure_is_a_png_and_a_pdf_with_fonts_that_publishers_take(written: list[Path]) -> None:
    names = {p.stem for p in written}
    ugly = "script-alert-x-script-MR8"
    assert names == {"gain", "curves", "weights_ufvnet-MR8", *(
        f"{kind}_{name}" for name in "AB" for kind in ("grid", "errors")
    ), *(f"extremes_{name}_{label}" for name in "AB" for label in ("ufvnet-MR8", ugly))}  # fmt: skip
    for png in written:
        assert Image.open(png).format == "PNG"
        pdf = png.with_suffix(".pdf").read_bytes()
        assert pdf.startswith(b"%PDF")
        assert b"/Type3" not in pdf


def test_a_figure_drawn_again_has_the_same_bytes(
    written: list[Path], shown_scores: pd.DataFrame, tmp_path: Path
) -> None:
    panels = [curve_panels(shown_scores, name)["gain"] for name in "AB"]
    for suffix in (".pdf", ".png"):
        again = save(curves_figure([panels]), tmp_path / f"gain{suffix}")
        assert again.read_bytes() == written[0].with_name(f"gain{suffix}").read_bytes()


def test_each_face_that_is_shown_has_the_score_of_the_tables(
    galleries: list[Gallery], shown_scores: pd.DataFrame
) -> None:
    scored = shown_scores.set_index(["dataset", "model", "face_id", "px"])
    for gallery in galleries:
        assert len(gallery.restored) >= len(gallery.labels) * len(gallery.faces) * 8
        for (label, pick), cell in gallery.restored.items():
            assert cell.image is not None
            again = score(cell.image[None], gallery.hr(pick)[None])
            row = scored.loc[(gallery.test_set.name, label, pick.face_id, pick.kind.size.px)]
            assert cell.psnr == row["psnr_y"] == pytest.approx(again["psnr_y"][0], abs=1e-6)
            assert cell.ssim == row["ssim_y"] == pytest.approx(again["ssim_y"][0], abs=1e-6)


def test_the_grid_s_pixels_are_the_faces_own(written: list[Path], galleries: list[Gallery]) -> None:
    png = np.asarray(Image.open(next(p for p in written if p.stem == "grid_A")).convert("RGB"))
    gallery, side = galleries[0], 128
    top = heading_height(gallery.labels)
    pick = gallery.shown()[0]
    expected = [gallery.lr(pick), *(gallery.restored[m, pick].image for m in gallery.labels), gallery.hr(pick)]
    for column, image in enumerate(expected):
        assert image is not None
        x = column * (side + GAP)
        enlarged = np.kron(image, np.ones((side // len(image), side // len(image), 1), np.uint8))
        np.testing.assert_array_equal(png[top : top + side, x : x + side], enlarged)


def test_worst_and_best_are_ranked_by_psnr_and_share_no_face(
    galleries: list[Gallery], shown_scores: pd.DataFrame
) -> None:
    ranked = shown_scores.query("dataset == 'A' and model == @UFVNET and k == 2").sort_values("psnr_y")
    assert [p.face_id for p in galleries[0].worst[UFVNET]] == list(ranked["face_id"][:3])
    assert [p.face_id for p in galleries[0].best[UFVNET]] == list(ranked["face_id"][:2:-1])


def test_a_failed_image_comes_first_among_the_worst_with_its_reason(
    shown: ScoredEvaluation, shown_scores: pd.DataFrame, tmp_path: Path
) -> None:
    face = shown_scores["face_id"][0]
    failed = shown_scores.assign(reason="")
    at = failed.eval("dataset == 'A' and model == @UFVNET and k == 5") & (failed["face_id"] == face)
    failed.loc[at, [c for c in failed if c.startswith(("psnr_", "ssim_"))]] = np.nan
    failed.loc[at, "reason"] = "the program gave no file"
    failed = failed[failed["dataset"] == "A"]
    evaluation = part_of(shown, failed, tmp_path, test_sets=slice(1))
    gallery = open_galleries(evaluation)[0]
    assert gallery.worst[UFVNET][0] == pick_of(face, 20)
    cell = gallery.restored[UFVNET, pick_of(face, 20)]
    assert (cell.image, cell.reason) == (None, "the program gave no file")
    extremes = dict(face_figures(gallery))["extremes_A_ufvnet-MR8"]
    assert save(extremes, tmp_path / "extremes.png").stat().st_size
    curve = next(c for c in curve_panels(failed, "A")["gain"].curves if c.label == UFVNET)
    assert np.isfinite(curve.y).all()


def test_a_method_that_raises_for_one_face_has_a_placeholder_there_and_faces_elsewhere(
    shown: ScoredEvaluation, shown_scores: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    evaluation = part_of(shown, shown_scores[shown_scores["dataset"] == "A"], tmp_path, test_sets=slice(1))
    broken = open_galleries(evaluation)[0].shown()[0].face_id

    def load_failing(method: Any, hr_size: int, device: str) -> Any:
        run = load(method, hr_size, device)

        def run_or_fail(faces: Faces) -> Any:
            if method.label == UFVNET and broken in faces.ids:
                raise RuntimeError("out of patience")
            return run(faces)

        return run_or_fail

    load = methods._load
    monkeypatch.setattr(methods, "_load", load_failing)
    with caplog.at_level(logging.WARNING):
        gallery = open_galleries(evaluation)[0]
    for (label, pick), cell in gallery.restored.items():
        if label == UFVNET and pick.face_id == broken:
            assert cell.image is None
            assert cell.reason == "RuntimeError: out of patience"
        else:
            assert cell.image is not None
    assert broken in caplog.text


def test_the_gain_s_curve_is_the_gain_table(shown_scores: pd.DataFrame) -> None:
    table = gain_table(shown_scores[shown_scores["dataset"] == "A"], "A", 0)
    for curve in curve_panels(shown_scores, "A")["gain"].curves:
        row = next(r for r in table.rows if r[0] == f"{curve.label}, dB")
        assert [f"{y:+.2f}" for y in curve.y] == [cell_text(cell).split()[0] for cell in row[1:-1]]


def test_identity_has_a_curve_where_it_was_measured(shown_scores: pd.DataFrame) -> None:
    with_identity = shown_scores.assign(identity_distance=np.where(shown_scores["k"] > 1, 0.5, np.nan))
    assert "identity_distance" not in curve_panels(shown_scores, "A")
    panel = curve_panels(with_identity, "A")["identity_distance"]
    assert all(len(c.x) == 7 and set(c.y) == {0.5} for c in panel.curves)


def test_weights_stand_against_eq_4_of_the_model_s_own_anchors(
    shown: ScoredEvaluation, shown_scores: pd.DataFrame
) -> None:
    panels = weight_panels(shown)
    assert list(panels) == [UFVNET]
    target = {c.label: c for c in panels[UFVNET][0].curves if c.dashed}
    np.testing.assert_allclose(target["w1 (anchor 1/8), Eq. 4"].y[[0, 1, 7]], [0.4545, 0.5, 0.2], atol=5e-5)
    np.testing.assert_allclose(target["w3 (anchor 1/2), Eq. 4"].y[[0, 1, 7]], [0.1818, 0.125, 0.5], atol=5e-5)
    measured = next(c for c in panels[UFVNET][0].curves if c.label == "w2 (anchor 1/4)")
    scores = shown_scores.query("dataset == 'A' and model == @UFVNET")
    np.testing.assert_allclose(measured.y, scores.groupby("px")["w2"].mean(), atol=1e-6)
    assert isinstance(weights_panel(scores, (1 / 8, 1 / 4, 1 / 2)), Panel)


def test_only_row_groups_with_a_face_that_is_shown_are_decoded(built: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = load(EvaluateConfig, {"name": "e", "datasets": [{"name": "A", "path": built, "split": "train"}]})
    test_set = open_test_set(config.datasets[0], config)
    assert len(test_set.view.shards) > 1
    read: list[tuple[str, ...]] = []
    whole = pq.ParquetFile.read_row_group

    def spy(self: pq.ParquetFile, i: int, columns: list[str] | None = None, **more: Any) -> Any:
        read.append(tuple(columns or ()))
        return whole(self, i, columns=columns, **more)

    monkeypatch.setattr(pq.ParquetFile, "read_row_group", spy)
    last = test_set.view.face_ids()[-1]
    (face,) = read_faces(test_set, {last})
    assert face["face_id"] == last
    assert sum("hr" in columns for columns in read) == 1
    assert not list(read_faces(test_set, set()))


def test_error_maps_are_of_luma_on_a_scale_that_bicubic_sets(galleries: list[Gallery]) -> None:
    gallery = galleries[0]
    pick = gallery.shown()[0]
    sr, hr = gallery.restored["bicubic", pick].image, gallery.hr(pick)
    assert sr is not None
    np.testing.assert_allclose(luma_error(sr, hr), np.abs(luma(sr) - luma(hr)))
    assert luma_error(hr, hr).max() == 0
    assert gallery.error_limit() % 10 == 0
    assert error_limit([failed_face("it failed")], [hr]) == 10


def test_many_methods_go_on_pages_that_fit_the_paper(galleries: list[Gallery]) -> None:
    gallery = galleries[0]
    many = ["bicubic", *(f"a-method-of-a-rather-long-name-{i} (MR8)" for i in range(13))]
    restored = {(m, p): c for (label, p), c in gallery.restored.items() for m in many if label == "bicubic"}
    pages = dict(face_figures(replace(gallery, labels=many, restored=restored, worst={}, best={})))
    assert list(pages) == [f"{kind}_A{page}" for kind in ("grid", "errors") for page in ("", "_2", "_3")]
    assert all(f.get_size_inches()[0] <= PAGE_WIDTH + 1e-6 for f in pages.values())
    assert all(f.axes[0].texts[0].get_fontsize() >= 6 for f in pages.values())


def test_seventy_curves_all_look_different_in_print_and_page() -> None:
    panel = Panel("", "", [Curve(str(i), np.arange(2), np.arange(2) + i, i) for i in range(70)])
    lines = curves_figure([[panel]]).axes[0].get_lines()
    assert len({(line.get_color(), line.get_marker()) for line in lines}) == 70
    assert len({swatch for _, swatch in legend([panel])}) == 70


def test_there_are_no_curves_where_the_only_method_fails_everywhere(
    shown: ScoredEvaluation, shown_scores: pd.DataFrame, tmp_path: Path
) -> None:
    scores = shown_scores[shown_scores["model"] == UFVNET].copy()
    scores[[c for c in scores if c[:2] in ("ps", "ss", "w1", "w2", "w3", "w4")]] = np.nan
    scores[["status", "reason"]] = ["failed", "it always does"]

    def names(with_faces: bool) -> set[str]:
        evaluation = part_of(shown, scores, tmp_path, slice(1, 2))
        galleries = open_galleries(evaluation) if with_faces else []
        return {path.stem for path in write_figures(evaluation, galleries, tmp_path.joinpath)}

    written = names(with_faces=True)
    assert "extremes_A_ufvnet-MR8" in written
    assert not written & {"curves", "gain"}
    scores.loc[scores["dataset"] == "B", "psnr_y"] = 30.0
    assert [len(panels["psnr_y"].curves[0].x) for panels in (curve_panels(scores, name) for name in "AB")] == [0, 8]
    assert "curves" in names(with_faces=False)

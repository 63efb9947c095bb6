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

from ufvnet import data
from ufvnet.config import EvaluateConfig
from ufvnet.metrics import luma, score
from ufvnet.results.figures import gallery as figures
from ufvnet.results.figures.charts import (
    GAP,
    PAGE,
    Cell,
    Curve,
    Panel,
    error_limit,
    luma_error,
    top_of,
    weights_panel,
)
from ufvnet.results.figures.gallery import (
    Gallery,
    Pick,
    curve_panels,
    open_galleries,
    read_faces,
    weight_panels,
    write_figures,
)  # fmt: skip
from ufvnet.results.methods import rows as methods
from ufvnet.results.report.svg import legend
from ufvnet.results.tables.table import gain_table

UFVNET = "ufvnet (MR8)"


@pytest.fixture(scope="module")
def galleries(shown_config: EvaluateConfig, shown_scores: pd.DataFrame) -> list[Gallery]:
    return open_galleries(shown_config, shown_scores)


@pytest.fixture(scope="module")
def written(shown_config: EvaluateConfig, shown_scores: pd.DataFrame, galleries: list[Gallery]) -> list[Path]:
    return write_figures(shown_config, shown_scores, galleries)


def test_every_figure_is_a_png_and_a_pdf_with_fonts_that_publishers_take(written: list[Path]) -> None:
    names = {p.stem for p in written}
    ugly = "script-alert-x-script-MR8"
    assert names == {"gain", "curves", "weights_ufvnet-MR8", *(
        f"{kind}_{name}" for name in "AB" for kind in ("grid", "errors")
    ), *(f"extremes_{name}_{of}" for name in "AB" for of in ("ufvnet-MR8", ugly))}  # fmt: skip
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
        again = figures.save(figures.curves_figure([panels]), tmp_path / f"gain{suffix}")
        assert again.read_bytes() == written[0].with_name(f"gain{suffix}").read_bytes()


def test_each_face_that_is_shown_has_the_score_of_the_tables(
    galleries: list[Gallery], shown_scores: pd.DataFrame
) -> None:
    scored = shown_scores.set_index(["dataset", "model", "face_id", "k"])
    for gallery in galleries:
        assert len(gallery.cells) >= len(gallery.labels) * len(gallery.faces) * 8
        for (label, pick), cell in gallery.cells.items():
            assert cell.image is not None
            again = score(cell.image[None], gallery.hr(pick.face_id)[None])
            row = scored.loc[(gallery.test_set.name, label, pick.face_id, pick.k)]
            assert cell.psnr == row["psnr_y"] == pytest.approx(again["psnr_y"][0], abs=1e-6)
            assert cell.ssim == row["ssim_y"] == pytest.approx(again["ssim_y"][0], abs=1e-6)


def test_the_grid_s_pixels_are_the_faces_own(written: list[Path], galleries: list[Gallery]) -> None:
    png = np.asarray(Image.open(next(p for p in written if p.stem == "grid_A")).convert("RGB"))
    gallery, side = galleries[0], 128
    top = top_of(gallery.labels)
    pick = Pick(gallery.faces[0], 1)
    expected = [gallery.lr(pick), *(gallery.cells[m, pick].image for m in gallery.labels), gallery.hr(pick.face_id)]
    for column, image in enumerate(expected):
        assert image is not None
        x = column * (side + GAP)
        enlarged = np.kron(image, np.ones((side // len(image), side // len(image), 1), np.uint8))
        np.testing.assert_array_equal(png[top : top + side, x : x + side], enlarged)


def test_worst_and_best_are_ranked_by_psnr_and_share_no_face(
    galleries: list[Gallery], shown_scores: pd.DataFrame
) -> None:
    of = shown_scores.query("dataset == 'A' and model == @UFVNET and k == 2").sort_values("psnr_y")
    assert [p.face_id for p in galleries[0].worst[UFVNET]] == list(of["face_id"][:3])
    assert [p.face_id for p in galleries[0].best[UFVNET]] == list(of["face_id"][:2:-1])


def test_a_failed_image_comes_first_among_the_worst_with_its_reason(
    shown_config: EvaluateConfig, shown_scores: pd.DataFrame, tmp_path: Path
) -> None:
    face = shown_scores["face_id"][0]
    failed = shown_scores.assign(reason="")
    at = failed.eval("dataset == 'A' and model == @UFVNET and k == 5") & (failed["face_id"] == face)
    failed.loc[at, [c for c in failed if c.startswith(("psnr_", "ssim_"))]] = np.nan
    failed.loc[at, "reason"] = "the program gave no file"
    config = shown_config.model_copy(update={"out": tmp_path, "datasets": shown_config.datasets[:1]})
    failed = failed[failed["dataset"] == "A"]
    gallery = open_galleries(config, failed)[0]
    assert gallery.worst[UFVNET][0] == Pick(face, 5)
    cell = gallery.cells[UFVNET, Pick(face, 5)]
    assert (cell.image, cell.reason) == (None, "the program gave no file")
    written = write_figures(config, failed, [gallery])
    assert tmp_path / "shown" / "figures" / "extremes_A_ufvnet-MR8.png" in written
    curve = next(c for c in curve_panels(failed, "A")["gain"].curves if c.label == UFVNET)
    assert np.isfinite(curve.y).all()


def test_a_method_that_raises_for_one_face_has_a_placeholder_there_and_faces_elsewhere(
    shown_config: EvaluateConfig, shown_scores: pd.DataFrame, monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    config = shown_config.model_copy(update={"datasets": shown_config.datasets[:1]})
    of_set = shown_scores[shown_scores["dataset"] == "A"]
    broken = open_galleries(config, of_set)[0].faces[0]

    def fails(row: Any, hr_size: int, device: str) -> Any:
        call = opened(row, hr_size, device)

        def of(faces: methods.Faces) -> Any:
            if row.label == UFVNET and broken in faces.ids:
                raise RuntimeError("out of patience")
            return call(faces)

        return of

    opened = methods._opened
    monkeypatch.setattr(methods, "_opened", fails)
    with caplog.at_level(logging.WARNING):
        gallery = open_galleries(config, of_set)[0]
    for (label, pick), cell in gallery.cells.items():
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
        assert [f"{y:+.2f}" for y in curve.y] == [c.split()[0] for c in row[1:-1]]


def test_identity_has_a_curve_where_it_was_measured(shown_scores: pd.DataFrame) -> None:
    with_identity = shown_scores.assign(identity=np.where(shown_scores["k"] > 1, 0.5, np.nan))
    assert "identity" not in curve_panels(shown_scores, "A")
    panel = curve_panels(with_identity, "A")["identity"]
    assert all(len(c.x) == 7 and set(c.y) == {0.5} for c in panel.curves)


def test_weights_stand_against_eq_4_of_the_model_s_own_anchors(
    shown_config: EvaluateConfig, shown_scores: pd.DataFrame
) -> None:
    panels = weight_panels(shown_config, shown_scores)
    assert list(panels) == [UFVNET]
    target = {c.label: c for c in panels[UFVNET][0].curves if c.dashed}
    np.testing.assert_allclose(target["w1 (anchor 1/8), Eq. 4"].y[[0, 1, 7]], [0.4545, 0.5, 0.2], atol=5e-5)
    np.testing.assert_allclose(target["w3 (anchor 1/2), Eq. 4"].y[[0, 1, 7]], [0.1818, 0.125, 0.5], atol=5e-5)
    measured = next(c for c in panels[UFVNET][0].curves if c.label == "w2 (anchor 1/4)")
    of = shown_scores.query("dataset == 'A' and model == @UFVNET")
    np.testing.assert_allclose(measured.y, of.groupby("px")["w2"].mean(), atol=1e-6)
    assert isinstance(weights_panel(of, (1 / 8, 1 / 4, 1 / 2)), Panel)


def test_only_row_groups_with_a_face_that_is_shown_are_decoded(built: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    view = data.open(built).view("MR8", "train")
    assert len(view.shards) > 1
    read: list[tuple[str, ...]] = []
    whole = pq.ParquetFile.read_row_group

    def spy(self: pq.ParquetFile, i: int, columns: list[str] | None = None, **more: Any) -> Any:
        read.append(tuple(columns or ()))
        return whole(self, i, columns=columns, **more)

    monkeypatch.setattr(pq.ParquetFile, "read_row_group", spy)
    last = view.face_ids()[-1]
    (face,) = read_faces(view, {last})
    assert face["face_id"] == last
    assert sum("hr" in columns for columns in read) == 1
    assert not list(read_faces(view, set()))


def test_error_maps_are_of_luma_on_a_scale_that_bicubic_sets(galleries: list[Gallery]) -> None:
    gallery = galleries[0]
    pick = Pick(gallery.faces[0], 1)
    sr, hr = gallery.cells["bicubic", pick].image, gallery.hr(pick.face_id)
    assert sr is not None
    np.testing.assert_allclose(luma_error(sr, hr), np.abs(luma(sr) - luma(hr)))
    assert luma_error(hr, hr).max() == 0
    assert gallery.error_limit() % 10 == 0
    assert error_limit([Cell(None, np.nan, np.nan)], [hr]) == 10


def test_many_methods_go_on_pages_that_fit_the_paper(galleries: list[Gallery]) -> None:
    gallery = galleries[0]
    many = ["bicubic", *(f"a-method-of-a-rather-long-name-{i} (MR8)" for i in range(13))]
    cells = {(m, p): c for (of, p), c in gallery.cells.items() for m in many if of == "bicubic"}
    pages = dict(figures._sheets(replace(gallery, labels=many, cells=cells, worst={}, best={})))
    assert list(pages) == [f"{kind}_A{page}" for kind in ("grid", "errors") for page in ("", "_2", "_3")]
    assert all(f.get_size_inches()[0] <= PAGE + 1e-6 for f in pages.values())
    assert all(f.axes[0].texts[0].get_fontsize() >= 6 for f in pages.values())


def test_seventy_curves_all_look_different_in_print_and_page() -> None:
    panel = Panel("", "", [Curve(str(i), np.arange(2), np.arange(2) + i, i) for i in range(70)])
    lines = figures.curves_figure([[panel]]).axes[0].get_lines()
    assert len({(line.get_color(), line.get_marker()) for line in lines}) == 70
    assert len({swatch for _, swatch in legend([panel])}) == 70


def test_there_are_no_curves_where_the_only_method_fails_everywhere(
    shown_config: EvaluateConfig, shown_scores: pd.DataFrame, tmp_path: Path
) -> None:
    scores = shown_scores[shown_scores["model"] == UFVNET].copy()
    scores[[c for c in scores if c.startswith(("psnr_", "ssim_", "w"))]] = np.nan
    scores[["status", "reason"]] = ["failed", "it always does"]
    config = shown_config.model_copy(update={"out": tmp_path, "models": shown_config.models[1:2]})
    written = {p.stem for p in write_figures(config, scores)}
    assert "extremes_A_ufvnet-MR8" in written
    assert not written & {"curves", "gain"}
    scores.loc[scores["dataset"] == "B", "psnr_y"] = 30.0
    assert [len(of["psnr_y"].curves[0].x) for of in (curve_panels(scores, name) for name in "AB")] == [0, 8]
    assert "curves" in {p.stem for p in write_figures(config, scores)}

"""Tables from scores that are made by hand: ties, infinities, methods that share a row, text that must be escaped."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from benchmarks.leaderboard import Source, tables
from ufvnet.config import EvaluateConfig, Method, load
from ufvnet.imaging.resize import VIEWS
from ufvnet.results.evaluation import ScoredEvaluation
from ufvnet.results.figures.curves import curve_panels
from ufvnet.results.methods.resolve import ResolvedMethod
from ufvnet.results.report.svg import panels_svg
from ufvnet.results.statistics import MeanScore
from ufvnet.results.tables.beside_paper import paper_table
from ufvnet.results.tables.captions import failures, how_models_were_made
from ufvnet.results.tables.measured import difference_table, gain_table, scale_table
from ufvnet.results.tables.orderings import orderings_table
from ufvnet.results.tables.overview import overview_table
from ufvnet.results.tables.paper import TABLES
from ufvnet.results.tables.render import to_csv, to_html, to_latex, to_markdown
from ufvnet.results.tables.table import Score, Table, cell_text

FACES, KS = 4, range(1, 9)


def _scores(psnrs: dict[str, Any]) -> pd.DataFrame:
    """Of one test set, A: label -> (faces, sizes) PSNR, or what broadcasts to that."""
    frames = []
    for label, psnr in psnrs.items():
        values = np.broadcast_to(np.asarray(psnr, dtype=float), (FACES, len(KS)))
        for k, column in zip(KS, values.T):
            frames.append(pd.DataFrame({
                "model": label, "dataset": "A", "damage": "clean", "face_id": list("abcd"), "k": k, "px": 8 * k,
                "width": 8 * k, "height": 8 * k, "device": "cpu",
                "status": np.where(np.isnan(column), "failed", "ok"), "reason": "", "psnr_y": column,
                "ssim_y": np.where(np.isnan(column), np.nan, 0.9), "milliseconds": 1.0, "identity": np.nan,
                "identity_distance": np.nan,
            }))  # fmt: skip
    return pd.concat(frames, ignore_index=True)


def _lines(table: Table) -> dict[str, dict[str, str]]:
    rows = [[cell_text(cell) for cell in row] for row in table.rows]
    return {row[0]: dict(zip(table.header, row)) for row in rows}


@pytest.fixture
def config(tmp_path: Path) -> EvaluateConfig:
    return load(EvaluateConfig, {"name": "e", "datasets": [{"name": "A", "path": tmp_path}]})


def _method(name: str, trained_on: str = "") -> ResolvedMethod:
    return ResolvedMethod(name, name, trained_on, "", name, Method(name=name, python="m:f"))


def _evaluation(config: EvaluateConfig, scores: pd.DataFrame, *methods: ResolvedMethod) -> ScoredEvaluation:
    return ScoredEvaluation(config, methods, (), (), scores)


def _exact(of: float, *faces: int) -> np.ndarray:
    """PSNR of which some faces' first size is exact."""
    psnr = np.full((FACES, len(KS)), float(of))
    psnr[list(faces), 0] = np.inf
    return psnr


# Infinite PSNR


def test_exact_images_of_both_methods_differ_by_nothing_and_no_face_is_dropped(config: EvaluateConfig) -> None:
    scores = _scores({"bicubic": _exact(30, 0, 1), "mine": _exact(31, 0, 1)})
    line = _lines(gain_table(scores, "A", 0))["mine, dB"]
    assert line["8 px"].startswith("+0.50 [")
    assert line["16 px"] == "+1.00 [+1.00, +1.00]"
    assert line["mean"].startswith("+0.94 [")  # 30 of 32 pairs differ by 1
    assert _lines(scale_table(scores, "A", "y"))["mine"]["8 px"] == "inf / 0.9000"
    assert _lines(overview_table(_evaluation(config, scores)))["mine"]["A: gain [dB]"] == "+0.94"


def test_an_exact_image_of_one_method_is_an_infinite_difference_everywhere(config: EvaluateConfig) -> None:
    scores = _scores({"bicubic": 30, "mine": _exact(31, 2)})
    line = _lines(gain_table(scores, "A", 0))["mine, dB"]
    assert (line["8 px"], line["16 px"], line["mean"]) == ("+inf", "+1.00 [+1.00, +1.00]", "+inf")
    differences = _lines(difference_table(scores, "A", 0))
    assert (differences["mine"]["bicubic"], differences["bicubic"]["mine"]) == ("+inf", "-inf")
    assert _lines(overview_table(_evaluation(config, scores)))["mine"]["A: gain [dB]"] == "+inf"
    assert "inf" not in "".join(panels_svg(list(curve_panels(scores, "A").values())))


def test_infinite_gains_and_losses_have_no_mean() -> None:
    scores = _scores({"bicubic": _exact(30, 0), "mine": _exact(31, 1)})
    assert _lines(gain_table(scores, "A", 0))["mine, dB"]["8 px"] == "–"


# Rows, best cells and headers


def test_methods_of_one_row_each_stand_in_the_table(config: EvaluateConfig) -> None:
    scores = _scores({"mine (MR8)": 31, "mine": 30})
    lines = _lines(paper_table(TABLES[1], _evaluation(config, scores, _method("mine", "MR8"), _method("mine"))))
    at = [lines[name]["trained MR8 → A-MR8"] for name in ("mine", "mine (no view)")]
    assert at == ["31.00 / 0.9000", "30.00 / 0.9000"]  # beside the paper's, the one trained as the column says
    assert lines["mine"]["trained MR3 → A-MR8"] == "30.00 / 0.9000"


@pytest.mark.parametrize(("number", "name", "other"), [(1, "sparnet", "onesrg"), (3, "onesrg", "sparnet")])
def test_sparnet_and_onesrg_together_have_a_row_each(
    config: EvaluateConfig, number: int, name: str, other: str
) -> None:
    scores = _scores({"onesrg (MR8)": 30, "sparnet (MR8)": 31})
    evaluation = _evaluation(config, scores, _method("onesrg", "MR8"), _method("sparnet", "MR8"))
    lines = _lines(paper_table(TABLES[number], evaluation))
    values = {"onesrg": "30.00 / 0.9000", "sparnet": "31.00 / 0.9000"}
    assert lines[name]["trained MR8 → A-MR8"] == values[name]
    assert lines[f"{other} (MR8)"]["trained MR8 → A-MR8"] == values[other]


def _model(name: str, network: str, view: str) -> ResolvedMethod:
    """A trained model whose card names the network and what it was trained on."""
    card = {"model": network, "trained_on": {"dataset": "d", "view": view}, "hr_size": 128, "steps": 1}
    return dataclasses.replace(_method(name, view if view in VIEWS else ""), card=card)


def test_a_model_that_learned_at_one_size_stands_with_its_like_alone(config: EvaluateConfig) -> None:
    models = [_model("wipa seed 1", "wipa", "k=[4]"), _model("mine", "wipa", "k=[4]"), _model("ours", "liif", "k=[4]")]
    models += [_model("kdfsrnet", "kdfsrnet", "k=[4]"), _model("gone", "of a plugin that is not there", "k=[4]")]
    evaluation = _evaluation(config, _scores({model.label: 30 for model in models}), *models)
    tables = [paper_table(paper, evaluation) for paper in TABLES]
    shown = [{name for name, row in _lines(table).items() if row[table.header[1]] != "–"} for table in tables]
    assert shown == [{"wipa seed 1", "mine"}, {"kdfsrnet", "ours", "gone"}, set(), set()]
    two = _lines(tables[1])
    assert two["kdfsrnet"]["trained MR3 → A-MR8"] == "30.00 / 0.9000"  # as the paper has it
    assert two["ours"]["trained MR3 → A-MR8"] == "–"
    assert "wipa seed 1: preset , 128 px, 1 steps of ? faces on d (0 faces), at 32 px alone" in tables[0].caption
    assert "ours" not in tables[0].caption


def test_a_caption_tells_what_was_not_scored_from_what_was_trained_otherwise(config: EvaluateConfig) -> None:
    models = [_method("liif", "MR8"), _method("mine", "MR8"), _method("ufvnet", "MR7")]
    evaluation = _evaluation(config, _scores({model.label: 30 for model in models}), *models)
    table = paper_table(TABLES[2], evaluation)
    assert "Not evaluated: bicubic, arbsr. Evaluated, but not trained or not scored as a column says: liif, mine." in (
        table.caption
    )
    assert list(_lines(table)) == list(TABLES[2].rows)


def test_all_that_share_the_highest_value_are_best_in_every_kind_of_table(config: EvaluateConfig) -> None:
    scores = _scores({"a": 30, "b": 30, "c": 29, "d": np.where(np.arange(FACES)[:, None] == 0, np.nan, 40)})
    evaluation = _evaluation(config, scores, *(_method(name) for name in "abcd"))
    for table in (scale_table(scores, "A", "y"), paper_table(TABLES[0], evaluation), overview_table(evaluation)):
        assert {table.rows[i][0] for i, _ in table.best} == {"a", "b"}
        assert {i for i, j in table.best if j == 1} == {i for i, row in enumerate(table.rows) if row[0] in ("a", "b")}


@pytest.mark.parametrize("paper", TABLES, ids=lambda t: t.number)
def test_the_headers_of_a_csv_are_all_different(paper: Any, tmp_path: Path) -> None:
    sets = [{"name": n, "path": tmp_path} for n in "AB"]
    config = load(EvaluateConfig, {"name": "e", "datasets": sets})
    scores = _scores({"bicubic": 30, "mine": 31})
    for table in (paper_table(paper, _evaluation(config, scores, _method("mine"))), difference_table(scores, "A", 0)):
        assert len({*table.header} - {""}) == len(table.header)


def test_a_caption_says_what_every_model_was_trained_on() -> None:
    recipe = {"batch_size": 16, "anchor_steps": 1875, "regressor_steps": 900}
    card = {"hr_size": 64, "steps": 2500, "trained_on": {"dataset": "aaf64", "faces": 6000}, "recipe": recipe}
    told = {"stage1": {"anchor-4": "f", "regressor": "f"}, "stage1_steps": {"anchor-4": 70, "regressor": 0}}
    start = {"start": "f"}
    earlier, teacher = {"stage1": {"anchor-4": "f", "regressor": "f"}}, {"teacher": "f"}
    for more, said in (
        ({}, "2,500 steps of 16 faces on aaf64 (6,000 faces)."),
        (told, "2,500 steps of 16 faces after stage 1 (anchor-4 70 steps) on aaf64 (6,000 faces)."),
        (
            earlier,
            "2,500 steps of 16 faces after stage 1 (anchor-4 1,875 + regressor 900 steps) on aaf64 (6,000 faces).",
        ),
        (teacher, "2,500 steps of 16 faces on aaf64 (6,000 faces), taught by a teacher."),
        (start, "on aaf64 (6,000 faces), on from other weights, whose training is not counted."),
        ({"device": "cpu"}, "on aaf64 (6,000 faces)."),
        ({"device": "NVIDIA H100"}, "on aaf64 (6,000 faces), on a GPU (NVIDIA H100)."),
    ):
        method = dataclasses.replace(_method("mine", "MR8"), card=card | more)
        assert how_models_were_made([method]).endswith(said)


# Orderings


def test_orderings_stand_beside_the_paper_s_with_what_came_out(config: EvaluateConfig) -> None:
    """ufvnet over onesrg came out on MR8 with one of two seeds only, and is reversed on MR3; nw's order is open."""
    faces = np.arange(FACES)[:, None]
    psnrs = {
        "ufvnet (MR8)": 31, "onesrg (MR8)": 30, "ufvnet-nw (MR8)": 30 + np.where(faces % 2, 1.0, -1.0),
        "ufvnet (MR3)": 28, "onesrg (MR3)": 29, "ufvnet seed 1 (MR8)": 29, "onesrg seed 1 (MR8)": 30,
    }  # fmt: skip
    names = [label.removesuffix(")").rsplit(" (", 1) for label in psnrs]
    methods = [_method(name, view) for name, view in names]
    table = orderings_table(TABLES[3], _evaluation(config, _scores(psnrs), *methods))
    assert table
    lines, mr8, mr3 = _lines(table), "trained MR8 → A-MR8", "trained MR3 → A-MR8"
    line = lines["ufvnet over onesrg"]
    assert (line[mr8], line["paper: trained MR8 → CelebA-MR8"]) == ("+1.00 [+1.00, +1.00]", "+0.26")
    assert (line[mr3], line["paper: trained MR3 → CelebA-MR8"]) == ("-1.00 [-1.00, -1.00]", "+0.43")
    assert (line["came out"], line["reversed"]) == ("0 of 2", "1 of 2")
    line = lines["ufvnet-nw over onesrg"]
    assert line[mr8].endswith("n.s.")
    assert (line[mr3], line["came out"], line["reversed"]) == ("–", "0 of 1", "0 of 1")
    assert lines["ufvnet over onesrg seed 1"]["reversed"] == "1 of 1"
    assert lines["ufvnet: trained on all sizes over fewer"][mr3] == "+3.00 [+3.00, +3.00]"
    more = lines["onesrg: trained on all sizes over fewer, more than ufvnet"]
    assert (more[mr3], more["paper: trained MR3 → CelebA-MR8"]) == ("-2.00 [-2.00, -2.00]", "+0.17")
    assert "twosrg" not in " ".join(lines)
    psnrs |= {"ufvnet seed 1 (MR8)": 30.5}
    agreeing = orderings_table(TABLES[3], _evaluation(config, _scores(psnrs), *methods))
    assert agreeing
    assert _lines(agreeing)["ufvnet over onesrg"]["came out"] == "1 of 2"


def test_without_two_methods_of_a_table_there_are_no_orderings(config: EvaluateConfig) -> None:
    scores = _scores({"bicubic": 30, "mine": 31})
    evaluation = _evaluation(config, scores, _method("bicubic"), _method("mine"))
    assert [orderings_table(paper, evaluation) for paper in TABLES] == [None] * 4


# Text


def test_names_are_escaped_in_markdown_and_latex() -> None:
    best = Score(MeanScore(30, 0.9))
    table = Table("t", r"\a {b} $c^d~ <e>", ("method", "x|y", "1_2"), (("p|q\nr", best, "3_4"),), ranked=(1,))
    assert r"| p\|q r | **30.00 / 0.9000** | 3_4 |" in to_markdown(table)
    assert r"| method | x\|y | 1_2 |" in to_markdown(table)
    text = to_latex(table)
    assert r"\textbackslash{}a \{b\} \$c\textasciicircum{}d\textasciitilde{} \textless{}e\textgreater{}" in text
    assert r"p\textbar{}q r & \textbf{30.00 / 0.9000} & 3\_4 \\" in text


def test_a_page_sorts_cells_by_their_numbers_and_knows_what_has_none(config: EvaluateConfig) -> None:
    scores = _scores({"bicubic": _exact(30, 0), "mine": 31.25, "broken": np.nan})
    html = to_html(scale_table(scores, "A", "y"))
    assert '<td data-value="Infinity">inf / 0.9000</td>' in html.replace("<b>", "").replace("</b>", "")
    assert '<td data-value="31.25">31.25 / 0.9000</td>' in html
    assert '<td data-value="">failed†</td>' in html
    gains = to_html(gain_table(scores, "A", 0))
    assert '<td data-value="1.25">+1.25 <small>[+1.25, +1.25]</small></td>' in gains
    assert '<td data-value="">–</td>' in gains
    assert "+1.25 [+1.25, +1.25]" in to_csv(gain_table(scores, "A", 0))


def test_the_results_page_reads_the_tables_that_are_written_today(tmp_path: Path) -> None:
    scores = _scores({"bicubic": 30, "mine": 31.25})
    file = tmp_path / "mine.md"
    source = Source(str(file), 128, "ufvnet evaluate mine.yaml")
    file.write_text(to_markdown(scale_table(scores, "A", "y")))
    with pytest.raises(ValueError, match=r"mine\.md: no table begins with \*\*A: gain over bicubic"):
        list(tables(source))
    file.write_text(file.read_text() + "\n" + to_markdown(gain_table(scores, "A", 0)))
    ((test_set, faces, means, gains),) = tables(source)
    assert (test_set, faces, means["mine"], gains["mine, dB"]) == (
        "A", "4", "31.25 / 0.9000", "+1.25 [+1.25, +1.25]",
    )  # fmt: skip
    file.write_text("nothing")
    with pytest.raises(ValueError, match=r"mine\.md: no table has the caption"):
        list(tables(source))


def test_a_long_reason_is_one_short_line_of_the_caption() -> None:
    scores = _scores({"a": np.nan}).assign(reason="first line\n" + "x" * 500)
    note = failures(scores)
    assert "first line xxx" in note
    assert "x" * 108 + "…)" in note
    assert "x" * 110 not in note

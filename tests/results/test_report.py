"""The report: one file that holds everything, asks for nothing, and works in a browser by keyboard."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tests.results.conftest import part_of
from ufvnet.config import EvaluateConfig, Method
from ufvnet.metrics import luma
from ufvnet.results.evaluation import ScoredEvaluation
from ufvnet.results.figures.gallery import Gallery, Pick, open_galleries
from ufvnet.results.figures.write import write_figures
from ufvnet.results.methods.resolve import ResolvedMethod
from ufvnet.results.report import pictures, provenance
from ufvnet.results.report.page import chart_groups, grouped, write_report
from ufvnet.results.report.pictures import embedded_pictures
from ufvnet.results.report.provenance import method_table
from ufvnet.results.report.svg import panels_svg
from ufvnet.results.statistics import MeanScore
from ufvnet.results.tables.overview import failure_table, overview_table
from ufvnet.results.tables.render import to_html
from ufvnet.results.tables.table import NOTHING, Score, Table, cell_text
from ufvnet.results.tables.write import all_tables, write_tables

CHROMIUM = Path("/usr/bin/chromium")
UFVNET = "ufvnet (MR8)"
REASON = "no file <b>came</b> & none will"


@pytest.fixture(scope="module")
def failed(
    shown: ScoredEvaluation, shown_scores: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory
) -> ScoredEvaluation:
    """An evaluation in which ufvnet has no score for the first face that is shown, at its second size."""
    face = open_galleries(shown)[0].shown()[0].face_id
    scores = shown_scores.assign(reason="")
    at = scores.eval("dataset == 'A' and model == @UFVNET and k == 2") & (scores["face_id"] == face)
    scores.loc[at, [c for c in scores if c.startswith(("psnr_", "ssim_"))]] = np.nan
    scores.loc[at, ["status", "reason"]] = ["failed", REASON]
    return part_of(shown, scores, tmp_path_factory.mktemp("failed"))


@pytest.fixture(scope="module")
def galleries(failed: ScoredEvaluation) -> list[Gallery]:
    return open_galleries(failed)


@pytest.fixture(scope="module")
def tables(failed: ScoredEvaluation) -> list[Table]:
    return all_tables(failed)


@pytest.fixture(scope="module")
def written(failed: ScoredEvaluation, galleries: list[Gallery], tables: list[Table]) -> Path:
    return write_report(failed, tables, [Path("gain.png")], galleries, failed.folder.joinpath)


def test_the_report_is_one_file_that_asks_for_nothing(written: Path) -> None:
    html = written.read_text()
    assert not re.search(r"""(src|href)=["'](?!data:|#)""", html)
    assert not re.search(r"url\(|@import|\son\w+=", html)
    assert "default-src 'none'; img-src data:;" in html
    assert "data:image/webp;base64," in html
    assert "Table IV" in html
    assert "contains photographs" in html


def test_names_and_reasons_are_escaped(written: Path) -> None:
    html = written.read_text()
    assert "<script>alert" not in html
    assert "&lt;script&gt;alert" in html
    assert "<b>came</b>" not in html
    assert html.count("</script>") == 2


def test_the_report_says_how_each_number_was_made(
    written: Path, failed: ScoredEvaluation, galleries: list[Gallery]
) -> None:
    html = written.read_text()
    for gallery in galleries:
        assert gallery.test_set.view.fingerprint in html
        assert str(gallery.test_set.view.root) in html
    for package in provenance.PACKAGES:
        assert f"{package} {provenance.version(package)}" in html
    match = re.search(r"ufvnet evaluate FILE</code></summary><pre[^>]*>(.*?)</pre>", html, re.DOTALL)
    assert match
    config = json.loads(match[1].replace("&#34;", '"').replace("&lt;", "<").replace("&gt;", ">").replace("&#39;", "'"))
    assert EvaluateConfig.model_validate(config).model_dump(exclude={"cluster"}) == failed.config.model_dump(
        exclude={"cluster"}
    )


def test_a_table_is_a_plain_html_table_with_its_best_in_bold(tmp_path: Path) -> None:
    rows = (("x", Score(MeanScore(1, 0.5))), ("y <z>", Score(MeanScore(2, 0.5))))
    table = Table("a", "A & B", ("method", "<px>"), rows, ranked=(1,))
    write_tables([table], tmp_path.joinpath)
    html = to_html(table)
    assert (tmp_path / "a.html").read_text() == html
    assert "<caption>A &amp; B</caption>" in html
    assert '<th scope="col">&lt;px&gt;</th>' in html
    assert '<tr><th scope="row">y &lt;z&gt;</th><td data-value="2"><b>2.00 / 0.5000</b></td></tr>' in html


def test_the_overview_has_the_means_and_counts_what_failed(
    failed: ScoredEvaluation, shown_scores: pd.DataFrame
) -> None:
    table = overview_table(replace(failed, scores=failed.scores.assign(identity_distance=0.25)))
    row = dict(zip(table.header, next(map(cell_text, r) for r in table.rows if r[0] == UFVNET)))
    ufvnet = failed.scores.query("dataset == 'A' and model == @UFVNET")
    assert row["A: PSNR / SSIM"] == f"{ufvnet['psnr_y'].mean():.2f} / {ufvnet['ssim_y'].mean():.4f}†"
    bicubic = failed.scores.query("dataset == 'A' and model == 'bicubic'")
    both = ufvnet["psnr_y"].to_numpy() - bicubic["psnr_y"].to_numpy()
    assert row["A: gain [dB]"] == f"{np.nanmean(both):+.2f}†"
    assert (row["failed"], row["A: identity distance"]) == ("1", "0.250")
    assert all(table.rows[i][0] == "bicubic" for i, _ in table.best)  # untrained networks lose
    failures = failure_table(failed.scores)
    assert failures
    assert tuple(map(cell_text, failures.rows[0][:6])) == (UFVNET, "A", "clean", "8 px", "1", f"{REASON} (1×)")
    assert failure_table(shown_scores) is None


def test_every_table_stands_in_the_report_once(tables: list[Table], written: Path) -> None:
    assert written.read_text().count("<table>") == len(tables) + 4  # overview, failures, test sets, methods
    members = [t for _, _, group in grouped(tables) for t in group]
    assert sorted(t.key for t in members) == sorted(t.key for t in tables)


def test_embedded_pictures_are_the_measured_pixels(galleries: list[Gallery]) -> None:
    import base64
    import io

    from PIL import Image

    shown = embedded_pictures(galleries)
    gallery, face = galleries[0], shown["sets"][0]["faces"][0]
    for kind, size in zip(gallery.faces[face["id"]], face["sizes"]):
        for label, (place, psnr, _, reason) in zip(shown["labels"], size["cells"]):
            cell = gallery.restored[label, Pick(face["id"], kind)]
            if cell.image is None:
                assert (place, psnr, reason) == (-1, None, REASON)
                continue
            encoded = shown["pictures"][place].split(",")[1]
            image = np.asarray(Image.open(io.BytesIO(base64.b64decode(encoded))).convert("RGB"))
            np.testing.assert_array_equal(image, cell.image)
            assert psnr == pytest.approx(cell.psnr, abs=0.0051)


def test_a_small_budget_leaves_one_face_of_each_test_set(
    galleries: list[Gallery], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert [len(s["faces"]) for s in embedded_pictures(galleries)["sets"]] == [2, 2]
    monkeypatch.setattr(pictures, "SLIDER_BYTES", 1)
    assert [len(s["faces"]) for s in embedded_pictures(galleries)["sets"]] == [1, 1]


def test_curves_tell_their_values(shown: ScoredEvaluation) -> None:
    panels = chart_groups(shown)[0][2]
    svg = panels_svg(panels)
    assert len(svg) == 2
    curve = panels[0].curves[0]
    assert f"{curve.label}, 4 px: {curve.y[0]:.4g}</title>" in svg[0]
    assert "stroke=" not in "".join(svg)  # colours are the page's, light or dark


@pytest.mark.parametrize("place", [0, 1])
def test_bicubic_alone_and_a_method_without_bicubic_have_a_report(
    place: int, shown: ScoredEvaluation, shown_scores: pd.DataFrame, tmp_path: Path
) -> None:
    label = ["bicubic", UFVNET][place]
    evaluation = part_of(shown, shown_scores[shown_scores["model"] == label], tmp_path, slice(place, place + 1))
    galleries = open_galleries(evaluation)
    assert galleries[0].labels == ["bicubic", UFVNET][: place + 1]
    assert set(galleries[0].worst) == {label}
    html = write_report(evaluation, [], [], galleries, tmp_path.joinpath).read_text()
    assert "Gain over bicubic" not in html
    assert f'<th scope="row">{label}</th>' in html


def test_a_method_that_fails_on_everything_is_shown_as_that(
    shown: ScoredEvaluation, shown_scores: pd.DataFrame, tmp_path: Path
) -> None:
    scores = shown_scores[shown_scores["model"].isin(["bicubic", UFVNET]) & (shown_scores["dataset"] == "A")].copy()
    at = scores["model"] == UFVNET
    scores.loc[at, [c for c in scores if c[:2] in ("ps", "ss", "w1", "w2", "w3", "w4")]] = np.nan
    scores.loc[at, ["status", "reason"]] = ["failed", REASON]
    evaluation = part_of(shown, scores, tmp_path, slice(2), slice(1))
    galleries = open_galleries(evaluation)
    figures = write_figures(evaluation, galleries, tmp_path.joinpath)
    html = write_report(evaluation, [], figures, galleries, tmp_path.joinpath).read_text()
    assert "figures/extremes_A_ufvnet-MR8.png" in html
    row = [cell_text(cell) for cell in next(r for r in overview_table(evaluation).rows if r[0] == UFVNET)]
    assert row[1:3] == ["failed†", "–"]
    assert "48" in row  # 6 faces at 8 sizes


# In a browser


Opened = Callable[..., Any]


@pytest.fixture(scope="module")
def opened(written: Path) -> Iterator[Opened]:
    """Opens the report in a page of so many pixels; checks at the end that nothing was complained of or asked for."""
    if not CHROMIUM.exists():
        pytest.skip(f"there is no {CHROMIUM} to open the report in")
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    complaints: list[str] = []

    def ask(request: Any) -> None:
        if not request.url.startswith("data:") and request.url.split("#")[0] != written.as_uri():
            complaints.append(request.url)

    with sync_api.sync_playwright() as playwright:
        flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=flags)

        def open_page(width: int = 1280, scheme: str = "light", **more: Any) -> Any:
            page = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme, **more)
            page.on("console", lambda message: complaints.append(message.text))
            page.on("pageerror", lambda error: complaints.append(str(error)))
            page.on("request", ask)
            page.goto(written.as_uri())
            return page

        yield open_page
        browser.close()
    assert not complaints


@pytest.fixture(scope="module")
def page(opened: Opened) -> Any:
    return opened()


def _clip(page: Any) -> float:
    """How much of the left picture is hidden, in per cent."""
    clip = page.locator("#left-side").evaluate("e => getComputedStyle(e).clipPath")
    return float(re.search(r"([\d.]+)%", clip)[1]) if "%" in clip else 0.0  # type: ignore[index]


@pytest.mark.browser
def test_the_slider_moves_by_keyboard_and_mouse(page: Any) -> None:
    slider = page.locator("#split")
    slider.focus()
    page.keyboard.press("Home")
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    assert slider.input_value() == "3"
    assert _clip(page) == 97
    slider.scroll_into_view_if_needed()
    box = slider.bounding_box()
    page.mouse.move(box["x"] + 0.25 * box["width"], box["y"] + 20)
    page.mouse.down()
    page.mouse.move(box["x"] + 0.75 * box["width"], box["y"] + 20, steps=4)
    page.mouse.up()
    assert int(slider.input_value()) == pytest.approx(75, abs=1)
    assert _clip(page) == pytest.approx(25, abs=1)


@pytest.mark.browser
def test_the_slider_moves_by_touch(opened: Opened) -> None:
    touched = opened(width=390, has_touch=True)
    box = touched.locator("#split").bounding_box()
    touched.locator("#split").tap(position={"x": box["width"] * 0.2, "y": 30})
    assert int(touched.locator("#split").input_value()) == pytest.approx(20, abs=2)
    touched.close()


@pytest.mark.browser
def test_methods_sizes_and_faces_are_chosen_and_their_scores_shown(page: Any, galleries: list[Gallery]) -> None:
    from playwright.sync_api import expect

    gallery = galleries[1]
    page.select_option("#set", label="B")
    page.locator("#faces button").nth(1).focus()
    page.keyboard.press("Enter")
    assert page.locator("#faces button").nth(1).get_attribute("aria-pressed") == "true"
    page.locator("#size").focus()
    page.keyboard.press("End")
    assert page.locator("#px").inner_text() == "32 px"
    page.select_option("#left", label="LR (nearest neighbour)")
    page.select_option("#right", label="bicubic")
    pick = gallery.shown()[-1]
    cell = gallery.restored["bicubic", pick]
    assert page.locator("#right-score").inner_text() == f"bicubic\n{cell.psnr:.2f} dB / {cell.ssim:.4f}"
    assert cell.image is not None
    error = np.abs(luma(cell.image) - luma(gallery.hr(pick))).mean()
    expect(page.locator("#right-mean")).to_contain_text("bicubic: mean error")
    shown_error = float(page.locator("#right-mean").inner_text().split()[-1])
    assert shown_error == pytest.approx(error, abs=0.011)
    page.select_option("#right", label="HR")
    expect(page.locator("#right-mean")).to_have_text("HR: mean error 0.00")


@pytest.mark.browser
def test_a_failed_image_has_its_reason_in_its_place(page: Any) -> None:
    page.select_option("#set", label="A")
    page.locator("#size").focus()
    page.keyboard.press("Home")
    page.keyboard.press("ArrowRight")
    page.select_option("#left", label=UFVNET)
    assert page.locator("#left-side p").inner_text() == f"{UFVNET} failed: {REASON}"
    assert REASON in page.locator("#grid").inner_text()
    page.select_option("#extreme-method", label=UFVNET)
    assert REASON in page.locator("#worst .card").first.inner_text()
    assert "The 2 best of ufvnet (MR8), at 8 px" in page.locator("#best-title").inner_text()


@pytest.mark.browser
def test_choosing_a_face_of_the_grid_shows_it_in_the_slider(page: Any) -> None:
    page.locator("#grid tbody tr").nth(4).locator("button").first.focus()
    page.keyboard.press("Enter")
    assert page.locator("#px").inner_text() == "20 px"
    assert page.locator("#right-score b").inner_text() == "bicubic"


@pytest.mark.browser
@pytest.mark.parametrize("section", ["overview", "tables"])
def test_a_table_is_sorted_both_ways_by_keyboard(page: Any, section: str) -> None:
    table = page.locator(f"#{section} table").first
    header = table.locator("thead th").nth(1)

    def column() -> list[float]:
        return [float(t.split()[0].replace("−", "-")) for t in table.locator("tbody td:nth-child(2)").all_inner_texts()]

    before = column()
    header.locator("button").focus()
    page.keyboard.press("Enter")
    assert header.get_attribute("aria-sort") == "descending"
    assert column() == sorted(before, reverse=True)
    page.keyboard.press("Space")
    assert header.get_attribute("aria-sort") == "ascending"
    assert column() == sorted(before)
    table.locator("thead th").first.locator("button").click()
    assert header.get_attribute("aria-sort") is None
    names = table.locator("tbody th").all_inner_texts()
    assert names == sorted(names)


@pytest.mark.browser
def test_gains_are_sorted_as_numbers_and_dashes_stand_last(page: Any) -> None:
    for title in ("Table IV", "gain over bicubic"):
        table = page.locator("#tables table", has=page.locator("caption", has_text=title)).first
        for presses in (1, 2):
            table.locator("thead th button").nth(1).click()
            cells = table.locator("tbody td:nth-child(2)").all_inner_texts()
            filled = [c for c in cells if c != "–"]
            assert cells == filled + ["–"] * (len(cells) - len(filled))
            values = [float(c.split()[0]) for c in filled]
            assert values == sorted(values, reverse=presses == 1)


@pytest.mark.browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_no_page_is_wider_than_its_screen_and_ink_stands_out(opened: Opened, width: int, scheme: str) -> None:
    page = opened(width, scheme)
    page.locator("details").evaluate_all("all => all.forEach(d => { d.open = true; })")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    ink, paper = page.evaluate(
        "[getComputedStyle(document.body).color, getComputedStyle(document.body).backgroundColor]"
    )
    light = [sum(map(int, re.findall(r"\d+", colour)[:3])) for colour in (ink, paper)]
    assert (light[0] < 150 and light[1] > 700) if scheme == "light" else (light[0] > 600 and light[1] < 120)
    page.close()


def test_methods_are_listed_with_what_they_were_trained_on() -> None:
    def method(name: str, **card: Any) -> ResolvedMethod:
        return ResolvedMethod(name, "p", "", "", "f", Method(name=name, python="m:f"), card)

    trained = {"dataset": "aaf", "view": "MR3"}
    table = method_table([method("m", trained_on=trained), method("theirs", trained_on="MR8"), method("bicubic")])
    column = table.header.index("trained on")
    assert [row[column] for row in table.rows] == ["aaf, MR3", "MR8", NOTHING]
    (row,) = method_table([method("m", steps=2500, start="f")]).rows
    assert cell_text(row[table.header.index("steps")]) == "2,500, on from other weights"

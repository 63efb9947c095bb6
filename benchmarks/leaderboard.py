"""results/README.md, from the tables in results/ and benchmarks/: ``python -m benchmarks.leaderboard``.

It only collects: every number stands in the file that its row links, and no other is written.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "results" / "README.md"
CAPTION = re.compile(
    r"^\*\*(.+?): PSNR / SSIM by input size, protocol y, ([\d,]+) faces at every (?:scale|size)\.", re.M
)
GAINS = "**{}: gain over bicubic"
DAMAGED = re.compile(r"^\*\*(.+?) damaged, by damage of the LR images: gain over bicubic", re.M)


@dataclass(frozen=True)
class Source:
    """A file of results with an evaluation's tables, or with a folder beside it that has them as CSV files.

    hr: side of the HR faces. command: what made it. faces: number per test set, for CSV files, which do not say it.
    note: what one must know to read its rows.
    """

    file: str
    hr: int
    command: str
    faces: dict[str, str] | None = None
    note: str = ""


@dataclass(frozen=True)
class Model:
    """What a model costs; each text stands as it is in the file that ``files`` names for it, by the field's name.

    hr, preset: of the network that is counted.
    """

    name: str
    preset: str
    hr: int
    training: str = ""
    speed: str = ""
    files: tuple[tuple[str, str], ...] = ()


SOURCES = (
    Source("results/lite.md", 128, "ufvnet evaluate configs/evaluations/lite.yaml"),
    Source(
        "results/table4-small.md", 64, "ufvnet reproduce configs/experiments/table4-small.yaml",
        {"aaf": "1,000", "us_congress": "819"},
        "One seed, equal CPU time: networks of more branches saw fewer faces (24,000 to 6,240). At its rate of 4e-3 "
        "the regressors learned nothing: the weights of `ufvnet` hardly follow the input there. Elsewhere two seeds "
        "of a network differed by 0.06 dB (benchmarks/lite.md).",
    ),
    Source(
        "results/table4-equal-faces.md", 64, "ufvnet reproduce configs/experiments/table4-equal-faces.yaml",
        {"aaf": "1,000", "us_congress": "819"},
        "Equal faces seen: 30,000 for every part, so a network of more branches costs more. Rows named `seed 1` are "
        "the same trainings with another seed, anchors and regressor too.",
    ),
    Source(
        "results/lite-anchors.md", 128, "ufvnet reproduce configs/experiments/lite-anchors.yaml",
        {"aaf": "400", "us_congress": "400"},
        "60,000 faces of `aaf` for every row; the first 400 faces of each test set.",
    ),
    Source(
        "results/table1-small.md", 64, "ufvnet reproduce configs/experiments/table1-small.yaml",
        {"aaf": "1,000", "us_congress": "819"},
        "One seed, equal faces seen: 30,000 for every part. `dic` and `mlgdn` learned at 8 px alone, `sisn` and `wipa` "
        "at 16.",
    ),
    Source(
        "results/table2-small.md", 64, "ufvnet reproduce configs/experiments/table2-small.yaml",
        {"aaf": "1,000", "us_congress": "819"},
        "One seed, equal faces seen: 30,000 for every part. `kdfsrnet` learned at 16 px alone.",
    ),
    Source(
        "results/table3-small.md", 64, "ufvnet reproduce configs/experiments/table3-small.yaml",
        {"aaf": "1,000", "us_congress": "819"},
        "One seed, equal faces seen: 30,000 for every part. Trained and scored at the seven sizes of MR7.",
    ),
    Source(
        "results/tiny-aaf.md", 64, "ufvnet reproduce configs/experiments/tiny-aaf.yaml",
        note="Of an earlier build of `aaf`, whose crops differ a little from those above.",
    ),
)  # fmt: skip

LITE, SPEEDS = "ufvnet/weights/ufvnet-lite/README.md", "benchmarks/README.md"
MODELS = (
    Model("ufvnet-lite", "paper", 128, "3.1 CPU-hours", "79.3", (("training", LITE), ("speed", SPEEDS))),
    Model("ufvnet-real", "paper", 128),
    Model("ufvnet-routed", "paper", 128),
    Model("onesrg", "small", 128, "98 CPU-minutes", "35.2", (("training", "results/lite.md"), ("speed", SPEEDS))),
    Model("onesrg", "tiny", 64, "27.1 CPU-minutes", "", (("training", "results/tiny-aaf.md"),)),
    Model("ufvnet", "tiny", 64, "8 CPU-minutes", "", (("training", "results/table4-small.md"),)),
    Model("ufvnet", "small", 128, "", "14.7", (("speed", SPEEDS),)),
    Model("ufvnet", "paper", 128, "", "6.51", (("speed", SPEEDS),)),
    Model("onesrg", "paper", 128, "", "13.1", (("speed", SPEEDS),)),
)


def page(costs: Iterable[str]) -> str:
    """The text of results/README.md; ``costs``: the rows of its last table."""
    lines = [
        "<!-- Made by `make reference` from the files that it links; do not edit. -->\n",
        "# Results\n",
        "Every number was measured in this repository; the links lead to the file that has it with all sizes, "
        "intervals and the account of how it was made. PSNR in dB and SSIM of luma (protocol `y`), mean over the eight "
        "sizes of MR8; gains in dB over bicubic with 95 % bootstrap intervals over images. Neither test set is CelebA "
        "or Helen: only gains and orders compare with the [paper's numbers](../docs/method.md#7-the-papers-numbers).\n",
        *(line for source in SOURCES for line in _clean(source)),
        "## Damaged faces\n",
        *_damaged(),
        "",
        "## Cost\n",
        "Parameters and GMAC per face are counted (`ufvnet models show`); faces/s are float32 on the CPU of the linked "
        "measurement, one thread for `ufvnet-lite` and two for the others; training is all of it, on one core.\n",
        "| network | preset | HR | parameters | GMAC | faces/s | training |",
        "|---|---|---|---|---|---|---|",
        *costs,
        "",
    ]
    return "\n".join(lines)


# Scores


def _clean(source: Source) -> Iterator[str]:
    """A section with a table: a row for each method, the best on the first test set first."""
    test_sets = list(tables(source))
    yield f"## Clean faces, HR {source.hr}: {Path(source.file).stem}\n"
    yield f"From [{source.file}]({Path(source.file).name}), made by `{source.command}`. {source.note}".rstrip() + "\n"
    columns = [f"{name}, {faces} faces | gain" for name, faces, _, _ in test_sets]
    yield f"| method | {' | '.join(columns)} |"
    yield f"|---|{'---|---|' * len(test_sets)}"
    for method in sorted(test_sets[0][2], key=lambda method: -float(test_sets[0][2][method].split(" / ")[0])):
        cells = [
            f"{scores[method]} | {gains.get(f'{method}, dB') or gains.get(method, '–')}"
            for _, _, scores, gains in test_sets
        ]
        yield f"| {method} | {' | '.join(cells)} |"
    yield ""


def tables(source: Source) -> Iterator[tuple[str, str, dict[str, str], dict[str, str]]]:
    """(test set, number of faces, mean score by method, mean gain by method) for each test set of a source.

    Raises:
        ValueError: the file has no table of scores, or one without its table of gains.
    """
    if source.faces:
        folder = (ROOT / source.file).with_suffix("")
        for test_set, faces in source.faces.items():
            scores, gains = folder / f"scales_{test_set}_y.csv", folder / f"gain_{test_set}.csv"
            yield test_set, faces, _csv_means(scores), _csv_means(gains)
        return
    text = (ROOT / source.file).read_text()
    captions = list(CAPTION.finditer(text))
    if not captions:
        raise ValueError(f"{source.file}: no table has the caption {CAPTION.pattern}")
    for caption in captions:
        gains_at = text.find(GAINS.format(caption[1]))
        if gains_at < 0:
            raise ValueError(f"{source.file}: no table begins with {GAINS.format(caption[1])}")
        faces = f"{int(caption[2].replace(',', '')):,}"
        yield caption[1], faces, _means(text[caption.end() :]), _means(text[gains_at:])


def _csv_means(file: Path) -> dict[str, str]:
    with file.open(newline="") as rows:
        return {row["method"]: row["mean"] for row in csv.DictReader(rows)}


def _means(text: str) -> dict[str, str]:
    """The column ``mean`` of the first table of a Markdown text, by method."""
    header, rows = _first_table(text)
    return {row[0]: row[header.index("mean")].strip("*") for row in rows}


def _first_table(text: str) -> tuple[list[str], list[list[str]]]:
    match = re.search(r"(?:^\|.*\n)+", text, re.M)
    assert match is not None
    header, _, *rows = [[cell.strip() for cell in line.strip("| ").split("|")] for line in match[0].splitlines()]
    return header, rows


def _damaged() -> Iterator[str]:
    """Of how many faces, and a table with a row for each damage and a column for each model and test set."""
    text, columns = (ROOT / "results" / "real.md").read_text(), dict[str, dict[str, str]]()
    faces = dict[str, str]()
    for caption in DAMAGED.finditer(text):
        header, rows = _first_table(text[caption.end() :])
        for row in rows:
            column = f"{row[0].removesuffix(' (MR8)')}, {caption[1]}"
            columns.setdefault(column, {})[row[1]] = row[header.index("mean")]
            faces[f"{row[1]} on {caption[1]}"] = row[header.index("faces")]
    most = max(faces.values(), key=int)
    fewer = "".join(f", {number} for {place}" for place, number in faces.items() if number != most)
    yield (
        "Mean gain in dB over bicubic of the same damaged face with its 95 % interval, sizes 16, 24, 32 and 48 px, of "
        f"the first {most} faces of each test set{fewer}; [results/real.md](real.md) has every size and the share of "
        "faces that come out worse. Made by `ufvnet evaluate configs/evaluations/real.yaml`.\n"
    )
    yield f"| damage | {' | '.join(columns)} |"
    yield f"|---|{'---|' * len(columns)}"
    for damage in next(iter(columns.values())):
        yield f"| {damage} | {' | '.join(column[damage] for column in columns.values())} |"


# Cost


def cost(model: Model) -> str:
    """A row of the table of costs."""
    import torch

    from ufvnet.models import create
    from ufvnet.models.complexity import complexity

    with torch.device("meta"):
        total = complexity(create(model.name, model.preset, model.hr), model.hr)[-1]
    files = dict(model.files)
    cells = [
        f"[{text}]({Path('..') / files[field]})" if (text := getattr(model, field)) else "–"
        for field in ("speed", "training")
    ]
    counts = f"{total.params:,} | {total.macs / 1e9:.3f}"
    return f"| {model.name} | {model.preset} | {model.hr} | {counts} | {' | '.join(cells)} |"


if __name__ == "__main__":
    PAGE.write_text(page(map(cost, MODELS)))

"""Verifying a dataset finds whatever is not as it was built; showing one."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from PIL import Image

from ufvnet import data
from ufvnet.config import ConfigError
from ufvnet.data.build.verify import verify
from ufvnet.data.schema import FACES, PHOTOS, read_fingerprint, write_rows
from ufvnet.data.show import contact_sheet, describe


@pytest.fixture
def dataset(built: Path, tmp_path: Path) -> Path:
    """A built dataset to do harm to."""
    return Path(shutil.copytree(built, tmp_path / "faces"))


def _a_shard(dataset: Path) -> Path:
    return sorted(dataset.glob("faces/split=train/*.parquet"))[0]


def _rewrite(file: Path, change: Callable[[dict[str, Any]], None], schema: Any = FACES) -> None:
    """Change the first row, under the same fingerprint."""
    rows = pq.ParquetFile(file).read().to_pylist()
    change(rows[0])
    write_rows(file, schema, rows, read_fingerprint(file) or "")


def _change_card(dataset: Path, change: Callable[[dict[str, Any]], None]) -> None:
    card = json.loads((dataset / "dataset.json").read_text())
    change(card)
    (dataset / "dataset.json").write_text(json.dumps(card))


def test_a_dataset_as_it_was_built_has_no_problems(built: Path) -> None:
    assert verify(built) == []


@pytest.mark.parametrize("part", [0.1, 0.35, 0.6, 0.85])
def test_a_byte_that_changed_is_found(dataset: Path, part: float) -> None:
    file = _a_shard(dataset)
    content = bytearray(file.read_bytes())
    content[int(part * len(content))] ^= 0x10
    file.write_bytes(content)
    problems = verify(dataset)
    assert problems
    assert problems[0].startswith("faces/split=train/part-00000.parquet: ")


def test_files_lost_cut_or_of_another_dataset_are_found(dataset: Path, built: Path) -> None:
    file = _a_shard(dataset)
    whole = file.read_bytes()
    file.write_bytes(whole[:-30])
    assert any("missing or broken" in p for p in verify(dataset))
    file.unlink()
    assert any("missing or broken" in p for p in verify(dataset))
    shutil.copy(sorted(built.glob("faces/split=test/*.parquet"))[0], file)
    assert any("not the file that was built" in p for p in verify(dataset))
    file.write_bytes(whole)
    assert verify(dataset) == []
    shutil.copy(file, file.with_name("part-00099.parquet"))
    assert verify(dataset) == ["faces/split=train/part-00099.parquet: dataset.json does not name it"]


def test_an_lr_image_that_is_not_its_hr_reduced_is_found(dataset: Path) -> None:
    rows = pq.ParquetFile(_a_shard(dataset)).read().to_pylist()
    _rewrite(_a_shard(dataset), lambda row: row.update(lr_3=rows[1]["lr_3"]))
    assert [p.split(": ", 2)[2] for p in verify(dataset)] == ["lr_3 is not its HR degraded by pil-bicubic"]


def test_images_of_another_size_or_format_are_found(dataset: Path) -> None:
    _rewrite(_a_shard(dataset), lambda row: row.update(hr=row["lr_8"]))
    assert "hr is PNG RGB (32, 32), not a PNG of 64 pixels" in verify(dataset)[0]
    _rewrite(_a_shard(dataset), lambda row: row.update(hr={"bytes": b"no image", "path": "x"}))
    assert "hr does not decode" in verify(dataset)[0]


def test_rows_that_contradict_each_other_are_found(dataset: Path) -> None:
    file = sorted(dataset.glob("photos/*.parquet"))[0]
    _rewrite(file, lambda row: row.update(status="no_face"), PHOTOS)
    problems = verify(dataset)
    assert any("is no_face with 1 faces" in p for p in problems)
    assert any("dataset.json counts" in p for p in problems)


def test_a_card_that_tells_other_numbers_is_found(dataset: Path) -> None:
    _change_card(dataset, lambda card: card["counts"].update(ok=23, no_face=1))
    assert any("dataset.json counts" in p for p in verify(dataset))
    _change_card(dataset, lambda card: card["counts"].update(ok=24, no_face=0))
    _change_card(dataset, lambda card: card["faces"].update(train=11))
    assert any("dataset.json has faces" in p for p in verify(dataset))
    _change_card(dataset, lambda card: card["faces"].update(train=12))
    _change_card(dataset, lambda card: card["fingerprints"].update(val="0" * 64))
    assert verify(dataset) == ["dataset.json: the fingerprint of val is not that of its shards"]


def test_a_dataset_of_another_schema_is_refused(dataset: Path) -> None:
    _change_card(dataset, lambda card: card.update(schema_version=1))
    with pytest.raises(ConfigError, match="schema version 1, not 2; build it again"):
        verify(dataset)


def test_showing_tells_the_card_and_draws_a_contact_sheet(built: Path, tmp_path: Path) -> None:
    dataset = data.open(built)
    lines = "\n".join(describe(dataset))
    for told in (
        "HR 64x64",
        "pil-bicubic v1",
        "24 photos",
        "24 ok",
        "train: 12 faces",
        dataset.card["versions"]["numpy"],
    ):
        assert told in lines
    sheet = Image.open(contact_sheet(dataset, tmp_path / "sheet.png", faces=6))
    assert sheet.size == (9 * 66, 6 * 66)
    view = dataset.view("MR8", "test")
    assert sheet.crop((0, 0, 64, 64)).tobytes() == Image.fromarray(data.decode(view.face(0)["hr"])).tobytes()


def test_a_face_is_read_by_its_place(built: Path) -> None:
    view = data.open(built).view("MR8", "train")
    assert [view.face(i)["face_id"] for i in range(12)] == list(view.face_ids())
    for beyond in (-1, 12):
        with pytest.raises(IndexError, match="of 12"):
            view.face(beyond)

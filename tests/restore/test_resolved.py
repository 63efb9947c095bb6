"""What a run needs is found and read once, and every part of the run receives it."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from PIL import Image
from restore_settings import config_of

from ufvnet.models import registry
from ufvnet.restore import Restorer, known_faces
from ufvnet.restore.folder import run as run_module
from ufvnet.restore.folder.run import close_run, open_run, resolve_run, restore_folder
from ufvnet.restore.folder.shard import restore_in_worker
from ufvnet.restore.single import restore_single


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Six photos, and boxes of faces in each of them but the last."""
    folder = tmp_path / "in"
    folder.mkdir()
    for number in range(6):
        Image.linear_gradient("L").resize((90, 90)).convert("RGB").save(folder / f"{number}.png")
    rows = "".join(f"{number}.png,{10 * number},5,{10 * number + 30},35\n" for number in range(5))
    (tmp_path / "boxes.csv").write_text(f"file,left,top,right,bottom\n{rows}")
    return folder


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often models are loaded and files of boxes read."""
    counts: Counter[str] = Counter()
    load, read = Restorer.load, known_faces._read_boxes

    def counted_load(*arguments: Any, **more: Any) -> Restorer:
        counts["model"] += 1
        return load(*arguments, **more)

    def counted_read(path: Path) -> Any:
        counts["boxes"] += 1
        return read(path)

    monkeypatch.setattr(Restorer, "load", counted_load)
    monkeypatch.setattr(known_faces, "_read_boxes", counted_read)
    return counts


def test_a_folder_run_loads_its_model_and_reads_its_boxes_once(photos: Path, model: Path, calls: Counter[str]) -> None:
    restore_folder(config_of(photos, model, mode="photo", boxes=photos.parent / "boxes.csv"))
    assert calls == {"model": 1, "boxes": 1}


def test_so_does_one_picture(photos: Path, model: Path, calls: Counter[str]) -> None:
    config = config_of(
        photos / "1.png", model, mode="photo", boxes=photos.parent / "boxes.csv", output=photos.parent / "x.png"
    )
    assert restore_single(config)["status"] == "restored"
    assert calls == {"model": 1, "boxes": 1}


def test_processes_that_share_a_run_receive_the_boxes_of_their_pictures_and_record_the_run_s_key(
    photos: Path, model: Path, calls: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings: dict[str, Any] = {"mode": "photo", "boxes": photos.parent / "boxes.csv"}
    restore_folder(config_of(photos, model, output=photos.parent / "alone", **settings))
    monkeypatch.setattr(run_module, "PART", 3)
    run = resolve_run(config_of(photos, model, output=photos.parent / "shared", **settings))
    with open_run(run, processes=2) as shards:
        assert [sorted(shard.known_faces.faces) for shard in shards] == [
            ["0.png", "1.png", "2.png"],
            ["3.png", "4.png"],
        ]
        for shard in shards:
            restore_in_worker(shard)
        close_run(run, shards, 1.0)
    assert calls["boxes"] == 2, "one each"
    alone, shared = (
        pd.read_parquet(photos.parent / name / "manifest.parquet").drop(columns="seconds")
        for name in ("alone", "shared")
    )
    assert alone.to_json() == shared.to_json()


def test_the_code_of_a_network_is_part_of_what_a_resumed_run_compares(
    few: Path, lite: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    restore_folder(config_of(few, lite))
    before = pd.read_parquet(few.parent / "out" / "manifest.parquet").key
    entry = replace(registry.describe("ufvnet-lite"), version="the sha256 of a plugin")
    monkeypatch.setitem(registry._REGISTRY, "ufvnet-lite", entry)
    restore_folder(config_of(few, lite, resume=True))
    assert not (pd.read_parquet(few.parent / "out" / "manifest.parquet").key == before).any()


def test_a_self_ensemble_is_the_restorer_s_and_part_of_what_a_resumed_run_compares(few: Path, lite: Path) -> None:
    restore_folder(config_of(few, lite))
    alone = Image.open(few.parent / "out" / "a.png")
    summary = restore_folder(config_of(few, lite, resume=True, self_ensemble=True))
    both = Image.open(few.parent / "out" / "a.png")
    assert summary["counts"]["restored"] == 3
    assert both.tobytes() != alone.tobytes()
    face = Image.open(few / "a.png")
    assert both.tobytes() == Restorer.load(lite, "cpu", self_ensemble=True)(face).tobytes()

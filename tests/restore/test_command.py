"""``ufvnet restore``: pipes, one picture, exit codes; the README's example; folders of hostile files."""

from __future__ import annotations

import importlib.util
import io
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pandas as pd
import pytest
from PIL import Image
from restore_settings import config_of

from ufvnet.config import ConfigError
from ufvnet.restore import runner
from ufvnet.restore.one import is_one, restore_one
from ufvnet.restore.terminal import restore_here


@pytest.fixture
def face(tmp_path: Path) -> Path:
    from skimage.data import astronaut

    from ufvnet.data.sample import FACE

    path = tmp_path / "face.png"
    Image.fromarray(astronaut()).crop(FACE).resize((30, 30)).save(path)
    return path


def test_a_pipe_takes_and_gives_one_picture(face: Path, model: Path, repo: Path) -> None:
    command = [sys.executable, "-m", "ufvnet.cli", "restore", "-", "-", "--model", str(model), "--format", "webp"]
    done = subprocess.run(command, input=face.read_bytes(), capture_output=True, cwd=repo, check=False)
    assert done.returncode == 0, done.stderr
    image = Image.open(io.BytesIO(done.stdout))
    assert (image.size, image.format) == ((64, 64), "WEBP")
    assert b"restored" in done.stderr


@pytest.mark.parametrize("name", ["out.jpg", "out.png", "deep/out.tif"])
def test_one_file_is_restored_to_one_file(face: Path, model: Path, name: str) -> None:
    config = config_of(face, model, output=face.parent / name)
    assert is_one(config)
    assert restore_one(config)["status"] == "restored"
    image = Image.open(face.parent / name)
    assert image.size == (64, 64)
    assert image.format == {"jpg": "JPEG", "png": "PNG", "tif": "TIFF"}[name[-3:]]


def test_one_file_never_overwrites_itself_and_needs_a_known_ending(face: Path, model: Path) -> None:
    with pytest.raises(ConfigError, match="is the input"):
        restore_one(config_of(face, model, output=face))
    (face.parent / "link").symlink_to(face.parent)
    with pytest.raises(ConfigError, match="is the input"):
        restore_one(config_of(face.parent / "link" / face.name, model, output=face))
    with pytest.raises(ConfigError, match="its ending must be one of"):
        restore_one(config_of(face, model, output=face.parent / "out.gif"))
    with pytest.raises(ConfigError, match=r"format = webp: the ending of output = .*out\.png says png"):
        restore_one(config_of(face, model, output=face.parent / "out.png", format="webp"))
    (face.parent / "faces.parquet").touch()
    with pytest.raises(ConfigError, match="the pictures of a table need a folder"):
        restore_one(config_of(face.parent / "faces.parquet", model, output=face.parent / "out.png"))
    with pytest.raises(ConfigError, match="a pipe takes one picture"):
        restore_one(config_of([face, Path("-")], model, output=face.parent / "out"))
    with pytest.raises(ConfigError, match="take one picture"):
        runner.restore_folder(config_of([face, Path("-")], model, output=face.parent / "out"))


def test_a_run_with_failures_says_why_and_counts(crops: Path, model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert restore_here(config_of(crops, model))
    out, err = capsys.readouterr()
    assert "7 restored" in out
    assert "7 failed" in out
    assert "cut.jpg: " in err
    assert "and 2 more" in err


@pytest.fixture(scope="module")
def hostile_files(repo: Path) -> ModuleType:
    """tests/data/test_hostile.py, which makes such folders."""
    spec = importlib.util.spec_from_file_location("hostile_files", repo / "tests" / "data" / "test_hostile.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="needs Linux's /proc")
@pytest.mark.parametrize("mode", ["aligned", "photo"])
def test_hostile_files_have_their_statuses_and_all_others_are_restored(
    tmp_path: Path, put_photos: object, lite: Path, hostile_files: ModuleType, mode: str
) -> None:
    small = []
    for path in put_photos(tmp_path / "faces", 10):  # type: ignore[operator]
        photo = Image.open(path).convert("RGB")
        photo.thumbnail((100, 100) if mode == "aligned" else (160, 160))
        photo.save(path, quality=95)
        small.append(path)
    built = hostile_files.put_everything(tmp_path / "in", small)
    summary = runner.restore_folder(config_of(tmp_path / "in", lite, mode=mode))
    rows = pd.read_parquet(tmp_path / "out" / "manifest.parquet").set_index("path")
    kept = {"copied"} if mode == "aligned" else set()  # a picture of ten faces is no small crop
    expected = {
        "ok": {"restored"} | kept,
        "duplicate": {"restored"},
        "no_face": {"no_face"} if mode == "photo" else {"restored", "copied", "failed"},
    }
    for path, (status, _) in built.items():
        assert rows.loc[path, "status"] in expected.get(status, {"failed"}), (path, rows.loc[path, "reason"])
        assert rows.loc[path, "reason"] or rows.loc[path, "status"] == "restored"
    assert len(rows) == len(built) == summary["files"]
    for path, row in rows[rows["output"] != ""].iterrows():
        found = list((tmp_path / "out").rglob(Path(row["output"]).name.replace("\\xe9", "?")))
        assert found, path
        Image.open(found[0]).load()

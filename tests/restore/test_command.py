"""``ufvnet restore``: pipes, one picture, exit codes; the example of docs/restore.md; folders of hostile files."""

from __future__ import annotations

import importlib.util
import io
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pandas as pd
import pytest
from PIL import Image
from restore_settings import config_of

from ufvnet.cli.restore import _picture_to_picture
from ufvnet.config import ConfigError
from ufvnet.restore.console import restore_here
from ufvnet.restore.folder.run import restore_folder
from ufvnet.restore.single import is_single, restore_single


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
    assert is_single(config)
    assert restore_single(config)["status"] == "restored"
    image = Image.open(face.parent / name)
    assert image.size == (64, 64)
    assert image.format == {"jpg": "JPEG", "png": "PNG", "tif": "TIFF"}[name[-3:]]


def test_one_file_never_overwrites_itself_and_needs_a_known_ending(face: Path, model: Path) -> None:
    with pytest.raises(ConfigError, match="is the input"):
        restore_single(config_of(face, model, output=face))
    (face.parent / "link").symlink_to(face.parent)
    with pytest.raises(ConfigError, match="is the input"):
        restore_single(config_of(face.parent / "link" / face.name, model, output=face))
    for name in ("out.gif", "out.xyz", "restored.v2"):
        assert is_single(config_of(face, model, output=face.parent / name))
        with pytest.raises(ConfigError, match=rf"{name}: its ending must be one of .png, .*; a folder for one picture"):
            restore_single(config_of(face, model, output=face.parent / name))
    with pytest.raises(ConfigError, match=r"format = webp: the ending of output = .*out\.png says png"):
        restore_single(config_of(face, model, output=face.parent / "out.png", format="webp"))
    (face.parent / "faces.parquet").touch()
    with pytest.raises(ConfigError, match="the pictures of a table or an archive need a folder"):
        restore_single(config_of(face.parent / "faces.parquet", model, output=face.parent / "out.png"))
    with pytest.raises(ConfigError, match="a pipe takes one picture"):
        restore_single(config_of([face, Path("-")], model, output=face.parent / "out"))
    with pytest.raises(ConfigError, match="take one picture"):
        restore_folder(config_of([face, Path("-")], model, output=face.parent / "out"))


def test_a_folder_whose_name_has_a_dot_stays_a_folder(few: Path, model: Path) -> None:
    out = few.parent / "restored.v2"
    assert not is_single(config_of(few, model, output=out))
    restore_folder(config_of(few, model, output=out))
    assert (out / "a.png").is_file()
    picture = config_of(few / "a.png", model, output=out, into_input=True)
    assert not is_single(picture), "it is there, and is a folder"
    assert not is_single(config_of([few / "a.png", few / "b.png"], model, output=few.parent / "more.v2"))
    for name in ("faces.parquet", "faces.ARROW", "faces.zip", "faces.tar.gz"):
        (few / name).touch()
        many = config_of(few / name, model, output=few.parent / "many.v2")
        assert not is_single(many)
        assert not _picture_to_picture(many)


def test_a_place_where_one_file_cannot_be_written_is_refused_before_any_work(face: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("a file")
    with pytest.raises(ConfigError, match=r"notes.txt is not a folder that can be written to"):
        restore_single(config_of(face, Path("no model is loaded"), output=tmp_path / "notes.txt" / "x.png"))


def test_one_file_replaces_another_only_when_told_and_never_the_input_or_a_link(face: Path, model: Path) -> None:
    output, original = face.parent / "out.png", face.read_bytes()
    output.write_bytes(b"the user's")
    with pytest.raises(ConfigError, match=r"is there already; --overwrite replaces it"):
        restore_single(config_of(face, model, output=output))
    assert output.read_bytes() == b"the user's"
    assert restore_single(config_of(face, model, output=output, overwrite=True))["status"] == "restored"
    assert Image.open(output).size == (64, 64)
    same, link = face.parent / "same.png", face.parent / "link.png"
    same.hardlink_to(face)
    link.symlink_to(output)
    with pytest.raises(ConfigError, match="is the input"):
        restore_single(config_of(face, model, output=same, overwrite=True, into_input=True))
    with pytest.raises(ConfigError, match="is a link or no regular file"):
        restore_single(config_of(face, model, output=link, overwrite=True))
    assert same.read_bytes() == original
    assert link.is_symlink()


def test_a_resumed_run_tells_what_it_kept_and_what_stays_of_inputs_that_are_gone(
    few: Path, model: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    restore_here(config_of(few, model))
    assert "kept" not in capsys.readouterr().out
    (few / "a.png").unlink()
    Image.new("RGB", (20, 20)).save(few / "new.png")
    for resume, line in ((True, "3 restored, 0 failed (2 kept from before); "), (False, "3 restored, 0 failed; ")):
        caplog.clear()
        restore_here(config_of(few, model, resume=resume))
        assert capsys.readouterr().out.startswith(line)
        assert "stay there, but are not in its manifest: 1" in caplog.text
    restore_here(config_of(few, model, resume=True))
    assert "pictures/" not in capsys.readouterr().out, "none was restored in this run"


def test_a_run_in_which_nothing_could_be_used_is_no_success(
    tmp_path: Path, face: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "notes.txt").write_text("no picture")
    pd.DataFrame({"picture": [face.read_bytes()]}).to_parquet(tmp_path / "in" / "faces.parquet")
    assert restore_here(config_of(tmp_path / "in", model))
    assert "none of 2 inputs could be used" in capsys.readouterr().err
    Image.new("RGB", (99, 99)).save(tmp_path / "in" / "large.png")
    assert not restore_here(config_of(tmp_path / "in", model, unrestored="leave")), "left out as told"


def test_names_are_printed_without_control_characters(
    face: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = face.parent / "in\x1b[2J"
    folder.mkdir()
    (folder / "a\x1b[31m\r\n\u202egnp.png").write_text("no picture")
    restore_here(config_of(folder, model, output=face.parent / "out\x1b[1m"))
    out, err = capsys.readouterr()
    assert not {"\x1b", "\r", "\u202e"} & set(out + err)
    assert r"a\x1b[31m\x0d\x0a\u202egnp.png: " in err


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
    summary = restore_folder(config_of(tmp_path / "in", lite, mode=mode))
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


SHELL = {
    "standard error closed": "{} 2>&-",
    "standard output closed": "{} >&-",
    "all closed": "{} <&- >&- 2>&-",
    "standard error full": "{} 2>/dev/full",
    "standard output full": "{} >/dev/full",
    "nobody reads": "{{ {}; echo $? >code; }} 2>&1 | true",
}


@pytest.mark.skipif(sys.platform == "win32", reason="needs a POSIX shell")
@pytest.mark.parametrize("how", SHELL)
def test_a_run_does_its_work_whatever_became_of_its_standard_streams(
    face: Path, model: Path, repo: Path, how: str
) -> None:
    (face.parent / "in").mkdir()
    face.rename(face.parent / "in" / "face.png")
    (face.parent / "in" / "broken.png").write_text("no picture")
    command = [sys.executable, "-m", "ufvnet.cli", "restore", "in", "out", "--model", str(model), "--mode", "aligned"]
    environment = {**os.environ, "PYTHONPATH": str(repo)}
    shell = SHELL[how].format(shlex.join(command))
    done = subprocess.run(
        shell, shell=True, cwd=face.parent, env=environment, stderr=subprocess.PIPE, text=True, check=False
    )
    code = done.returncode
    assert "Traceback" not in done.stderr
    if how == "standard output full":
        assert "'standard output': make room" in done.stderr
    if (face.parent / "code").exists():
        code = int((face.parent / "code").read_text())
    assert code == 1
    assert dict(pd.read_parquet(face.parent / "out" / "manifest.parquet").set_index("path")["status"]) == {
        "broken.png": "failed", "face.png": "restored",
    }  # fmt: skip
    assert Image.open(face.parent / "out" / "face.png").size == (64, 64)


def test_on_a_cluster_nothing_in_the_working_directory_is_run_and_failures_show_in_the_state(
    face: Path, model: Path, repo: Path, prefect_home: Path
) -> None:
    """Prefect's server and Dask's workers are child processes too."""
    here = face.parent / "here"
    here.mkdir()
    for name in ("ufvnet", "torch", "prefect", "distributed", "uvicorn", "pickle", "random"):
        (here / f"{name}.py").write_text(f"open({str(here / 'ran')!r}, 'a').write({name!r})")
    (face.parent / "broken.png").write_text("no picture")
    environment = {**os.environ, "PYTHONPATH": str(repo), "PREFECT_HOME": str(face.parent / "prefect")}
    environment.pop("PREFECT_API_URL", None)
    shutil.copytree(prefect_home, face.parent / "prefect")
    done = subprocess.run(
        [sys.executable, "-P", "-m", "ufvnet.cli", "restore", str(face), str(face.parent / "broken.png"),
         str(face.parent / "out"), "--model", str(model), "--cluster", "1"],
        cwd=here, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    assert "1 restored, 1 failed" in done.stdout, done.stdout + done.stderr
    assert "CompletedWithFailures" in done.stdout + done.stderr
    assert not (here / "ran").exists(), (here / "ran").read_text()

"""The command line: help, exit codes, messages."""

from __future__ import annotations

import functools
import importlib.metadata
import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Literal, get_args, get_origin

import pytest
import typer

from ufvnet.cli import checkout
from ufvnet.cli import commands as cli
from ufvnet.cli.options import wrong_use_is_refused
from ufvnet.cli.preflight import check_server
from ufvnet.config import BuildConfig, RestoreConfig, Schema, load
from ufvnet.console import exit_on_errors
from ufvnet.data.build.folder import locked
from ufvnet.data.sample import jittered_photos
from ufvnet.errors import ConfigError
from ufvnet.faces.finders import choose_finder, hog
from ufvnet.restore import supervise

ROOT = Path(__file__).parents[1]


def ufvnet(*arguments: str | Path, cwd: Path = ROOT, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "ufvnet.cli", *map(str, arguments)]
    given = {**os.environ, **environment}
    return subprocess.run(command, cwd=cwd, env=given, capture_output=True, text=True, check=False)


Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def run_here(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Command:
    """Runs a command in this process: for what it says and its exit code, not for what its process starts with."""
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("COLUMNS", "300")
    for module in ("pipeline", "restore"):  # signals stay the tests' own
        monkeypatch.setattr(f"ufvnet.cli.{module}.leave_on_signals", lambda _: None)

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        capfd.readouterr()
        with pytest.raises(SystemExit) as end, exit_on_errors():
            cli.app(list(arguments))
        return subprocess.CompletedProcess(arguments, end.value.code or 0, *capfd.readouterr())

    return run


@pytest.mark.parametrize("command", ["build", "train", "evaluate", "reproduce", "demo"])
def test_ctrl_c_ends_a_command_in_one_line_from_its_beginning_on(
    command: str, run_here: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Importing Prefect and starting its server takes seconds, in which Ctrl-C would show their tracebacks."""
    said: list[str] = []
    monkeypatch.setattr("ufvnet.cli.pipeline.leave_on_signals", lambda stop: stop() or said.append(command))
    monkeypatch.setattr("ufvnet.cli.pipeline.find_checkout", _nowhere)
    assert run_here(command, *([] if command == "demo" else ["nowhere.yaml"])).stderr.startswith("ufvnet: stopped; ")
    assert said == [command]


def _nowhere() -> Path:
    raise ConfigError("no checkout")


def test_outside_a_checkout_the_message_names_no_package_that_is_installed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(checkout, "__file__", str(tmp_path / "site" / "ufvnet" / "cli" / "checkout.py"))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=r"runs in a checkout .* not part of the package; `restore`"):
        checkout.find_checkout()


def test_the_version_is_that_of_the_package(run_here: Command) -> None:
    assert run_here("--version").stdout == f"ufvnet {importlib.metadata.version('ufvnet')}\n"


@functools.cache
def shown(*arguments: str) -> str:
    """What a command that changes nothing prints, in wide lines; it is run once."""
    return ufvnet(*arguments, COLUMNS="300").stdout


@pytest.mark.parametrize(
    "command", ["demo", "build", "train", "evaluate", "reproduce", "restore", "models", "doctor", "run"]
)
def test_help_names_every_command(command: str) -> None:
    assert f" {command} " in shown("--help")


def test_models_show_prints_the_paper_s_sizes(run_here: Command) -> None:
    printed = run_here("models", "show", "ufvnet", "--preset", "paper").stdout
    for number in ("71,595,590", "12.117 GMAC", "61,103,843", "0.666 GMAC", "5,242,211", "6.876 GMAC"):
        assert number in printed
    printed = run_here("models", "show", "onesrg", "--preset", "paper").stdout
    assert "5,242,211" in printed
    assert "6.876 GMAC" in printed


def test_models_list_names_every_row_of_table_iv(run_here: Command) -> None:
    listed = {line.split()[0] for line in run_here("models", "list").stdout.splitlines()}
    assert {"bicubic", "sparnet", "onesrg", "twosrg", "ufvnet", "foursrg", "ufvnet-nw", "ufvnet-fm"} <= listed


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("models", "show", "nosuch"), "no model is named 'nosuch'"),
        (("models", "show", "ufvnet", "--hr-size", "100"), "hr_size must be one of (64, 128)"),
        (("build", "nowhere.yaml"), "nowhere.yaml: cannot be read"),
        (("build", "configs/datasets/aaf.yaml", "-s", "hr_size=100"), "hr_size = 100"),
        (("train", "configs/recipes/ufvnet-paper.yaml", "-s", "recipe.lr=-1"), "recipe.lr = -1"),
        (("train", "configs/recipes/ufvnet-paper.yaml", "-s", "recip.lr=1"), "recip"),
        (("restore", "nowhere", "out", "--model", "nomodel"), "no model folder there"),
        (
            ("build", "configs/datasets/celeba.yaml", "-s", "source.root=nowhere"),
            f"source.root = {ROOT / 'nowhere'}: no such folder",
        ),
        (("train", "configs/recipes/onesrg-tiny.yaml", "-s", "dataset=nowhere"), "no built dataset there"),
        (("evaluate", "configs/evaluations/tiny-congress.yaml", "-s", "models=['nowhere']"), "no model folder there"),
        (
            (
                "reproduce",
                "configs/experiments/tiny-aaf.yaml",
                "-s",
                "evaluate={name: e, models: [no.module:f], datasets: [{name: a, path: data/a}]}",
            ),
            "no.module:f: cannot be imported",
        ),
        (
            (
                "reproduce",
                "configs/experiments/tiny-aaf.yaml",
                "-s",
                "evaluate={name: e, datasets: [{name: a, path: data/a}], cluster: {address: 'nonsense://host'}}",
            ),
            "cluster.address = nonsense://host: no scheduler answers",
        ),
        (("demo", "--photos", "nowhere"), "photos = nowhere: no such folder"),
    ],
)
def test_wrong_use_is_one_message_and_exit_code_2(arguments: tuple[str, ...], message: str, run_here: Command) -> None:
    done = run_here(*arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert "Flow run" not in done.stdout + done.stderr  # Prefect was not even started


def test_doctor_finds_everything_in_a_working_installation() -> None:
    done = ufvnet("doctor")
    assert done.returncode == 0, done.stdout
    assert "torch" in done.stdout
    assert "NO " not in done.stdout
    assert f"face finder {choose_finder().NAME}" in done.stdout


def test_doctor_names_a_plugin_that_cannot_be_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UFVNET_PLUGINS", "nosuch")
    done = ufvnet("doctor")
    assert done.returncode == 1
    assert "NO  UFVNET_PLUGINS = nosuch: cannot be imported" in done.stdout


def test_the_demo_s_sample_photos_hold_a_face_that_dlib_finds(tmp_path: Path) -> None:
    from PIL import Image

    folder = jittered_photos(tmp_path, count=6, seed=3)
    photos = sorted(folder.iterdir())
    assert len(photos) == 6
    assert all(len(hog.find_faces(Image.open(p).convert("RGB"))) >= 1 for p in photos)


PIPELINE = {
    "build": ("configs/datasets/folder.yaml", "-s", "source={kind: folder, root: tests}"),
    "demo": (),
    "run": ("build-datasets",),
    "restore": ("tests", "nowhere", "--cluster", "1"),
}


@pytest.mark.parametrize("command", PIPELINE)
def test_a_home_that_prefect_cannot_write_to_is_one_line_before_it_starts(command: str, tmp_path: Path) -> None:
    (tmp_path / "home").write_text("a file")
    done = ufvnet(command, *PIPELINE[command], HOME=str(tmp_path / "home"), PREFECT_HOME="")
    assert done.returncode == 2
    assert "PREFECT_HOME = ~/.prefect, in HOME: Prefect keeps its database there" in done.stderr
    assert done.stderr.count("\n") == 1, done.stderr


@pytest.mark.parametrize("command", PIPELINE)
def test_a_prefect_server_that_does_not_answer_is_one_line(command: str, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # nobody listens there
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/api"
        done = ufvnet(command, *PIPELINE[command], PREFECT_API_URL=url, PREFECT_HOME=str(tmp_path), PREFECT_API_KEY="")
    assert done.returncode == 2
    assert f"PREFECT_API_URL = {url}: no Prefect server answers there" in done.stderr
    assert done.stderr.count("\n") == 1, done.stderr


def test_a_second_build_of_a_dataset_is_one_line_before_prefect_starts(tmp_path: Path) -> None:
    settings = {"name": "d", "out": tmp_path, "source": {"kind": "folder", "root": ROOT / "tests"}}
    with locked(load(BuildConfig, settings)):
        done = ufvnet("build", "configs/datasets/folder.yaml", "-s", "name=d", "-s", f"out={tmp_path}",
                      "-s", "source={kind: folder, root: tests}", PREFECT_HOME=str(tmp_path / "home"))  # fmt: skip
    assert done.returncode == 2
    assert "another build of this dataset is running; wait for its end" in done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    assert not (tmp_path / "home").exists()


@pytest.mark.parametrize("url", ["nonsense", "file:///etc", "http://[::1", "ssh://host"])
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match="no Prefect server answers there"):
        check_server(url)


def test_control_characters_in_a_message_are_escaped(tmp_path: Path) -> None:
    done = ufvnet("restore", tmp_path / "no\x1b[31mwhere", tmp_path / "out", "--model", "no\x1b[1mmodel")
    assert done.returncode == 2
    assert "\x1b" not in done.stdout + done.stderr
    assert r"no\x1b[1mmodel" in done.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="semaphores have no names there")
def test_semaphores_of_a_command_that_ends_at_once_are_freed_without_a_warning() -> None:
    code = (
        "import os, ufvnet.cli.commands\nfrom multiprocessing import get_context\ndef app(**_):\n"
        "    kept = get_context('spawn').Semaphore()\n    os._exit(3)\n"
        "ufvnet.cli.commands.app = app\nufvnet.cli.entry()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (3, "")


# Options from configurations


@pytest.mark.parametrize(
    ("command", "schema", "names"),
    [
        ("restore", RestoreConfig, sorted(RestoreConfig.model_fields.keys() - {"input", "output", "cluster"})),
        ("serve", RestoreConfig, ["backend", "device", "finder", "model", "self_ensemble", "size"]),
        ("build", BuildConfig, ["allow_loss"]),
    ],
)
def test_options_have_the_names_choices_and_defaults_of_the_configuration(
    command: str, schema: type[Schema], names: list[str]
) -> None:
    help = " ".join(shown(command, "--help").split()).partition("Options:")[2]
    assert names
    for name in names:
        field = schema.model_fields[name]
        entries = re.split(rf" --{name.replace('_', '-')}\b", help, maxsplit=1)
        assert len(entries) == 2, name
        entry = entries[1].partition(" --")[0]
        if get_origin(field.annotation) is Literal:
            assert "|".join(get_args(field.annotation)) in entry
        if field.default not in (None, (), "", False, True):
            assert f"[default:{field.default}]" in entry.replace(" ", ""), entry


def test_every_option_explains_itself_in_one_sentence() -> None:
    root = typer.main.get_command(cli.app)
    with typer.Context(root) as context:
        for name, command in {
            **root.commands,
            **root.commands["models"].commands,
            **root.commands["data"].commands,
        }.items():
            for parameter in command.get_params(context):
                help = getattr(parameter, "help", None) or ""
                assert name in ("models", "data") or 10 < len(help) < 130, (name, parameter.name, help)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        (("--mode", "fast"), "mode = 'fast': must be 'auto', 'aligned' or 'photo'"),
        (("--quality", "101"), "quality = '101': must be from 1 to 100"),
        (("--scale", "0"), "scale = '0': must be from 0.125 to 16"),
        (("--min-face", "many"), "min_face = 'many': must be a valid integer"),
        (("--size", "7"), "size = '7': must be auto, native, input or a number of pixels between 8 and 16384"),
        (("--landmarks", ""), "landmarks.0 = '': is empty; it must be a path"),
        (
            ("--suffix", "a/b"),
            "suffix = 'a/b': must be part of a file's name: at most 50 characters, none of them / or ",
        ),
        (
            ("--min-face", "40", "--max-face", "30"),
            "max_face = '30': is below min_face = 40, so no face would be restored",
        ),
        (("--cluster", "0"), "cluster.workers = 0: must be greater than or equal to 1"),
    ],
)
def test_a_wrong_option_is_refused_by_its_key_value_and_what_is_allowed(
    option: tuple[str, str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert message in refusal(capsys, "restore", "in", "out", *option)


def refusal(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """What a command that is used wrongly prints to standard error, as it leaves with exit code 2."""
    with pytest.raises(SystemExit) as left, exit_on_errors(), wrong_use_is_refused():
        cli.app([*words], standalone_mode=False)
    out, err = capsys.readouterr()
    assert (left.value.code, out) == (2, "")
    return err


@pytest.mark.parametrize(
    ("paths", "key"), [(("", "out"), "input"), (("in", ""), "output"), (("a", "", "b"), "input.1")]
)
def test_an_empty_path_is_not_the_working_directory(
    paths: tuple[str, ...], key: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert f"{key} = '': is empty; it must be a path" in refusal(capsys, "restore", *paths)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "missing INPUT and OUTPUT, as in: ufvnet restore photos/ restored/"),
        (("photos",), "missing OUTPUT after photos, as in"),
        (("-i", "photos"), "missing OUTPUT after photos, as in"),
        (("-o", "restored"), "missing INPUT, as in"),
        (("a", "b", "--has_aligned"), "No such option: --has_aligned; here it is --mode aligned ("),
        (("a", "b", "--nosuch"), "No such option: --nosuch"),
        (("https://a.org/b.jpg", "out"), "input = 'https://a.org/b.jpg': https:// is not supported"),
        (("a", "b", "--upscale", "99"), "ufvnet: scale = '99': must be from 0.125 to 16"),
        (("a", "b", "--size", "2x", "--quality", "0"), "ufvnet: options:\n  size = '2x': "),
    ],
    ids=str,
)
def test_every_refusal_has_the_form_of_all_others(
    words: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    refused = refusal(capsys, "restore", *words)
    assert refused.startswith("ufvnet: ")
    assert message in refused


@pytest.mark.parametrize(
    "words", ["a b out", "-i a -i b -o out", "-i a b -o out", "--input a b out", "a b --output out"]
)
def test_input_and_output_are_named_by_place_or_as_other_tools_name_them(
    words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    configs: list[RestoreConfig] = []
    monkeypatch.setattr(supervise, "supervise", lambda config, *_: configs.append(config) or 0)
    monkeypatch.setattr("ufvnet.cli.restore.leave_on_signals", lambda _: None)
    assert cli.app(["restore", *words.split(), "-s", "2"], standalone_mode=False) == 0
    assert (configs[0].inputs, configs[0].output) == ((Path("a"), Path("b")), Path("out"))
    assert configs[0].scale == 2


def test_help_of_restore_ends_with_three_examples() -> None:
    examples = [
        line.strip() for line in shown("restore", "--help").partition("Examples:")[2].splitlines() if line.strip()
    ]
    assert len(examples) == 3
    assert all(line.startswith("ufvnet restore ") for line in examples)


@pytest.mark.parametrize(
    ("words", "unneeded"),
    [(["--help"], ["pydantic", "yaml"]), (["restore", "--help"], []), (["build", "--help"], [])],
    ids=str,
)
def test_help_imports_nothing_heavy(words: list[str], unneeded: list[str]) -> None:
    code = (
        f"import atexit, sys; atexit.register(lambda: print(*sys.modules)); sys.argv[1:] = {words}\n"
        "from ufvnet.cli.commands import main; main()"
    )
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "ufvnet.cli" in loaded
    assert not {"dask", "numpy", "pandas", "prefect", "pyarrow", "torch", *unneeded} & {*loaded}

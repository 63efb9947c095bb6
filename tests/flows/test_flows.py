"""The flows in process, on Prefect's test database; and what prefect.yaml and the packages promise of each other."""

from __future__ import annotations

import ast
import inspect
import json
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any
from uuid import uuid4

import pandas as pd
import psutil
import pytest
import torch
import yaml
from PIL import Image
from prefect import Flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.responses import DeploymentResponse
from prefect.settings import PREFECT_SERVER_ANALYTICS_ENABLED, temporary_settings

from flows.build_datasets import build_datasets
from flows.reproduce import reproduce
from flows.train import train
from tasks.cluster import dask_client
from tasks.deployments import check_parameters
from tasks.events import BUILT, TRAINED
from tasks.settings import schema_of
from ufvnet.config import BuildConfig, Cluster, ExperimentConfig, TrainConfig, load
from ufvnet.errors import ConfigError, DivergedError, NothingUsableError, PipelineError
from ufvnet.training.after_build import reason_to_skip
from ufvnet.training.stages import resolve_parts

REPO = Path(__file__).parents[2]
DEPLOYMENTS: list[dict[str, Any]] = yaml.safe_load((REPO / "prefect.yaml").read_text())["deployments"]
each_deployment = pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=lambda d: d["name"])

PHOTOS, SMALL_FACES, SHARD = 12, 3, 3


def flow_of(deployment: dict[str, Any]) -> Flow[..., Any]:
    """What the deployment's entrypoint imports."""
    module, _, name = deployment["entrypoint"].rpartition(".")
    return getattr(import_module(module), name)


@dataclass(frozen=True)
class Reproduced:
    """A tiny experiment after its first run, and the events that it emitted."""

    folder: Path
    config: ExperimentConfig
    report: Path
    events: list[dict[str, Any]]


@pytest.fixture(scope="module")
def prefect_server(prefect_home: Path) -> Iterator[None]:
    """A temporary Prefect database and its server."""
    from prefect.testing.utilities import prefect_test_harness  # 2 CPU-seconds: it imports the whole server

    def copied() -> str:
        folder = tempfile.mkdtemp()
        shutil.copy(prefect_home / "prefect.db", Path(folder, "prefect-test.db"))
        return folder

    with pytest.MonkeyPatch.context() as patch, temporary_settings({PREFECT_SERVER_ANALYTICS_ENABLED: False}):
        patch.setenv("DO_NOT_TRACK", "1")
        patch.setattr("prefect.testing.utilities.mkdtemp", copied)  # where the harness has its database
        with prefect_test_harness(server_startup_timeout=120):
            yield


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """torch's threads spin while they wait for each other: on busy cores one is several times as fast as two."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def reproduced(
    prefect_server: None,
    one_thread: None,
    tmp_path_factory: pytest.TempPathFactory,
    put_photos: Callable[[Path, int], list[Path]],
    put_lists: Callable[[Path, dict[str, int]], dict[str, Path]],
) -> Reproduced:
    """A dozen photos built, onesrg and ufvnet trained, both evaluated beside bicubic, a few faces restored."""
    folder = tmp_path_factory.mktemp("reproduce")
    photos = put_photos(folder / "photos", PHOTOS)
    (folder / "small").mkdir()
    for side, photo in zip((9, 16, 40), photos):
        Image.open(photo).convert("RGB").resize((side, side)).save(folder / "small" / f"{photo.stem}.png")
    splits = put_lists(folder / "photos", {"train": 6, "val": 3, "test": 3})
    training = {
        "dataset": folder / "data" / "faces", "preset": "tiny", "device": "cpu", "parallel": 2,
        "out": folder / "models", "runs": folder / "runs",
        "recipe": {"steps": 4, "anchor_steps": 2, "regressor_steps": 2, "batch_size": 4, "validation_faces": 2,
                   "threads": 1},
    }  # fmt: skip
    config = ExperimentConfig.model_validate({
        "name": "tiny",
        "build": [{"name": "faces", "source": {"kind": "folder", "root": folder / "photos", "splits": splits},
                   "out": folder / "data", "hr_size": 64, "shard_size": SHARD, "cluster": {"workers": 2}}],
        "train": [training | {"name": "onesrg", "model": "onesrg"},
                  training | {"name": "ufvnet", "model": "ufvnet", "anchors": (2, 8)}],
        "evaluate": {"name": "tiny", "models": ["bicubic", *(str(folder / "models" / n) for n in ("onesrg", "ufvnet"))],
                     "datasets": [{"name": "faces", "path": folder / "data" / "faces"}],
                     "out": folder / "evaluations", "cluster": {"workers": 2}},
        "restore": {"input": folder / "small", "output": folder / "restored", "resume": True,
                    "model": folder / "models" / "ufvnet", "device": "cpu"},
    })  # fmt: skip
    events: list[dict[str, Any]] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tasks.events.deliver_event", lambda **event: not events.append(event))
        report = reproduce(config)
    assert report is not None
    return Reproduced(folder, config, report, events)


@pytest.mark.server
def test_reproduce_writes_dataset_models_tables_and_report(reproduced: Reproduced) -> None:
    folder = reproduced.folder
    card = json.loads((folder / "data" / "faces" / "dataset.json").read_text())
    assert sum(card["counts"].values()) == card["photos"] == PHOTOS
    assert len(list((folder / "data" / "faces" / "faces").glob("*/part-*.parquet"))) == PHOTOS // SHARD
    trained = json.loads((folder / "models" / "ufvnet" / "model.json").read_text())
    assert {"regressor", "anchor-2", "anchor-8"} == set(trained["stage1"])
    assert (folder / "models" / "onesrg" / "model.safetensors").is_file()
    scores = pd.concat(pd.read_parquet(p) for p in (folder / "evaluations").glob("tiny/scores/*/*/*.parquet"))
    faces, scales = card["faces"]["test"], 8
    assert Counter(scores["model"]) == dict.fromkeys(["bicubic", "onesrg (MR8)", "ufvnet (MR8)"], faces * scales)
    tables = {p.name for p in (reproduced.report.parent / "tables").iterdir()}
    assert {f"table_{i}.{kind}" for i in range(1, 5) for kind in ("md", "csv", "tex")} < tables
    assert all(p.stat().st_size for p in (reproduced.report.parent / "tables").iterdir())
    assert "ufvnet" in reproduced.report.read_text()
    summary = json.loads((folder / "restored" / "summary.json").read_text())
    assert summary["counts"] == {
        "restored": SMALL_FACES,
        "copied": 0,
        "no_face": 0,
        "scaled": 0,
        "failed": 0,
        "skipped": 0,
    }


@pytest.mark.server
@pytest.mark.parametrize("missing", ["skip", "error"])
def test_a_training_that_diverges_ends_an_experiment_unless_methods_may_be_missing(
    missing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained, noted = [], []

    def train_first_diverges(config: TrainConfig) -> None:
        trained.append(config.name)
        if len(trained) == 1:
            raise DivergedError("first: diverged")

    monkeypatch.setattr("flows.reproduce.train", train_first_diverges)
    monkeypatch.setattr("flows.reproduce.evaluate", lambda _: Path("report.html"))
    monkeypatch.setattr("flows.reproduce.note_failure", lambda config, _: not noted.append(config.name))
    values = {
        "name": "e", "train": [{"name": name, "dataset": "d"} for name in ("first", "second")],
        "evaluate": {"name": "e", "missing": missing, "datasets": [{"name": "A", "path": "d"}]},
    }  # fmt: skip
    experiment = load(ExperimentConfig, values)
    if missing == "error":
        with pytest.raises(DivergedError):
            reproduce.fn(experiment)
        return
    assert reproduce.fn(experiment) == Path("report.html")
    assert (trained, noted) == (["first", "second"], ["first"])


def test_reproduce_publishes_tables_figures_curves_and_counts_as_artifacts(reproduced: Reproduced) -> None:
    with get_client(sync_client=True) as client:
        artifacts = {a.key: a for a in client.read_latest_artifacts()}
    assert {"counts-faces", "training-curves-ufvnet", "restored-restored", "tiny-table-1", "tiny-gain-faces"} < set(
        artifacts
    )
    assert sum(row["photos"] for row in json.loads(str(artifacts["counts-faces"].data))) == PHOTOS
    assert "| ufvnet (MR8), dB |" in str(artifacts["tiny-gain-faces"].data)
    assert any(a.type == "image" for a in artifacts.values())
    assert [row["step"] for row in json.loads(str(artifacts["training-curves-onesrg"].data))] == [4]


@pytest.mark.server
def test_a_build_and_a_training_announce_what_the_next_step_needs(reproduced: Reproduced) -> None:
    built, first, second = reproduced.events
    card = json.loads((reproduced.folder / "data" / "faces" / "dataset.json").read_text())
    folder, mark = str(reproduced.folder / "data" / "faces"), card["fingerprints"]["train"]
    assert (built["event"], built["payload"]) == ("ufvnet.dataset.built", {"dataset": folder, "fingerprint": mark})
    assert [e["payload"]["model"] for e in (first, second)] == [
        str(reproduced.folder / "models" / name) for name in ("onesrg", "ufvnet")
    ]
    assert {first["event"], second["event"]} == {"ufvnet.model.trained"}


@pytest.mark.server
def test_a_training_that_ended_before_it_was_announced_is_announced_by_the_next_run(
    reproduced: Reproduced, monkeypatch: pytest.MonkeyPatch
) -> None:
    training = reproduced.config.train[1]
    _, whole = resolve_parts(training)
    assert whole.is_announced()
    whole.forget_announced()
    shutil.rmtree(
        reproduced.folder / "data" / "faces" / "cache"
    )  # decoded images: nothing is trained, so nobody needs them
    again: list[dict[str, Any]] = []

    def away(**_: Any) -> bool:
        raise PipelineError("the server is away")

    monkeypatch.setattr("tasks.events.deliver_event", away)
    with pytest.raises(PipelineError, match="is away"):
        train(training)
    monkeypatch.setattr("tasks.events.deliver_event", lambda **event: not again.append(event))
    for _ in range(2):
        assert train(training) == whole.model_folder
    assert again == reproduced.events[2:]
    assert not (reproduced.folder / "data" / "faces" / "cache").exists()


@pytest.mark.server
def test_a_training_after_a_build_is_skipped_with_a_reason(reproduced: Reproduced) -> None:
    training, folder = reproduced.config.train[1], reproduced.folder / "data" / "faces"
    mark = reproduced.events[0]["payload"]["fingerprint"]
    for dataset, fingerprint, reason in (
        (reproduced.folder, mark, f"ufvnet is trained on {folder}, not on {reproduced.folder}"),
        (folder, "", f"{folder} has no faces in a split train"),
        (folder, "0" * 64, "was built again since"),
        (folder, mark, f"nothing changed: {reproduced.folder / 'models' / 'ufvnet'} was trained on {mark[:12]}"),
    ):
        state = train.fn(training, dataset=dataset, fingerprint=fingerprint)
        assert (state.name, reason in state.message) == ("Skipped", True), state.message
    another = training.model_copy(update={"recipe": training.recipe.model_copy(update={"seed": 1})})
    assert reason_to_skip(another, folder, mark) is None


@pytest.fixture(scope="module")
def direct(reproduced: Reproduced) -> Path:
    """The same experiment on the same photos by ``ufvnet reproduce --direct``, in another folder.

    It finds onesrg and one of ufvnet's anchors there, trains the other one, the regressor and ufvnet itself.
    """
    folder = reproduced.folder / "direct"
    for found in ("models/onesrg", "runs/onesrg-*", "runs/anchor-8-*"):
        (run,) = reproduced.folder.glob(found)
        shutil.copytree(run, folder / run.relative_to(reproduced.folder))
    text = reproduced.config.model_dump_json().replace(str(reproduced.folder), str(folder))
    for read in ("photos", "small"):
        text = text.replace(str(folder / read), str(reproduced.folder / read))
    (folder / "tiny.yaml").write_text(text.replace('"workers":2', '"workers":1'))
    spy = (
        "import sys, ufvnet.cli.commands\n"
        "try:\n    ufvnet.cli.commands.main()\nfinally:\n    open('modules', 'w').write(' '.join(sys.modules))"
    )
    command = [sys.executable, "-c", spy, "reproduce", "tiny.yaml", "--direct"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


@pytest.mark.server
def test_a_direct_run_imports_no_prefect_and_starts_no_cluster(direct: Path) -> None:
    assert not {"prefect", "distributed"} & set((direct / "modules").read_text().split())


@pytest.mark.server
@pytest.mark.parametrize(
    "pattern", ["data/faces/photos/*", "data/faces/faces/*/*", "models/*/model.safetensors", "restored/*.png"]
)
def test_a_direct_run_writes_the_same_bytes(reproduced: Reproduced, direct: Path, pattern: str) -> None:
    files = {path.relative_to(direct): path for path in direct.glob(pattern)}
    assert files
    assert files.keys() == {path.relative_to(reproduced.folder) for path in reproduced.folder.glob(pattern)}
    for name, path in files.items():
        assert path.read_bytes() == (reproduced.folder / name).read_bytes(), name


@pytest.mark.server
def test_an_experiment_ends_with_1_and_names_the_inputs_and_methods_that_failed(built: Path, tmp_path: Path) -> None:
    (tmp_path / "small").mkdir()
    Image.new("RGB", (24, 24), "tan").save(tmp_path / "small" / "good.png")
    (tmp_path / "small" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n no picture")
    (tmp_path / "broken.py").write_text("def restore(lr, side):\n    raise ValueError('no weights')\n")
    (tmp_path / "e.yaml").write_text(
        "name: e\nrestore: {input: small, output: out, mode: aligned, device: cpu}\n"
        f"evaluate: {{name: e, out: ., models: [bicubic, 'broken.py:restore'], view: MR3, identity_faces: 0, "
        f"datasets: [{{name: test, path: {built}, limit: 1}}]}}\n"
    )
    command = [sys.executable, "-m", "ufvnet.cli", "reproduce", "e.yaml", "--direct"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "out: 1 pictures failed; manifest.parquet says why" in done.stderr
    assert "restore: failed on all 3 images of test (ValueError: no weights)" in done.stderr


def test_a_direct_evaluation_has_the_same_tables(reproduced: Reproduced, direct: Path) -> None:
    numbers = [
        {path.name: path.read_text() for path in (folder / "evaluations" / "tiny" / "tables").glob("*.csv")}
        for folder in (reproduced.folder, direct)
    ]
    costs = {name for name in numbers[0] if name.startswith("cost")}
    assert costs < numbers[0].keys() == numbers[1].keys()
    assert not [name for name in numbers[0].keys() - costs if numbers[0][name] != numbers[1][name]]


@pytest.mark.server
def test_reproduce_again_skips_shards_trainings_scores_and_restored_faces(
    reproduced: Reproduced, caplog: pytest.LogCaptureFixture
) -> None:
    before = _finished(reproduced.folder)
    assert before.keys() >= {"data", "models", "runs", "evaluations", "restored"}
    assert reproduce(reproduced.config) == reproduced.report
    assert _finished(reproduced.folder) == before
    for said in ("4 of 4 shards were there already", "0 of 3 row groups scored", "ufvnet: finished already"):
        assert said in caplog.text


def _finished(folder: Path) -> dict[str, dict[str, int]]:
    """When each shard, training's file, score and restored face was written."""
    patterns = {"data": "**/part-*.parquet", "models": "**/*.*", "runs": "**/*.*",
                "evaluations": "tiny/scores/**/*.parquet", "restored": "*.png"}  # fmt: skip
    return {
        name: {str(p): p.stat().st_mtime_ns for p in (folder / name).glob(pattern) if p.is_file()}
        for name, pattern in patterns.items()
        if any((folder / name).glob(pattern))
    }


@pytest.mark.server
def test_a_build_with_failures_ends_in_a_state_that_no_trigger_takes_for_success(
    prefect_server: None,
    tmp_path: Path,
    put_photos: Callable[[Path, int], list[Path]],
    caplog: pytest.LogCaptureFixture,
) -> None:
    put_photos(tmp_path / "photos", 2)
    (tmp_path / "photos" / "broken.jpg").write_bytes(b"no picture")
    config = {"name": "some", "source": {"root": tmp_path / "photos", "fractions": {"train": 1.0}},
              "out": tmp_path / "data", "hr_size": 64, "cluster": {"workers": 1}}  # fmt: skip
    state = build_datasets(load(BuildConfig, config), return_state=True)
    assert (state.type.value, state.name) == ("COMPLETED", "CompletedWithFailures")
    assert state.result()["counts"]["ok"] == 2
    state = build_datasets(tmp_path / "nowhere.yaml", return_state=True)
    assert state.is_failed()
    assert str(state.message).endswith(
        f"ConfigError: {tmp_path}/nowhere.yaml: cannot be read (No such file or directory)"
    )
    assert "Traceback" not in caplog.text
    for photo in (tmp_path / "photos").glob("*.jpg"):
        photo.write_bytes(b"no picture either")
    state = build_datasets(load(BuildConfig, config | {"name": "none"}), return_state=True)
    assert state.is_failed()
    with pytest.raises(NothingUsableError, match=r"none of 3 photos became a face"):
        state.result()


def test_local_dask_cluster_listens_on_this_machine_only() -> None:
    with dask_client(Cluster(workers=1), 1) as client:
        assert client.submit(len, "abc").result() == 3
        here = psutil.Process()
        open_ports = [c for p in (here, *here.children(recursive=True)) for c in p.net_connections("tcp")]
    assert {c.laddr.ip for c in open_ports if c.status == psutil.CONN_LISTEN} == {"127.0.0.1"}


@each_deployment
def test_deployment_flow_and_file_share_one_name(deployment: dict[str, Any]) -> None:
    flow = flow_of(deployment)
    assert flow.name == deployment["name"]
    assert flow.fn.__module__ == f"flows.{deployment['name'].replace('-', '_')}"


@each_deployment
def test_a_wrong_configuration_is_refused_before_any_work(
    deployment: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    flow = flow_of(deployment)
    with pytest.raises(ConfigError, match=r"^nowhere\.yaml: cannot be read"):
        flow.fn(Path("nowhere.yaml"))
    monkeypatch.chdir(REPO)
    config = flow.validate_parameters(deployment["parameters"])["config"]
    with pytest.raises(ConfigError, match=r"nothing = 1 .set by an override.: no such key"):
        flow.fn(config, ["nothing=1"])
    key = {"reproduce": "build.0.cluster", "train": None}.get(deployment["name"], "cluster")
    if key is not None:
        with pytest.raises(ConfigError, match=r"cluster_class = no\.Such: cannot be imported"):
            flow.fn(config, [f"{key}.cluster_class=no.Such"])


@pytest.mark.parametrize(
    ("parameters", "why"),
    [
        (["config=nowhere.yaml"], r"^nowhere\.yaml: cannot be read"),
        (['overrides=["hr_size=7"]'], r"hr_size = 7 .set by an override.: "),
        (['config={"name": "x"}'], r"source: is missing"),
        (['overrides=["cluster.cluster_class=no.Such"]'], r"cluster\.cluster_class = no\.Such: cannot be imported"),
    ],
    ids=["path", "override", "mapping", "cluster"],
)
def test_ufvnet_run_refuses_a_wrong_configuration_before_there_is_a_run(
    parameters: list[str], why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UFVNET_CHECKOUT", str(REPO))
    (step,) = yaml.safe_load((REPO / "deploy" / "pull.yaml").read_text())["pull"]
    given = DeploymentResponse(
        name="build-datasets", flow_id=uuid4(), pull_steps=[step], entrypoint="flows.build_datasets.build_datasets",
        parameters={"config": "configs/datasets/aaf.yaml"},
    )  # fmt: skip
    check_parameters(given, [])
    with pytest.raises(ConfigError, match=why):
        check_parameters(given, parameters)
    elsewhere = {name: {"directory": str(tmp_path / "gone")} for name in step}
    check_parameters(given.model_copy(update={"pull_steps": [elsewhere]}), parameters)  # the run itself will refuse


@each_deployment
def test_deployment_default_parameters_are_a_valid_configuration(
    deployment: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(REPO)
    flow = flow_of(deployment)
    config = flow.validate_parameters(deployment["parameters"])["config"]
    assert isinstance(config, Path) == isinstance(deployment["parameters"]["config"], str)
    assert isinstance(load(schema_of(flow.fn), config), schema_of(flow.fn))


def test_every_flow_but_the_demo_is_deployed() -> None:
    files = {p.stem for p in (REPO / "flows").glob("*.py")} - {"__init__", "demo"}
    assert {d["entrypoint"].split(".")[1] for d in DEPLOYMENTS} == files


def test_triggers_name_deployments_that_exist() -> None:
    triggers = [t for d in DEPLOYMENTS for t in d.get("triggers", ())]
    names = {t["name"]: t["match_related"]["prefect.resource.name"] for t in triggers}
    assert {t["name"]: t["expect"] for t in triggers} == {
        "train-after-build": [BUILT],
        "evaluate-after-train": [TRAINED],
    }
    for deployment in DEPLOYMENTS:
        for trigger in deployment.get("triggers", ()):
            assert set(trigger["parameters"]) <= set(inspect.signature(flow_of(deployment).fn).parameters)
    assert names == {"train-after-build": "build-datasets", "evaluate-after-train": "train"}
    assert set(names.values()) <= {d["name"] for d in DEPLOYMENTS}


def test_runs_that_nobody_asks_for_wait_for_the_end_of_earlier_ones() -> None:
    by_themselves = [d for d in DEPLOYMENTS if d.get("triggers") or d.get("schedules")]
    assert {d["name"] for d in by_themselves} == {"train", "evaluate"}
    for deployment in by_themselves:
        assert deployment["concurrency_limit"] == {"limit": 1, "collision_strategy": "ENQUEUE"}


def test_library_imports_neither_prefect_nor_dask_nor_the_pipeline() -> None:
    files = [*(REPO / "ufvnet").rglob("*.py")]
    imports = {(p.relative_to(REPO).as_posix(), name) for p in files for name in _imported(p)}
    assert ("ufvnet/training/engine.py", "torch") in imports
    forbidden = {"prefect", "prefect_dask", "dask", "distributed", "flows", "tasks"}
    assert not {(file, name) for file, name in imports if name in forbidden}


def _imported(file: Path) -> Iterator[str]:
    """Top-level names of all that a file imports, in functions too."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.split(".")[0]


def test_importing_the_command_line_imports_nothing_heavy() -> None:
    code = "import sys, ufvnet.cli.commands; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "ufvnet.cli" in loaded
    assert not {"torch", "dlib", "prefect", "dask", "pandas"} & set(loaded)

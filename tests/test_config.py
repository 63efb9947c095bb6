"""The one schema of every configuration file, and messages that say what is wrong with one."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from pydantic import ValidationError

from ufvnet.config import (
    BuildConfig,
    ConfigError,
    EvaluateConfig,
    ExperimentConfig,
    Recipe,
    Schema,
    TrainConfig,
    fingerprint,
    load,
)

REPO = Path(__file__).parents[1]
SCHEMAS: dict[str, type[Schema]] = {
    "datasets": BuildConfig,
    "recipes": TrainConfig,
    "experiments": ExperimentConfig,
    "evaluations": EvaluateConfig,
}
SHIPPED = [(folder, path.name) for folder in SCHEMAS for path in sorted((REPO / "configs" / folder).glob("*.yaml"))]

TRAIN: dict[str, Any] = {"name": "mine", "dataset": "data/faces"}
BUILD: dict[str, Any] = {"name": "mine", "source": {"kind": "folder", "root": "photos"}}
EVALUATE: dict[str, Any] = {
    "name": "mine",
    "datasets": [{"name": "a", "path": "data/a"}, {"name": "b", "path": "data/b"}],
}


def _refusal(schema: type[Schema], source: Any, *overrides: str) -> str:
    with pytest.raises(ConfigError) as error:
        load(schema, source, overrides)
    return str(error.value)


def _write(path: Path, data: Any) -> Path:
    path.write_text(yaml.safe_dump(data))
    return path


# The files in configs/


@pytest.mark.parametrize("folder", SCHEMAS)
def test_a_configuration_of_each_kind_is_shipped(folder: str) -> None:
    assert [name for kind, name in SHIPPED if kind == folder]


@pytest.mark.parametrize(("folder", "name"), SHIPPED, ids=[f"{folder}/{name}" for folder, name in SHIPPED])
def test_every_shipped_configuration_loads(folder: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(REPO)
    config = load(SCHEMAS[folder], Path("configs") / folder / name)
    assert isinstance(config, SCHEMAS[folder])


# What is wrong, in words


def test_an_unknown_key_is_refused_by_its_name_and_value() -> None:
    assert "datset = 'data/other'" in _refusal(TrainConfig, TRAIN | {"datset": "data/other"})


def test_an_unknown_key_in_a_section_is_refused_with_a_key_that_is_meant() -> None:
    message = _refusal(TrainConfig, TRAIN | {"recipe": {"lrr": 0.1}})
    assert "recipe.lrr = 0.1" in message
    assert "lr" in re.findall(r"\w+", message)


@pytest.mark.parametrize(
    ("schema", "source", "key", "value", "allowed"),
    [
        (BuildConfig, BUILD | {"hr_size": 100}, "hr_size", "100", ["64", "128"]),
        (BuildConfig, BUILD | {"shard_size": 0}, "shard_size", "0", ["greater than or equal to 1"]),
        (BuildConfig, BUILD | {"name": "../up"}, "name", "'../up'", ["must begin with a letter or digit"]),
        (
            BuildConfig,
            BUILD | {"source": {"kind": "zip", "root": "x"}},
            "source.kind",
            "'zip'",
            ["folder", "celeba", "helen"],
        ),
        (TrainConfig, TRAIN | {"view": "MR9"}, "view", "'MR9'", ["MR3", "MR7", "MR8"]),
        (TrainConfig, TRAIN | {"preset": "huge"}, "preset", "'huge'", ["paper", "small", "tiny"]),
        (TrainConfig, TRAIN | {"recipe": {"lr": 0}}, "recipe.lr", "0", ["greater than 0"]),
        (TrainConfig, TRAIN | {"recipe": {"batch_size": "many"}}, "recipe.batch_size", "'many'", ["valid integer"]),
        (EvaluateConfig, EVALUATE | {"datasets": []}, "datasets", "[]", ["at least 1"]),
        (EvaluateConfig, EVALUATE | {"models": []}, "models", "[]", ["at least 1"]),
        (
            EvaluateConfig,
            EVALUATE | {"models": [{"name": "x", "nme": 1}]},
            "models.0.nme",
            "1",
            ["no such key", "onnx"],
        ),
        (
            EvaluateConfig,
            EVALUATE | {"models": [{"name": "x", "python": "my.py"}]},
            "models.0.python",
            "'my.py'",
            ["file.py:function"],
        ),
        (
            EvaluateConfig,
            EVALUATE | {"models": [{"images": "a", "name": "x", "input_px": 8}]},
            "models.0",
            "input_px",
            ["input_px goes with model, onnx, torchscript, python"],
        ),
        (
            EvaluateConfig,
            EVALUATE | {"models": [{"model": "x", "range": [0, 2]}]},
            "models.0",
            "range",
            ["range goes with onnx, torchscript"],
        ),
        (
            EvaluateConfig,
            EVALUATE | {"models": [{"python": "m:f", "name": "x", "input": "ls"}]},
            "models.0",
            "input",
            ["input goes with onnx, torchscript"],
        ),
        (EvaluateConfig, EVALUATE | {"seed": -1}, "seed", "-1", ["greater than or equal to 0"]),
        (BuildConfig, BUILD | {"seed": -1}, "seed", "-1", ["greater than or equal to 0"]),
        (TrainConfig, TRAIN | {"recipe": {"seed": -1}}, "recipe.seed", "-1", ["greater than or equal to 0"]),
        (EvaluateConfig, EVALUATE | {"grid_faces": 17}, "grid_faces", "17", ["from ", " to 16"]),
    ],
    ids=lambda v: v if isinstance(v, str) else "",
)
def test_a_bad_value_is_refused_by_key_value_and_what_is_allowed(
    schema: type[Schema], source: dict[str, Any], key: str, value: str, allowed: list[str]
) -> None:
    message = _refusal(schema, source)
    line = next(line for line in message.splitlines() if line.strip().startswith(f"{key} = "))
    assert value in line
    assert all(word in line for word in allowed)


def test_a_value_in_the_source_is_refused_by_the_key_that_one_writes() -> None:
    message = _refusal(BuildConfig, BUILD | {"source": {"kind": "folder", "root": "photos", "rooot": 1}})
    assert "source.rooot = 1" in message


def test_a_wrong_method_is_one_line_in_the_words_of_the_file() -> None:
    message = _refusal(EvaluateConfig, EVALUATE | {"models": [{"name": "x", "nme": 1}]})
    assert len(message.splitlines()) == 2
    assert not re.search(r"function-after|Tuple|\.str\b", message)


def test_a_missing_key_is_named() -> None:
    message = _refusal(TrainConfig, {"name": "mine"})
    assert message.splitlines()[1:] == ["  dataset: is missing"]


def test_a_file_of_another_command_is_refused_in_two_lines() -> None:
    lines = _refusal(BuildConfig, TRAIN | {"preset": "tiny"}).splitlines()[1:]
    assert lines[0] == "  source: is missing"
    assert lines[1].startswith("  dataset = 'data/faces', preset = 'tiny': no such key; there are: name, source, ")
    assert len(lines) == 2


def test_a_value_that_an_override_set_is_not_blamed_on_the_file() -> None:
    with pytest.raises(ConfigError) as refusal:
        load(TrainConfig, TRAIN | {"view": "MR9"}, ["recipe.lr=fast", "nosuch=1"])
    assert str(refusal.value).splitlines()[1:3] == [
        "  view = 'MR9': must be 'MR3', 'MR7' or 'MR8'",
        "  recipe.lr = 'fast' (set by an override): must be a valid number",
    ]
    assert "nosuch = 1 (set by an override): no such key" in str(refusal.value)


def test_what_is_no_path_in_a_source_is_one_line_in_the_words_of_the_file() -> None:
    for source in ({"splits": {"train": 1}}, {"landmarks": [1]}):
        lines = _refusal(BuildConfig, BUILD | {"source": {"root": "photos"} | source}).splitlines()[1:]
        assert len(lines) == 1
        assert lines[0].endswith(" = 1: must be a path")


def test_a_wrong_path_or_list_of_paths_is_one_line_per_wrong_path() -> None:
    assert _refusal(TrainConfig, TRAIN | {"dataset": 3}).count("\n") == 1
    lines = _refusal(TrainConfig, TRAIN | {"dataset": ["data/a", ""]}).splitlines()
    assert lines[1:] == ["  dataset.1 = '': is empty; it must be a path"]


def _schemas(annotation: Any) -> Iterator[type[Schema]]:
    if isinstance(annotation, type) and issubclass(annotation, Schema):
        yield annotation
        for field in annotation.model_fields.values():
            yield from _schemas(field.annotation)
    for argument in get_args(annotation):
        yield from _schemas(argument)


@pytest.mark.parametrize("schema", sorted({*_schemas(ExperimentConfig)}, key=lambda schema: schema.__name__))
def test_no_path_of_any_configuration_may_be_empty(schema: type[Schema]) -> None:
    for key, field in schema.model_fields.items():
        if "pathlib" in str(field.annotation):
            messages = []
            for value in ("", [""], {"a": ""}):
                with pytest.raises(ValidationError) as refusal:
                    schema.model_validate({key: value})
                messages += [error["msg"] for error in refusal.value.errors() if error["loc"][0] == key]
            assert any("is empty; it must be a path" in message for message in messages), key


def test_all_mistakes_are_named_at_once() -> None:
    message = _refusal(TrainConfig, {"name": "mine", "view": "MR9", "extra": 1})
    assert all(key in message for key in ("dataset", "view", "extra"))


@pytest.mark.parametrize(
    "fractions",
    [{"train": 0.5}, {"train": 1.5, "test": -0.5}, {}, {"train": float("nan")}],
    ids=["too little", "negative", "empty", "nan"],
)
def test_shares_of_splits_must_sum_to_one(fractions: dict[str, float]) -> None:
    message = _refusal(BuildConfig, BUILD | {"source": BUILD["source"] | {"fractions": fractions}})
    assert "sum to 1" in message or "finite number" in message


@pytest.mark.parametrize("lr", [float("inf"), float("nan"), -1.0])
def test_a_learning_rate_is_a_positive_finite_number(lr: float) -> None:
    assert "recipe.lr" in _refusal(TrainConfig, TRAIN | {"recipe": {"lr": lr}})


@pytest.mark.parametrize(
    "cluster",
    [
        {"address": "tcp://host:8786", "cluster_class": "dask.X"},
        {"adapt": {"minimum": 1}},
        {"cluster_kwargs": {"n": 1}},
    ],
)
def test_a_cluster_of_two_kinds_or_of_none_is_refused(cluster: dict[str, Any]) -> None:
    assert "cluster" in _refusal(BuildConfig, BUILD | {"cluster": cluster})


@pytest.mark.parametrize(
    ("text", "reason"), [("- a\n- b\n", "mapping"), ("{a: [", "not YAML"), ("", "mapping"), ("a: b: c", "not YAML")]
)
def test_a_file_that_is_no_mapping_is_refused_by_its_name(tmp_path: Path, text: str, reason: str) -> None:
    (tmp_path / "c.yaml").write_text(text)
    message = _refusal(TrainConfig, tmp_path / "c.yaml")
    assert "c.yaml" in message
    assert reason in message


@pytest.mark.parametrize("content", [None, b"\xff\xfe\x00name"])
def test_a_file_that_cannot_be_read_is_refused_by_its_name(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "c.yaml").write_bytes(content)
    assert "c.yaml" in _refusal(TrainConfig, tmp_path / "c.yaml")


def test_a_mistake_in_a_file_is_refused_by_the_file_s_name(tmp_path: Path) -> None:
    assert "c.yaml" in _refusal(TrainConfig, _write(tmp_path / "c.yaml", TRAIN | {"view": "MR9"}))


# Values and overrides


def test_the_defaults_of_a_recipe_are_the_paper_s() -> None:
    recipe = Recipe()
    assert (recipe.batch_size, recipe.lr, recipe.betas, recipe.alpha) == (32, 2e-4, (0.9, 0.999), 0.1)
    assert (recipe.lr_schedule, recipe.flip, recipe.mixed_precision) == ("constant", True, "no")
    assert (load(TrainConfig, TRAIN).preset, load(BuildConfig, BUILD).hr_size) == ("paper", 128)


def test_a_file_a_mapping_and_an_instance_load_alike(tmp_path: Path) -> None:
    from_mapping = load(TrainConfig, TRAIN)
    assert load(TrainConfig, _write(tmp_path / "c.yaml", TRAIN)) == from_mapping
    assert load(TrainConfig, str(tmp_path / "c.yaml")) == from_mapping
    assert load(TrainConfig, from_mapping) == from_mapping


def test_a_configuration_does_not_change() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        load(TrainConfig, TRAIN).name = "other"


@pytest.mark.parametrize(
    ("override", "value"),
    [
        ("recipe.lr=1e-3", 1e-3),
        ("recipe.lr=0.5", 0.5),
        ("recipe.batch_size=8", 8),
        ("recipe.flip=false", False),
        ("recipe.betas=[0.5, 0.9]", (0.5, 0.9)),
        ("recipe.lr_schedule=cosine", "cosine"),
    ],
)
def test_an_override_sets_a_dotted_key_to_a_yaml_value(override: str, value: Any) -> None:
    recipe = load(TrainConfig, TRAIN, [override]).recipe
    assert getattr(recipe, override.partition("=")[0].removeprefix("recipe.")) == value


def test_overrides_follow_one_another_and_keep_the_rest(tmp_path: Path) -> None:
    path = _write(tmp_path / "c.yaml", TRAIN | {"view": "MR3", "recipe": {"steps": 7, "lr": 0.1}})
    config = load(TrainConfig, path, ["recipe.lr=0.2", "name=other", "recipe.lr=0.3"])
    assert (config.name, config.view, config.recipe.steps, config.recipe.lr) == ("other", "MR3", 7, 0.3)


def test_an_override_reaches_into_lists_by_index() -> None:
    config = load(EvaluateConfig, EVALUATE, ["datasets.1.limit=5"])
    assert [d.limit for d in config.datasets] == [None, 5]


def test_an_override_of_an_instance_reaches_into_lists_and_empty_sections() -> None:
    config = load(EvaluateConfig, load(EvaluateConfig, EVALUATE), ["datasets.1.limit=5"])
    assert [d.limit for d in config.datasets] == [None, 5]


def test_an_override_with_null_takes_a_value_away() -> None:
    assert load(BuildConfig, BUILD | {"limit": 3}, ["limit=null"]).limit is None


@pytest.mark.parametrize(
    ("override", "reason"),
    [
        ("recipe.lr", "must be key=value"),
        ("=3", "must be key=value"),
        ("name=[1", "not YAML"),
        ("name.first=x", "'name' is a value"),
        ("recipe.nothing=1", "recipe.nothing = 1"),
        ("recipe.lr=fast", "recipe.lr = 'fast'"),
    ],
)
def test_an_impossible_override_is_refused_by_what_it_says(override: str, reason: str) -> None:
    assert reason in _refusal(TrainConfig, TRAIN, override)


@pytest.mark.parametrize("override", ["datasets.7.limit=5", "datasets.x.limit=5", "datasets.7=5"])
def test_an_override_beyond_a_list_is_refused_by_what_it_says(override: str) -> None:
    assert f"override {override!r}" in _refusal(EvaluateConfig, EVALUATE, override)


def test_overrides_leave_the_caller_s_mapping_alone() -> None:
    source = TRAIN | {"recipe": {"lr": 0.1}}
    assert load(TrainConfig, source, ["recipe.lr=0.2"]).recipe.lr == 0.2
    assert source == TRAIN | {"recipe": {"lr": 0.1}}


# Experiments


def test_an_experiment_s_parts_may_be_files_or_written_out(tmp_path: Path) -> None:
    build = _write(tmp_path / "build.yaml", BUILD)
    experiment = load(ExperimentConfig, {"name": "e", "build": [str(build)], "train": [TRAIN], "evaluate": EVALUATE})
    assert experiment.build == (load(BuildConfig, BUILD),)
    assert experiment.train == (load(TrainConfig, TRAIN),)
    assert experiment.evaluate == load(EvaluateConfig, EVALUATE)


def test_an_experiment_s_missing_or_mistaken_part_is_named(tmp_path: Path) -> None:
    assert "gone.yaml" in _refusal(ExperimentConfig, {"name": "e", "build": [str(tmp_path / "gone.yaml")]})
    message = _refusal(ExperimentConfig, {"name": "e", "train": [TRAIN, TRAIN | {"view": "MR9"}]})
    assert "train.1.view = 'MR9'" in message


def test_two_parts_of_an_experiment_that_make_one_folder_are_refused() -> None:
    message = _refusal(ExperimentConfig, {"name": "e", "train": [TRAIN, TRAIN | {"model": "onesrg"}]})
    assert f"two make models/{TRAIN['name']}; give one another name" in message
    load(ExperimentConfig, {"name": "e", "train": [TRAIN, TRAIN | {"out": "elsewhere"}]})


def test_an_override_of_one_part_leaves_another_that_shares_its_yaml_anchor_alone(tmp_path: Path) -> None:
    (tmp_path / "e.yaml").write_text(
        "name: e\n"
        "definitions:\n"
        "  short: &short {lr: 0.1}\n"
        "train:\n"
        "  - {name: a, dataset: d, recipe: *short}\n"
        "  - {name: b, dataset: d, recipe: *short}\n"
    )
    experiment = load(ExperimentConfig, tmp_path / "e.yaml", ["train.1.recipe.lr=0.2"])
    assert [t.recipe.lr for t in experiment.train] == [0.1, 0.2]


# Fingerprints


def test_a_fingerprint_depends_on_values_and_their_order_but_not_on_the_order_of_keys() -> None:
    assert fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1})
    assert fingerprint(1, 2) != fingerprint(2, 1)
    assert fingerprint("1") != fingerprint(1)
    assert re.fullmatch(r"[0-9a-f]{64}", fingerprint("x"))


# Files and values that are hostile


def _bomb() -> str:
    lines = ["name: x", "a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]"]
    return "\n".join([*lines, *(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 12))])


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (_bomb(), "has more than 100,000 values"),
        ("name: &a [*a]", "an alias contains itself, line 1"),
        ("name: &a\n  <<: *a", "an alias contains itself"),
        ("name: " + "[" * 60 + "]" * 60, "nested more than 50 deep"),
        ("name: " + "- " * 5000, "not YAML"),
        ("- " * 5000, "nested too deeply"),
        ("name: " + "9" * 5000, ": is not a valid whole number of at most 64 bits, line 1"),
        ("name: 0x" + "f" * 5000, "name: a whole number of more than 64 bits"),
        ("name: 99999999999999999999", "name: a whole number of more than 64 bits"),
        ("recipe:\n  betas: [0.9, 2020-13-45]", "recipe.betas.1 = 2020-13-45: is not a valid date, line 2"),
        ("recipe: {flip: !!bool maybe}", "recipe.flip = maybe: is not a valid boolean, line 1"),
        ("recipe: {lr: !!timestamp 3}", "recipe.lr = 3: is not a valid date, line 1"),
        ("name: a\nname: b", "the key 'name' is there twice, line 2"),
        ("recipe:\n  lr: 1\n  lr: 2", "the key 'lr' is there twice, line 3"),
        ('name: "a\\0b"', r"name = a\x00b: contains a NUL"),
        ('dataset: {x: ["\\ud800"]}', "dataset.x.0 = "),
        ("name:\tx\n\ty: 2", "not YAML"),
        ("name: !!python/object/apply:os.system [ls]", "not YAML"),
        ("? [a, b]\n: 3", "not YAML"),
    ],
    ids=range(19),
)
def test_yaml_that_no_configuration_can_be_is_refused_in_one_line(tmp_path: Path, text: str, reason: str) -> None:
    (tmp_path / "c.yaml").write_text(text)
    message = _refusal(TrainConfig, tmp_path / "c.yaml")
    assert message.startswith(f"{tmp_path / 'c.yaml'}: ")
    assert reason in message
    assert len(message.splitlines()) == 1


@pytest.mark.parametrize("line", ["3: x", "null: x", "2020-01-01: x", "true: x", "1.5: x"])
def test_a_key_that_is_no_text_is_refused(tmp_path: Path, line: str) -> None:
    (tmp_path / "c.yaml").write_text(f"name: mine\ndataset: d\n{line}\n")
    assert "c.yaml" in _refusal(TrainConfig, tmp_path / "c.yaml")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_configuration_is_read_as_editors_write_it(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "c.yaml").write_bytes("name: mine\r\ndataset: Übung\r\n".encode(encoding))
    assert load(TrainConfig, tmp_path / "c.yaml").dataset == Path("Übung")


@pytest.mark.parametrize("kind", ["pipe", "folder", "device", "large", "missing", "NUL", "long"])
def test_what_is_no_small_file_is_refused_at_once(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "c.yaml"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "device":
        path = Path("/dev/zero")
    elif kind == "large":
        with path.open("wb") as file:
            file.truncate(2**30)
    elif kind == "NUL":
        path = Path("a\0b")
    elif kind == "long":
        path = tmp_path / ("x" * 5000)
    message = _refusal(TrainConfig, path)
    assert "cannot be read" in message
    assert len(message.splitlines()) == 1


@pytest.mark.parametrize(
    "override",
    [
        "a.b.c=", "recipe=5", "recipe=[]", "splits=3", "source=3", "recipe.lr=" + "9" * 10_000,
        "recipe.seed=0x" + "f" * 9_000, "recipe.seed=99999999999", "recipe.batch_size=9999999999",
        "name=2020-13-45", "name=&a [*a]", "name=\0", "=", "..=1", "recipe..lr=1", ".=1", "recipe.betas.²=1",
        "recipe.betas." + "9" * 10_000 + "=1", "a." * 5_000 + "b=1", 'name="\\0"', "name=\ud800",
        "name={? [a]: 1}", "stage1=[[]]", "recipe=5 ", "name=" + "[" * 100,
    ],
    ids=range(25),
)  # fmt: skip
def test_an_override_of_impossible_type_or_path_is_refused_by_its_key(override: str) -> None:
    source = TRAIN | {"recipe": {"betas": [0.9, 0.99]}}
    message = _refusal(TrainConfig, source, override)
    assert override.partition("=")[0].partition(".")[0][:20] in message
    message.encode()
    assert len(message) < 3_000


def test_a_name_that_looks_like_a_special_number_stays_a_name() -> None:
    assert load(TrainConfig, TRAIN, ["name=nan"]).name == "nan"

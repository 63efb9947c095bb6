"""Object stores: photos and tables read from servers of this machine (S3, Google Cloud Storage), datasets published
there, other URLs refused."""

from __future__ import annotations

import io
import shutil
import socket
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from ufvnet import data
from ufvnet.cli.commands import main
from ufvnet.config import BuildConfig, ConfigError, EvaluateConfig, RestoreConfig, Schema, TrainConfig, load
from ufvnet.data.build.assembly import finish_dataset
from ufvnet.data.build.resolved import resolve
from ufvnet.data.build.scan import scan, scan_jobs
from ufvnet.data.build.shard_writer import build_shard
from ufvnet.data.build.shards import plan_shards
from ufvnet.data.push import push
from ufvnet.models.store import find
from ufvnet.remote import RemotePath, path_or_url
from ufvnet.restore.folder.run import restore_folder

BUCKET = "faces"

Refused = tuple[type[Schema], dict[str, Any], str]


@pytest.fixture(scope="session")
def s3() -> Iterator[RemotePath]:
    """An empty bucket on an S3 server of this machine, which the environment names to all clients."""
    pytest.importorskip("s3fs", reason='needs pip install "ufvnet[storage]"')
    server = pytest.importorskip("moto.server", reason='needs pip install "moto[server]"').ThreadedMotoServer(port=0)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {
            "AWS_ENDPOINT_URL": f"http://{host}:{port}", "AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_DEFAULT_REGION": "us-east-1", "NO_PROXY": host, "no_proxy": host,
        }.items():  # fmt: skip
            patch.setenv(name, value)
        yield _bucket("s3")
    server.stop()


@pytest.fixture(scope="session")
def gs() -> Iterator[RemotePath]:
    """The same on a server that answers as Google Cloud Storage does."""
    pytest.importorskip("gcsfs", reason='needs pip install "ufvnet[gcs]"')
    reason = "needs pip install gcp-storage-emulator"
    emulator = pytest.importorskip("gcp_storage_emulator.server", reason=reason)
    server = emulator.create_server("127.0.0.1", 0, in_memory=True)
    server.start()
    host, port = server._api._httpd.server_address
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {
            "STORAGE_EMULATOR_HOST": f"http://{host}:{port}", "NO_GCE_CHECK": "true",  # no search for credentials
            "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false",  # kinds of buckets that the server does not know
            "NO_PROXY": host, "no_proxy": host,
        }.items():  # fmt: skip
            patch.setenv(name, value)
        yield _bucket("gs")
    server.stop()


def _bucket(scheme: str) -> RemotePath:
    bucket = RemotePath(f"{scheme}://{BUCKET}")
    bucket._store.mkdir(BUCKET)
    return bucket


@pytest.fixture(params=["s3", "gs"])
def store(request: pytest.FixtureRequest) -> RemotePath:
    """The bucket of each kind of store."""
    return request.getfixturevalue(request.param)


def _build(root: object, out: Path, **source: Any) -> dict[str, Any]:
    config = load(BuildConfig, {"name": "set", "out": out, "hr_size": 64, "source": {"root": str(root)} | source})
    build = resolve(config)
    shards = plan_shards(build)
    return finish_dataset(build, shards, [build_shard(s) for s in shards])


def _bytes_below(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("part-*.parquet")}


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory, put_photos: Callable[[Path, int], list[Path]]) -> Path:
    folder = tmp_path_factory.mktemp("stored") / "photos"
    put_photos(folder, 3)
    (folder / "a").mkdir()
    (folder / "a" / "broken.jpg").write_bytes(b"no picture")
    (folder / ".hidden.jpg").write_bytes(b"")
    return folder


@pytest.fixture
def stored(photos: Path, store: RemotePath) -> RemotePath:
    """The photos in the bucket."""
    for path in photos.rglob("*.jpg"):
        (store / "photos" / path.relative_to(photos).as_posix()).upload(path)
    return store / "photos"


def test_a_build_from_a_store_writes_the_bytes_of_one_from_a_folder(
    photos: Path, stored: RemotePath, tmp_path: Path
) -> None:
    lists = {"train": stored.parent / "train.txt"}
    lists["train"].write_bytes(b"".join(b"%s\n" % p.name.encode() for p in photos.glob("[!.]*.jpg")) + b"gone.jpg\n")
    (tmp_path / "train.txt").write_bytes(lists["train"].read_bytes())
    card = _build(stored, tmp_path / "remote", splits={k: str(v) for k, v in lists.items()})
    here = _build(photos, tmp_path / "local", splits={"train": str(tmp_path / "train.txt")})
    assert card["counts"] == here["counts"]
    assert (card["counts"]["ok"], card["counts"]["missing"], card["counts"]["not_listed"]) == (3, 1, 1)
    assert card["fingerprints"] == here["fingerprints"]
    remote, local = (_bytes_below(tmp_path / name / "set" / "faces") for name in ("remote", "local"))
    assert remote == local
    assert card["config"]["source"]["root"] == str(stored)
    with pytest.raises(ConfigError, match=rf"^photos = {stored}: is a URL"):
        _ = data.open(tmp_path / "remote" / "set").photos


def test_names_with_doubled_slashes_are_read_as_they_are(stored: RemotePath, photos: Path, tmp_path: Path) -> None:
    odd = stored.parent / "odd"
    source = next(iter(sorted(photos.glob("[!.]*.jpg"))))
    (odd / "a//b.jpg").upload(source)
    assert _build(odd, tmp_path / "out")["counts"]["ok"] == 1


@pytest.mark.parametrize("ending", ["parquet", "arrow"])
def test_tables_are_read_from_a_store_and_may_name_objects_beside_them(
    store: RemotePath, photos: Path, tmp_path: Path, ending: str
) -> None:
    content = [p.read_bytes() for p in sorted(photos.glob("[!.]*.jpg"))]
    folder = store / f"tables-{ending}"
    (folder / "one.jpg").write_bytes(content[2])
    pictures = [(content[0], "x"), (content[1], None), (None, "one.jpg"), (None, "../photos/none.jpg")]
    cells = [{"bytes": picture, "path": name} for picture, name in pictures]
    table, buffer = pa.table({"image": cells}), io.BytesIO()
    if ending == "parquet":
        pq.write_table(table, buffer, row_group_size=2)
    else:
        with pa.ipc.new_file(buffer, table.schema) as writer:
            writer.write_table(table)
    (folder / f"t.{ending}").write_bytes(buffer.getvalue())
    card = _build(folder, tmp_path / "out", kind="table")
    assert (card["photos"], card["counts"]["ok"], card["counts"]["unreadable"]) == (4, 3, 1)


def test_helen_and_celeba_are_found_in_a_store(s3: RemotePath, tmp_path: Path) -> None:
    for name in ("helen_1/a.jpg", "helen_2/b.jpg"):
        (s3 / "helen" / name).write_bytes(name.encode())
    (s3 / "helen/trainnames.txt").write_bytes(b"a\n")
    (s3 / "helen/testnames.txt").write_bytes(b"b\n")
    (s3 / "celeba/img_celeba/1.jpg").write_bytes(b"1")
    (s3 / "celeba/Eval/list_eval_partition.txt").write_bytes(b"1.jpg 2\n")
    for kind, expected in (("helen", {"train": 1, "test": 1}), ("celeba", {"test": 1})):
        raw = {"name": "x", "out": tmp_path, "source": {"kind": kind, "root": f"s3://faces/{kind}", "expect": expected}}
        assert len(resolve(load(BuildConfig, raw)).photos) == sum(expected.values())


def test_a_worker_without_access_is_found_out_and_a_store_without_it_refused(
    stored: RemotePath, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build = resolve(load(BuildConfig, {"name": "set", "out": tmp_path, "source": {"root": str(stored)}}))
    nowhere = f"{stored.parent}/nowhere"
    (job,) = scan_jobs(build)
    with monkeypatch.context() as patch:
        patch.setattr(RemotePath, "open", _refuse)
        assert [hashes.sha256 for hashes in scan(job)] == [None] * 4
    with pytest.raises(ConfigError, match=rf"^source\.root = {nowhere}: no such folder"):
        resolve(load(BuildConfig, {"name": "set", "out": tmp_path, "source": {"root": nowhere}}))
    monkeypatch.setattr(RemotePath, "is_dir", _refuse)
    with pytest.raises(ConfigError, match=rf"^source\.root = {stored}: cannot be read \(no access\)"):
        resolve(build.config)


def _refuse(*_: object) -> Any:
    raise OSError("no access")


def test_a_dataset_is_published_with_its_card_last(
    built: Path, store: RemotePath, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = Path(shutil.copytree(built, tmp_path / "faces", ignore=shutil.ignore_patterns("cache")))
    dataset, target = data.open(copy), store / "published"
    uploaded: list[str] = []
    upload = RemotePath.upload

    def spy(path: RemotePath, file: Path) -> None:
        assert not (target / "dataset.json").exists()
        if len(uploaded) == 2:
            uploaded.append("")
            raise OSError("cut off")
        upload(path, file)
        uploaded.append(path.name_below(target))

    monkeypatch.setattr(RemotePath, "upload", spy)
    with pytest.raises(OSError, match="cut off"):
        push(dataset, str(target))
    assert not (target / "dataset.json").exists()
    count, present = push(dataset, str(target))
    assert (uploaded[-1], present) == ("dataset.json", 0)
    assert push(dataset, str(target)) == (0, count)
    here = {p.relative_to(copy).as_posix(): p for p in copy.rglob("*") if p.is_file() and "timings" not in p.parts}
    there = {p.name_below(target): p.read_bytes() for p in target.files()}
    assert there == {name: path.read_bytes() for name, path in here.items()}
    (file,) = (s["faces"] for s in dataset.card["shards"] if (s["faces"] or "").startswith("faces/split=val"))
    faces = pd.read_parquet(f"{target}/{file}", columns=["face_id"], filesystem=target._store)
    assert len(faces) == dataset.card["faces"]["val"]
    (copy / file).write_bytes(b"damaged")
    with pytest.raises(ConfigError, match=f"{file} is missing or damaged"):
        push(dataset, str(target))


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("s3://faces/others", "is not empty, and no dataset that ufvnet published"),
        ("http://example.com/faces", "http:// is not supported; it must be a path of a file system, or one of s3://"),
        ("somewhere", "must be a URL of a store"),
        ("s3://", "names no bucket"),
    ],
)
def test_a_dataset_is_published_only_where_nothing_else_lies(built: Path, s3: RemotePath, url: str, why: str) -> None:
    (s3 / "others/mine.txt").write_bytes(b"mine")
    with pytest.raises(ConfigError, match=f"^url = {url}: {why}"):
        push(data.open(built), url)


@pytest.mark.parametrize("interrupted", [True, False])
def test_shards_that_an_interrupted_push_left_are_removed_by_the_next(built: Path, interrupted: bool) -> None:
    pytest.importorskip("fsspec")
    dataset, target = data.open(built), RemotePath(f"memory://pushed/{interrupted}")
    stale = [target / "photos/part-00077.parquet", target / "faces/split=gone/part-00000.parquet"]
    push(dataset, str(target))
    if interrupted:
        (target / "dataset.json").unlink()
    for path in stale:  # of a larger dataset that was published there before
        path.write_bytes(b"stale")
    push(dataset, str(target))
    there = {path.name_below(target) for path in target.files()}
    assert there == {"dataset.json", "README.md", "near_duplicates.parquet"} | {
        shard[kind] for shard in dataset.card["shards"] for kind in ("photos", "faces")
    }


def test_a_readme_that_somebody_wrote_into_the_store_stays(built: Path) -> None:
    pytest.importorskip("fsspec")
    dataset, target = data.open(built), RemotePath("memory://with-readme/faces")
    readme = target / "README.md"
    readme.write_bytes(b"mine")
    with pytest.raises(ConfigError, match="is not empty, and no dataset that ufvnet published"):
        push(dataset, str(target))
    readme.unlink()
    push(dataset, str(target))
    assert readme.read_bytes() == (built / "README.md").read_bytes()
    readme.write_bytes(b"mine")
    push(dataset, str(target))
    assert readme.read_bytes() == b"mine"


# Stores that refuse, fail or do not answer

CUT = 0
"""Instead of an answer's code: the connection is closed."""


@pytest.fixture
def answers(s3: RemotePath, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[int, str]]]:
    """What the store answers to the next requests: codes and their names. Retries do not wait."""
    from botocore.retries.standard import ExponentialBackoff

    script = list[tuple[int, str]]()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"  # which answers a client that asks whether to send

        def do_PUT(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            code, name = script.pop(0)
            self.close_connection = code == CUT
            if code != CUT:
                body = f"<Error><Code>{name}</Code><Message>{name} it is</Message></Error>".encode() * (code != 200)
                self.send_response(code)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    monkeypatch.setattr(ExponentialBackoff, "delay_amount", lambda *_: 0)
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever).start()
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_port}")
        s3._store.clear_instance_cache()  # clients keep the address
        yield script
        server.shutdown()
    s3._store.clear_instance_cache()


@pytest.mark.parametrize(
    "answer",
    [(403, "AccessDenied"), (404, "NoSuchBucket"), (403, "InvalidAccessKeyId"), (403, "SignatureDoesNotMatch")],
)
def test_what_no_retry_mends_is_asked_once(
    answers: list[tuple[int, str]], s3: RemotePath, answer: tuple[int, str]
) -> None:
    answers[:] = [answer, (200, "")]
    with pytest.raises(OSError, match=f"{answer[1]} it is"):
        (s3 / "x").write_bytes(b"x")
    assert answers == [(200, "")]


@pytest.mark.parametrize("answer", [(503, "SlowDown"), (500, "InternalError"), (CUT, "")])
def test_an_overloaded_store_and_a_cut_connection_are_asked_again(
    answers: list[tuple[int, str]], s3: RemotePath, answer: tuple[int, str]
) -> None:
    answers[:] = [answer, answer, (200, "")]
    (s3 / "x").write_bytes(b"x")
    assert answers == []


def test_an_address_where_nothing_answers_is_tried_three_times_and_named(
    built: Path, s3: RemotePath, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from botocore.retries.standard import ExponentialBackoff

    pauses = list[object]()
    monkeypatch.setattr(ExponentialBackoff, "delay_amount", lambda _, context: pauses.append(context) or 0)
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"http://127.0.0.1:{free.getsockname()[1]}"
    monkeypatch.setenv("AWS_ENDPOINT_URL", address)
    s3._store.clear_instance_cache()
    source = {"root": str(s3 / "photos")}
    with pytest.raises(ConfigError) as refused:
        resolve(load(BuildConfig, {"name": "set", "out": tmp_path, "source": source}))
    assert str(refused.value) == (
        f'source.root = s3://faces/photos: cannot be read (Could not connect to the endpoint URL: "{address}/faces")'
    )
    assert len(pauses) == 2
    monkeypatch.setattr("sys.argv", ["ufvnet", "data", "push", str(built), f"{s3}/published"])
    with pytest.raises(SystemExit) as end:
        main()
    said = (
        f'ufvnet: url = s3://faces/published: cannot be used (Could not connect to the endpoint URL: "{address}/faces")'
    )
    assert (end.value.code, capsys.readouterr().err) == (2, f"{said}\n")
    s3._store.clear_instance_cache()


def test_memory_is_a_store_too(tmp_path: Path) -> None:
    pytest.importorskip("fsspec")
    buffer = io.BytesIO()
    Image.new("RGB", (32, 32)).save(buffer, "PNG")
    RemotePath("memory://photos/a/b.png").write_bytes(buffer.getvalue())
    assert _build("memory://photos", tmp_path)["counts"]["no_face"] == 1


# URLs that are refused

BUILD, EVALUATE = {"name": "x", "source": {"root": "p"}}, {"name": "x", "datasets": [{"name": "a", "path": "a"}]}
TRAIN, RESTORE = {"name": "x", "dataset": "a"}, {"input": "a", "output": "b"}
KEYS = [
    *((BuildConfig, BUILD, key) for key in ("out", "source.root", "source.landmarks", "source.splits.train")),
    *((TrainConfig, TRAIN, key) for key in ("dataset", "out", "runs", "start", "stage1.regressor")),
    *((EvaluateConfig, EVALUATE, key) for key in ("out", "datasets.0.path")),
    *((RestoreConfig, RESTORE, key) for key in ("input", "output", "model", "boxes", "image_root")),
]


@pytest.mark.parametrize(("schema", "raw", "key"), KEYS, ids=lambda v: v if isinstance(v, str) else "")
@pytest.mark.parametrize("url", ["https://example.com/x", "ftp://host/x", "file:///x"])
def test_every_path_refuses_urls_by_its_key(schema: type[Schema], raw: dict[str, Any], key: str, url: str) -> None:
    named = rf"{key}(\.\d)? = '?{url}'?( .set by an override.)?"
    with pytest.raises(ConfigError, match=rf"{named}: .*must be a path of a file system"):
        load(schema, raw, [f"{key}={url}"])


def test_models_of_an_evaluation_and_lists_of_paths_refuse_urls() -> None:
    for schema, raw, override, key in (
        (EvaluateConfig, EVALUATE, "models=[bicubic, 's3://bucket/model']", r"models\.1"),
        (EvaluateConfig, EVALUATE, "models=[{model: 's3://bucket/model'}]", r"models\.0\.model"),
        (TrainConfig, TRAIN, "dataset=[a, 's3://bucket/data']", r"dataset"),
        (RestoreConfig, RESTORE, "landmarks=['gs://bucket/l.csv']", r"landmarks\.0"),
    ):
        with pytest.raises(ConfigError, match=rf"{key}.* = .*is a URL; it must be a path of a file system"):
            load(schema, raw, [override])
    with pytest.raises(ConfigError, match=r"^model = s3://bucket/model: is a URL"):
        find("s3://bucket/model")


@pytest.mark.parametrize(
    ("command", "key"),
    [
        (["build", "s3://bucket/build.yaml"], "config"),
        (["demo", "--out", "s3://bucket/demo"], "out"),
        (["data", "show", "gs://bucket/faces"], "dataset"),
        (["data", "export", "faces", "s3://bucket/out"], "out"),
    ],
    ids=lambda v: v if isinstance(v, str) else v[0],
)
def test_every_command_refuses_urls_for_paths(
    command: list[str], key: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["ufvnet", *command])
    with pytest.raises(SystemExit) as end:
        main()
    (url,) = (word for word in command if "://" in word)
    assert (end.value.code, capsys.readouterr().err) == (
        2, f"ufvnet: {key} = {url}: is a URL; it must be a path of a file system\n"
    )  # fmt: skip
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize(("scheme", "package", "extra"), [("s3", "s3fs", "storage"), ("gs", "gcsfs", "gcs")])
def test_a_package_that_is_missing_is_named_with_its_extra(
    scheme: str, package: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ufvnet.extras.is_installed", lambda module: module != package)
    with pytest.raises(ConfigError) as refused:
        load(RestoreConfig, {"input": f"{scheme}://b/x", "output": "out"})
    assert f'{scheme}://: {package} is not installed; pip install "ufvnet[{extra}]" brings it' in str(refused.value)


def test_a_windows_drive_and_a_name_with_a_colon_are_paths() -> None:
    assert isinstance(path_or_url("C:/photos"), Path)
    assert isinstance(path_or_url("photos: 2026/a"), Path)


@pytest.mark.parametrize("paths", ["memory://b/x", "x", ("x", "y"), ("memory://b/x", "y")], ids=str)
def test_a_key_of_one_or_several_paths_is_read_as_it_was_written(paths: str | tuple[str, ...]) -> None:
    pytest.importorskip("fsspec")
    config = load(RestoreConfig, {"input": paths, "output": "out"})
    assert RestoreConfig.model_validate(config.model_dump()) == config
    assert RestoreConfig.model_validate_json(config.model_dump_json()) == config


def test_pictures_are_restored_into_a_store(
    store: RemotePath, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name in ("a.png", "b.png"):
        buffer = io.BytesIO()
        Image.linear_gradient("L").resize((24, 24)).save(buffer, "PNG")
        (store / "crops" / name).write_bytes(buffer.getvalue())
    monkeypatch.setattr("sys.argv", ["ufvnet", "restore", f"{store}/crops", f"{store}/restored", "--mode", "aligned"])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 0
    names = [path.name for path in (store / "restored").files()]
    assert names == ["a.png", "b.png", "manifest.parquet", "summary.json"]
    assert not (store / "restored" / ".ufvnet.json").is_file()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "another machine"))
    settings = {"input": f"{store}/crops", "output": f"{store}/restored", "mode": "aligned", "resume": True}
    with monkeypatch.context() as patch:
        patch.setattr(RemotePath, "write_bytes", lambda path, _: pytest.fail(f"{path} is written again"))
        assert restore_folder(load(RestoreConfig, settings))["counts"]["restored"] == 2
    said = "".join(capfd.readouterr())
    assert "2 restored, 0 failed; 2 faces" in said
    assert f"{store}/restored" in said
    assert "secret" not in said

"""Real, small things to test on: photos, broken files, a built dataset."""

from __future__ import annotations

import gc
import io
import os
import shutil
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock
from PIL import Image

from ufvnet.children import KEEP_MEMORY
from ufvnet.config import BuildConfig, FolderSource
from ufvnet.data.build.assembly import finish_dataset
from ufvnet.data.build.resolved import resolve
from ufvnet.data.build.shard_writer import build_shard
from ufvnet.data.build.shards import plan_shards
from ufvnet.data.sample import jittered_photos

gc.disable()  # until all tests are collected: what they import stays, and searching it for garbage takes long
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # torch's waiting threads would starve the processes tests start
for name, value in KEEP_MEMORY.items():
    os.environ.setdefault(name, value)  # of the processes of pytest-xdist and all that tests start

REPO = Path(__file__).parents[1]
FACES = Path(os.environ.get("UFVNET_TEST_FACES") or REPO.parent / "shared" / "faces")
"""Real photos, if they are there. UFVNET_TEST_FACES names another folder; ``none`` tests as a checkout alone does."""

FIRST = (
    "training/test_batches", "training/test_engine", "tests/flows", "tests/tasks", "restore/test_survive",
    "tests/training", "models/test_export", "restore/test_command", "tests/test_gpu", "data/test_stores",
    "tests/test_wheel", "tests/results", "models/competitors", "tests/restore",
)  # fmt: skip
"""Parts of names of the files that begin first: test_batches, whose loaders fork this process, before other tests have
loaded libraries and begun threads in it; then those that take longest, so that all processes end at about one time."""

PutPhotos = Callable[[Path, int], list[Path]]
PutLists = Callable[[Path, dict[str, int]], dict[str, Path]]
PutHostile = Callable[[Path], dict[str, str]]


@pytest.fixture(scope="session")
def repo() -> Path:
    """The root of the checkout."""
    return REPO


def pytest_collection_finish() -> None:
    """Search for garbage again, but not among what was imported."""
    gc.enable()
    gc.freeze()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that look for real photos, so that ``pytest -m photos`` runs them without any; long ones first."""
    for item in items:
        if "real_faces" in getattr(item, "fixturenames", ()):
            item.add_marker("photos")
    items.sort(key=lambda item: next((i for i, part in enumerate(FIRST) if part in item.nodeid), len(FIRST)))


@pytest.fixture(scope="session")
def real_faces() -> Path | None:
    """The folder of real face photos beside the checkout, or None; what looks for them asks for this fixture."""
    return FACES if FACES.is_dir() else None


@pytest.fixture(scope="session")
def faces_root(real_faces: Path | None) -> Path:
    """The folder of real face photos; tests that need it are skipped without it."""
    if real_faces is None:
        pytest.skip(f"there are no real face photos at {FACES}")
    return real_faces


@pytest.fixture(scope="session")
def put_photos(real_faces: Path | None) -> PutPhotos:
    """Fill a folder with so many different photos, each of one person whose face dlib finds."""

    def put(folder: Path, count: int) -> list[Path]:
        folder.mkdir(parents=True, exist_ok=True)
        if real_faces is None:
            return sorted(jittered_photos(folder, count).iterdir())
        everyone = sorted((real_faces / "aaf" / "images").iterdir())
        return [Path(shutil.copy(p, folder)) for p in everyone[:: len(everyone) // count][:count]]

    return put


@pytest.fixture(scope="session")
def put_lists() -> PutLists:
    """Beside a folder of photos, a list file a split of so many of them each, in the order of their names."""

    def put(photos: Path, counts: dict[str, int]) -> dict[str, Path]:
        names, lists = iter(sorted(p.name for p in photos.iterdir())), {}
        for split, count in counts.items():
            lists[split] = photos.parent / f"{photos.name}-{split}.txt"
            lists[split].write_text("".join(f"{next(names)}\n" for _ in range(count)))
        return lists

    return put


@pytest.fixture
def photos(tmp_path: Path, put_photos: PutPhotos) -> Path:
    """A folder of a dozen photos that the test may do with as it likes."""
    put_photos(tmp_path / "photos", 12)
    return tmp_path / "photos"


@pytest.fixture(scope="session")
def put_hostile() -> PutHostile:
    """Put files that no builder likes into a folder; gives the status that each must get."""

    def put(folder: Path) -> dict[str, str]:
        folder.mkdir(parents=True, exist_ok=True)
        noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (120, 160, 3), dtype=np.uint8))
        whole = io.BytesIO()
        noise.save(whole, "JPEG")
        (folder / "truncated.jpg").write_bytes(whole.getvalue()[: len(whole.getvalue()) // 2])
        (folder / "empty.jpg").write_bytes(b"")
        (folder / "text.jpg").write_text("This is no photograph.\n")
        (folder / "large.png").write_bytes(_declared_png(11_000, 11_000))
        (folder / "enormous.png").write_bytes(_declared_png(60_000, 60_000))
        Image.new("RGB", (1, 1), "red").save(folder / "dot.png")
        noise.save(folder / "noise.png")
        return {
            "truncated.jpg": "unreadable",
            "empty.jpg": "unreadable",
            "text.jpg": "unreadable",
            "large.png": "too_large",
            "enormous.png": "too_large",
            "dot.png": "no_face",
            "noise.png": "no_face",
        }

    return put


def _declared_png(width: int, height: int) -> bytes:
    """A PNG of a few bytes whose header declares the given size."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")


MIGRATE = """
import asyncio
from prefect.server.database import provide_database_interface
asyncio.run(provide_database_interface().create_db())
"""


@pytest.fixture(scope="session")
def prefect_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A PREFECT_HOME with its database, made once for all processes of tests; copy it, do not use it.

    A flow in a new home makes the database first, 4 CPU-seconds each time.
    """
    folder = tmp_path_factory.getbasetemp()
    home = (folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder) / "prefect-home"
    with FileLock(f"{home}.lock"):
        if not home.is_dir():
            making = home.with_name("making")
            variables = {k: v for k, v in os.environ.items() if not k.startswith("PREFECT_")}
            variables |= {"PREFECT_HOME": str(making), "DO_NOT_TRACK": "1", "PREFECT_SERVER_ANALYTICS_ENABLED": "false"}
            subprocess.run([sys.executable, "-c", MIGRATE], env=variables, check=True, capture_output=True)
            making.rename(home)
    return home


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory, put_photos: PutPhotos, put_lists: PutLists) -> Path:
    """A built dataset of 24 photos at HR 64 (12 train, 6 val, 6 test); do not write to it."""
    folder = tmp_path_factory.mktemp("built")
    put_photos(folder / "photos", 24)
    splits = put_lists(folder / "photos", {"train": 12, "val": 6, "test": 6})
    source = FolderSource(root=folder / "photos", splits=splits)
    config = BuildConfig(name="faces", source=source, out=folder, hr_size=64, shard_size=8)
    build = resolve(config)
    shards = plan_shards(build)
    card = finish_dataset(build, shards, [build_shard(s) for s in shards])
    assert card["counts"]["ok"] == 24, card["counts"]
    return folder / "faces"

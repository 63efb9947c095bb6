"""An evaluation's folder: ours alone, one run at a time, and after a run without what only earlier runs wrote."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from ufvnet.config import ConfigError, EvaluateConfig
from ufvnet.data.schema import read_fingerprint
from ufvnet.errors import EvaluationError
from ufvnet.files import MARKER, check_ours, claim, printed, safe_name, seal, sha256, unseal, write_json
from ufvnet.models.inference import BICUBIC
from ufvnet.models.store import find

from .methods.rows import as_method

KIND = "evaluation"
LOCK = ".ufvnet.lock"
WRITTEN = ".ufvnet-written.json"
"""Which files of tables/ and figures/ runs of ours wrote, with their sha256; sealed."""
OURS = ("scores", "tables", "figures", "report.html")

Place = Callable[[str], Path]
"""The path for a file of some name."""

log = logging.getLogger(__name__)


def check_folder(config: EvaluateConfig) -> None:
    """
    Raises:
        ConfigError: an evaluation's folder holds files of somebody else, overlaps what is read, cannot be written to,
            or has a symbolic link where we write.
    """
    folder = config.out / config.name
    check_ours("out", folder, KIND, _sources(config), _of_an_earlier_release)
    scores = [folder / "scores" / safe_name(test_set.name) for test_set in config.datasets]
    for path in (*(folder / name for name in OURS), *scores, *(p for s in scores if s.is_dir() for p in s.iterdir())):
        if path.is_symlink():
            raise ConfigError(f"out = {printed(folder)}: {printed(path)} is a symbolic link; nothing is written there")


def _sources(config: EvaluateConfig) -> Iterator[tuple[str, Path]]:
    """What an evaluation reads."""
    for test_set in config.datasets:
        yield "datasets.path", test_set.path
    for entry in config.models:
        with contextlib.suppress(ConfigError):  # told elsewhere
            method = as_method(entry)
            if method.model and method.model != Path(BICUBIC):
                yield "models", find(method.model)
            for source in (method.onnx, method.torchscript, method.images):
                if source:
                    yield "models", source
            if method.python and method.python.rpartition(":")[0].endswith(".py"):
                yield "models", Path(method.python.rpartition(":")[0])


def _of_an_earlier_release(folder: Path) -> bool:
    """Whether there is nothing in it but what an evaluation had before there were markers, scores of ours among it."""
    if any(path.name not in OURS for path in folder.iterdir() if not path.name.startswith(".ufvnet")):
        return False
    return any(read_fingerprint(file) for file in folder.glob("scores/*/*/part-*.parquet"))


@contextlib.contextmanager
def alone(config: EvaluateConfig) -> Iterator[None]:
    """Keep other runs from an evaluation's folder.

    Raises:
        ConfigError: one is at it.
    """
    folder = config.out / config.name
    claim(folder, KIND)
    try:
        with FileLock(folder / LOCK, timeout=0):
            yield
    except Timeout as error:
        raise ConfigError(
            f"out = {printed(folder)}: another run writes there; wait for its end, or set another name"
        ) from error


class Written:
    """The list of files that runs of ours wrote: what is in it may be replaced, and removed when it is stale."""

    def __init__(self, root: Path):
        self.root, self.file = root, root / WRITTEN
        data = unseal(self.file.read_bytes()) if self.file.is_file() else None
        if data is None and self.file.is_file():
            log.warning("%s is damaged: no stale file is removed this time", printed(self.file))
        self.known = data is not None
        self.listed: dict[str, str | None] = (data or {}).get("files", {})
        self.new: set[str] = set()

    def into(self, folder: str) -> Place:
        """Places of files below a folder."""
        return lambda name: self.place(f"{folder}/{name}")

    def place(self, name: str) -> Path:
        """Where to write a file, which is on the list from then on. Two of one name get different files.

        Raises:
            EvaluationError: the evaluation's folder was removed meanwhile.
        """
        if not (self.root / MARKER).is_file():
            raise EvaluationError(f"{printed(self.root)} was removed while it was written to; evaluate again")
        stem, suffix = name.rsplit(".", 1)
        number = 1
        while name.casefold() in {other.casefold() for other in self.new}:
            number += 1
            name = f"{stem}~{number}.{suffix}"
        path = self.root / name
        if self.known and name not in self.listed and (path.is_symlink() or path.exists()):
            self._put_aside(path)
        self.new.add(name)
        if name not in self.listed:
            self.listed[name] = None  # its content is known when the run has ended
            self._save()
        return path

    def _put_aside(self, path: Path) -> None:
        """Keep a file that is not ours and has a name that we need."""
        number = 1
        while (kept := path.with_name(f"{path.name}.kept-{number}")).exists():
            number += 1
        path.rename(kept)
        log.warning("%s is not of an earlier run: it is kept as %s", printed(path), printed(kept.name))

    def tidy(self) -> None:
        """Remove what only earlier runs wrote, but for what was changed since, and note what this run wrote."""
        for name in sorted(set(self.listed) - self.new):
            path, digest = self.root / name, self.listed.pop(name)
            if ".." in Path(name).parts or path.parent.is_symlink() or path.is_symlink() or not path.is_file():
                continue
            if digest not in (None, sha256(path)):
                log.warning("%s was changed after it was written: it is kept, though it is stale", printed(path))
                continue
            path.unlink()
        self.listed |= {name: sha256(self.root / name) for name in self.new}
        self._save()

    def _save(self) -> None:
        write_json(self.file, seal({"files": self.listed}))

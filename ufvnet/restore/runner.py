"""A folder of face crops to restored images, batched, with a row for every file."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
from PIL import Image

from ufvnet.config import ConfigError, RestoreConfig
from ufvnet.data.images import ImageProblem, read_image
from ufvnet.data.schema import write_atomically, write_json
from ufvnet.data.sources import files_below

from .restorer import Restorer

LEAST_SIDE = 4
JOURNAL, MANIFEST, SUMMARY = "manifest.jsonl", "manifest.parquet", "summary.json"
FINISHED = ("restored", "copied")
STATUSES = ("restored", "copied", "failed")
"""``copied``: both sides are at least the model's output size already, so the file is kept as it is."""

Progress = Callable[[int, int], None]


@dataclass
class _Job:
    """A file to restore: its manifest row in the making, and its picture once read."""

    source: Path
    target: Path
    row: dict[str, Any]
    image: Image.Image | None = None


def restore_folder(config: RestoreConfig, progress: Progress | None = None) -> dict[str, Any]:
    """Restore every file of a folder; nothing stops the run and every file gets a row.

    Outputs, manifest.parquet and summary.json are written under temporary names and renamed; with
    ``resume``, files whose output is there with the recorded sha256 are not done again.

    Args:
        progress: called with files done and files in all.

    Returns:
        The summary: counts by status, and the first reasons of failures.

    Raises:
        ConfigError: the input is no folder or holds no file, the output is the input, or no model.
    """
    restorer = Restorer.load(config.model, config.device)
    jobs = _plan(config, restorer.fingerprint)
    config.output.mkdir(parents=True, exist_ok=True)
    earlier = _earlier(config) if config.resume else {}
    rows = [row for job in jobs if (row := _kept(job, earlier.get(job.row["path"]))) is not None]
    kept = {row["path"] for row in rows}
    journal = config.output / JOURNAL
    journal.write_text("".join(json.dumps(row) + "\n" for row in rows))
    done = len(rows)
    with journal.open("a") as file:
        for chunk in _chunks((j for j in jobs if j.row["path"] not in kept), config.batch_size):
            _restore(chunk, restorer)
            rows += [job.row for job in chunk]
            file.writelines(json.dumps(job.row) + "\n" for job in chunk)
            file.flush()
            done += len(chunk)
            if progress:
                progress(done, len(jobs))
    return _finish(config, rows, journal)


def _plan(config: RestoreConfig, fingerprint: str) -> list[_Job]:
    source, output = config.input.resolve(), config.output.resolve()
    if not source.is_dir():
        raise ConfigError(f"input = {config.input}: no such folder")
    if source == output:
        raise ConfigError(f"output = {config.output}: is the input folder; results must not mix with the originals")
    if output.exists() and not output.is_dir():
        raise ConfigError(f"output = {config.output}: is a file; it must be a folder")
    files = [p for p in files_below(source, config.recursive) if not p.is_relative_to(output)]
    if not files:
        raise ConfigError(f"input = {config.input}: no files in it")
    stems = Counter(_folded(p.with_suffix("")) for p in files)
    jobs, taken = [], set[str]()
    for file in files:
        # a.jpg and a.png become a.jpg.png and a.png.png, so that neither overwrites the other
        relative = file.relative_to(source)
        name = f"{relative.stem}.png" if stems[_folded(file.with_suffix(""))] == 1 else f"{relative.name}.png"
        while _folded(relative.with_name(name)) in taken:
            name = f"{name[:-4]}-2.png"
        taken.add(_folded(relative.with_name(name)))
        row = {"path": _text(relative), "status": "", "reason": "", "model": fingerprint, "sha256": ""}
        jobs.append(_Job(file, output / relative.with_name(name), row))
    return jobs


def _folded(path: Path) -> str:
    """As file systems that ignore case compare names."""
    return str(path).casefold()


def _earlier(config: RestoreConfig) -> dict[str, dict[str, Any]]:
    """Rows of the run before: its manifest, or the journal of a run that was cut off."""
    rows: list[dict[str, Any]] = []
    manifest, journal = config.output / MANIFEST, config.output / JOURNAL
    if manifest.is_file():
        rows += json.loads(pd.read_parquet(manifest).to_json(orient="records"))
    if journal.is_file():
        for line in journal.read_text().splitlines():
            try:
                rows.append(json.loads(line))
            except json.JSONDecodeError:
                continue  # the line that the kill cut off
    return {row["path"]: row for row in rows}


def _kept(job: _Job, row: dict[str, Any] | None) -> dict[str, Any] | None:
    """The earlier row, if it is finished, of this model, of this input, and its output is intact."""
    if row is None or row["status"] not in FINISHED or row["model"] != job.row["model"]:
        return None
    intact = (
        _sha256(job.source) == row["sha256"]
        and _sha256(job.target.parent / Path(row["output"]).name) == row["output_sha256"]
    )
    return row if intact else None


def _restore(jobs: list[_Job], restorer: Restorer) -> None:
    for job in jobs:
        _read(job, restorer.hr_size)
    ready = [job for job in jobs if job.image is not None]
    try:
        results = restorer.batch([job.image for job in ready if job.image is not None]) if ready else []
    except RuntimeError as error:  # out of memory and the like: these files failed, the run goes on
        for job in ready:
            job.row |= {"status": "failed", "reason": f"{type(error).__name__}: {error}"}
        return
    for job, result in zip(ready, results):
        weights = {f"w{i + 1}": w for i, w in enumerate(result.weights or ())}
        _write(job, partial(result.image.save, format="PNG"))
        if not job.row["status"]:
            job.row |= {"status": "restored", "rate": result.rate, **weights}
        job.image = None


def _read(job: _Job, hr_size: int) -> None:
    if not job.source.is_file():
        job.row |= {"status": "failed", "reason": "not a regular file, or a link to nowhere"}
        return
    try:
        job.row["sha256"] = _sha256(job.source)
        read = read_image(job.source)
    except ImageProblem as problem:
        job.row |= {"status": "failed", "reason": problem.reason}
        return
    width, height = read.rgb.size
    job.row |= {"width": width, "height": height, "reason": "; ".join(read.notes)}
    if min(width, height) < LEAST_SIDE:
        job.row |= {"status": "failed", "reason": f"{width}x{height}: no face in fewer than {LEAST_SIDE} pixels"}
    elif min(width, height) >= hr_size:
        job.target = job.target.with_name(job.source.name)
        _write(job, partial(shutil.copyfile, job.source))
        if not job.row["status"]:
            job.row |= {"status": "copied", "reason": f"{width}x{height} is not smaller than {hr_size}x{hr_size}"}
    else:
        job.image = read.rgb


def _write(job: _Job, write: Callable[[Path], object]) -> None:
    """Write the output and note its sha256; a full disk or a bad name fails this file only."""
    try:
        write_atomically(job.target, write)
        job.row |= {"output": _text(job.target), "output_sha256": _sha256(job.target)}
    except OSError as error:
        job.row |= {"status": "failed", "reason": f"cannot be written: {error}"}


def _finish(config: RestoreConfig, rows: list[dict[str, Any]], journal: Path) -> dict[str, Any]:
    rows.sort(key=lambda row: row["path"])
    frame = pd.DataFrame(rows)
    write_atomically(config.output / MANIFEST, lambda p: frame.to_parquet(p, index=False))
    failures = [f"{row['path']}: {row['reason']}" for row in rows if row["status"] == "failed"]
    counts = Counter(row["status"] for row in rows)
    summary = {
        "files": len(rows),
        "counts": {status: counts.get(status, 0) for status in STATUSES},
        "failures": failures[:20],
        "config": config.model_dump(mode="json"),
    }
    write_json(config.output / SUMMARY, summary)
    journal.unlink()
    return summary


def _chunks(jobs: Iterable[_Job], size: int) -> Iterator[list[_Job]]:
    chunk: list[_Job] = []
    for job in jobs:
        chunk.append(job)
        if len(chunk) == size:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def _text(path: Path) -> str:
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return ""

"""The scheduler: pictures are read ahead, their faces go through the model in batches across pictures, and outputs are
written, all at the same time and with a limited number of pictures in memory."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image

from ufvnet.crashes import Diary
from ufvnet.restore.memory import PIXELS_PER_THREAD, PixelBudget
from ufvnet.restore.resolved import ResolvedRestore
from ufvnet.restore.restorer import Restored

from .job import Job
from .stage_read import ReadStage
from .stage_write import WriteStage

BATCH_SIZES = {"cpu": 16, "cuda": 64, "mps": 32}
"""Faces per batch. On a CPU, larger batches are no faster; in smaller ones the last bits of matrix products depend on a
face's place in the batch."""

Crop = tuple[Job, int, Image.Image]
"""A job, the index of one of its faces, and the face's pixels."""


@dataclass(frozen=True)
class _Pools:
    """Threads that read, that compute, and that write."""

    read: ThreadPoolExecutor
    compute: ThreadPoolExecutor
    write: ThreadPoolExecutor


class Scheduler:
    """Restores jobs. Whatever becomes of one, its row is accounted for and the others go on.

    Args:
        resolved: how, and the model.
        diary: notes which pictures are in work; None if a crash need not be survived.
    """

    def __init__(self, resolved: ResolvedRestore, diary: Diary | None = None):
        config, self.restorer = resolved.config, resolved.restorer
        self.device = resolved.restorer.device.type
        self.batch_size = config.batch_size or BATCH_SIZES.get(self.device, 16)
        self.threads = config.threads or torch.get_num_threads()
        budget = PixelBudget(max(config.max_pixels, self.threads * PIXELS_PER_THREAD))
        self.read_stage = ReadStage(resolved, budget, diary.deaths if diary else ())
        self.write_stage = WriteStage(config, budget)
        self._in_work = diary.in_work if diary else (lambda name: contextlib.nullcontext())
        self._changed = threading.Condition()
        self._open = self._computing = 0
        self._error: BaseException | None = None

    def run(self, jobs: Iterable[Job], done: Callable[[Job], None]) -> None:
        """Do all jobs, in any order.

        Args:
            jobs: taken when there is room for another one.
            done: called in any thread with each job that is accounted for.

        Raises:
            OSError: the disk is full.
        """
        lanes = self.threads if self.device == "cpu" else 1
        torch_threads = torch.get_num_threads()
        one_each: dict[str, Any] = {"initializer": torch.set_num_threads, "initargs": (1,)}
        pools = _Pools(
            ThreadPoolExecutor(max(2, self.threads), "read", **one_each),
            ThreadPoolExecutor(lanes, "compute", **one_each),
            ThreadPoolExecutor(max(2, self.threads), "write"),
        )
        if self.device == "cpu":
            torch.set_num_threads(1)  # a batch per core: torch's own threads wait for each other after every layer
        try:
            self._drive(iter(jobs), done, pools, most_open=(lanes + 2) * self.batch_size)
        finally:
            for pool in (pools.read, pools.compute, pools.write):
                pool.shutdown(cancel_futures=True)
            torch.set_num_threads(torch_threads)

    def _drive(self, jobs: Iterator[Job], done: Callable[[Job], None], pools: _Pools, most_open: int) -> None:
        """Keep ``most_open`` jobs open. Batches are filled from jobs in their order, and are cut short only where
        nothing else would make room."""
        in_reading: deque[Future[Job]] = deque()
        crops: list[Crop] = []
        more = True

        def write(job: Job) -> None:
            pools.write.submit(self._write, job, done)

        while True:
            while more and self._open < most_open:
                job = next(jobs, None)
                more = job is not None
                if job is not None:
                    with self._changed:
                        self._open += 1
                    in_reading.append(pools.read.submit(self._read, job))
            if in_reading:
                job = in_reading.popleft().result()
                crops += [(job, index, crop) for index, crop in job.crops]
                if not job.crops:
                    write(job)
                job.crops = []
            while len(crops) >= self.batch_size:
                self._submit(crops[: self.batch_size], write, pools)
                crops = crops[self.batch_size :]
            with self._changed:
                if self._error is not None:
                    raise self._error
                if in_reading or (more and self._open < most_open):
                    continue
                if not self._open:
                    return
                if not crops or (self._computing and more):
                    self._changed.wait()
                    continue
            self._submit(crops, write, pools)
            crops = []

    def _submit(self, batch: list[Crop], write: Callable[[Job], None], pools: _Pools) -> None:
        with self._changed:
            self._computing += 1
        pools.compute.submit(self._compute, batch, write)

    def _read(self, job: Job) -> Job:
        with self._in_work(job.name):
            return self.read_stage.run(job)

    def _write(self, job: Job, done: Callable[[Job], None]) -> None:
        try:
            with self._in_work(job.name):
                self.write_stage.run(job)
            done(job)
        except BaseException as error:
            self._error = self._error or error
        finally:
            with self._changed:
                self._open -= 1
                self._changed.notify_all()

    def _compute(self, batch: list[Crop], write: Callable[[Job], None]) -> None:
        started = time.perf_counter()
        crops = [crop for _, _, crop in batch]
        try:
            results = self._restore(crops)
        except Exception:  # one by one, so that only the faces that cause it fail
            results = [self._restore_alone(crop) for crop in crops]
        share = (time.perf_counter() - started) / len(batch)
        complete = []
        with self._changed:
            for (job, index, _), result in zip(batch, results):
                job.seconds += share
                if isinstance(result, Restored):
                    job.results[index] = result
                else:
                    job.row |= {"status": "failed", "reason": f"{type(result).__name__}: {result}"}
                job.pending -= 1
                if not job.pending:
                    complete.append(job)
        for job in complete:
            write(job)
        with self._changed:
            self._computing -= 1
            self._changed.notify_all()

    def _restore_alone(self, crop: Image.Image) -> Any:
        try:
            return self._restore([crop])[0]
        except Exception as error:  # this face failed, the run goes on
            return error

    def _restore(self, crops: list[Image.Image]) -> list[Any]:
        """Results in order; if memory is short, in smaller and smaller batches.

        Batches are filled up to one size: the last bits of a face's pixels depend on it, and a face must come out
        the same whatever it shares its batch with.
        """
        try:
            full = crops + [crops[-1]] * (self.batch_size - len(crops))
            return list(self.restorer.batch(full)[: len(crops)])
        except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
            if "memory" not in str(error).lower() and not isinstance(error, MemoryError):
                raise
            if self.batch_size == 1:
                return [error] * len(crops)
            if self.device == "cuda":
                torch.cuda.empty_cache()
            self.batch_size = max(1, self.batch_size // 2)
        return [r for i in range(0, len(crops), self.batch_size) for r in self._restore(crops[i : i + self.batch_size])]

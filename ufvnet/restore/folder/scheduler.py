"""The work: pictures are read ahead, their faces go through the model in batches across pictures, and outputs are
written, all at the same time and with only so many pictures in memory."""

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

from ufvnet.config import RestoreConfig
from ufvnet.crashes import Diary
from ufvnet.restore.face_finder import Looker
from ufvnet.restore.restorer import Restored, Restorer

from .job import Job
from .room import A_THREAD, Room
from .stage_read import Preparer
from .stage_write import Finisher

BATCH_SIZES = {"cpu": 16, "cuda": 64, "mps": 32}
"""Faces a batch. On a CPU larger ones are no faster; in smaller ones the last bits of matrix products depend on a row's
place."""

Crop = tuple[Job, int, Image.Image]
"""A job, the place of one of its faces, and its picture."""


@dataclass(frozen=True)
class _Pools:
    """Threads that read, that compute, and that write."""

    read: ThreadPoolExecutor
    compute: ThreadPoolExecutor
    write: ThreadPoolExecutor


class Engine:
    """Restores jobs; whatever becomes of one, its row is accounted for and the others go on.

    Args:
        config: how.
        restorer: the model.
        looker: finds faces.
        diary: notes which pictures are in work; None where a crash need not be survived.
    """

    def __init__(self, config: RestoreConfig, restorer: Restorer, looker: Looker, diary: Diary | None = None):
        self.config, self.restorer = config, restorer
        self.device = restorer.device.type
        self.size = config.batch_size or BATCH_SIZES.get(self.device, 16)
        self.threads = config.threads or torch.get_num_threads()
        room = Room(max(config.max_pixels, self.threads * A_THREAD))
        self.prepare = Preparer(config, restorer.hr_size, looker, room, diary.deaths if diary else ())
        self.finish = Finisher(config, restorer.hr_size, room)
        self._in_work = diary.in_work if diary else (lambda name: contextlib.nullcontext())
        self._changed = threading.Condition()
        self._open = self._computing = 0
        self._error: BaseException | None = None

    def run(self, jobs: Iterable[Job], done: Callable[[Job], None]) -> None:
        """Do all jobs, in any order.

        Args:
            jobs: taken as there is room for them.
            done: called for each when it is accounted for, in any thread.

        Raises:
            OSError: the disk is full.
        """
        lanes = self.threads if self.device == "cpu" else 1
        before = torch.get_num_threads()
        pools = _Pools(
            ThreadPoolExecutor(max(2, self.threads), "read"),
            ThreadPoolExecutor(lanes, "compute", initializer=torch.set_num_threads, initargs=(1,)),
            ThreadPoolExecutor(max(2, self.threads), "write"),
        )
        if self.device == "cpu":
            torch.set_num_threads(1)  # a batch a core: torch's own threads wait for each other after every layer
        try:
            self._drive(iter(jobs), done, pools, ahead=(lanes + 2) * self.size)
        finally:
            for pool in (pools.read, pools.compute, pools.write):
                pool.shutdown(cancel_futures=True)
            torch.set_num_threads(before)

    def _drive(self, jobs: Iterator[Job], done: Callable[[Job], None], pools: _Pools, ahead: int) -> None:
        """Keep ``ahead`` jobs open; batches are filled from jobs in their order, and cut short only to make room."""
        reading: deque[Future[Job]] = deque()
        waiting: list[Crop] = []
        more = True

        def write(job: Job) -> None:
            pools.write.submit(self._write, job, done)

        while True:
            while more and self._open < ahead:
                job = next(jobs, None)
                more = job is not None
                if job is not None:
                    with self._changed:
                        self._open += 1
                    reading.append(pools.read.submit(self._read, job))
            if reading:
                job = reading.popleft().result()
                waiting += [(job, place, crop) for place, crop in job.crops]
                if not job.crops:
                    write(job)
                job.crops = []
            while len(waiting) >= self.size:
                self._submit(waiting[: self.size], write, pools)
                waiting = waiting[self.size :]
            with self._changed:
                if self._error is not None:
                    raise self._error
                if reading or (more and self._open < ahead):
                    continue
                if not self._open:
                    return
                if not waiting or (self._computing and more):
                    self._changed.wait()
                    continue
            self._submit(waiting, write, pools)
            waiting = []

    def _submit(self, batch: list[Crop], write: Callable[[Job], None], pools: _Pools) -> None:
        with self._changed:
            self._computing += 1
        pools.compute.submit(self._compute, batch, write)

    def _read(self, job: Job) -> Job:
        with self._in_work(job.name):
            return self.prepare(job)

    def _write(self, job: Job, done: Callable[[Job], None]) -> None:
        try:
            with self._in_work(job.name):
                self.finish(job)
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
            results = self._restored(crops)
        except Exception:  # one by one, so that only those fail that make it fail
            results = [self._alone(crop) for crop in crops]
        share = (time.perf_counter() - started) / len(batch)
        complete = []
        with self._changed:
            for (job, place, _), result in zip(batch, results):
                job.seconds += share
                if isinstance(result, Restored):
                    job.results[place] = result
                else:
                    job.row |= {"status": "failed", "reason": f"{type(result).__name__}: {result}"}
                job.left -= 1
                if not job.left:
                    complete.append(job)
        for job in complete:
            write(job)
        with self._changed:
            self._computing -= 1
            self._changed.notify_all()

    def _alone(self, crop: Image.Image) -> Any:
        try:
            return self._restored([crop])[0]
        except Exception as error:  # this face failed, the run goes on
            return error

    def _restored(self, crops: list[Image.Image]) -> list[Any]:
        """Results in order; where memory is short, in smaller and smaller batches.

        Batches are filled up to one size: the last bits of a face's pixels depend on it, and a face must come out
        alike whatever it shares its batch with.
        """
        try:
            full = crops + [crops[-1]] * (self.size - len(crops))
            return list(self.restorer.batch(full)[: len(crops)])
        except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
            if "memory" not in str(error).lower() and not isinstance(error, MemoryError):
                raise
            if self.size == 1:
                return [error] * len(crops)
            if self.device == "cuda":
                torch.cuda.empty_cache()
            self.size = max(1, self.size // 2)
        return [r for i in range(0, len(crops), self.size) for r in self._restored(crops[i : i + self.size])]

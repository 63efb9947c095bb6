"""Workers for a run's jobs: the Dask cluster of a config's cluster block, or one process if one is enough."""

from __future__ import annotations

import errno
import itertools
import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeVar

from tasks.process import OneProcess, with_variables
from ufvnet.config import Cluster, ConfigError
from ufvnet.errors import PipelineError
from ufvnet.proof import Proof, Proven, Refusal

if TYPE_CHECKING:
    from distributed import Client

log = logging.getLogger(__name__)

T = TypeVar("T")
R = TypeVar("R")

ONE_THREAD = {name: "1" for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")}
RETRIES = 2
NEW_WORKER = 5  # seconds to wait for another worker when all present ones were refused
PATIENCE = 15  # seconds to wait for a scheduler's answer: one that has just started is slow
AT_ONCE = 5000  # jobs that the scheduler holds; with all of a large build, it would run out of memory
LOST = 600.0  # seconds to wait for a scheduler that was lost: it or its machine is started again


@contextmanager
def workers_for(
    cluster: Cluster, count: int, environment: Mapping[str, str] | None = None
) -> Iterator[Client | OneProcess]:
    """Workers for ``count`` jobs: those of the configured cluster, or one process if one local worker is enough.

    A local Dask cluster takes seconds to start, as long as the work of a small run.

    Args:
        cluster: the configured cluster.
        count: number of jobs.
        environment: variables of local processes that are started here; a configured cluster does not get them.

    Raises:
        ConfigError: as ``dask_client``.
    """
    if not cluster.cluster_class and not _address(cluster) and _local_workers(cluster, count) == 1:
        with OneProcess(ONE_THREAD | dict(environment or {})) as process:
            yield process
    else:
        with dask_client(cluster, count, environment) as client:
            yield client


def _address(cluster: Cluster) -> str | None:
    """Address of a running scheduler, from the cluster block, the environment, or Dask's own settings; else None."""
    if cluster.address or cluster.cluster_class:
        return cluster.address
    if os.environ.get("DASK_SCHEDULER_ADDRESS"):
        return os.environ["DASK_SCHEDULER_ADDRESS"]
    import dask

    return dask.config.get("scheduler-address", None)


def _local_workers(cluster: Cluster, count: int) -> int:
    return min(cluster.workers or os.cpu_count() or 1, max(1, count))


@contextmanager
def dask_client(cluster: Cluster, count: int, environment: Mapping[str, str] | None = None) -> Iterator[Client]:
    """A client of the configured Dask cluster; the local one has a worker per core, but no more than ``count``.

    Args:
        cluster, count, environment: as ``workers_for``'s.

    Raises:
        ConfigError: the cluster's class cannot be imported, or no scheduler answers at the address.
    """
    import dask
    from distributed import Client

    logging.getLogger("distributed").setLevel(logging.WARNING)  # Prefect's console would show thirty lines per cluster
    address = _address(cluster)
    if address:
        with _connected(address) as client:
            if not client.scheduler_info()["workers"]:
                log.warning("the scheduler at %s has no workers yet; waiting for some", address)
            yield client
        return
    if cluster.cluster_class:
        with _started(cluster.cluster_class, cluster.cluster_kwargs) as started, Client(started) as client:
            if cluster.adapt:
                started.adapt(**cluster.adapt)
            yield client
        return
    # A photo that kills its process is skipped after three deaths (ufvnet.data.build); its shard needs further tries.
    dask.config.set({"distributed.scheduler.allowed-failures": 10})
    with _local_cluster(_local_workers(cluster, count), environment) as started, Client(started) as client:
        yield client
        _end_quietly()


def _end_quietly() -> None:
    """Work is done: that a worker takes seconds to end, or is killed then, needs no warning."""
    logging.getLogger("distributed.nanny").setLevel(logging.ERROR)


def _local_cluster(workers: int, environment: Mapping[str, str] | None) -> Any:
    """A Dask cluster of processes on this machine.

    Raises:
        PipelineError: no process can be started, e.g. because /dev/shm is full.
    """
    import dask
    from distributed import LocalCluster

    wanted = dict(environment or {})
    settings = {f"distributed.nanny.pre-spawn-environ.{name}": value for name, value in wanted.items()}
    defaults = {
        name: os.environ.get(name, str(value))
        for name, value in dask.config.get("distributed.nanny.pre-spawn-environ").items()
        if value is not None
    }
    nanny = logging.getLogger("distributed.nanny")
    level = nanny.level
    nanny.setLevel(logging.CRITICAL)  # it logs tracebacks
    try:
        # ``env`` is set too late for the memory allocator. Dask leaves its own variables in this process, where they
        # would override those of the next cluster: ``with_variables`` puts the environment back.
        with dask.config.set(settings), with_variables(defaults | wanted):
            return LocalCluster(
                n_workers=workers, threads_per_worker=1, dashboard_address="127.0.0.1:0", env=dict(ONE_THREAD)
            )
    except (RuntimeError, OSError) as error:
        cause: BaseException = error
        while (deeper := cause.__cause__ or cause.__context__) is not None and not isinstance(cause, OSError):
            cause = deeper
        where = " (/dev/shm or the temporary folder)" if getattr(cause, "errno", None) == errno.ENOSPC else ""
        raise PipelineError(f"no worker process can be started here: {cause}{where}") from error
    finally:
        nanny.setLevel(level)


def check_cluster(cluster: Cluster) -> None:
    """Check, before any work, what can be known of a cluster without starting it.

    Raises:
        ConfigError: no scheduler answers at the address, the class cannot be imported, or TLS has no certificates.
    """
    if cluster.cluster_class:
        _cluster_class(cluster.cluster_class)
        protocol = str(cluster.cluster_kwargs.get("protocol", ""))
        if protocol.startswith("tls") and "security" not in cluster.cluster_kwargs:
            _check_certificates(f"cluster.cluster_kwargs.protocol = {protocol}")
    elif address := _address(cluster):
        with _connected(address):
            pass


def _check_certificates(key: str) -> None:
    """See that Dask's settings name the files that a client needs for TLS.

    Raises:
        ConfigError: they do not, or a file cannot be used.
    """
    from distributed.security import Security

    needed = "Dask's settings distributed.comm.tls.ca-file, .client.cert and .client.key"
    try:
        ready = Security().get_connection_args("client").get("ssl_context") is not None
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        raise ConfigError(f"{key}: a file of {needed} cannot be used ({error})") from error
    if not ready:
        raise ConfigError(f"{key}: TLS needs certificates; {needed} must name them")


def _connected(address: str) -> Client:
    from distributed import Client

    if address.startswith("tls://"):
        _check_certificates(f"cluster.address = {address}")
    try:
        return Client(address, timeout=PATIENCE)
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"cluster.address = {address}: no scheduler answers there in {PATIENCE} s (it may also stand in "
            f"DASK_SCHEDULER_ADDRESS); it must be that of a running one, e.g. tcp://host:8786"
        ) from error


def _cluster_class(name: str) -> Any:
    module, _, attribute = name.rpartition(".")
    try:
        return getattr(import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(f"cluster.cluster_class = {name}: cannot be imported ({error})") from error


def _started(name: str, arguments: Mapping[str, Any]) -> Any:
    try:
        return _cluster_class(name)(**arguments)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"cluster.cluster_kwargs: {name} cannot be started with them ({error})") from error


def map_on_cluster(
    function: Callable[[T], R],
    jobs: Sequence[T],
    cluster: Cluster,
    on_done: Callable[[R], None] = lambda _: None,
    proof: Proof | None = None,
    count: int | None = None,
) -> list[R]:
    """As ``map_jobs``, on workers that are started for these jobs and end afterwards.

    Args:
        count: the largest useful number of workers; None means one per job.
    """
    if not jobs:
        return []
    with workers_for(cluster, len(jobs) if count is None else count) as workers:
        return map_jobs(workers, function, jobs, on_done, proof)


def map_jobs(
    workers: Client | OneProcess,
    function: Callable[[T], R],
    jobs: Sequence[T],
    on_done: Callable[[R], None] = lambda _: None,
    proof: Proof | None = None,
    objection: Callable[[T, R], str | None] = lambda _, __: None,
) -> list[R]:
    """Call a library function on every job, in any order; results in the jobs' order.

    A job whose worker dies is run again elsewhere; the library's functions skip what they finished.

    Args:
        workers: from ``workers_for``.
        function: the library's function.
        jobs: its arguments.
        on_done: called with each result.
        proof: what each worker must prove before its first job, whenever it joins.
        objection: returns why a result must not be used, because its worker did not see what this process sees; None
            if it may be used.

    Raises:
        PipelineError: no remaining worker passes the proof, or the output folder was removed.
    """
    work: Callable[[T], R | Refusal] = function if proof is None else Proven(function, proof)
    if isinstance(workers, OneProcess):
        return [_run_in_process(workers, work, job, on_done, proof, objection) for job in jobs]
    return _map_on_dask(workers, work, jobs, on_done, proof, objection)


def _run_in_process(
    process: OneProcess,
    work: Callable[[T], R | Refusal],
    job: T,
    on_done: Callable[[R], None],
    proof: Proof | None,
    objection: Callable[[T, R], str | None],
) -> R:
    result = process.run(work, job)
    why = result.why if isinstance(result, Refusal) else objection(job, result)
    if isinstance(result, Refusal) or why is not None:
        _check_not_removed(proof)
        raise PipelineError(f"a process on this machine {why}")
    on_done(result)
    return result


def _check_not_removed(proof: Proof | None) -> None:
    """Stop if the run has lost its output folder.

    Raises:
        PipelineError: the output folder was removed.
    """
    if proof is not None and proof.is_removed():
        raise PipelineError(f"{proof.output_name()}: was removed while it was written; run this again")


def _map_on_dask(
    client: Client,
    work: Callable[[T], R | Refusal],
    jobs: Sequence[T],
    on_done: Callable[[R], None],
    proof: Proof | None,
    objection: Callable[[T, R], str | None],
) -> list[R]:
    """As ``map_jobs``. If the scheduler is lost, what has no result yet is done once it is back.

    Raises:
        PipelineError: the scheduler did not come back.
    """
    results: dict[int, R] = {}
    address = client.scheduler.address if client.cluster is None and client.scheduler is not None else None
    with ExitStack() as stack:
        while len(results) < len(jobs):
            rest = {number: job for number, job in enumerate(jobs) if number not in results}
            try:
                for number, result in _results(client, work, rest, proof, objection):
                    results[number] = result
                    on_done(result)
            except Exception as error:
                if address is None or not _is_lost(client, error):
                    raise
                client = stack.enter_context(_found_again(address))
    return [results[number] for number in range(len(jobs))]


def _is_lost(client: Client, error: Exception) -> bool:
    return client.status != "running" or getattr(error, "reason", None) == "scheduler-connection-lost"


def _found_again(address: str) -> Client:
    """A client of a scheduler that was lost, once it is back.

    Raises:
        PipelineError: it did not come back.
    """
    from distributed import Client

    log.warning("the scheduler at %s is lost; waiting for it for %.0f minutes", address, LOST / 60)
    deadline = time.monotonic() + LOST
    while True:
        try:
            return Client(address, timeout=PATIENCE)
        except OSError as error:
            if time.monotonic() > deadline:
                raise PipelineError(
                    f"the scheduler at {address} was lost and did not come back; run this again to go on"
                ) from error


def _results(
    client: Client,
    work: Callable[[T], R | Refusal],
    jobs: Mapping[int, T],
    proof: Proof | None,
    objection: Callable[[T, R], str | None],
) -> Iterator[tuple[int, R]]:
    """The number and the result of every job, as they are done; one that its worker refused is tried elsewhere."""
    from distributed import as_completed

    waiting = iter(jobs.items())

    def submitted(count: int) -> dict[Any, int]:
        return {client.submit(work, job, pure=False, retries=RETRIES): number
                for number, job in itertools.islice(waiting, count)}  # fmt: skip

    futures = submitted(AT_ONCE)
    refused: dict[str, str] = {}
    running = as_completed(futures)
    for future in running:
        number = futures.pop(future)
        result = future.result()
        why = result.why if isinstance(result, Refusal) else objection(jobs[number], result)
        if why is not None:
            _check_not_removed(proof)
            workers = _others(client, future, why, refused)
            retry = client.submit(
                work, jobs[number], pure=False, retries=RETRIES, workers=workers, allow_other_workers=True
            )
            futures[retry] = number
            running.add(retry)
        future.release()  # else it would be computed again if its worker died later
        if why is None:
            yield number, result
            more = submitted(1)
            futures |= more
            running.update(more)


def _others(client: Client, future: Any, why: str, refused: dict[str, str]) -> list[str]:
    """The workers that may try a refused job next; the worker that refused it is noted, and logged once.

    Raises:
        PipelineError: there is no such worker.
    """
    for address in client.who_has([future]).get(future.key, ()):
        if address not in refused:
            log.warning("the worker %s gets no more of this run: it %s", address, why)
        refused[address] = why
    deadline = time.monotonic() + NEW_WORKER
    while True:
        candidates = [address for address in client.scheduler_info()["workers"] if address not in refused]
        if candidates:
            return candidates
        if time.monotonic() > deadline:
            address, why = next(iter(refused.items()), ("?", why))
            more = f" ({len(refused):,} workers were tried)" if len(refused) > 1 else ""
            raise PipelineError(f"no worker can do this: the one at {address} {why}{more}")
        time.sleep(0.5)

"""Dask: the client of a config's cluster block, and a task a shard on it."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeVar

from ufvnet.config import Cluster, ConfigError

if TYPE_CHECKING:
    from distributed import Client

log = logging.getLogger(__name__)

T = TypeVar("T")
R = TypeVar("R")

ONE_THREAD = {name: "1" for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")}
RETRIES = 2
PATIENCE = 15  # seconds for a scheduler to answer: one that was started a moment ago takes some


@contextmanager
def dask_client(cluster: Cluster, tasks: int) -> Iterator[Client]:
    """A client of the configured cluster; the local one has a worker a core, but no more than tasks.

    Raises:
        ConfigError: the cluster's class cannot be imported, or no scheduler answers at the address.
    """
    import dask
    from distributed import Client

    logging.getLogger("distributed").setLevel(logging.WARNING)  # Prefect's console would show thirty lines a cluster
    configured = os.environ.get("DASK_SCHEDULER_ADDRESS") or dask.config.get("scheduler-address", None)
    address = cluster.address or (None if cluster.cluster_class else configured)
    if address:
        with _connected(address) as client:
            if not client.scheduler_info()["workers"]:
                log.warning("the scheduler at %s has no workers yet; waiting for some", address)
            yield client
        return
    if cluster.cluster_class:
        with _cluster_class(cluster.cluster_class)(**cluster.cluster_kwargs) as started, Client(started) as client:
            if cluster.adapt:
                started.adapt(**cluster.adapt)
            yield client
        return
    # A photo that kills its process is left out after three deaths (ufvnet.data.build); others need tries too.
    dask.config.set({"distributed.scheduler.allowed-failures": 10})
    workers = min(cluster.workers or os.cpu_count() or 1, max(1, tasks))
    with Client(n_workers=workers, threads_per_worker=1, dashboard_address="127.0.0.1:0", env=ONE_THREAD) as client:
        yield client


def check_address(address: str) -> None:
    """
    Raises:
        ConfigError: no scheduler answers there.
    """
    with _connected(address):
        pass


def _connected(address: str) -> Client:
    from distributed import Client

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


def map_on_cluster(
    function: Callable[[T], R], jobs: Sequence[T], cluster: Cluster, on_done: Callable[[R], None] = lambda _: None
) -> list[R]:
    """As ``map_on_client``, on a client of the cluster's own."""
    if not jobs:
        return []
    with dask_client(cluster, len(jobs)) as client:
        return map_on_client(client, function, jobs, on_done)


def map_on_client(
    client: Client, function: Callable[[T], R], jobs: Sequence[T], on_done: Callable[[R], None] = lambda _: None
) -> list[R]:
    """Call a library function on every job, in any order; results in the jobs' order.

    A job whose worker dies is run again elsewhere; the library's functions skip what they finished.
    """
    from distributed import as_completed

    futures = {client.submit(function, job, pure=False, retries=RETRIES): i for i, job in enumerate(jobs)}
    results: dict[int, R] = {}
    for future in as_completed(futures):
        results[futures[future]] = future.result()
        future.release()  # or it would be computed again where its worker dies later
        on_done(results[futures[future]])
    return [results[i] for i in range(len(jobs))]

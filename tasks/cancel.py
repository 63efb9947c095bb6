"""Cancelling a run within seconds, whatever became of the server since the run began.

Prefect's worker waits for the event that a run is to be cancelled. It waits for nothing more once the server was away
for half a minute (Prefect 3.8: ``FlowRunCancellingObserver``), it asks only every ten seconds once the server was away
for a moment, and in any case it loads the flow in a further process before the run becomes Cancelled. So the run itself
asks for its state, and ends itself. So it does when it was declared dead (automations.yaml), e.g. because the server
was away for two minutes: another process goes on with it.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, ParamSpec, TypeVar, get_type_hints
from uuid import UUID

import prefect
from httpx import HTTPError
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas import State
from prefect.exceptions import PrefectException
from prefect.states import Cancelled

from ufvnet.children import end_descendants
from ufvnet.training.running import stop_running

EVERY = 1.0
"""Seconds between two looks at the state of the run."""

PATIENCE = 5.0
"""Seconds that a SIGTERM waits for the answer whether the run is to be cancelled; without one it is a crash."""

NO_ANSWER = (HTTPError, PrefectException)
"""What Prefect's client raises when the server does not answer, or answers with an error."""

P = ParamSpec("P")
R = TypeVar("R")


def flow(name: str, **settings: Any) -> Callable[[Callable[P, R]], prefect.Flow[P, R]]:
    """As ``prefect.flow``; a run of it that a worker has started ends itself when it is cancelled."""

    def decorate(function: Callable[P, R]) -> prefect.Flow[P, R]:
        @functools.wraps(function)
        def call(*arguments: P.args, **keywords: P.kwargs) -> R:
            with _cancellable():
                return function(*arguments, **keywords)

        # Prefect would look for the types that the annotations name in this module.
        call.__annotations__ = get_type_hints(function)
        call.__signature__ = inspect.signature(function, eval_str=True)  # type: ignore[attr-defined]
        return prefect.flow(name=name, **settings)(call)

    return decorate


@contextlib.contextmanager
def _cancellable() -> Iterator[None]:
    """Let the run that this process was started for be cancelled; flows within it share one watch."""
    run = os.environ.get("PREFECT__FLOW_RUN_ID")
    if run is None or threading.current_thread() is not threading.main_thread():
        yield
        return
    watch = _watch_of(UUID(run))
    previous = signal.getsignal(signal.SIGTERM)  # Prefect's, which every flow sets anew
    signal.signal(signal.SIGTERM, functools.partial(watch.on_sigterm, previous))
    watch.flows += 1
    try:
        yield
    finally:
        watch.flows -= 1
        signal.signal(signal.SIGTERM, previous)


@functools.cache
def _watch_of(run: UUID) -> _Watch:
    return _Watch(run)


class _Watch:
    """A thread that looks at the state of a run, and ends this process when the run is to be cancelled."""

    def __init__(self, run: UUID):
        self.run, self.flows, self.leaving = run, 0, False
        self.asked, self.answered = threading.Event(), threading.Event()
        threading.Thread(target=self._watch, name="cancel", daemon=True).start()

    def on_sigterm(self, otherwise: Any, number: int, frame: Any) -> None:
        """Hold the main thread until it is known whether this is a cancellation; if not, do what Prefect does."""
        self.answered.clear()
        self.asked.set()
        while not self.answered.wait(PATIENCE) and self.leaving:
            pass
        if callable(otherwise):
            otherwise(number, frame)

    def _watch(self) -> None:
        with get_client(sync_client=True, httpx_settings={"timeout": PATIENCE}) as client:
            while True:
                self.asked.wait(EVERY)
                state = self._state(client)
                if state is not None and self.flows > 0 and (state.is_cancelling() or state.is_crashed()):
                    self._leave(client, state)
                if self.asked.is_set():
                    self.asked.clear()
                    self.answered.set()

    def _state(self, client: SyncPrefectClient) -> State | None:
        try:
            return client.read_flow_run(self.run).state
        except NO_ANSWER:  # the run goes on without its server
            return None

    def _leave(self, client: SyncPrefectClient, state: State) -> None:
        self.leaving = True
        os.kill(os.getpid(), signal.SIGTERM)  # the main thread would report the end of its work as a failure: hold it
        stop_running()
        print(f"ufvnet: {'cancelled' if state.is_cancelling() else 'declared dead'}", file=sys.stderr, flush=True)
        end_descendants()
        if state.is_crashed():
            os._exit(0)  # any other code would make its worker report a second crash
        cancelled: State[None] = Cancelled(message="Stopped; another run goes on from what was finished.")
        while True:
            with contextlib.suppress(*NO_ANSWER):
                client.set_flow_run_state(self.run, cancelled)
                os._exit(0)
            time.sleep(EVERY)

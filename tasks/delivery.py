"""Delivering an event to Prefect's server for certain.

Prefect's own ``emit_event`` hands it to a thread, which drops it without a word if the server is away for some seconds.
"""

from __future__ import annotations

import time
from typing import Any

from httpx import HTTPStatusError, TransportError
from prefect.client.orchestration import get_client
from prefect.events import Event
from prefect.events.related import related_resources_from_run_context
from prefect.logging import get_run_logger
from prefect.utilities.asyncutils import run_coro_as_sync

from tasks.cancel import NO_ANSWER
from ufvnet.errors import PipelineError

PATIENCE = 600.0
"""Seconds for which a server that is away is waited for."""

AGAIN = 10.0
"""Seconds between two tries; Prefect's client repeats each of them for a minute."""


def deliver_event(event: str, resource: dict[str, str], payload: dict[str, Any]) -> bool:
    """Deliver an event that names the run, the flow and the deployment that this is called in.

    Returns:
        True: the server has accepted it. (Its replacement for ``--direct`` has no server, and returns None.)

    Raises:
        PipelineError: the server refuses it, or did not come back in time.
    """
    message, deadline = Event(event=event, resource=resource, payload=payload), time.monotonic() + PATIENCE  # type: ignore[arg-type]
    while True:
        try:
            run_coro_as_sync(_post(message))
            return True
        except NO_ANSWER as error:
            is_away = isinstance(error, TransportError) or (
                isinstance(error, HTTPStatusError) and error.response.is_server_error
            )
            if not is_away or time.monotonic() > deadline:
                raise PipelineError(
                    f"{event}: Prefect's server did not take this event, so nothing follows ({error!r}); run this again"
                ) from error
            get_run_logger().warning("%s: Prefect's server does not take this event; trying again (%r)", event, error)
        time.sleep(AGAIN)


async def _post(message: Event) -> None:
    async with get_client() as client:
        related = await related_resources_from_run_context(client)
        sent = message.model_copy(update={"related": related})  # its id stays, so that it counts once
        await client.request("POST", "/events", json=[sent.model_dump(mode="json")])

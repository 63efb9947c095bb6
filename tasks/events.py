"""What flows tell Prefect beside their states: events, which the triggers in prefect.yaml pass on as parameters."""

from __future__ import annotations

from typing import Any

from tasks.runtime import deliver_event

BUILT, BUILT_WITH_FAILURES = "ufvnet.dataset.built", "ufvnet.dataset.built-with-failures"
TRAINED, WORSE = "ufvnet.model.trained", "ufvnet.model.worse"


def announce(event: str, name: str, **payload: Any) -> bool:
    """Tell an event about a dataset or a model; False if there is no server to tell it to (``--direct``).

    Args:
        event: one of this module's.
        name: of the dataset or model.
        payload: what the flows that it starts are to know, as JSON.

    Raises:
        PipelineError: the server refuses it, or is away for more than ten minutes.
    """
    kind = event.rpartition(".")[0]
    resource = {"prefect.resource.id": f"{kind}.{name}", "prefect.resource.name": name}
    told = {key: _plain(value) for key, value in payload.items()}
    return bool(deliver_event(event=event, resource=resource, payload=told))


def _plain(value: Any) -> Any:
    return value if isinstance(value, str | int | float) else str(value)

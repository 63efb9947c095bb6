"""What flows tell Prefect beside their states: events, which the triggers in prefect.yaml pass on as parameters."""

from __future__ import annotations

from typing import Any

from tasks.runtime import emit_event

BUILT, BUILT_WITH_FAILURES = "ufvnet.dataset.built", "ufvnet.dataset.built-with-failures"
TRAINED, WORSE = "ufvnet.model.trained", "ufvnet.model.worse"


def announce(event: str, name: str, **payload: Any) -> None:
    """Emit an event about a dataset or a model.

    Args:
        event: one of this module's.
        name: of the dataset or model.
        payload: what the flows that it starts are to know, as JSON.
    """
    kind = event.rpartition(".")[0]
    resource = {"prefect.resource.id": f"{kind}.{name}", "prefect.resource.name": name}
    emit_event(event=event, resource=resource, payload={key: _plain(value) for key, value in payload.items()})


def _plain(value: Any) -> Any:
    return value if isinstance(value, str | int | float) else str(value)

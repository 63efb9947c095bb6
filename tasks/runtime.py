"""The parts of Prefect that flows and tasks use, imported in one place, so that ``--direct`` can replace them.

With UFVNET_DIRECT=1 in the environment, which ``--direct`` sets before flows are imported, the same names are the plain
functions of ``tasks.direct``: Prefect is not imported, which saves the start of its temporary server.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING or os.environ.get("UFVNET_DIRECT") != "1":
    from prefect import task
    from prefect.artifacts import (
        create_image_artifact,
        create_markdown_artifact,
        create_progress_artifact,
        create_table_artifact,
        update_progress_artifact,
    )
    from prefect.cache_policies import NO_CACHE
    from prefect.client.schemas import State
    from prefect.futures import wait
    from prefect.logging import get_run_logger
    from prefect.states import Completed

    from tasks.cancel import NO_ANSWER, flow
    from tasks.delivery import deliver_event
    from tasks.logs import plain_errors

    plain_errors()

    def with_failures(name: str, message: str, data: Any) -> Any:
        """What a flow returns when some inputs could not be used: a state with a name of its own, so that triggers
        that wait for ``Completed`` do not fire."""
        return Completed(name=name, message=message, data=data)

    def skipped(reason: str) -> Any:
        """What a flow returns when there was nothing to do."""
        return Completed(name="Skipped", message=reason)
else:
    from tasks.direct import (
        NO_ANSWER,
        NO_CACHE,
        State,
        create_image_artifact,
        create_markdown_artifact,
        create_progress_artifact,
        create_table_artifact,
        deliver_event,
        flow,
        get_run_logger,
        skipped,
        task,
        update_progress_artifact,
        wait,
        with_failures,
    )

__all__ = [
    "NO_ANSWER", "NO_CACHE", "State", "create_image_artifact", "create_markdown_artifact", "create_progress_artifact",
    "create_table_artifact", "deliver_event", "flow", "get_run_logger", "skipped", "task", "update_progress_artifact",
    "wait", "with_failures",
]  # fmt: skip

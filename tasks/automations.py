"""Deploying prefect.yaml and automations.yaml, and the block that notifications go to."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any
from uuid import UUID

import yaml
from prefect.blocks.notifications import CustomWebhookNotificationBlock
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.events.schemas.automations import AutomationCore
from prefect.settings import PREFECT_API_URL

from ufvnet.children import environment, python
from ufvnet.config import ConfigError

ALERTS = "ufvnet-alerts"
"""Name of the notification block, of any type: a webhook, e-mail, Slack, ..."""

MARK = "made-by-ufvnet-deploy"
"""Tag of the automations that were deployed from automations.yaml: no others are ever removed, whatever their names."""


def deploy(checkout: Path, webhook: str | None) -> int:
    """Deploy everything that a checkout declares; returns the exit code.

    Args:
        checkout: the folder of prefect.yaml and automations.yaml.
        webhook: URL that notifications are posted to, as JSON {"text": ...}. None: the block that is there is used.

    Raises:
        ConfigError: no server is configured, or it does not answer.
    """
    if not PREFECT_API_URL.value():
        raise ConfigError("no Prefect server is configured: set PREFECT_API_URL, e.g. http://127.0.0.1:4200/api")
    command = python("-m", "prefect", "--no-prompt", "deploy", "--all")
    variables = environment()
    variables.pop("UFVNET_CHECKOUT", None)  # deploy/pull.yaml: every worker's own, which Prefect would fill in here
    code = subprocess.run(command, cwd=checkout, env=variables, check=False).returncode
    if code:
        return code
    if webhook is not None:
        text = {"text": "{{subject}}\n{{body}}"}
        block = CustomWebhookNotificationBlock.model_validate({"name": ALERTS, "url": webhook, "json_data": text})
        block.save(ALERTS, overwrite=True)
    declared = yaml.safe_load((checkout / "automations.yaml").read_text())["automations"]
    with get_client(sync_client=True) as client:
        names = deploy_automations(client, declared)
    print(f"automations: {', '.join(names)}")
    if len(names) < len(declared):
        print(f"no notifications: give --webhook URL, or make a notification block {ALERTS}, and deploy again")
    return 0


def deploy_automations(client: SyncPrefectClient, declared: list[dict[str, Any]]) -> list[str]:
    """Create or update automations, and remove those of ours that are no longer declared; returns the names.

    One that somebody has paused stays paused.
    """
    block = next((document.id for document in client.read_block_documents() if document.name == ALERTS), None)
    wanted = {raw["name"]: automation for raw in declared if (automation := _automation(raw, block)) is not None}
    there = {automation.name: automation for automation in client.read_automations()}
    for name, automation in wanted.items():
        if name in there:
            update = automation.model_copy(update={"enabled": there[name].enabled})
            client.update_automation(there[name].id, update)
        else:
            client.create_automation(automation)
    for name, automation in there.items():
        if MARK in automation.tags and name not in wanted:
            client.delete_automation(automation.id)
            print(f"automation {name}: removed; it is no longer declared")
    return [*wanted]


def _automation(raw: dict[str, Any], block: UUID | None) -> AutomationCore | None:
    """A declared automation; None if it only notifies and there is no block to notify."""
    actions = [
        action | {"block_document_id": block} if action["type"] == "send-notification" else action
        for action in raw["actions"]
        if action["type"] != "send-notification" or block is not None
    ]
    return AutomationCore.model_validate(raw | {"actions": actions, "tags": [MARK]}) if actions else None

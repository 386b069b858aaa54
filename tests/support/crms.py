"""The CRMs of the local provider, with what a test does in them, and the mirror of each put together as the worker does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from activities.exports.crm.port import CrmTasks
from activities.outgoing.client import HttpClient
from worker.composition.crm import crms
from worker.provider_settings import ProviderSettings, load_providers
from worker.stack.providers.crm_tasks import change_crm_task, tasks_of
from worker.stack.providers.environment import KEY
from worker.stack.providers.faults import ProviderFault
from worker.stack.providers.serving import LocalProvider

NAMES = ("hubspot", "salesforce")
_WORDS = {
    "hubspot": ("hs_task_status", "NOT_STARTED", "COMPLETED", "tenure_outcome"),
    "salesforce": ("Status", "Not Started", "Completed", "Tenure_Outcome__c"),
}


def provided_by(local: LocalProvider, *names: str) -> ProviderSettings:
    """These CRMs as an operator configures them."""
    hubspot = {"hubspot_token": KEY, "hubspot_base": f"{local.url}/hubspot"}
    salesforce = {"salesforce_base": f"{local.url}/salesforce", "salesforce_client": "c", "salesforce_secret": KEY}
    given: dict[str, Any] = (hubspot if "hubspot" in names else {}) | (salesforce if "salesforce" in names else {})
    return load_providers(outgoing_allow=local.origin, provider_rates="hubspot=1000,salesforce=1000", **given)


@dataclass
class Crm:
    """One of them."""

    local: LocalProvider
    name: str
    mirror: CrmTasks

    @property
    def tasks(self) -> dict[str, dict[str, Any]]:
        return tasks_of(self.local.provider.accepted, self.name)

    @property
    def asked(self) -> int:
        """Calls that came through."""
        return self.local.provider.requests.get(self.name, 0)

    def one(self) -> dict[str, Any]:
        (found,) = self.tasks.values()
        return found

    def is_open(self) -> bool:
        """Whether any task there is."""
        field, still, *_ = _WORDS[self.name]
        return any(task.get(field) == still for task in self.tasks.values())

    def close(self, outcome: str) -> None:
        """Somebody ticks off the only one there."""
        field, _, done, word = _WORDS[self.name]
        (identity,) = self.tasks
        change_crm_task(self.local.provider.accepted, self.name, identity, {field: done, word: outcome})

    def delete(self) -> None:
        """Somebody deletes the only one there."""
        self.local.provider.accepted.add(self.name, to=next(iter(self.tasks)), content={})

    def goes_wrong(self, **fault: Any) -> None:
        self.local.provider.faults.add(ProviderFault(provider=self.name, **fault))


def crm(local: LocalProvider, name: str, way: HttpClient) -> Crm:
    (mirror,) = crms(provided_by(local, name), way)
    return Crm(local, name, mirror)

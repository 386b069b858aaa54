"""The CRMs of the local provider, what a person does in them, and the mirror of each as the worker builds it."""

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
    """The settings of these CRMs, as an operator configures them."""
    hubspot = {"hubspot_token": KEY, "hubspot_base": f"{local.url}/hubspot"}
    salesforce = {"salesforce_base": f"{local.url}/salesforce", "salesforce_client": "c", "salesforce_secret": KEY}
    settings: dict[str, Any] = (hubspot if "hubspot" in names else {}) | (salesforce if "salesforce" in names else {})
    return load_providers(outgoing_allow=local.origin, provider_rates="hubspot=1000,salesforce=1000", **settings)


@dataclass
class Crm:
    """One CRM with its mirror."""

    local: LocalProvider
    name: str
    mirror: CrmTasks

    @property
    def tasks(self) -> dict[str, dict[str, Any]]:
        return tasks_of(self.local.provider.accepted, self.name)

    @property
    def calls(self) -> int:
        """The number of requests that reached it."""
        return self.local.provider.requests.get(self.name, 0)

    def only_task(self) -> dict[str, Any]:
        (task,) = self.tasks.values()
        return task

    def is_open(self) -> bool:
        """Whether any of its tasks is open."""
        field, still, *_ = _WORDS[self.name]
        return any(task.get(field) == still for task in self.tasks.values())

    def close(self, outcome: str) -> None:
        """A person completes the only task there."""
        field, _, done, word = _WORDS[self.name]
        (identity,) = self.tasks
        change_crm_task(self.local.provider.accepted, self.name, identity, {field: done, word: outcome})

    def delete(self) -> None:
        """A person deletes the only task there."""
        self.local.provider.accepted.add(self.name, to=next(iter(self.tasks)), content={})

    def add_fault(self, **fault: Any) -> None:
        self.local.provider.faults.add(ProviderFault(provider=self.name, **fault))


def crm(local: LocalProvider, name: str, http_client: HttpClient) -> Crm:
    (mirror,) = crms(provided_by(local, name), http_client)
    return Crm(local, name, mirror)

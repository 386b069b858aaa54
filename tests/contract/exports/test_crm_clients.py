"""HubSpot's client and simple-salesforce read and change the tasks that our mirrors wrote to the local provider."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import hubspot
import pytest
import requests
from hubspot.crm.objects import tasks as hubspot_tasks
from requests.adapters import HTTPAdapter
from simple_salesforce.api import Salesforce
from simple_salesforce.exceptions import SalesforceMalformedRequest, SalesforceResourceNotFound

from activities.exports.crm.port import CrmTask
from activities.exports.crm.salesforce import KEY as EXTERNAL
from activities.exports.crm.salesforce import OUTCOME
from tests.support.crms import Crm, crm
from worker.stack.providers.environment import KEY
from worker.stack.providers.serving import LocalProvider

AT = datetime(2027, 3, 1, 9, 30, tzinfo=UTC)
TASK = CrmTask(
    "a" * 64, 7, "renewal-call", "renewal", "acme", "dana", "77", "dana is named", AT, AT, True, True, None, False, {}
)


# -- HubSpot -----------------------------------------------------------------------------------------------------------


def tasks_api(local: LocalProvider, token: str = KEY) -> Any:
    """HubSpot's tasks API at the address of the local provider."""
    return hubspot.Client.create(access_token=token, host=f"{local.url}/hubspot").crm.objects.tasks


async def test_hubspots_client_upserts_reads_and_closes_tasks_that_the_mirror_made(local, http_client):
    remote, tasks = crm(local, "hubspot", http_client), tasks_api(local)
    number = await remote.mirror.push(TASK, None)
    batch = hubspot_tasks.BatchReadInputSimplePublicObjectId(
        properties=["hs_task_status", "hs_timestamp"], inputs=[{"id": number}], properties_with_history=[]
    )
    read = await asyncio.to_thread(tasks.batch_api.read, batch)
    (shown,) = read.results
    assert (shown.id, shown.properties["hs_task_status"]) == (number, "NOT_STARTED")
    assert shown.properties["hs_timestamp"] == "2027-03-01T09:30:00Z"
    upsert = hubspot_tasks.SimplePublicObjectBatchInputUpsert(
        id=TASK.key, id_property="tenure_task_key", properties={"hs_task_priority": "HIGH"}
    )
    changed = await asyncio.to_thread(
        tasks.batch_api.upsert, hubspot_tasks.BatchInputSimplePublicObjectBatchInputUpsert(inputs=[upsert])
    )
    assert [(task.id, task.new) for task in changed.results] == [(number, False)]
    done = hubspot_tasks.SimplePublicObjectInput(properties={"hs_task_status": "COMPLETED", "tenure_outcome": "agreed"})
    await asyncio.to_thread(tasks.basic_api.update, number, done)
    ended = await remote.mirror.ended([number])
    assert ended[number].outcome == "agreed"
    await asyncio.to_thread(tasks.basic_api.archive, number)
    assert await remote.mirror.ended([number]) == {}


async def test_hubspots_client_parses_the_local_providers_errors(local):
    made = hubspot_tasks.SimplePublicObjectInputForCreate(properties={"hs_task_subject": "Call"}, associations=[])
    with pytest.raises(hubspot_tasks.ApiException) as undated:
        await asyncio.to_thread(tasks_api(local).basic_api.create, made)
    assert (undated.value.status, "VALIDATION_ERROR" in undated.value.body) == (400, True)
    with pytest.raises(hubspot_tasks.ApiException) as strange:
        await asyncio.to_thread(tasks_api(local, "wrong").basic_api.get_by_id, "1")
    assert strange.value.status == 401


# -- Salesforce --------------------------------------------------------------------------------------------------------


class Elsewhere(HTTPAdapter):
    """The client accepts only HTTPS addresses, so its session sends the requests to the local provider."""

    def __init__(self, local: LocalProvider) -> None:
        super().__init__()
        self._url = local.url

    def send(self, request: requests.PreparedRequest, *given: Any, **named: Any) -> requests.Response:
        parts = urlsplit(request.url or "")
        path = f"/salesforce{str(parts.path).removeprefix('/salesforce')}"
        request.url = f"{self._url}{path}" + (f"?{parts.query!s}" if parts.query else "")
        return super().send(request, *given, **named)


def signed_in(local: LocalProvider) -> Any:
    """A client signed in by the client-credentials flow, as our mirror is."""
    session = requests.Session()
    session.mount("https://", Elsewhere(local))
    return Salesforce(consumer_key="client", consumer_secret=KEY, domain="acme.my", session=session, version="61.0")


async def test_simple_salesforce_upserts_and_closes_tasks_that_the_mirror_made(local, http_client):
    remote: Crm = crm(local, "salesforce", http_client)
    number = await remote.mirror.push(TASK, None)
    client = await asyncio.to_thread(signed_in, local)
    task = await asyncio.to_thread(client.Task.get, number)
    assert (task["Status"], task["ActivityDate"], task["IsClosed"]) == ("Not Started", "2027-03-01", False)
    status = await asyncio.to_thread(client.Task.upsert, f"{EXTERNAL}/{TASK.key.upper()}", {"Priority": "High"})
    assert status == 200, "external ids are compared without case, so the task existed"
    assert await asyncio.to_thread(client.Task.upsert, f"{EXTERNAL}/{'b' * 64}", {"Subject": "Another"}) == 201
    assert len(remote.tasks) == 2
    await asyncio.to_thread(client.Task.update, number, {"Status": "Completed", OUTCOME: "agreed"})
    assert (await remote.mirror.ended([number, "00Tnothing"]))[number].outcome == "agreed"
    read = await asyncio.to_thread(
        client.restful, "composite/sobjects/Task", method="POST", json={"ids": [number], "fields": ["IsClosed"]}
    )
    assert read[0]["IsClosed"] is True
    await asyncio.to_thread(client.Task.delete, number)
    assert await remote.mirror.ended([number]) == {}


async def test_simple_salesforce_parses_the_local_providers_errors(local):
    client = await asyncio.to_thread(signed_in, local)
    with pytest.raises(SalesforceMalformedRequest) as strange:
        await asyncio.to_thread(client.Task.upsert, f"{EXTERNAL}/{'b' * 64}", {"Nothing__c": "x"})
    assert strange.value.content[0]["errorCode"] == "INVALID_FIELD"
    with pytest.raises(SalesforceResourceNotFound):
        await asyncio.to_thread(client.Task.get, "00Tnothing")

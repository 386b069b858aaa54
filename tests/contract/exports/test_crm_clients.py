"""HubSpot's own client and simple-salesforce do with the local provider's tasks what our mirrors do, and read what those wrote."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import hubspot
import pytest
import requests
from hubspot.crm.objects import tasks as its
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


def its_api(local: LocalProvider, token: str = KEY) -> Any:
    """Its tasks, at another address than the real one's."""
    return hubspot.Client.create(access_token=token, host=f"{local.url}/hubspot").crm.objects.tasks


async def test_hubspots_client_upserts_by_our_key_reads_and_closes_what_the_mirror_made(local, way):
    there, tasks = crm(local, "hubspot", way), its_api(local)
    number = await there.mirror.push(TASK, None)
    wanted = its.BatchReadInputSimplePublicObjectId(
        properties=["hs_task_status", "hs_timestamp"], inputs=[{"id": number}], properties_with_history=[]
    )
    read = await asyncio.to_thread(tasks.batch_api.read, wanted)
    (shown,) = read.results
    assert (shown.id, shown.properties["hs_task_status"]) == (number, "NOT_STARTED")
    assert shown.properties["hs_timestamp"] == "2027-03-01T09:30:00Z"
    again = its.SimplePublicObjectBatchInputUpsert(
        id=TASK.key, id_property="tenure_task_key", properties={"hs_task_priority": "HIGH"}
    )
    changed = await asyncio.to_thread(
        tasks.batch_api.upsert, its.BatchInputSimplePublicObjectBatchInputUpsert(inputs=[again])
    )
    assert [(each.id, each.new) for each in changed.results] == [(number, False)]
    done = its.SimplePublicObjectInput(properties={"hs_task_status": "COMPLETED", "tenure_outcome": "agreed"})
    await asyncio.to_thread(tasks.basic_api.update, number, done)
    ended = await there.mirror.ended([number])
    assert ended[number].outcome == "agreed"
    await asyncio.to_thread(tasks.basic_api.archive, number)
    assert await there.mirror.ended([number]) == {}


async def test_hubspots_client_understands_our_refusals(local):
    made = its.SimplePublicObjectInputForCreate(properties={"hs_task_subject": "Call"}, associations=[])
    with pytest.raises(its.ApiException) as undated:
        await asyncio.to_thread(its_api(local).basic_api.create, made)
    assert (undated.value.status, "VALIDATION_ERROR" in undated.value.body) == (400, True)
    with pytest.raises(its.ApiException) as strange:
        await asyncio.to_thread(its_api(local, "wrong").basic_api.get_by_id, "1")
    assert strange.value.status == 401


# -- Salesforce --------------------------------------------------------------------------------------------------------


class Elsewhere(HTTPAdapter):
    """The client takes no address without TLS; its session does."""

    def __init__(self, local: LocalProvider) -> None:
        super().__init__()
        self._url = local.url

    def send(self, request: requests.PreparedRequest, *given: Any, **named: Any) -> requests.Response:
        parts = urlsplit(request.url or "")
        path = f"/salesforce{str(parts.path).removeprefix('/salesforce')}"
        request.url = f"{self._url}{path}" + (f"?{parts.query!s}" if parts.query else "")
        return super().send(request, *given, **named)


def signed_in(local: LocalProvider) -> Any:
    """By the client-credentials flow, as our mirror is."""
    session = requests.Session()
    session.mount("https://", Elsewhere(local))
    return Salesforce(consumer_key="client", consumer_secret=KEY, domain="acme.my", session=session, version="61.0")


async def test_simple_salesforce_upserts_by_external_id_and_closes_what_the_mirror_made(local, way):
    there: Crm = crm(local, "salesforce", way)
    made = await there.mirror.push(TASK, None)
    client = await asyncio.to_thread(signed_in, local)
    task = await asyncio.to_thread(client.Task.get, made)
    assert (task["Status"], task["ActivityDate"], task["IsClosed"]) == ("Not Started", "2027-03-01", False)
    status = await asyncio.to_thread(client.Task.upsert, f"{EXTERNAL}/{TASK.key.upper()}", {"Priority": "High"})
    assert status == 200, "the same in big letters: it was there"
    assert await asyncio.to_thread(client.Task.upsert, f"{EXTERNAL}/{'b' * 64}", {"Subject": "Another"}) == 201
    assert len(there.tasks) == 2
    await asyncio.to_thread(client.Task.update, made, {"Status": "Completed", OUTCOME: "agreed"})
    assert (await there.mirror.ended([made, "00Tnothing"]))[made].outcome == "agreed"
    read = await asyncio.to_thread(
        client.restful, "composite/sobjects/Task", method="POST", json={"ids": [made], "fields": ["IsClosed"]}
    )
    assert read[0]["IsClosed"] is True
    await asyncio.to_thread(client.Task.delete, made)
    assert await there.mirror.ended([made]) == {}


async def test_simple_salesforce_understands_our_refusals(local):
    client = await asyncio.to_thread(signed_in, local)
    with pytest.raises(SalesforceMalformedRequest) as strange:
        await asyncio.to_thread(client.Task.upsert, f"{EXTERNAL}/{'b' * 64}", {"Nothing__c": "x"})
    assert strange.value.content[0]["errorCode"] == "INVALID_FIELD"
    with pytest.raises(SalesforceResourceNotFound):
        await asyncio.to_thread(client.Task.get, "00Tnothing")

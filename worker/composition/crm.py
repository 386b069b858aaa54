"""The CRMs in which tasks are shown, put together from settings: each signed in with what its vendor needs."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Final

from activities.channels.http.access_tokens import AccessToken, client_credentials
from activities.exports.crm.client import CrmClient, FixedToken
from activities.exports.crm.hubspot import HubSpot
from activities.exports.crm.port import CrmTasks
from activities.exports.crm.salesforce import Salesforce
from activities.outgoing.client import HttpClient
from activities.outgoing.rate_limit import Rate
from journeys.tasks.assignment import Roster
from store.database import Database
from worker.loops.crm_sync import CrmSync
from worker.provider_settings import ProviderSettings, read_rates

RATE: Final = Rate(5, 10)
"""Calls a second to a CRM that has no rate in TENURE_PROVIDER_RATES: HubSpot allows 10 an app, Salesforce counts by the day."""


async def crm_sync(database: Database, roster: Roster, it: ProviderSettings, stop: asyncio.Event) -> None:
    """Mirror tasks to the CRMs that are configured, until told to stop; at an end at once where none is."""
    way = HttpClient(it.allowed)
    try:
        await CrmSync(database, roster, task_mirrors(it, way), timedelta(seconds=it.crm_read_seconds)).run(stop)
    finally:
        await way.close()


def task_mirrors(it: ProviderSettings, way: HttpClient) -> list[CrmTasks]:
    """Those that are configured, by this way out, which stays the caller's to close."""
    rates, found = read_rates(it.provider_rates), list[CrmTasks]()
    if token := it.hubspot_token.get_secret_value():
        rate = rates.get(HubSpot.name, RATE)
        found.append(HubSpot(CrmClient(HubSpot.name, way, it.hubspot_base, FixedToken(token), HubSpot.table, rate)))
    if base := it.salesforce_base.rstrip("/"):
        rate, secret = rates.get(Salesforce.name, RATE), it.salesforce_secret.get_secret_value()
        token_of = AccessToken(way, client_credentials(f"{base}/services/oauth2/token", it.salesforce_client, secret))
        found.append(Salesforce(CrmClient(Salesforce.name, way, base, token_of, Salesforce.table, rate)))
    return found

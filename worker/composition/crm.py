"""CRM sync from settings: HubSpot and Salesforce, each with its own authentication."""

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
"""Calls a second to a CRM without a rate in TENURE_PROVIDER_RATES. HubSpot allows 10 an app; Salesforce counts by day."""


async def crm_sync(database: Database, roster: Roster, settings: ProviderSettings, stop: asyncio.Event) -> None:
    """Copy tasks to the configured CRMs until `stop` is set; returns at once where there is none."""
    http = HttpClient(settings.allowed)
    try:
        await CrmSync(database, roster, crms(settings, http), timedelta(seconds=settings.crm_read_seconds)).run(stop)
    finally:
        await http.close()


def crms(settings: ProviderSettings, http: HttpClient) -> list[CrmTasks]:
    """The configured CRMs over one HTTP client, which the caller closes."""
    rates, configured = read_rates(settings.provider_rates), list[CrmTasks]()
    if token := settings.hubspot_token.get_secret_value():
        rate = rates.get(HubSpot.name, RATE)
        configured.append(
            HubSpot(CrmClient(HubSpot.name, http, settings.hubspot_base, FixedToken(token), HubSpot.table, rate))
        )
    if base := settings.salesforce_base.rstrip("/"):
        rate, secret = rates.get(Salesforce.name, RATE), settings.salesforce_secret.get_secret_value()
        token_of = AccessToken(
            http, client_credentials(f"{base}/services/oauth2/token", settings.salesforce_client, secret)
        )
        configured.append(Salesforce(CrmClient(Salesforce.name, http, base, token_of, Salesforce.table, rate)))
    return configured

"""The loop that tells advertising tools who is in which audience, put together from settings and `catalog/audiences.yaml`."""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path

import yaml
from pydantic import ValidationError

from activities.channels.allow_list import AllowList
from activities.exports.audiences.ad_platforms import (
    AdPlatform,
    GoogleAudiences,
    GooglePlatform,
    MetaAudiences,
    MetaPlatform,
)
from activities.exports.audiences.membership import AudiencePlan, AudiencePlans
from activities.exports.audiences.sync import AudienceSync
from activities.outgoing.client import HttpClient
from journeys.consent.rules import ConsentRuleSet
from store.database import Database
from worker.composition.providers import ProviderSettings
from worker.loops.loop import run_periodically
from worker.settings import Settings, SettingsError

PAUSE_SECONDS = 15.0
"""Between two rounds, unless a batch of the first was full: an opt-out may stand behind it."""


class AudienceLoop:
    """Rounds until told to stop; with no tool configured it has nothing to do and ends at once."""

    def __init__(self, sync: AudienceSync | None) -> None:
        self._sync = sync

    async def run(self, stop: asyncio.Event) -> None:
        """Raises nothing: an outage of the database is waited for."""
        if self._sync is not None:
            await run_periodically("audiences", partial(self._look, self._sync), stop, PAUSE_SECONDS)

    async def _look(self, sync: AudienceSync) -> bool:
        return (await sync.round()).more


def audience_loop(
    database: Database, settings: Settings, given: ProviderSettings, book: ConsentRuleSet
) -> AudienceLoop:
    """The loop over what is configured. Raises SettingsError."""
    tools, plans = audience_tools(given), audience_plans(settings.catalog)
    allowed = None if settings.environment == "production" else AllowList(settings.allowed)
    return AudienceLoop(AudienceSync(database, tools, plans, book, allowed) if tools and plans else None)


def audience_tools(it: ProviderSettings) -> list[AdPlatform]:
    """Those that are configured. Raises SettingsError for a key that cannot be read."""
    way, found = HttpClient(it.allowed), list[AdPlatform]()
    if it.google_ads_key_file is not None:
        try:
            key = it.google_ads_key_file.read_text()
        except OSError as fault:
            raise SettingsError(f"TENURE_GOOGLE_ADS_KEY_FILE cannot be read: {fault.strerror}") from fault
        google = GoogleAudiences(
            it.google_ads_account, it.google_ads_email, key, it.google_ads_base, it.google_ads_token_url
        )
        found.append(GooglePlatform(way, google))
    if token := it.meta_token.get_secret_value():
        found.append(MetaPlatform(way, MetaAudiences(token, it.meta_base)))
    return found


def audience_plans(catalog: Path) -> dict[str, AudiencePlan]:
    """`audiences.yaml`, where there is one. Raises SettingsError with all that is wrong with it."""
    path = catalog / "audiences.yaml"
    if not path.exists():
        return {}
    try:
        return AudiencePlans.model_validate(yaml.safe_load(path.read_text()) or {}).audiences
    except (ValidationError, yaml.YAMLError) as fault:
        raise SettingsError(f"{path}: {fault}") from fault

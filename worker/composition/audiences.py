"""Audience loop from settings and `catalog/audiences.yaml`: configured advertising platforms and audience plans."""

from __future__ import annotations

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
from worker.loops.audiences import AudienceLoop
from worker.provider_settings import ProviderSettings
from worker.settings import Settings, SettingsError


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

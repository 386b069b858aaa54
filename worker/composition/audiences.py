"""Audience sync from settings and `audiences.yaml`: advertising platforms and audience plans."""

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
    database: Database, settings: Settings, providers: ProviderSettings, rules: ConsentRuleSet
) -> AudienceLoop:
    """The loop over the configured platforms; one that ends at once where there are none. Raises SettingsError."""
    platforms, plans = ad_platforms(providers), audience_plans(settings.catalog)
    allowed = None if settings.environment == "production" else AllowList(settings.allowed)
    return AudienceLoop(AudienceSync(database, platforms, plans, rules, allowed) if platforms and plans else None)


def ad_platforms(settings: ProviderSettings) -> list[AdPlatform]:
    """The configured platforms. Raises SettingsError for a key file that cannot be read."""
    http, platforms = HttpClient(settings.allowed), list[AdPlatform]()
    if settings.google_ads_key_file is not None:
        try:
            key = settings.google_ads_key_file.read_text()
        except OSError as error:
            raise SettingsError(f"TENURE_GOOGLE_ADS_KEY_FILE cannot be read: {error.strerror}") from error
        google = GoogleAudiences(
            settings.google_ads_account,
            settings.google_ads_email,
            key,
            settings.google_ads_base,
            settings.google_ads_token_url,
        )
        platforms.append(GooglePlatform(http, google))
    if token := settings.meta_token.get_secret_value():
        platforms.append(MetaPlatform(http, MetaAudiences(token, settings.meta_base)))
    return platforms


def audience_plans(catalog: Path) -> dict[str, AudiencePlan]:
    """The plans in `audiences.yaml`, by name; none where there is no such file. Raises SettingsError with every fault."""
    path = catalog / "audiences.yaml"
    if not path.exists():
        return {}
    try:
        return AudiencePlans.model_validate(yaml.safe_load(path.read_text()) or {}).audiences
    except (ValidationError, yaml.YAMLError) as error:
        raise SettingsError(f"{path}: {error}") from error

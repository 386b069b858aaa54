"""Dependencies given to every activity: database, definitions, policy, channels and team."""

from __future__ import annotations

from activities.content.templates import load_templates
from activities.dependencies import Dependencies
from api.http.limits import Limits
from journeys.events.profile_bounds import ProfileBounds
from store.database import Database
from store.definitions.registry import DefinitionRegistry
from worker.composition.catalog import consent_rules, policy, roster
from worker.composition.channels import configured_channels
from worker.provider_settings import ProviderSettings
from worker.settings import Settings


def dependencies(
    settings: Settings,
    database: Database,
    *,
    providers: ProviderSettings | None = None,
    before: Dependencies | None = None,
    version: int | None = None,
) -> Dependencies:
    """The dependencies of one process over this database, by the catalogue of the settings, which is this published version.

    The channels of those `before`, with their connections and circuit breakers, are kept, and get the templates.
    Raises SettingsError and TemplateProblems.
    """
    rules, team = policy(settings.catalog), roster(settings.catalog)
    bounds = ProfileBounds(most_bytes=Limits().profile_bytes)
    registry = DefinitionRegistry(rules.urgent_ticket, consent_rules(settings), team, bounds=bounds)
    templates = load_templates(settings.catalog / "templates")
    if before is None:
        channels = configured_channels(settings, providers, templates)
        return Dependencies(database, registry, rules, channels, team, templates, version)
    before.templates.use(templates)
    return Dependencies(database, registry, rules, before.channels, team, before.templates, version)

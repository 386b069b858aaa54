"""Configured channels behind their guards, and previews of content."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from activities.channels.allow_list import AllowList, withheld_outside_production
from activities.channels.in_app import InAppChannel
from activities.content.templates import Templates, load_templates
from activities.ports import Channel
from activities.preview import ContentPreview
from worker.composition.mail import is_sink, mail_channel, tracked_links
from worker.composition.providers import configured_providers, guarded_channels
from worker.provider_settings import ProviderSettings, load_providers, read_rates
from worker.settings import Settings


def configured_channels(
    settings: Settings, providers: ProviderSettings | None = None, templates: Templates | None = None
) -> Mapping[str, Channel]:
    """Every configured channel by name, guarded; outside production those that reach people check the allow-list.

    Templates are the catalogue's unless some are given. Raises SettingsError.
    """
    providers = providers or load_providers()
    templates = load_templates(settings.catalog / "templates") if templates is None else templates
    mail = mail_channel(settings, templates, providers)
    always: dict[str, Channel] = {"email": mail, "in_app": InAppChannel(templates)}
    guarded = guarded_channels(
        always | configured_providers(settings, providers, templates, tracked_links(settings)),
        read_rates(providers.provider_rates),
    )
    sinks = ("email",) if is_sink(settings, mail) else ()
    return withheld_outside_production(guarded, environment=settings.environment, allowed=settings.allowed, sinks=sinks)


def content_preview(settings: Settings, providers: ProviderSettings | None = None) -> ContentPreview:
    """Previews and test sends for authors. Test sends use the mail channel; without one there are none."""
    providers = providers or load_providers()
    # Test sends arrive rendered, so the mail channel needs no templates and a broken catalogue does not stop it.
    mailer = (
        partial(mail_channel, settings, Templates({}), providers) if settings.smtp_url or providers.resend_key else None
    )
    return ContentPreview(
        templates=partial(load_templates, settings.catalog / "templates"),
        mailer=mailer,
        allowed=AllowList(settings.allowed),
        anyone=mailer is not None and is_sink(settings, mailer()),
        postal=settings.postal_address,
        links=tracked_links(settings),
    )

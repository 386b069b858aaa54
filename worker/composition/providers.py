"""Channels of configured providers, their guards, secrets of webhooks."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from pydantic import SecretStr

from activities.channels.http.channel import Reach
from activities.channels.slack import SlackChannel, SlackSettings
from activities.channels.twilio import TwilioChannel, TwilioSettings
from activities.channels.webhook import WebhookChannel, WebhookSettings
from activities.channels.zendesk import ZendeskChannel, ZendeskSettings
from activities.channels.zoom import ZoomChannel, ZoomSettings
from activities.content.templates import Templates
from activities.content.tracked_links import ClickLinks
from activities.outgoing.client import HttpClient
from activities.outgoing.guarded_channel import GuardedChannel
from activities.outgoing.rate_limit import Rate
from activities.ports import Ambiguity, Channel
from api.inbound.signatures import WebhookSecrets
from worker.provider_settings import ProviderSettings
from worker.settings import Settings, SettingsError

PUSH_CONNECTIONS, PUSH_CONNECTIONS_PER_HOST = 256, 8
"""Connections to browsers' push services, in all and per host. Each browser names its own host, so none may take all."""


def configured_providers(
    settings: Settings, providers: ProviderSettings, templates: Templates, clicks: ClickLinks | None
) -> dict[str, Channel]:
    """The configured channels beside mail, by name, without guards. Raises SettingsError for an unusable key."""
    reach = Reach(near=providers.providers_near, clicks=clicks)
    try:
        channels = _http_channels(settings, providers, templates, reach)
        if providers.apprise_field:
            from activities.channels.apprise import (  # noqa: PLC0415 — start-up time: apprise takes a second
                AppriseChannel,
                AppriseSettings,
            )

            apprise = AppriseSettings(
                _open(providers.apprise_url),
                providers.apprise_field,
                time_sensitive=providers.apprise_time_sensitive,
                clicks=reach.clicks,
            )
            channels["apprise"] = AppriseChannel(templates, apprise)
    except (ValueError, OSError) as error:
        raise SettingsError(f"a provider is not configured correctly: {error}") from error
    return channels


def _http_channels(
    settings: Settings, providers: ProviderSettings, templates: Templates, reach: Reach
) -> dict[str, Channel]:
    # A client each, so that a provider that hangs blocks only its own connections.
    http = partial(HttpClient, providers.allowed)
    channels: dict[str, Channel] = {}
    if providers.twilio_account:
        sms = TwilioSettings(
            providers.twilio_account, _open(providers.twilio_token), providers.twilio_from, providers.twilio_base, providers.phone_region, providers.twilio_callback,
            Ambiguity(settings.smtp_ambiguity),
        )  # fmt: skip
        channels["sms"] = TwilioChannel(templates, http(), reach, sms)
    if providers.fcm_key_file or providers.vapid_key_file:
        channels["push"] = _push(providers, templates, reach)
    if providers.slack_channel:
        chat = SlackSettings(_open(providers.slack_token), providers.slack_channel, providers.slack_base)
        channels["chat"] = SlackChannel(templates, http(), reach, chat)
    if providers.webhook_url:
        hook = WebhookSettings(providers.webhook_url, _open(providers.webhook_secret))
        channels["webhook"] = WebhookChannel(templates, http(), reach, hook)
    if providers.zendesk_base:
        desk = ZendeskSettings(
            providers.zendesk_base.rstrip("/"), providers.zendesk_agent, _open(providers.zendesk_token)
        )
        channels["support"] = ZendeskChannel(templates, http(), reach, desk)
    if providers.zoom_account:
        zoom = ZoomSettings(
            providers.zoom_account,
            providers.zoom_client,
            _open(providers.zoom_secret),
            providers.zoom_base,
            providers.zoom_token_url,
        )
        channels["webinar"] = ZoomChannel(templates, http(), reach, zoom)
    return channels


def _push(providers: ProviderSettings, templates: Templates, reach: Reach) -> Channel:
    from activities.channels.push.channel import FcmSettings, PushChannel  # noqa: PLC0415 — start-up time: cryptography
    from activities.channels.push.web_push import WebPush  # noqa: PLC0415 — as above

    fcm, web = None, None
    if providers.fcm_key_file is not None:
        key = providers.fcm_key_file.read_text()
        fcm = FcmSettings(providers.fcm_project, providers.fcm_email, key, providers.fcm_base, providers.fcm_token_url)
    if providers.vapid_key_file is not None:
        web = WebPush(providers.vapid_key_file.read_text(), providers.vapid_contact)
    browsers = HttpClient(providers.allowed, most=PUSH_CONNECTIONS, each=PUSH_CONNECTIONS_PER_HOST)
    return PushChannel(templates, HttpClient(providers.allowed), reach, fcm=fcm, web=web, browsers=browsers)


def guarded_channels(channels: Mapping[str, Channel], rates: Mapping[str, Rate]) -> dict[str, Channel]:
    """Each channel behind a circuit breaker and its rate limit; the in-app inbox, which is our own table, needs neither."""
    return {
        name: channel if channel.inside else GuardedChannel(channel, rate=rates.get(name))
        for name, channel in channels.items()
    }


def webhook_secrets(providers: ProviderSettings) -> WebhookSecrets:
    """Secrets that verify webhooks, by provider. A webhook without a secret is off."""
    return WebhookSecrets(
        resend=_open(providers.resend_webhook_secret),
        twilio=_open(providers.twilio_token) if providers.twilio_callback else "",
        twilio_url=providers.twilio_callback,
        twilio_account=providers.twilio_account,
        zendesk=_open(providers.zendesk_webhook_secret),
        zoom=_open(providers.zoom_webhook_secret),
    )


def _open(value: SecretStr) -> str:
    return value.get_secret_value()

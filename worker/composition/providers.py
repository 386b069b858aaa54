"""Channels of the configured providers, each behind a rate limit and a circuit breaker; their webhooks' secrets."""

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

BROWSERS, ONE_HOST = 256, 8
"""Calls at once to browsers' push services, whose hosts strangers choose: to all of them, and to any one."""


def configured_providers(
    settings: Settings, given: ProviderSettings, templates: Templates, clicks: ClickLinks | None
) -> dict[str, Channel]:
    """The channels beside mail that are configured, without their guards. Raises SettingsError for a key that is none."""
    reach = Reach(near=given.providers_near, clicks=clicks)
    try:
        found = _http_channels(settings, given, templates, reach)
        if given.apprise_field:
            from activities.channels.apprise import (  # noqa: PLC0415 — start-up time: apprise takes a second
                AppriseChannel,
                AppriseSettings,
            )

            url, urgent = _open(given.apprise_url), given.apprise_time_sensitive
            tail = AppriseSettings(url, given.apprise_field, time_sensitive=urgent, clicks=reach.clicks)
            found["apprise"] = AppriseChannel(templates, tail)
    except (ValueError, OSError) as fault:
        raise SettingsError(f"a provider is not configured right: {fault}") from fault
    return found


def _http_channels(settings: Settings, it: ProviderSettings, templates: Templates, reach: Reach) -> dict[str, Channel]:
    way = partial(HttpClient, it.allowed)  # one each: whoever hangs keeps their own connections, and no other's
    found: dict[str, Channel] = {}
    if it.twilio_account:
        sms = TwilioSettings(
            it.twilio_account, _open(it.twilio_token), it.twilio_from, it.twilio_base, it.phone_region, it.twilio_callback,
            Ambiguity(settings.smtp_ambiguity),
        )  # fmt: skip
        found["sms"] = TwilioChannel(templates, way(), reach, sms)
    if it.fcm_key_file or it.vapid_key_file:
        found["push"] = _push(it, templates, reach)
    if it.slack_channel:
        chat = SlackSettings(_open(it.slack_token), it.slack_channel, it.slack_base)
        found["chat"] = SlackChannel(templates, way(), reach, chat)
    if it.webhook_url:
        hook = WebhookSettings(it.webhook_url, _open(it.webhook_secret))
        found["webhook"] = WebhookChannel(templates, way(), reach, hook)
    if it.zendesk_base:
        desk = ZendeskSettings(it.zendesk_base.rstrip("/"), it.zendesk_agent, _open(it.zendesk_token))
        found["support"] = ZendeskChannel(templates, way(), reach, desk)
    if it.zoom_account:
        zoom = ZoomSettings(it.zoom_account, it.zoom_client, _open(it.zoom_secret), it.zoom_base, it.zoom_token_url)
        found["webinar"] = ZoomChannel(templates, way(), reach, zoom)
    return found


def _push(it: ProviderSettings, templates: Templates, reach: Reach) -> Channel:
    from activities.channels.push.channel import FcmSettings, PushChannel  # noqa: PLC0415 — start-up time: cryptography
    from activities.channels.push.web_push import WebPush  # noqa: PLC0415 — as above

    fcm, web = None, None
    if it.fcm_key_file is not None:
        key = it.fcm_key_file.read_text()
        fcm = FcmSettings(it.fcm_project, it.fcm_email, key, it.fcm_base, it.fcm_token_url)
    if it.vapid_key_file is not None:
        web = WebPush(it.vapid_key_file.read_text(), it.vapid_contact)
    browsers = HttpClient(it.allowed, most=BROWSERS, each=ONE_HOST)
    return PushChannel(templates, HttpClient(it.allowed), reach, fcm=fcm, web=web, browsers=browsers)


def guarded_channels(found: Mapping[str, Channel], rates: Mapping[str, Rate]) -> dict[str, Channel]:
    """Each with its breaker and its pace; a row of our own store needs neither."""
    return {
        name: channel if channel.inside else GuardedChannel(channel, rate=rates.get(name))
        for name, channel in found.items()
    }


def webhook_secrets(it: ProviderSettings) -> WebhookSecrets:
    """With what each provider's webhooks are verified; those without a secret are off."""
    return WebhookSecrets(
        resend=_open(it.resend_webhook_secret),
        twilio=_open(it.twilio_token) if it.twilio_callback else "",
        twilio_url=it.twilio_callback,
        zendesk=_open(it.zendesk_webhook_secret),
        zoom=_open(it.zoom_webhook_secret),
    )


def _open(value: SecretStr) -> str:
    return value.get_secret_value()

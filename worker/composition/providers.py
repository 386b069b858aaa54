"""The providers that an operator configures, each off until it is, and the channels put together from them.

Read from the environment (TENURE_…) beside `settings.py`. Every secret is given as a value or, for keys of many lines, as the
file that holds it.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Self

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

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
from worker.settings import PREFIX, Settings, SettingsError

SECRET = SecretStr("")
BROWSERS, ONE_HOST = 256, 8
"""Calls at once to browsers' push services, whose hosts strangers choose: to all of them, and to any one."""


class ProviderSettings(BaseSettings):
    """What is empty is off. `rates` are attempts a second, by channel: `sms=10,email=50/100` (with a burst of 100)."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="ignore", env_ignore_empty=True)

    outgoing_allow: str = Field("", description="host:port, comma-separated, that may be inside, plain, on any port.")
    providers_near: bool = Field(False, description="Whether providers answer within 1.5 s; if not, each has a queue.")
    provider_rates: str = Field("", description="Attempts a second by channel: sms=10,email=50/100 (burst of 100).")

    resend_key: SecretStr = SECRET
    resend_webhook_secret: SecretStr = SECRET
    resend_base: str = "https://api.resend.com"
    dkim_selector: str = ""
    dkim_key_file: Path | None = None
    twilio_account: str = ""
    twilio_token: SecretStr = SECRET
    twilio_from: str = ""
    twilio_base: str = "https://api.twilio.com"
    twilio_callback: str = Field("", description="Our public https://…/v1/hooks/twilio, as Twilio is to call it.")
    phone_region: str | None = None
    fcm_project: str = ""
    fcm_email: str = ""
    fcm_key_file: Path | None = None
    fcm_base: str = "https://fcm.googleapis.com"
    fcm_token_url: str = "https://oauth2.googleapis.com/token"  # noqa: S105 -- an address
    vapid_key_file: Path | None = None
    vapid_contact: str = ""
    slack_token: SecretStr = SECRET
    slack_channel: str = ""
    slack_base: str = "https://slack.com/api"
    webhook_url: str = ""
    webhook_secret: SecretStr = SECRET
    feed_url: str = Field("", description="Our receiver of the feed of decisions and deliveries; empty pushes nothing.")
    feed_secret: SecretStr = Field(
        SECRET,
        description="whsec_…: signs what is pushed there, and pages of /v1/feed; of several, by commas, each does.",
    )
    zendesk_base: str = ""
    zendesk_agent: str = ""
    zendesk_token: SecretStr = SECRET
    zendesk_webhook_secret: SecretStr = SECRET
    zoom_account: str = ""
    zoom_client: str = ""
    zoom_secret: SecretStr = SECRET
    zoom_webhook_secret: SecretStr = SECRET
    zoom_base: str = "https://api.zoom.us/v2"
    zoom_token_url: str = "https://zoom.us/oauth/token"  # noqa: S105 -- an address
    google_ads_account: str = ""
    google_ads_email: str = ""
    google_ads_key_file: Path | None = None
    google_ads_base: str = "https://datamanager.googleapis.com"
    google_ads_token_url: str = "https://oauth2.googleapis.com/token"  # noqa: S105 -- an address
    meta_token: SecretStr = SECRET
    meta_base: str = "https://graph.facebook.com/v26.0"
    hubspot_token: SecretStr = SECRET
    hubspot_base: str = "https://api.hubapi.com"
    salesforce_base: str = Field("", description="https://<My Domain>.my.salesforce.com: where tasks are shown too.")
    salesforce_client: str = ""
    salesforce_secret: SecretStr = SECRET
    crm_read_seconds: float = Field(60.0, ge=1, description="How often a CRM is asked what was closed there.")
    apprise_url: SecretStr = SECRET
    apprise_field: str = ""
    apprise_time_sensitive: bool = Field(False, description="Whether the service interrupts people, as sms does (C7).")

    @field_validator("provider_rates")
    @classmethod
    def _are_rates(cls, given: str) -> str:
        read_rates(given)
        return given

    @model_validator(mode="after")
    def _whole(self) -> Self:
        """A provider of which half is given is a mistake that would only show when the first message fails."""
        for names in _TOGETHER:
            given = [name for name in names if _given(getattr(self, name))]
            missing = [PREFIX + name.upper() for name in names if name not in given]
            if given and missing:
                raise ValueError(f"{PREFIX}{given[0].upper()} is set without {' and '.join(missing)}: set all or none")
        return self

    @property
    def allowed(self) -> frozenset[str]:
        """The allow-list of the way out."""
        return frozenset(each.strip() for each in self.outgoing_allow.split(",") if each.strip())


_TOGETHER = (
    ("dkim_selector", "dkim_key_file"),
    ("twilio_account", "twilio_token", "twilio_from"),
    ("fcm_project", "fcm_email", "fcm_key_file"),
    ("vapid_key_file", "vapid_contact"),
    ("slack_token", "slack_channel"),
    ("webhook_url", "webhook_secret"),
    ("zendesk_base", "zendesk_agent", "zendesk_token"),
    ("zoom_account", "zoom_client", "zoom_secret"),
    ("google_ads_account", "google_ads_email", "google_ads_key_file"),
    ("salesforce_base", "salesforce_client", "salesforce_secret"),
    ("apprise_url", "apprise_field"),
)
_ALONE = ("resend_key", "meta_token", "hubspot_token")
"""What turns a provider on by itself."""


def load_providers(**given: object) -> ProviderSettings:
    """Read them; what is given here wins over the environment. Raises SettingsError naming every fault."""
    try:
        return ProviderSettings(**given)  # type: ignore[arg-type]
    except ValidationError as error:
        faults = (str(each["msg"]).removeprefix("Value error, ") for each in error.errors())
        raise SettingsError("\n".join(faults)) from error


def read_rates(given: str) -> Mapping[str, Rate]:
    """`sms=10,email=50/100`. Raises ValueError saying what is wrong."""
    found = {}
    for part in filter(None, (each.strip() for each in given.split(","))):
        name, _, rate = part.partition("=")
        per_second, _, burst = rate.partition("/")
        try:
            found[name] = Rate(float(per_second), int(burst or max(1, int(float(per_second)))))
        except ValueError as fault:
            raise ValueError(f"{part!r} is no rate such as sms=10 or sms=10/20 ({fault})") from None
    return found


def configured_providers(
    settings: Settings, given: ProviderSettings, templates: Templates, clicks: ClickLinks | None
) -> dict[str, Channel]:
    """The channels beside mail that are configured, without their guards. Raises SettingsError for a key that is none."""
    reach = Reach(near=given.providers_near, clicks=clicks)
    try:
        found = _http_channels(settings, given, templates, reach)
        if given.apprise_field:
            # Like all that comes with a library of its own, only where it is wanted: this one costs a second of every start.
            from activities.channels.apprise import AppriseChannel, AppriseSettings

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
    from activities.channels.push.channel import FcmSettings, PushChannel
    from activities.channels.push.web_push import WebPush

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


def local_environ(url: str) -> dict[str, str]:
    """The local provider as the environment configures it: what needs no key of many lines."""
    from worker.stack.providers.app import KEY
    from worker.stack.providers.chat_and_support import WEBHOOK_SECRET

    values = {
        "outgoing_allow": url.removeprefix("http://"), "providers_near": "true",
        "twilio_account": "AC0", "twilio_token": KEY, "twilio_from": "+15005550006", "twilio_base": f"{url}/twilio",
        "slack_token": KEY, "slack_channel": "C0TEAM", "slack_base": f"{url}/slack",
        "webhook_url": f"{url}/receiver/", "webhook_secret": WEBHOOK_SECRET,
        "zendesk_base": f"{url}/zendesk", "zendesk_agent": "agent@tenure.example", "zendesk_token": KEY,
        "zoom_account": "local", "zoom_client": "local", "zoom_secret": KEY,
        "zoom_base": f"{url}/zoom/v2", "zoom_token_url": f"{url}/zoom/oauth/token",
        "hubspot_token": KEY, "hubspot_base": f"{url}/hubspot", "crm_read_seconds": "5",
    }  # fmt: skip
    return {PREFIX + name.upper(): value for name, value in values.items()}


def is_configured(given: ProviderSettings) -> bool:
    """Whether any provider is the operator's own: then the local one stays off, and nothing is mixed."""
    return any(_given(getattr(given, name)) for names in (*_TOGETHER, _ALONE) for name in names)


def _given(value: object) -> bool:
    return bool(_open(value) if isinstance(value, SecretStr) else value)


def _open(value: SecretStr) -> str:
    return value.get_secret_value()

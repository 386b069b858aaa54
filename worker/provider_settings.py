"""Settings of providers, CRMs, advertising tools and the feed, read from the environment (TENURE_…).

A provider whose settings are empty is off. A key of many lines is given as the file that holds it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Self

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from activities.outgoing.rate_limit import Rate
from worker.settings import PREFIX, SettingsError

SECRET = SecretStr("")


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


def is_configured(given: ProviderSettings) -> bool:
    """Whether any provider is the operator's own: then the local one stays off, and nothing is mixed."""
    return any(_given(getattr(given, name)) for names in (*_TOGETHER, _ALONE) for name in names)


def _given(value: object) -> bool:
    return bool(value.get_secret_value() if isinstance(value, SecretStr) else value)

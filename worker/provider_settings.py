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

    outgoing_allow: str = Field(
        "",
        description="host:port list, separated by commas, of receivers that may be internal, without TLS, on any port.",
    )
    providers_near: bool = Field(
        False, description="Providers answer within 1.5 s. If not, each channel has a queue of its own."
    )
    provider_rates: str = Field(
        "", description="Attempts per second by channel: sms=10,email=50/100 (with a burst of 100)."
    )

    resend_key: SecretStr = Field(SECRET, description="API key of Resend. Mail goes by Resend instead of SMTP.")
    resend_webhook_secret: SecretStr = Field(SECRET, description="Signing secret of Resend's webhook.")
    resend_base: str = Field("https://api.resend.com", description="Address of Resend's API.")
    dkim_selector: str = Field("", description="DKIM selector for mails over SMTP.")
    dkim_key_file: Path | None = Field(None, description="File with the DKIM private key (RSA, PEM).")
    twilio_account: str = Field("", description="Account SID of Twilio.")
    twilio_token: SecretStr = Field(SECRET, description="Auth token of Twilio; it also verifies its webhook.")
    twilio_from: str = Field("", description="Number or messaging service (MG…) that sends SMS.")
    twilio_base: str = Field("https://api.twilio.com", description="Address of Twilio's API.")
    twilio_callback: str = Field("", description="Public https address of /v1/hooks/twilio, as Twilio calls it.")
    phone_region: str | None = Field(None, description="Country (ISO 3166) of phone numbers in national format.")
    fcm_project: str = Field("", description="Firebase project of push notifications.")
    fcm_email: str = Field("", description="E-mail address of the Firebase service account.")
    fcm_key_file: Path | None = Field(
        None, description="File with the private key of the Firebase service account (PEM)."
    )
    fcm_base: str = Field("https://fcm.googleapis.com", description="Address of FCM's API.")
    fcm_token_url: str = Field("https://oauth2.googleapis.com/token", description="Address of FCM's token endpoint.")
    vapid_key_file: Path | None = Field(None, description="File with the VAPID private key of Web Push (P-256, PEM).")
    vapid_contact: str = Field("", description="Contact of Web Push: mailto: or https: address.")
    slack_token: SecretStr = Field(SECRET, description="Bot token of Slack.")
    slack_channel: str = Field("", description="Slack conversation for people without one of their own.")
    slack_base: str = Field("https://slack.com/api", description="Address of Slack's API.")
    webhook_url: str = Field("", description="Receiver of the webhook channel.")
    webhook_secret: SecretStr = Field(SECRET, description="Signing secret (whsec_…) of the webhook channel.")
    feed_url: str = Field("", description="Receiver of the pushed feed. Empty switches the push off.")
    feed_secret: SecretStr = Field(
        SECRET, description="Signing secrets (whsec_…) of the feed, separated by commas: each signs."
    )
    zendesk_base: str = Field("", description="Address of Zendesk: https://company.zendesk.com.")
    zendesk_agent: str = Field("", description="E-mail address of the Zendesk agent that owns the token.")
    zendesk_token: SecretStr = Field(SECRET, description="API token of Zendesk.")
    zendesk_webhook_secret: SecretStr = Field(SECRET, description="Signing secret of Zendesk's webhook.")
    zoom_account: str = Field("", description="Account id of the Zoom server-to-server app.")
    zoom_client: str = Field("", description="Client id of the Zoom app.")
    zoom_secret: SecretStr = Field(SECRET, description="Client secret of the Zoom app.")
    zoom_webhook_secret: SecretStr = Field(SECRET, description="Secret token of Zoom's webhook.")
    zoom_base: str = Field("https://api.zoom.us/v2", description="Address of Zoom's API.")
    zoom_token_url: str = Field("https://zoom.us/oauth/token", description="Address of Zoom's token endpoint.")
    google_ads_account: str = Field("", description="Google Ads account id of audiences.")
    google_ads_email: str = Field("", description="E-mail address of the Google service account.")
    google_ads_key_file: Path | None = Field(
        None, description="File with the private key of the Google service account (PEM)."
    )
    google_ads_base: str = Field(
        "https://datamanager.googleapis.com", description="Address of Google's Data Manager API."
    )
    google_ads_token_url: str = Field(
        "https://oauth2.googleapis.com/token", description="Address of Google's token endpoint."
    )
    meta_token: SecretStr = Field(SECRET, description="System user's token of Meta's Marketing API.")
    meta_base: str = Field(
        "https://graph.facebook.com/v26.0", description="Address of Meta's Marketing API, with its version."
    )
    hubspot_token: SecretStr = Field(
        SECRET, description="Token of the HubSpot private app. Tasks are copied to HubSpot."
    )
    hubspot_base: str = Field("https://api.hubapi.com", description="Address of HubSpot's API.")
    salesforce_base: str = Field(
        "", description="Address of Salesforce: https://company.my.salesforce.com. Tasks are copied to Salesforce."
    )
    salesforce_client: str = Field("", description="Client id of the Salesforce app.")
    salesforce_secret: SecretStr = Field(SECRET, description="Client secret of the Salesforce app.")
    crm_read_seconds: float = Field(
        60.0, ge=1, description="Seconds between two reads of tasks that were closed in a CRM."
    )
    apprise_url: SecretStr = Field(SECRET, description="URL of the apprise service, with {address} in it.")
    apprise_field: str = Field("", description="Profile field with the person's address at the apprise service.")
    apprise_time_sensitive: bool = Field(
        False, description="The apprise service interrupts people, so it sends time-sensitive templates only (C7)."
    )

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

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
from worker.setting_values import fault_sentences
from worker.settings import PREFIX, SettingsError

SECRET = SecretStr("")


class ProviderSettings(BaseSettings):
    """Settings of providers. Empty ones are off; of those that belong together all are set, or none."""

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
    def _are_rates(cls, rates: str) -> str:
        read_rates(rates)
        return rates

    @model_validator(mode="after")
    def _complete(self) -> Self:
        """A provider with half of its settings is an error now, not when its first message fails."""
        for names in _GROUPS:
            present = [name for name in names if _is_set(getattr(self, name))]
            missing = [PREFIX + name.upper() for name in names if name not in present]
            if present and missing:
                raise ValueError(
                    f"{PREFIX}{present[0].upper()} is set without {' and '.join(missing)}: set all or none"
                )
        return self

    @property
    def allowed(self) -> frozenset[str]:
        """`host:port` of the addresses that the outgoing HTTP client allows beside public ones."""
        return frozenset(origin.strip() for origin in self.outgoing_allow.split(",") if origin.strip())


_GROUPS = (
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
"""Settings that belong to one provider: all of a group are set, or none."""
_SINGLE = ("resend_key", "meta_token", "hubspot_token")
"""Settings that turn a provider on by themselves."""


def load_providers(**given: object) -> ProviderSettings:
    """Read the settings; `given` wins over the environment. Raises SettingsError with every fault."""
    try:
        return ProviderSettings(**given)  # type: ignore[arg-type]
    except ValidationError as error:
        raise SettingsError(fault_sentences(PREFIX, error)) from error


def read_rates(text: str) -> Mapping[str, Rate]:
    """Rates by channel from `sms=10,email=50/100`: attempts a second, and the burst. Raises ValueError."""
    rates = {}
    for part in filter(None, (item.strip() for item in text.split(","))):
        name, _, rate = part.partition("=")
        per_second, _, burst = rate.partition("/")
        try:
            rates[name] = Rate(float(per_second), int(burst or max(1, int(float(per_second)))))
        except ValueError as error:
            raise ValueError(f"{part!r} is not a rate such as sms=10 or sms=10/20 ({error})") from None
    return rates


def is_configured(providers: ProviderSettings) -> bool:
    """Whether any provider is configured. Then the local provider stays off: the two are never mixed."""
    return any(_is_set(getattr(providers, name)) for names in (*_GROUPS, _SINGLE) for name in names)


def _is_set(value: object) -> bool:
    return bool(value.get_secret_value() if isinstance(value, SecretStr) else value)

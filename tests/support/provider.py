"""Every channel over HTTP, configured for the local provider; templates and messages for it."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from activities.channels.email.resend import ResendChannel, ResendSettings
from activities.channels.http.channel import HttpChannel, Reach
from activities.channels.push.channel import FcmSettings, PushChannel
from activities.channels.push.web_push import WebPush
from activities.channels.slack import SlackChannel, SlackSettings
from activities.channels.twilio import TwilioChannel, TwilioSettings
from activities.channels.webhook import WebhookChannel, WebhookSettings
from activities.channels.zendesk import ZendeskChannel, ZendeskSettings
from activities.channels.zoom import ZoomChannel, ZoomSettings
from activities.content.templates import Templates, load_templates
from activities.content.tracked_links import ClickLinks
from activities.outgoing.client import HttpClient
from activities.ports import Outgoing
from journeys.tokens.signed_links import Links
from worker.provider_settings import ProviderSettings
from worker.settings import ROOT
from worker.stack.providers.environment import KEY, WEBHOOK_SECRET
from worker.stack.providers.serving import LocalProvider

PHONE = "+4915112345678"
ADA: Mapping[str, Any] = {
    "email": "ada@example.com",
    "first_name": "Ada",
    "phone": PHONE,
    "push_token": "device-of-ada",
    "chat_channel": "C0ADA",
}
URGENT = """---
owner: product-team
topic: notices
stage: onboarding
review_date: 2027-03-31
status: live
channels: [email, in_app, sms, push, chat, webhook, support, webinar, apprise]
subject: "Your export is ready, {{ profile.first_name }}"
action: {label: Open it, url: "https://app.example.com/exports"}
time_sensitive: true
trigger: an export that the person has asked for is ready
variables:
  ticket_id: {type: string, default: ""}
  ticket_tags: {type: string, default: ""}
  webinar_id: {type: string, default: ""}
---
Your export is ready. It stays there for a day.
"""
CALM = URGENT.replace("time_sensitive: true\ntrigger: an export that the person has asked for is ready\n", "")


def templates(folder: Path) -> Templates:
    """A time-sensitive template for every channel, and the same one without being time-sensitive."""
    (folder / "export").mkdir(parents=True, exist_ok=True)
    (folder / "export" / "ready.md").write_text(URGENT)
    (folder / "export" / "calm.md").write_text(CALM)
    return load_templates(folder)


@cache
def google_key() -> str:
    """A private key of a Google service account, in PEM."""
    made = rsa.generate_private_key(65537, 2048)
    return made.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


@cache
def vapid_key() -> str:
    """A private key of an application server (VAPID), in PEM."""
    made = ec.generate_private_key(ec.SECP256R1())
    return made.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def channels_at(
    local: LocalProvider,
    known: Templates,
    http_client: HttpClient,
    *,
    near: bool = True,
    google: str = "",
    clicks: ClickLinks | None = None,
) -> dict[str, HttpChannel]:
    """Every channel over HTTP, by name, for the local provider. `google` is a service account's key; default: `google_key()`."""
    reach, url = Reach(near=near, clicks=clicks), local.url
    resend = ResendSettings(
        KEY, ("Tenure", "hello@tenure.example"), f"{url}/resend", Links("https://x.example", ("k" * 32,)), "T, Street 1"
    )
    fcm = FcmSettings("p", "svc@p.example", google or google_key(), f"{url}/fcm", f"{url}/fcm/token")
    zoom = ZoomSettings("acc", "client", KEY, f"{url}/zoom/v2", f"{url}/zoom/oauth/token")
    sms = TwilioSettings("AC1", KEY, "+15005550006", f"{url}/twilio", callback="https://x.example/v1/hooks/twilio")
    return {
        "email": ResendChannel(known, http_client, reach, resend),
        "sms": TwilioChannel(known, http_client, reach, sms),
        "push": PushChannel(known, http_client, reach, fcm=fcm, web=WebPush(vapid_key(), "mailto:ops@tenure.example")),
        "chat": SlackChannel(known, http_client, reach, SlackSettings(KEY, "C0ALL", f"{url}/slack")),
        "webhook": WebhookChannel(known, http_client, reach, WebhookSettings(f"{url}/receiver/", WEBHOOK_SECRET)),
        "support": ZendeskChannel(known, http_client, reach, ZendeskSettings(f"{url}/zendesk", "agent@x.example", KEY)),
        "webinar": ZoomChannel(known, http_client, reach, zoom),
    }


VENDORS = {
    "email": "resend",
    "sms": "twilio",
    "push": "fcm",
    "chat": "slack",
    "webhook": "receiver",
    "support": "zendesk",
    "webinar": "zoom",
}


def outgoing(channel: HttpChannel, key: str = "journey/j/u_1/-/1#s.1/send.1>u_1", **data: Any) -> Outgoing:
    """The urgent message to Ada."""
    return Outgoing(
        key, "export/ready", channel.address(ADA, "u_1") or "", ADA, {}, {"webinar_id": "987654321", **data}, "notices"
    )


def catalogue_with_sms(folder: Path) -> Path:
    """The shipped catalogue in `folder`, with a template for SMS, and a policy that defers nothing."""
    shutil.copytree(ROOT / "catalog", folder)
    (folder / "policy.yaml").write_text("consent: [{default: granted}]\n")
    (folder / "templates" / "export").mkdir()
    (folder / "templates" / "export" / "ready.md").write_text(URGENT)
    return folder


def twilio_at(local: LocalProvider, rates: str = "") -> ProviderSettings:
    """Settings of SMS through the local provider, tried inside steps."""
    return ProviderSettings(
        outgoing_allow=local.origin,
        providers_near=True,
        provider_rates=rates,
        twilio_account="AC1",
        twilio_token=KEY,
        twilio_from="+15005550006",
        twilio_base=f"{local.url}/twilio",
        twilio_callback="https://x.example/hook",
    )

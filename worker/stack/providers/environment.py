"""Settings that point every adapter at the local provider."""

from __future__ import annotations

from worker.settings import PREFIX

KEY = "dev-provider-key"
"""The key, token or secret that every simulated vendor accepts."""
WEBHOOK_SECRET = "whsec_ZGV2LXByb3ZpZGVyLWtleS1mb3Itd2ViaG9va3M="  # noqa: S105 -- public, for development only
TOKEN = "LOCAL_PROVIDER_TOKEN"  # noqa: S105 -- the variable's name
"""Variable with the token that opens the record of accepted items."""
MISSING_ID = "404404404"
"""Id of a ticket and of a webinar that do not exist."""


def local_environ(url: str) -> dict[str, str]:
    """Environment for a local provider at `url`: every channel that needs no key file."""
    values = {
        "outgoing_allow": url.removeprefix("http://"), "providers_near": "true",
        "twilio_account": "AC" + "0" * 32, "twilio_token": KEY, "twilio_from": "+15005550006", "twilio_base": f"{url}/twilio",
        "slack_token": KEY, "slack_channel": "C0TEAM", "slack_base": f"{url}/slack",
        "webhook_url": f"{url}/receiver/", "webhook_secret": WEBHOOK_SECRET,
        "zendesk_base": f"{url}/zendesk", "zendesk_agent": "agent@tenure.example", "zendesk_token": KEY,
        "zoom_account": "local", "zoom_client": "local", "zoom_secret": KEY,
        "zoom_base": f"{url}/zoom/v2", "zoom_token_url": f"{url}/zoom/oauth/token",
        "hubspot_token": KEY, "hubspot_base": f"{url}/hubspot", "crm_read_seconds": "5",
    }  # fmt: skip
    return {PREFIX + name.upper(): value for name, value in values.items()}

"""Signature checks of providers' webhooks."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from standardwebhooks.webhooks import Webhook, WebhookVerificationError

_MESSAGE_SID = re.compile(r"(?:SM|MM)[0-9a-f]{32}")
_OTHER_MESSAGES = frozenset({"OriginalRepliedMessageSid"})
"""Fields with the ids of other messages."""
FRESH_SECONDS = 300
"""Greatest age of a signed timestamp. A replay within it has the same id and is accepted once."""


@dataclass(frozen=True, slots=True)
class WebhookSecrets:
    """Signing secret of each provider; empty is off. `twilio_url` is the URL as Twilio calls it, without query.

    `twilio_account` is our account: Twilio's signature does not say where a field ends.
    """

    resend: str = field(default="", repr=False)
    twilio: str = field(default="", repr=False)
    twilio_url: str = ""
    twilio_account: str = ""
    zendesk: str = field(default="", repr=False)
    zoom: str = field(default="", repr=False)


def standard(secret: str, headers: Mapping[str, str], body: bytes, prefix: str = "webhook") -> bool:
    """Verify by Standard Webhooks 1.0.0, or by Svix, whose headers begin with `svix`."""
    named_headers = {
        f"webhook-{name}": headers.get(f"{prefix}-{name}", "") for name in ("id", "timestamp", "signature")
    }
    try:
        Webhook(secret).verify(body, named_headers)
    except (WebhookVerificationError, ValueError, OverflowError):
        return False
    return True


def twilio(token: str, url: str, form: Mapping[str, str], signature: str) -> bool:
    """Verify `X-Twilio-Signature`: HMAC-SHA1 of the URL as Twilio called it and the form's fields in order."""
    signed = url + "".join(f"{name}{form[name]}" for name in sorted(form))
    expected = base64.b64encode(hmac.new(token.encode(), signed.encode(), hashlib.sha1).digest()).decode()
    return _same(expected, signature)


def is_twilio_call(form: Mapping[str, str], account: str) -> bool:
    """Whether the fields are those of a call about one message of our account.

    The signature covers names and values without separators, so a captured call can be cut into other fields under the same
    signature, even with words that its sender has texted. But the id of its message stays in it: a call with another id, or
    with two, is no call of Twilio's.
    """
    texts = (text for name, value in form.items() if name not in _OTHER_MESSAGES for text in (name, value))
    named = {sid for text in texts for sid in _MESSAGE_SID.findall(text)}
    is_ours = hmac.compare_digest(form.get("AccountSid", "").encode(), account.encode())
    return is_ours and named == {form.get("MessageSid", "")}


def zendesk(secret: str, timestamp: str, body: bytes, signature: str) -> bool:
    """Verify by HMAC-SHA256 of timestamp and body, in base64; the timestamp is an ISO 8601 instant."""
    expected = base64.b64encode(hmac.new(secret.encode(), timestamp.encode() + body, hashlib.sha256).digest()).decode()
    try:
        at = datetime.fromisoformat(timestamp)
    except ValueError:
        return False
    return _same(expected, signature) and _fresh((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp())


def zoom(secret: str, timestamp: str, body: bytes, signature: str) -> bool:
    """Verify by HMAC-SHA256 of `v0:timestamp:body`, in hexadecimal; the timestamp is in seconds."""
    expected = "v0=" + hmac.new(secret.encode(), f"v0:{timestamp}:".encode() + body, hashlib.sha256).hexdigest()
    return _same(expected, signature) and timestamp.isascii() and timestamp.isdigit() and _fresh(int(timestamp[:12]))


def zoom_challenge(secret: str, plain: str) -> str:
    """The answer to Zoom's URL validation: HMAC-SHA256 of the token, in hexadecimal."""
    return hmac.new(secret.encode(), plain.encode(), hashlib.sha256).hexdigest()


def _same(expected: str, signature: str) -> bool:
    return hmac.compare_digest(expected.encode(), signature.encode(errors="replace"))


def _fresh(at: float) -> bool:
    return abs(datetime.now(UTC).timestamp() - at) <= FRESH_SECONDS

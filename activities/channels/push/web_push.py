"""Web Push: encryption (RFC 8291), VAPID (RFC 8292) and delivery (RFC 8030).

The person's browser chooses the URL, so it is checked like any other outgoing URL.
"""

from __future__ import annotations

import base64
import binascii
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import urlsplit

import http_ece
import jwt
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from activities.outgoing.client import HttpRequest
from activities.outgoing.url_policy import UrlNotAllowed

TTL_SECONDS = 4 * 3600
"""Time that a push service keeps a notification for a device that is off; later it is of no use."""


@dataclass(frozen=True, slots=True)
class Subscription:
    """A browser's subscription, as `PushManager.subscribe` returns it."""

    endpoint: str
    p256dh: str
    auth: str

    @classmethod
    def read(cls, source: object) -> Self | None:
        """A subscription from the browser's JSON, as text or object; None if it is invalid or its key is unusable."""
        try:
            value = json.loads(source) if isinstance(source, str) else source
            subscription = cls(str(value["endpoint"]), str(value["keys"]["p256dh"]), str(value["keys"]["auth"]))  # type: ignore[index]
            usable = len(unpadded(subscription.auth)) == 16 and _on_curve(unpadded(subscription.p256dh))
        except (ValueError, TypeError, KeyError, IndexError, RecursionError, binascii.Error):
            return None
        endpoint = subscription.endpoint
        return (
            subscription if usable and endpoint.startswith(("https://", "http://")) and len(endpoint) < 2_000 else None
        )

    def text(self) -> str:
        """JSON of the subscription; equal subscriptions give equal text."""
        keys = {"p256dh": self.p256dh, "auth": self.auth}
        return json.dumps({"endpoint": self.endpoint, "keys": keys}, separators=(",", ":"), sort_keys=True)


class WebPush:
    """An application server: its P-256 key, and a contact (`mailto:` or https)."""

    def __init__(self, private_key: str, contact: str) -> None:
        """Raises ValueError for another kind of key or contact."""
        key = load_pem_private_key(private_key.encode(), None)
        if not isinstance(key, ec.EllipticCurvePrivateKey) or not contact.startswith(("mailto:", "https://")):
            raise ValueError("Web Push needs a P-256 key in PEM and a contact that is mailto: or https (RFC 8292 §2.1)")
        self._key, self._contact = key, contact
        self.public = padless(key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint))

    def call(self, subscription: Subscription, content: Mapping[str, Any]) -> HttpRequest:
        """Request for one browser. It replaces a waiting notification with the same tag. Raises UrlNotAllowed."""
        plain = json.dumps(content, separators=(",", ":"), ensure_ascii=False).encode()
        try:
            body = http_ece.encrypt(
                plain,
                private_key=ec.generate_private_key(ec.SECP256R1()),
                dh=unpadded(subscription.p256dh),
                auth_secret=unpadded(subscription.auth),
                version="aes128gcm",
            )
        except (ValueError, http_ece.ECEException):
            raise UrlNotAllowed("the browser's key is unusable") from None
        headers = {
            "content-encoding": "aes128gcm",
            "content-type": "application/octet-stream",
            "ttl": str(TTL_SECONDS),
            "urgency": "high",
            "topic": str(content["tag"])[:32],
            "authorization": f"vapid t={self._token(subscription.endpoint)}, k={self.public}",
        }
        return HttpRequest("POST", subscription.endpoint, headers, body)

    def _token(self, endpoint: str) -> str:
        parts = urlsplit(endpoint)
        claims = {"aud": f"{parts.scheme}://{parts.netloc}", "exp": int(time.time()) + 3600, "sub": self._contact}
        return jwt.encode(claims, self._key, algorithm="ES256")


def _on_curve(point: bytes) -> bool:
    """Whether this is a public key of RFC 8291 §2: an uncompressed point of P-256."""
    try:
        ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point)
    except ValueError:
        return False
    return len(point) == 65


def unpadded(text: str) -> bytes:
    """Decode base64url without padding (RFC 7515 §2). Raises binascii.Error."""
    return base64.b64decode(text.replace("-", "+").replace("_", "/") + "=" * (-len(text) % 4), validate=True)


def padless(data: bytes) -> str:
    """Encode base64url without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()

"""Web Push: encryption (RFC 8291), VAPID (RFC 8292) and delivery (RFC 8030).

The address comes from the person's browser, so it is a stranger's: it goes out like any other, to checked addresses only.
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
"""How long a push service keeps it for a device that is off: a time-sensitive message is worth nothing later."""


@dataclass(frozen=True, slots=True)
class Subscription:
    """What `PushManager.subscribe` gives."""

    endpoint: str
    p256dh: str
    auth: str

    @classmethod
    def read(cls, given: object) -> Self | None:
        """From the browser's JSON, as text or as an object; None if it is none, or has a key that nobody could encrypt for."""
        try:
            found = json.loads(given) if isinstance(given, str) else given
            made = cls(str(found["endpoint"]), str(found["keys"]["p256dh"]), str(found["keys"]["auth"]))  # type: ignore[index]
            fits = len(unpadded(made.auth)) == 16 and _on_curve(unpadded(made.p256dh))
        except (ValueError, TypeError, KeyError, IndexError, RecursionError, binascii.Error):
            return None
        return (
            made if fits and made.endpoint.startswith(("https://", "http://")) and len(made.endpoint) < 2_000 else None
        )

    def text(self) -> str:
        """The same JSON for the same subscription."""
        keys = {"p256dh": self.p256dh, "auth": self.auth}
        return json.dumps({"endpoint": self.endpoint, "keys": keys}, separators=(",", ":"), sort_keys=True)


class WebPush:
    """Ours as an application server: a P-256 key, and who to write to about it (`mailto:` or https)."""

    def __init__(self, private_key: str, contact: str) -> None:
        """Raises ValueError for a key that is no P-256 key in PEM, or a contact of another kind."""
        key = load_pem_private_key(private_key.encode(), None)
        if not isinstance(key, ec.EllipticCurvePrivateKey) or not contact.startswith(("mailto:", "https://")):
            raise ValueError("Web Push needs a P-256 key in PEM and a contact that is mailto: or https (RFC 8292 §2.1)")
        self._key, self._contact = key, contact
        self.public = padless(key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint))

    def call(self, subscription: Subscription, content: Mapping[str, Any]) -> HttpRequest:
        """The request for one browser. Its topic replaces what still waits there under the same tag. Raises NotAllowed."""
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
            raise UrlNotAllowed("the browser's key is none that can be encrypted for") from None
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
    """Whether it is a public key of RFC 8291 §2: an uncompressed point of P-256."""
    try:
        ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point)
    except ValueError:
        return False
    return len(point) == 65


def unpadded(text: str) -> bytes:
    """Base64url without padding (RFC 7515 §2). Raises binascii.Error."""
    return base64.b64decode(text.replace("-", "+").replace("_", "/") + "=" * (-len(text) % 4), validate=True)


def padless(data: bytes) -> str:
    """The inverse."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()

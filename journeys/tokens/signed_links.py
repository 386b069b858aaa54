"""Signed links: tokens for unsubscribing, preferences and confirmation without a login.

The holder of a link may do one thing for one person.

A token is a few opaque fields and an HMAC-SHA256 of them, cut to 128 bits (RFC 2104 §5), in base64url. It names a person
by the store's random key, never by an address, and has one spelling only. The first key signs; all keys verify, so a key
is rotated by putting a new one first and dropping the old one once its links are too old to matter.
"""

from __future__ import annotations

import binascii
import hashlib
import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, Literal
from urllib.parse import urlsplit

Purpose = Literal["unsubscribe", "preferences", "confirm"]

CONFIRM_WITHIN: Final = timedelta(days=7)
LIFETIMES: Final[Mapping[Purpose, timedelta | None]] = {
    "unsubscribe": None,  # it only withdraws consent; CAN-SPAM requires 30 days, people click later
    "preferences": timedelta(days=180),
    "confirm": CONFIRM_WITHIN,
}
PATHS: Final[Mapping[Purpose, str]] = {"unsubscribe": "u", "preferences": "p", "confirm": "y"}
MAX_TOKEN: Final = 512
"""Characters of a token."""
REF_DIGITS: Final = 16
"""Hexadecimal digits of a message's hash in a link: enough to find it among one person's messages."""
_LETTERS: Final[Mapping[str, Purpose]] = {path: purpose for purpose, path in PATHS.items()}
_CONTEXT: Final = b"tenure.link.1\x00"
_MAC_BYTES: Final = 16
_SEPARATOR: Final = "|"
_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})


class LinkError(ValueError):
    """The link was not issued here, or was changed."""


class LinkExpired(LinkError):
    """The link was issued here and has expired."""


@dataclass(frozen=True, slots=True)
class Link:
    """The content of a token. `ref` is a part of a message's hash, or the number of a consent request to confirm."""

    purpose: Purpose
    person: str
    channel: str = "*"
    topic: str = "*"
    ref: str = ""


@dataclass(frozen=True, slots=True)
class Links:
    """Makes and reads links. `base` is the public URL of the API: https, or http on loopback."""

    base: str
    keys: tuple[str, ...]

    def __post_init__(self) -> None:
        """Raises ValueError for a base that would send tokens in clear text, or without a key."""
        parts = urlsplit(self.base)
        if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in _LOOPBACK):
            raise ValueError("links need an https URL; http is allowed on loopback only")
        if not self.keys or not all(self.keys):
            raise ValueError("links need a key to sign with")

    @property
    def secure(self) -> bool:
        """Whether one-click headers may name such a link (RFC 8058 §3.1)."""
        return self.base.startswith("https://")

    def url(self, link: Link, at: datetime) -> str:
        """The URL of a link issued `at`."""
        return f"{self.base.rstrip('/')}/{PATHS[link.purpose]}/{self.token(link, at)}"

    def token(self, link: Link, at: datetime) -> str:
        """The token of a link issued `at`. Raises ValueError for a malformed field."""
        fields = (PATHS[link.purpose], link.person, link.channel, link.topic, link.ref, f"{int(at.timestamp()):x}")
        if any(_SEPARATOR in field or not field.isprintable() for field in fields):
            raise ValueError("a field of the link contains the separator of fields")
        payload = _SEPARATOR.join(fields).encode()
        return sign_token(self.keys, payload, _CONTEXT)

    def read(self, token: str, purpose: Purpose, now: datetime) -> Link:
        """The link of a token for this purpose. Raises LinkError, or LinkExpired for one that was valid before."""
        link, issued_at = self._open(token, purpose)
        lifetime = LIFETIMES[purpose]
        if lifetime is not None and now - issued_at > lifetime:
            raise LinkExpired(f"the link was valid for {lifetime.days} days")
        return link

    def person_in(self, token: str, purpose: Purpose) -> str:
        """The key of the person of a token for this purpose, whose clock decides whether it has expired. Raises LinkError."""
        return self._open(token, purpose)[0].person

    def issued_at(self, token: str) -> datetime:
        """When a token was issued. Raises LinkError."""
        return self._open(token)[1]

    def _open(self, token: str, purpose: Purpose | None = None) -> tuple[Link, datetime]:
        payload = verify_token(self.keys, token, _CONTEXT)
        path, person, channel, topic, ref, issued = payload.decode().split(_SEPARATOR)
        if purpose not in {None, _LETTERS[path]}:
            raise LinkError("the link has another purpose")
        return Link(_LETTERS[path], person, channel, topic, ref), datetime.fromtimestamp(int(issued, 16), UTC)


def sign_token(keys: tuple[str, ...], payload: bytes, context: bytes) -> str:
    """A token of this payload, signed by the first key. A token of one `context` is not valid in another."""
    return _encoded(payload + mac(keys[0], payload, context))


def verify_token(keys: tuple[str, ...], token: str, context: bytes) -> bytes:
    """The payload of a token signed by any of these keys in this context. Raises LinkError."""
    raw = _decoded(token)
    payload, given = raw[:-_MAC_BYTES], raw[-_MAC_BYTES:]
    # Every key is compared, so that the time taken does not tell which one fits.
    if not sum(hmac.compare_digest(given, mac(key, payload, context)) for key in keys):
        raise LinkError("the link is invalid")
    return payload


def mac(key: str, payload: bytes, context: bytes) -> bytes:
    """HMAC-SHA256, cut to 128 bits (RFC 2104 §5)."""
    return hmac.new(key.encode(), context + payload, hashlib.sha256).digest()[:_MAC_BYTES]


def _encoded(raw: bytes) -> str:
    return urlsafe_b64encode(raw).decode().rstrip("=")


def _decoded(token: str) -> bytes:
    if len(token) > MAX_TOKEN or not token.isascii():
        raise LinkError("the link is invalid")
    try:
        raw = urlsafe_b64decode(token + "=" * (-len(token) % 4))
    except (binascii.Error, ValueError):
        raise LinkError("the link is damaged") from None
    # Base64 has spare bits and ignores other characters: one token, one spelling.
    if len(raw) <= _MAC_BYTES or _encoded(raw) != token:
        raise LinkError("the link is damaged")
    return raw

"""Reply addresses: signed Reply-To addresses that name the message being answered.

`replies+<token>@in.example.com` (sub-addressing, RFC 5233). The token names the person by the store's random key and the
message by a part of its hash, with 80 bits of an HMAC, in base 32: a local part has 64 characters, and mail systems do
not preserve case.
"""

from __future__ import annotations

import binascii
import hmac
import re
from base64 import b32decode, b32encode
from dataclasses import dataclass
from typing import Final

from journeys.tokens.signed_links import REF_DIGITS, mac

_CONTEXT: Final = b"tenure.reply.1\x00"
_MAC_BYTES: Final = 10
_PERSON: Final = re.compile(r"u_([0-9a-f]{16})")
_TOKEN_MARKS: Final = 42
MAX_LOCAL_PART: Final = 64 - 1 - _TOKEN_MARKS
"""Characters of the base address before its @, so that a token fits behind them (RFC 5321 §4.5.3.1.1)."""


@dataclass(frozen=True, slots=True)
class ReplyAddresses:
    """Makes and reads reply addresses. The first key signs, all keys verify, as for links."""

    base: str
    keys: tuple[str, ...]

    def __post_init__(self) -> None:
        """Raises ValueError for a base address that no token fits into."""
        local, _, domain = self.base.rpartition("@")
        if not (0 < len(local) <= MAX_LOCAL_PART and domain and "+" not in local and self.base.isascii()):
            raise ValueError(f"the reply address needs 1 to {MAX_LOCAL_PART} characters before its @, and no +")

    def address(self, person: str, digest: str) -> str | None:
        """The Reply-To of a message by its hash; None for a person key that is not the store's."""
        key = _PERSON.fullmatch(person)
        if key is None:
            return None
        payload = bytes.fromhex(key[1] + digest[:REF_DIGITS])
        token = b32encode(payload + mac(self.keys[0], payload, _CONTEXT)[:_MAC_BYTES]).decode().rstrip("=").lower()
        local, _, domain = self.base.rpartition("@")
        return f"{local}+{token}@{domain}"

    def read(self, address: str) -> tuple[str, str] | None:
        """The person's key and the message's part of a hash; None for any other address."""
        local, _, domain = address.strip().lower().rpartition("@")
        base_local, _, token = local.partition("+")
        if f"{base_local}@{domain}" != self.base.lower() or len(token) != _TOKEN_MARKS or not token.isascii():
            return None
        try:
            raw = b32decode(token.upper() + "=" * (-len(token) % 8))
        except binascii.Error:
            return None
        payload, given = raw[:-_MAC_BYTES], raw[-_MAC_BYTES:]
        if not sum(hmac.compare_digest(given, mac(key, payload, _CONTEXT)[:_MAC_BYTES]) for key in self.keys):
            return None
        return f"u_{payload[:8].hex()}", payload[8:].hex()

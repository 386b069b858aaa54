"""Where answers come back to: an address of ours that names the message it answers, signed, in every mail program's reach.

`replies+<token>@in.example.com` (sub-addressing, RFC 5233). The token names the person by the store's random key and the message
by a part of its digest, with 80 bits of an HMAC, in base 32: a local part has 64 characters and no case that survives.
"""

from __future__ import annotations

import binascii
import hmac
import re
from base64 import b32decode, b32encode
from dataclasses import dataclass
from typing import Final

from journeys.tokens.signed_links import REF_MARKS, mac

_CONTEXT: Final = b"tenure.reply.1\x00"
_MAC_BYTES: Final = 10
_PERSON: Final = re.compile(r"u_([0-9a-f]{16})")
_TOKEN_MARKS: Final = 42
LONGEST_LOCAL: Final = 64 - 1 - _TOKEN_MARKS
"""Characters that the address itself may have before its @ (RFC 5321 §4.5.3.1.1)."""


@dataclass(frozen=True, slots=True)
class ReplyAddresses:
    """Makes and reads them. The first key signs, all verify, as for links."""

    base: str
    keys: tuple[str, ...]

    def __post_init__(self) -> None:
        """Raises ValueError for an address that no token would fit into."""
        local, _, domain = self.base.rpartition("@")
        if not (0 < len(local) <= LONGEST_LOCAL and domain and "+" not in local and self.base.isascii()):
            raise ValueError(f"answers need an address with 1 to {LONGEST_LOCAL} characters before its @, and no +")

    def address(self, person: str, digest: str) -> str | None:
        """Where an answer to this message of this person comes back to; None for a key that is not one of the store's."""
        found = _PERSON.fullmatch(person)
        if found is None:
            return None
        payload = bytes.fromhex(found[1] + digest[:REF_MARKS])
        token = b32encode(payload + mac(self.keys[0], payload, _CONTEXT)[:_MAC_BYTES]).decode().rstrip("=").lower()
        local, _, domain = self.base.rpartition("@")
        return f"{local}+{token}@{domain}"

    def read(self, address: str) -> tuple[str, str] | None:
        """The person's key and the message's mark; None for what is no address of ours."""
        local, _, domain = address.strip().lower().rpartition("@")
        ours, _, token = local.partition("+")
        if f"{ours}@{domain}" != self.base.lower() or len(token) != _TOKEN_MARKS or not token.isascii():
            return None
        try:
            raw = b32decode(token.upper() + "=" * (-len(token) % 8))
        except binascii.Error:
            return None
        payload, given = raw[:-_MAC_BYTES], raw[-_MAC_BYTES:]
        if not sum(hmac.compare_digest(given, mac(key, payload, _CONTEXT)[:_MAC_BYTES]) for key in self.keys):
            return None
        return f"u_{payload[:8].hex()}", payload[8:].hex()

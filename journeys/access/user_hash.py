"""Hash of a user id (`userHash`), which only the company's server can make.

HMAC-SHA256 of the user id with the identity secret of a public key, in hexadecimal, as Intercom's identity verification
has it. The secret is derived from the deployment's link keys, the key's id and its generation, so it is stored nowhere.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from journeys.access.callers import ApiKey

USER_HASH: Final = "userHash"
"""The member of a call, or of its `context`, that has the hash."""
_IN_TEXT: Final = re.compile(rf'"{USER_HASH}": "(?:[^"\\]|\\.)*"')
"""The hash in a call that is kept as the text of its JSON."""
_CONTEXT: Final = b"tenure.user-hash.1\x00"


def identity_secret(link_key: str, key: str, generation: int) -> str:
    """The secret with which the company's server hashes user ids for a public key, in hexadecimal."""
    message = _CONTEXT + f"{key}\x00{generation}".encode()
    return hmac.new(link_key.encode(), message, hashlib.sha256).hexdigest()


def user_hash(secret: str, user_id: str) -> str:
    """The hash of a user id, as the company's server computes it."""
    return hmac.new(secret.encode(), user_id.encode(errors="surrogatepass"), hashlib.sha256).hexdigest()


def is_proven(link_keys: Sequence[str], key: ApiKey, user_id: str | None, given: str | None) -> bool:
    """Whether `given` is the hash of this user id, by any link key and any valid generation of the key."""
    if user_id is None or given is None:
        return False
    expected = [
        user_hash(identity_secret(link_key, key.id, generation), user_id)
        for link_key in link_keys
        for generation in key.generations
    ]
    return any(hmac.compare_digest(one.encode(), given.encode(errors="surrogatepass")) for one in expected)


def hash_in(raw: Any) -> str | None:
    """The hash in a call as it arrived, or None."""
    if not isinstance(raw, Mapping):
        return None
    context = raw.get("context")
    given = raw.get(USER_HASH) or (context.get(USER_HASH) if isinstance(context, Mapping) else None)
    return given if isinstance(given, str) and given else None


def without_hash(call: Mapping[str, Any]) -> dict[str, Any]:
    """A call as it arrived, or its `context`, without the hash: who reads it could use it."""
    kept = {name: value for name, value in call.items() if name != USER_HASH}
    if isinstance(context := kept.get("context"), Mapping):
        kept["context"] = {name: value for name, value in context.items() if name != USER_HASH}
    if isinstance(text := kept.get("unreadable"), str):
        kept["unreadable"] = _IN_TEXT.sub(rf'"{USER_HASH}": "removed"', text)
    return kept

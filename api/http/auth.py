"""Authentication by key: keys of the settings and of the table.

Only digests are kept. The keys of the table are read again at most every `FRESH_SECONDS`: so long a revoked key may still
work in another process, and a new one may not work yet.
"""

from __future__ import annotations

import asyncio
import binascii
import hmac
import time
from base64 import b64decode
from typing import Annotated, Final

from fastapi import Depends
from starlette.datastructures import Headers
from starlette.requests import Request

from api.http.problems import ProblemError
from journeys.access.callers import KINDS_OF_SCOPE, OPERATOR_KEY, WRITE_KEY, ApiKey, CallerKind, Scope, operator_scope
from journeys.access.refusals import REFUSAL_SENTENCES, AccessRefusal
from journeys.access.rules import RouteCall, refusal_of
from store.access.keys import key_digest, keys_in_force
from store.database import Database
from store.errors import is_outage

FRESH_SECONDS: Final = 2.0
KEYLESS: Final = frozenset({Scope.ANYONE, Scope.LINK, Scope.TOKEN, Scope.SIGNATURE})
"""Scopes of routes that read no key: they are open, or their endpoints verify a link, a token or a signature."""
_KEY: Final = "tenure.key"
"""The entry of a request's ASGI scope that has its key."""
BODY_SECRET: Final = "tenure.body-secret"  # noqa: S105 -- the name of the entry
"""The entry of a request's ASGI scope that has the secret of a key in its body (`api/http/clients/client_route.py`)."""


class BootstrapKeys:
    """The two keys given by settings: the write key is a secret key, the operator key has every scope."""

    def __init__(self, *, write: str, operator: str) -> None:
        if hmac.compare_digest(write.encode(), operator.encode()):
            raise ValueError(
                "the write key and the operator key must differ: senders of events have no operator's rights"
            )
        self._digests = ((WRITE_KEY, key_digest(write)), (OPERATOR_KEY, key_digest(operator)))

    def find(self, digest: bytes) -> ApiKey | None:
        """The key with this digest. Both are compared, so that timing reveals nothing."""
        matching = None
        for key, known in self._digests:
            if hmac.compare_digest(digest, known):
                matching = key
        return matching


class KeyRegistry:
    """Every valid key of one deployment."""

    def __init__(self, database: Database, bootstrap: BootstrapKeys, *, in_production: bool) -> None:
        self._database, self._bootstrap, self._in_production = database, bootstrap, in_production
        self._keys: dict[bytes, ApiKey] = {}
        self._read_at = float("-inf")
        self._changes = 0
        self._reading = asyncio.Lock()

    async def check(self, request: Request, scope: Scope) -> None:
        """Let a request pass if its key opens this scope, and note the key in it. Raises ProblemError otherwise."""
        if scope in KEYLESS:
            return
        secret = secret_in(request.headers) or request.scope.get(BODY_SECRET)
        if secret is None:
            raise ProblemError("unauthenticated", REFUSAL_SENTENCES[AccessRefusal.NO_KEY])
        key = await self.find(secret)
        if key is None:
            raise ProblemError("unauthenticated", "This key is unknown.")
        reason = refusal_of(key.caller, RouteCall(scope, self._in_production))
        if reason is not None:
            raise forbidden(reason, f"The key is {_described(key)}; the route needs {_needed(scope)}.")
        request.scope[_KEY] = key

    async def allows(self, request: Request, scope: Scope) -> bool:
        """Whether a request has a key for this scope, for answers that say more with one. False while the table cannot be read."""
        try:
            await self.check(request, scope)
        except ProblemError:
            return False
        except Exception as error:
            if is_outage(error):
                return False
            raise
        return True

    def forget(self) -> None:
        """Read the table again before the next request: a key was made, rotated or revoked here."""
        self._changes += 1
        self._read_at = float("-inf")

    async def find(self, secret: str) -> ApiKey | None:
        """The key in force with this secret, or None."""
        digest = key_digest(secret)
        key = self._bootstrap.find(digest)
        if key is not None:
            return key
        async with self._reading:
            if time.monotonic() - self._read_at > FRESH_SECONDS:
                began, changes = time.monotonic(), self._changes
                async with self._database.reading() as connection:
                    self._keys = await keys_in_force(connection)
                # A reading that a change overtook may be without it: the next request reads again.
                self._read_at = began if changes == self._changes else float("-inf")
        return self._keys.get(digest)


def forbidden(reason: AccessRefusal, detail: str = "") -> ProblemError:
    """The 403 for a reason."""
    sentence = _sentence(REFUSAL_SENTENCES[reason])
    return ProblemError("forbidden", f"{sentence} {detail}".strip())


def request_key(request: Request) -> ApiKey:
    """The key that a request came with; its route has checked it."""
    key: ApiKey = request.scope[_KEY]
    return key


def key_of(request: Request) -> ApiKey | None:
    """The key that a request came with; None on a route that reads no key."""
    key: ApiKey | None = request.scope.get(_KEY)
    return key


RequestKey = Annotated[ApiKey, Depends(request_key)]


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}" + ("" if text.endswith(".") else ".")


def _needed(scope: Scope) -> str:
    """The keys that a scope takes: `a secret key, or an operator's with the scope operate`."""
    kinds = [f"a {kind} key" for kind in (CallerKind.PUBLIC, CallerKind.SECRET) if kind in KINDS_OF_SCOPE[scope]]
    return ", or ".join([*kinds, f"an operator's with the scope {operator_scope(scope)}"])


def _described(key: ApiKey) -> str:
    return f"{key.kind} with the scopes {', '.join(sorted(key.scopes))}" if key.scopes else key.kind.value


def secret_in(headers: Headers) -> str | None:
    """The secret of the key in the head of a request, or None."""
    kind, _, rest = headers.get("authorization", "").partition(" ")
    match kind.lower():
        case "bearer":
            return rest.strip() or None
        case "basic":
            try:
                name = b64decode(rest.strip(), validate=True).decode(errors="replace").partition(":")[0]
            except (binascii.Error, ValueError):
                return None
            return name or None
        case _:
            return None

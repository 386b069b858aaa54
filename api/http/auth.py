"""Authentication by key: the scopes of write key and operator key."""

from __future__ import annotations

import binascii
import hashlib
import hmac
from base64 import b64decode
from enum import IntEnum

from starlette.datastructures import Headers
from starlette.requests import Request

from api.http.problems import ProblemError
from journeys.events.senders import SenderKind


class Scope(IntEnum):
    """Scope that a route requires; each scope includes those before it."""

    PUBLIC = 0
    WRITE = 1
    OPERATE = 2


class ApiKeys:
    """Keys of this deployment. Only digests are kept, and all are compared, so that timing reveals nothing."""

    def __init__(self, *, write: str, operator: str) -> None:
        if hmac.compare_digest(write.encode(), operator.encode()):
            raise ValueError("the write key and the operator key must differ: a sender of events may not operate")
        self._digests = ((Scope.WRITE, _digest(write)), (Scope.OPERATE, _digest(operator)))

    def check(self, headers: Headers, needed: Scope) -> Scope:
        """The scope of the request's key. Raise ProblemError unless it includes the needed one."""
        if needed is Scope.PUBLIC:
            return Scope.PUBLIC
        key = _key_in(headers.get("authorization", ""))
        if key is None:
            raise ProblemError("unauthenticated", "Send a key: HTTP Basic with the key as user name, or Bearer.")
        scope = self.scope_of(key)
        if scope is Scope.PUBLIC:
            raise ProblemError("unauthenticated", "This key is unknown.")
        if scope < needed:
            raise ProblemError("forbidden", "The write key only sends events; this needs the operator key.")
        return scope

    def scope_of(self, key: str) -> Scope:
        """Scope of this key; PUBLIC if it is unknown."""
        digest = _digest(key)
        matching = Scope.PUBLIC
        for scope, known in self._digests:
            if hmac.compare_digest(digest, known):
                matching = scope
        return matching


def sender_of(request: Request) -> SenderKind:
    """The kind of sender of a request that a route has let in."""
    return "operator" if request.state.scope is Scope.OPERATE else "write"


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode(errors="surrogatepass")).digest()


def _key_in(header: str) -> str | None:
    kind, _, rest = header.partition(" ")
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

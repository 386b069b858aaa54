"""ClientRoute: CORS and keys in bodies, for routes that browsers and apps call.

A beacon (`navigator.sendBeacon`) has no headers of its own, and apps may put their key into the body as `writeKey` (Segment's
HTTP API). Such a body is read before its key is known: it is counted by network, and has the limit of its route.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from api.http.auth import BODY_SECRET, forbidden, key_of, secret_in
from api.http.body import received_body
from api.http.clients.origins import BrowserOrigins
from api.http.problems import ProblemError
from journeys.access.callers import NOBODY
from journeys.access.rules import PageCall, refusal_of
from journeys.access.write_keys import WRITE_KEY

_ORIGIN: Final = "origin"


@dataclass(frozen=True, slots=True)
class ClientRoute:
    """A route that browsers and apps call. A body of at most `body_bytes` is read for its key; of 0 none is read."""

    origins: BrowserOrigins
    body_bytes: int = 0

    async def note_key_in_body(self, request: Request) -> None:
        """Note the key in a body, if the head has none. What is no JSON has no key."""
        if not self.body_bytes or secret_in(request.headers) is not None:
            return
        body = await received_body(request, self.body_bytes)
        try:
            call = body.json().value
        except ProblemError:
            return
        secret = call.get(WRITE_KEY) if isinstance(call, dict) else None
        if isinstance(secret, str) and secret:
            request.scope[BODY_SECRET] = secret

    def check_origin(self, request: Request) -> None:
        """Raise ProblemError for a public key on a page of another origin."""
        key = key_of(request)
        allowed = self.origins.allows(request.headers.get(_ORIGIN))
        reason = refusal_of(key.caller if key is not None else NOBODY, PageCall(allowed))
        if reason is not None:
            raise forbidden(reason)

    def mark(self, request: Request, response: Response) -> None:
        """Add the headers by which the page may read the answer."""
        response.headers.update(self.origins.answer_headers(request.headers.get(_ORIGIN)))

"""Access tokens of providers: fetched once for all waiters, renewed a minute before expiry."""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import Callable
from urllib.parse import urlencode

from activities.channels.http.channel import NoAccessToken, json_object
from activities.outgoing.client import HttpClient, HttpRequest, Unanswered
from activities.outgoing.url_policy import UrlNotAllowed

_EARLY = 60.0
"""Seconds before its end at which a token is replaced."""
_GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
SECONDS = 5.0


class AccessToken:
    """One provider's token, kept until shortly before its end. `request` makes the request for a new one."""

    def __init__(self, http: HttpClient, request: Callable[[], HttpRequest]) -> None:
        self._http, self._request = http, request
        self._token, self._until = "", 0.0
        self._fetching = asyncio.Lock()

    async def token(self) -> str:
        """A valid token. Raises NoAccessToken."""
        async with self._fetching:
            if time.monotonic() >= self._until:
                await self._fetch()
            return self._token

    def invalidate(self) -> None:
        """Forget a token that the provider rejected; the next use fetches another."""
        self._until = 0.0

    async def _fetch(self) -> None:
        try:
            reply = await self._http.send(self._request())
        except (UrlNotAllowed, Unanswered) as error:
            raise NoAccessToken(f"no access token: {error}") from None
        answer = json_object(reply)
        token, seconds = answer.get("access_token"), answer.get("expires_in", 300)
        if reply.status != 200 or not isinstance(token, str) or not isinstance(seconds, int | float):
            raise NoAccessToken(f"no access token: {reply.status}")
        self._token, self._until = token, time.monotonic() + max(1.0, seconds - _EARLY)


def service_account(url: str, email: str, private_key: str, scope: str) -> Callable[[], HttpRequest]:
    """Grant by a signed assertion (RFC 7523 §2.1), as Google's service accounts use it."""
    import jwt  # noqa: PLC0415 — start-up time: it loads all of cryptography, which only service accounts need

    def request() -> HttpRequest:
        now = int(time.time())
        claims = {"iss": email, "scope": scope, "aud": url, "iat": now, "exp": now + 3600}
        assertion = jwt.encode(claims, private_key, algorithm="RS256")
        return _form(url, {"grant_type": _GRANT, "assertion": assertion})

    return request


def account_credentials(url: str, account: str, client: str, secret: str) -> Callable[[], HttpRequest]:
    """Grant of Zoom's server-to-server apps."""

    def request() -> HttpRequest:
        call = _form(url, {"grant_type": "account_credentials", "account_id": account})
        return HttpRequest(call.method, call.url, {**call.headers, **basic(client, secret)}, call.body, call.seconds)

    return request


def client_credentials(url: str, client: str, secret: str) -> Callable[[], HttpRequest]:
    """Grant by client credentials in the body (RFC 6749 §4.4), as Salesforce uses it; its answer has no `expires_in`."""

    def request() -> HttpRequest:
        fields = {"grant_type": "client_credentials", "client_id": client, "client_secret": secret}
        return _form(url, fields)

    return request


def basic(name: str, secret: str) -> dict[str, str]:
    """Header of HTTP Basic authentication (RFC 7617)."""
    return {"authorization": "Basic " + base64.b64encode(f"{name}:{secret}".encode()).decode()}


def _form(url: str, fields: dict[str, str]) -> HttpRequest:
    kind = {"content-type": "application/x-www-form-urlencoded"}
    return HttpRequest("POST", url, kind, urlencode(fields).encode(), SECONDS)

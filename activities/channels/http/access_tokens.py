"""Access tokens of providers: fetched once for all waiters, renewed a minute before expiry."""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import Callable
from urllib.parse import urlencode

from activities.channels.http.channel import NoAccessToken, said
from activities.outgoing.client import HttpClient, HttpRequest, Unanswered
from activities.outgoing.url_policy import UrlNotAllowed

_EARLY = 60.0
_GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
SECONDS = 5.0


class AccessToken:
    """One provider's token. `ask` makes the request for a new one."""

    def __init__(self, way: HttpClient, ask: Callable[[], HttpRequest]) -> None:
        self._way, self._ask = way, ask
        self._token, self._until = "", 0.0
        self._asking = asyncio.Lock()

    async def token(self) -> str:
        """A token that is good now. Raises NoPass."""
        async with self._asking:
            if time.monotonic() >= self._until:
                await self._fetch()
            return self._token

    def spoiled(self) -> None:
        """The provider no longer takes it: the next attempt fetches another."""
        self._until = 0.0

    async def _fetch(self) -> None:
        try:
            reply = await self._way.send(self._ask())
        except (UrlNotAllowed, Unanswered) as fault:
            raise NoAccessToken(f"no access token: {fault}") from None
        found = said(reply)
        token, seconds = found.get("access_token"), found.get("expires_in", 300)
        if reply.status != 200 or not isinstance(token, str) or not isinstance(seconds, int | float):
            raise NoAccessToken(f"no access token: {reply.status}")
        self._token, self._until = token, time.monotonic() + max(1.0, seconds - _EARLY)


def service_account(url: str, email: str, private_key: str, scope: str) -> Callable[[], HttpRequest]:
    """A signed assertion for a token (RFC 7523 §2.1), as Google's service accounts give it."""
    import jwt  # noqa: PLC0415 — start-up time: it loads all of cryptography, which only service accounts need

    def ask() -> HttpRequest:
        now = int(time.time())
        claims = {"iss": email, "scope": scope, "aud": url, "iat": now, "exp": now + 3600}
        assertion = jwt.encode(claims, private_key, algorithm="RS256")
        return _form(url, {"grant_type": _GRANT, "assertion": assertion})

    return ask


def account_credentials(url: str, account: str, client: str, secret: str) -> Callable[[], HttpRequest]:
    """Zoom's server-to-server grant."""

    def ask() -> HttpRequest:
        call = _form(url, {"grant_type": "account_credentials", "account_id": account})
        return HttpRequest(call.method, call.url, {**call.headers, **basic(client, secret)}, call.body, call.seconds)

    return ask


def client_credentials(url: str, client: str, secret: str) -> Callable[[], HttpRequest]:
    """RFC 6749 §4.4, with the client's name and secret in the body, as Salesforce has it; its answer names no end."""

    def ask() -> HttpRequest:
        fields = {"grant_type": "client_credentials", "client_id": client, "client_secret": secret}
        return _form(url, fields)

    return ask


def basic(name: str, secret: str) -> dict[str, str]:
    """RFC 7617."""
    return {"authorization": "Basic " + base64.b64encode(f"{name}:{secret}".encode()).decode()}


def _form(url: str, fields: dict[str, str]) -> HttpRequest:
    kind = {"content-type": "application/x-www-form-urlencoded"}
    return HttpRequest("POST", url, kind, urlencode(fields).encode(), SECONDS)

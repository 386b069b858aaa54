"""HTTP client of one CRM: login, rate limit, circuit breaker.

It waits for the rate limit. A CRM that is down or asked for a pause is not called at all.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Protocol

import structlog

from activities.channels.http.channel import NoAccessToken, bearer, json_call
from activities.channels.http.reply_tables import ReplyTable, receipt_for
from activities.exports.crm.port import CrmFault, CrmPaused, CrmReply
from activities.outgoing import client as http_client
from activities.outgoing.circuit_breaker import BreakerRule, CircuitBreaker
from activities.outgoing.rate_limit import Rate, RateLimit
from activities.outgoing.url_policy import UrlNotAllowed

log = structlog.get_logger()

SECONDS: Final = 10.0
"""Limit of one call."""
PAUSE: Final = timedelta(seconds=10)
"""Pause after a 429 without `Retry-After`: HubSpot counts calls in windows of ten seconds."""


class CrmToken(Protocol):
    """Source of access tokens."""

    async def token(self) -> str:
        """A valid token. Raises NoAccessToken."""
        ...

    def invalidate(self) -> None:
        """Forget a token that the CRM rejected."""
        ...


class FixedToken:
    """A token that does not expire, such as that of a HubSpot private app."""

    def __init__(self, token: str) -> None:
        self._token = token

    async def token(self) -> str:
        return self._token

    def invalidate(self) -> None:
        """Nothing: there is no other token, so the operator must replace it."""


class CrmClient:
    """Calls to one CRM. Returns any reply; raises CrmFault if there is none, and CrmPaused if it was not called."""

    def __init__(
        self,
        name: str,
        http: http_client.HttpClient,
        base: str,
        token: CrmToken,
        table: ReplyTable,
        rate: Rate,
        *,
        failures: int = 3,
    ) -> None:
        self.name, self._http, self._base, self._token, self._table = name, http, base.rstrip("/"), token, table
        self._breaker, self._rate_limit = CircuitBreaker(BreakerRule(failures=failures)), RateLimit(rate)
        self._held_until: datetime | None = None

    async def __call__(self, method: str, path: str, body: Mapping[str, Any] | None) -> CrmReply:
        """One call, repeated once with a new token after a 401."""
        await self._wait_for_turn()
        try:
            reply = await self._send(method, path, body)
            if reply.status == 401:
                self._token.invalidate()
                reply = await self._send(method, path, body)
        except (NoAccessToken, UrlNotAllowed, http_client.Unanswered) as error:
            self._failed()
            raise CrmFault(f"{self.name}: {error}") from None
        except BaseException:
            self._breaker.released()
            raise
        body_read = _json(reply)
        self._learn(reply, body_read)
        if not reply.whole:
            raise CrmFault(f"{self.name}: the reply is too long", reply.status)
        return CrmReply(reply.status, body_read)

    async def _wait_for_turn(self) -> None:
        now = datetime.now(UTC)
        if self._held_until is not None and now < self._held_until:
            raise CrmPaused(f"{self.name} asked for a pause")
        if self._breaker.wait(now) is not None:
            raise CrmPaused(f"{self.name} is down")
        while (wait := self._rate_limit.wait(self.name, self.name, datetime.now(UTC))) is not None:
            await asyncio.sleep(wait.total_seconds())

    async def _send(self, method: str, path: str, body: Mapping[str, Any] | None) -> http_client.HttpReply:
        call = json_call(method, f"{self._base}{path}", body, bearer(await self._token.token()))
        return await self._http.send(http_client.HttpRequest(call.method, call.url, call.headers, call.body, SECONDS))

    def _learn(self, reply: http_client.HttpReply, body: Any) -> None:
        receipt = receipt_for(self._table, reply, _code(body))
        if receipt.outage:
            self._failed()
        else:
            self._breaker.succeeded()
        if receipt.after is not None or reply.status == 429:
            self._held_until = datetime.now(UTC) + (receipt.after or PAUSE)

    def _failed(self) -> None:
        if self._breaker.failed(datetime.now(UTC)):
            log.warning("mirror.breaker_open", mirror=self.name)


def _json(reply: http_client.HttpReply) -> Any:
    try:
        return json.loads(reply.body)
    except (ValueError, RecursionError):
        return None


def _code(body: Any) -> str:
    """Error code: HubSpot's `category` or Salesforce's `errorCode`."""
    error = (body[0] if body else None) if isinstance(body, list) else body
    return str(error.get("category") or error.get("errorCode") or "") if isinstance(error, dict) else ""

"""HTTP client of one CRM: login, rate limit, circuit breaker.

Like a channel's guard (`outgoing/guard.py`), but whoever calls can wait: a pace is slept, and only a CRM that is down or
wants a pause is not asked at all.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Protocol

import structlog

from activities.channels.http.channel import NoAccessToken, bearer, json_call
from activities.channels.http.reply_tables import ReplyTable, receipt
from activities.exports.crm.port import CrmFault, CrmPaused, CrmReply
from activities.outgoing import client as http_client
from activities.outgoing.circuit_breaker import BreakerRule, CircuitBreaker
from activities.outgoing.rate_limit import Rate, RateLimit
from activities.outgoing.url_policy import UrlNotAllowed

log = structlog.get_logger()

SECONDS: Final = 10.0
"""How long one call may take."""
PAUSE: Final = timedelta(seconds=10)
"""After "too fast" without a `Retry-After`: HubSpot counts calls in windows of ten seconds."""


class CrmToken(Protocol):
    """What signs a call in."""

    async def token(self) -> str:
        """One that is good now. Raises NoPass."""
        ...

    def spoiled(self) -> None:
        """It is not taken any more."""
        ...


class FixedToken:
    """A token that does not expire, as HubSpot's private apps have it."""

    def __init__(self, token: str) -> None:
        self._token = token

    async def token(self) -> str:
        return self._token

    def spoiled(self) -> None:
        """There is no other: the operator's turn."""


class CrmClient:
    """Calls to one CRM. Raises MirrorFault, and Resting when it was not asked; any answer that is one is returned."""

    def __init__(
        self,
        name: str,
        way_out: http_client.HttpClient,
        base: str,
        token: CrmToken,
        table: ReplyTable,
        rate: Rate,
        *,
        failures: int = 3,
    ) -> None:
        self.name, self._way, self._base, self._token, self._table = name, way_out, base.rstrip("/"), token, table
        self._breaker, self._pace = CircuitBreaker(BreakerRule(failures=failures)), RateLimit(rate)
        self._held_until: datetime | None = None

    async def __call__(self, method: str, path: str, body: Mapping[str, Any] | None) -> CrmReply:
        """One call; a token that is over is fetched anew, once."""
        await self._turn()
        try:
            reply = await self._send(method, path, body)
            if reply.status == 401:
                self._token.spoiled()
                reply = await self._send(method, path, body)
        except NoAccessToken as fault:
            self._failed()
            raise CrmFault(f"{self.name}: {fault}") from None
        except (UrlNotAllowed, http_client.Unanswered) as fault:
            self._failed()
            raise CrmFault(f"{self.name}: {fault}") from None
        except BaseException:
            self._breaker.released()
            raise
        found = _json(reply)
        self._learn(reply, found)
        if not reply.whole:
            raise CrmFault(f"{self.name}: the answer is too long", reply.status)
        return CrmReply(reply.status, found)

    async def _turn(self) -> None:
        now = datetime.now(UTC)
        if self._held_until is not None and now < self._held_until:
            raise CrmPaused(f"{self.name} wants a pause")
        if self._breaker.wait(now) is not None:
            raise CrmPaused(f"{self.name} is down and left alone")
        while (wait := self._pace.wait(self.name, self.name, datetime.now(UTC))) is not None:
            await asyncio.sleep(wait.total_seconds())

    async def _send(self, method: str, path: str, body: Mapping[str, Any] | None) -> http_client.HttpReply:
        call = json_call(method, f"{self._base}{path}", body, bearer(await self._token.token()))
        return await self._way.send(http_client.HttpRequest(call.method, call.url, call.headers, call.body, SECONDS))

    def _learn(self, reply: http_client.HttpReply, found: Any) -> None:
        said = receipt(self._table, reply, _code(found))
        if said.outage:
            self._failed()
        else:
            self._breaker.succeeded()
        if said.after is not None or reply.status == 429:
            self._held_until = datetime.now(UTC) + (said.after or PAUSE)

    def _failed(self) -> None:
        if self._breaker.failed(datetime.now(UTC)):
            log.warning("mirror.breaker_open", mirror=self.name)


def _json(reply: http_client.HttpReply) -> Any:
    try:
        return json.loads(reply.body)
    except (ValueError, RecursionError):
        return None


def _code(found: Any) -> str:
    """HubSpot's `category`, Salesforce's `errorCode`."""
    if isinstance(found, list):
        found = found[0] if found else None
    return str(found.get("category") or found.get("errorCode") or "") if isinstance(found, dict) else ""

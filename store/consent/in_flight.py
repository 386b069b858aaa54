"""Attempts in flight when consent was withdrawn or an address suppressed.

An attempt that a provider has received cannot be recalled. The caller waits a short time, in which most attempts end,
and gets those that are left.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import bindparam, case, func, select

from journeys.consent.rules import ConsentRuleSet
from journeys.gate.consent import refusals_by_all
from journeys.gate.policy import Policy
from journeys.gate.status import Status
from journeys.gate.verdicts import Consents
from journeys.tokens.address_hash import canonical_address
from store.consent.consents import ConsentChangeResult
from store.consent.records import statements_by
from store.database import Database, fetch_all, sql
from store.expressions import any_of
from store.messages.digests import DIGEST_PREFIX
from store.people import subjects
from store.process_clock import current_instant
from store.rows import loaded
from store.schema import messages

WAIT_SECONDS: Final = 5.0
_POLL_SECONDS: Final = 0.05

_running = messages.c.detail.is_(None).label("running")
_attempted = (messages.c.status == Status.SENDING, messages.c.lease_until > func.clock_timestamp())
_IN_FLIGHT = sql(
    select(
        messages.c.id,
        messages.c.recipient,
        messages.c.channel,
        messages.c.topic,
        messages.c.template,
        messages.c.priority,
        _running,
        case(
            (messages.c.key.startswith(DIGEST_PREFIX), messages.c.data["topics"]),
            else_=func.jsonb_build_array(messages.c.topic),
        ).label("topics"),
    )
    .where(any_of(messages.c.recipient, "people"), *_attempted)
    .order_by(messages.c.id)
)
# By status alone: few attempts are in flight at a time, and addresses have no index. No attempt begins after the
# suppression has committed, so the first read finds all of them.
_BY_CHANNEL = sql(
    select(messages.c.id, messages.c.address)
    .where(messages.c.channel == bindparam("channel"), *_attempted, messages.c.address.is_not(None))
    .order_by(messages.c.id)
)
_STILL = sql(
    select(messages.c.id, messages.c.channel, messages.c.topic, messages.c.template, _running)
    .where(any_of(messages.c.id, "ids"), *_attempted)
    .order_by(messages.c.id)
)


@dataclass(frozen=True, slots=True)
class InFlightMessage:
    """A message that may still arrive although it may no longer be sent."""

    id: int
    channel: str
    topic: str | None
    template: str


AttemptsInFlight = tuple[list[InFlightMessage], bool]
"""Messages that may still arrive, and whether an attempt is still running: one that has ended has a detail."""


async def wait_out(
    database: Database, policy: Policy, effects: Iterable[ConsentChangeResult], *, seconds: float = WAIT_SECONDS
) -> list[InFlightMessage]:
    """Wait up to `seconds` for the attempts that the changes forbid; the messages still in flight.

    An attempt that has ended without a known result is not waited for: its result may take hours, or the gate ends it.
    """
    consents = {effect.person: effect.consents for effect in effects}
    return await _wait_until_ended(lambda: _forbidden(database, policy, consents), seconds)


async def wait_for(
    database: Database, rule_set: ConsentRuleSet, people: Iterable[str], *, seconds: float = WAIT_SECONDS
) -> list[InFlightMessage]:
    """The same for people whose change is not at hand any more: by their consents as they are now."""
    effects = []
    async with database.reading() as connection:
        for person in people:
            key = await subjects.canonical_key(connection, person)
            consents = await statements_by(connection, rule_set, key)
            effects.append(ConsentChangeResult(current_instant(), person=key, consents=consents))
    return await wait_out(database, rule_set.policy, effects, seconds=seconds) if effects else []


async def wait_for_address(
    database: Database, channel: str, address: str, *, seconds: float = WAIT_SECONDS
) -> list[InFlightMessage]:
    """The same for an address that has been suppressed, of whichever person."""
    async with database.reading() as connection:
        rows = await fetch_all(connection, _BY_CHANNEL, channel=channel)
    suppressed = canonical_address(channel, address)
    ids = [row["id"] for row in rows if canonical_address(channel, row["address"]) == suppressed]

    async def read() -> AttemptsInFlight:
        async with database.reading() as connection:
            return _attempts(await fetch_all(connection, _STILL, ids=ids))

    return await _wait_until_ended(read, seconds) if ids else []


async def _wait_until_ended(read: Callable[[], Awaitable[AttemptsInFlight]], seconds: float) -> list[InFlightMessage]:
    """Poll until no attempt is running or the time is over; the messages still in flight."""
    deadline = asyncio.get_running_loop().time() + seconds
    while True:
        in_flight, is_running = await read()
        if not is_running or asyncio.get_running_loop().time() >= deadline:
            return in_flight
        await asyncio.sleep(_POLL_SECONDS)


def _attempts(rows: Sequence[Mapping[str, Any]]) -> AttemptsInFlight:
    in_flight = [InFlightMessage(row["id"], row["channel"], row["topic"], row["template"]) for row in rows]
    return in_flight, any(row["running"] for row in rows)


async def _forbidden(database: Database, policy: Policy, consents: Mapping[str, Consents]) -> AttemptsInFlight:
    async with database.reading() as connection:
        rows = await fetch_all(connection, _IN_FLIGHT, people=list(consents))
    return _attempts([row for row in rows if _is_refused(policy, row, consents[row["recipient"]])])


def _is_refused(policy: Policy, row: Mapping[str, Any], consents: Consents) -> bool:
    """Whether a message may no longer be sent: a digest if one of its topics may not."""
    topics = loaded(row["topics"]) or [None]
    refusals = (refusals_by_all(policy, (row["channel"],), topic, row["priority"], consents) for topic in topics)
    return any(refusal is not None for refusal in refusals)

"""Attempts in flight when a withdrawal or a suppression became known.

An attempt that is with a provider cannot be called back. Whoever withdraws or suppresses is told what is still under way, and
their answer waits a while, so that mostly there is nothing left.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy import bindparam, case, func, select

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
from store.rows import loaded
from store.schema import messages

WAIT_SECONDS: Final = 5.0
_LOOK_SECONDS: Final = 0.05

_going = messages.c.detail.is_(None).label("going")
_attempted = (messages.c.status == Status.SENDING, messages.c.lease_until > func.clock_timestamp())
_UNDER_WAY = sql(
    select(
        messages.c.id,
        messages.c.recipient,
        messages.c.channel,
        messages.c.topic,
        messages.c.template,
        messages.c.priority,
        _going,
        case(
            (messages.c.key.startswith(DIGEST_PREFIX), messages.c.data["topics"]),
            else_=func.jsonb_build_array(messages.c.topic),
        ).label("topics"),
    )
    .where(any_of(messages.c.recipient, "people"), *_attempted)
    .order_by(messages.c.id)
)
# By status alone: few attempts are under way at a time, and no index knows an address. Once the suppression has committed no
# attempt begins, so those that are found at the first look are all.
_BY_CHANNEL = sql(
    select(messages.c.id, messages.c.address)
    .where(messages.c.channel == bindparam("channel"), *_attempted, messages.c.address.is_not(None))
    .order_by(messages.c.id)
)
_STILL = sql(
    select(messages.c.id, messages.c.channel, messages.c.topic, messages.c.template, _going)
    .where(any_of(messages.c.id, "ids"), *_attempted)
    .order_by(messages.c.id)
)


@dataclass(frozen=True, slots=True)
class InFlightMessage:
    """A message that may still arrive although it is not wanted any more."""

    id: int
    channel: str
    topic: str | None
    template: str


AttemptsInFlight = tuple[list[InFlightMessage], bool]
"""What may still arrive, and whether any of it is an attempt in hand: one that has ended has left its words."""


async def wait_out(
    database: Database, policy: Policy, effects: Iterable[ConsentChangeResult], *, seconds: float = WAIT_SECONDS
) -> list[InFlightMessage]:
    """Wait up to `seconds` for the attempts that what was said forbids; those that are left then.

    One whose end nobody saw is left without a wait: it may be hours until it is known, or until the gate ends it.
    """
    said = {effect.person: effect.said for effect in effects}
    return await _outlasted(lambda: _under_way(database, policy, said), seconds)


async def wait_for(
    database: Database, policy: Policy, people: Iterable[str], *, seconds: float = WAIT_SECONDS
) -> list[InFlightMessage]:
    """The same for people of whom nobody knows any more what was said just now, only that something was taken back."""
    effects = []
    async with database.reading() as connection:
        for person in people:
            key = await subjects.canonical_key(connection, person)
            effects.append(
                ConsentChangeResult(datetime.now(UTC), person=key, said=await statements_by(connection, key))
            )
    return await wait_out(database, policy, effects, seconds=seconds) if effects else []


async def wait_for_address(
    database: Database, channel: str, address: str, *, seconds: float = WAIT_SECONDS
) -> list[InFlightMessage]:
    """The same for an address that has been suppressed, whoever's it is."""
    async with database.reading() as connection:
        found = await fetch_all(connection, _BY_CHANNEL, channel=channel)
    wanted = canonical_address(channel, address)
    begun = [item["id"] for item in found if canonical_address(channel, item["address"]) == wanted]

    async def look() -> AttemptsInFlight:
        async with database.reading() as connection:
            return _found(await fetch_all(connection, _STILL, ids=begun))

    return await _outlasted(look, seconds) if begun else []


async def _outlasted(look: Callable[[], Awaitable[AttemptsInFlight]], seconds: float) -> list[InFlightMessage]:
    """What is left when nothing is in hand any more, or when the time is over."""
    deadline = asyncio.get_running_loop().time() + seconds
    while True:
        left, going = await look()
        if not going or asyncio.get_running_loop().time() >= deadline:
            return left
        await asyncio.sleep(_LOOK_SECONDS)


def _found(items: Sequence[Mapping[str, Any]]) -> AttemptsInFlight:
    left = [InFlightMessage(item["id"], item["channel"], item["topic"], item["template"]) for item in items]
    return left, any(item["going"] for item in items)


async def _under_way(database: Database, policy: Policy, said: Mapping[str, Consents]) -> AttemptsInFlight:
    async with database.reading() as connection:
        found = await fetch_all(connection, _UNDER_WAY, people=list(said))
    return _found([item for item in found if _is_refused(policy, item, said[item["recipient"]])])


def _is_refused(policy: Policy, item: Mapping[str, Any], said: Consents) -> bool:
    """A digest is as wanted as the least wanted of its topics."""
    topics = loaded(item["topics"]) or [None]
    refusals = (refusals_by_all(policy, (item["channel"],), topic, item["priority"], said) for topic in topics)
    return any(each is not None for each in refusals)

"""Addresses that public keys give visitors do not become those of known users, whenever the visitor turns out to be one."""

from __future__ import annotations

from itertools import count
from typing import Any

import pytest

from journeys.events.inbound import InboundEvent
from store.database import Database, fetch_all, fetch_one, sql
from store.definitions.registry import DefinitionRegistry
from store.events.ingest import accept
from store.rows import loaded

_PROFILE = sql(
    "SELECT s.profile FROM subjects s JOIN identities i ON i.subject_key = s.key WHERE i.kind = :kind AND i.value = :value"
)
_numbers = count()


def call(traits: dict[str, Any] | None = None, *, claimed: bool = True, **who: Any) -> InboundEvent:
    return InboundEvent("identify", f"c{next(_numbers)}", "identify", traits=traits or {}, claimed=claimed, **who)


PLANTED = {"email": "thief@evil.example", "phone": "+15005550009", "locale": "de"}
PROVEN: dict[str, Any] = {"user_id": "ada", "anonymous_id": "device"}


def planted() -> InboundEvent:
    return call(PLANTED, anonymous_id="device")


def sign_in() -> InboundEvent:
    return call(**PROVEN)


async def take(database: Database, *events: InboundEvent) -> None:
    result = await accept(database, DefinitionRegistry(), events, source="web")
    assert result.accepted == len(events)


async def profile(database: Database, value: str, kind: str = "user_id") -> dict[str, Any]:
    async with database.reading() as connection:
        row = await fetch_one(connection, _PROFILE, kind=kind, value=value)
    assert row is not None
    return dict(loaded(row["profile"]))


@pytest.mark.parametrize("known", ["nobody", "user", "visitor", "both"])
@pytest.mark.parametrize("first", ["planted", "sign-in"])
async def test_a_claimed_address_in_the_batch_of_a_sign_in_does_not_become_the_users(
    database: Database, known: str, first: str
) -> None:
    if known in {"user", "both"}:
        await take(database, call({"plan": "team"}, claimed=False, user_id="ada"))
    if known in {"visitor", "both"}:
        await take(database, call({"plan": "team"}, claimed=False, anonymous_id="device"))
    await take(database, *((planted(), sign_in()) if first == "planted" else (sign_in(), planted())))
    assert {"locale": "de"} | ({"plan": "team"} if known != "nobody" else {}) == await profile(database, "ada")


async def test_a_claimed_address_of_a_visitor_who_became_a_user_after_the_front_door_looked_is_dropped(
    database: Database,
) -> None:
    await take(database, call({"email": "ada@example.com"}, claimed=False, **PROVEN))
    await take(database, planted())
    assert await profile(database, "ada") == {"email": "ada@example.com", "locale": "de"}


async def test_what_a_stranger_claimed_of_a_user_takes_nothing_from_them_later(database: Database) -> None:
    await take(database, sign_in(), planted())
    await take(database, call({"email": "ada@example.com"}, claimed=False, user_id="ada"))
    await take(database, call(user_id="ada", anonymous_id="tablet"))
    assert (await profile(database, "ada"))["email"] == "ada@example.com"
    async with database.reading() as connection:
        assert await fetch_all(connection, sql("SELECT 1 FROM claimed_fields")) == []


async def test_a_visitor_has_what_they_claim_and_a_server_may_say_a_users_address_by_their_device(
    database: Database,
) -> None:
    await take(database, planted())
    assert await profile(database, "device", "anonymous_id") == PLANTED
    await take(database, sign_in())
    await take(database, call({"email": "ada@example.com"}, claimed=False, anonymous_id="device"))
    assert await profile(database, "ada") == {"email": "ada@example.com", "locale": "de"}

"""The number of statements of a batch depends on what it changes, not on how many events it has."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import asyncpg
import pytest

from journeys.consent.rules import ConsentRules, ConsentRuleSet
from journeys.events.inbound import CallKind, InboundEvent
from store.database import Database
from store.definitions.registry import DefinitionRegistry
from store.events.ingest import accept
from store.messages import due
from store.people import subjects
from tests.support.members import READER, Lanes

TRANSACTION = 2
"""BEGIN and COMMIT, which are executed like statements."""


@pytest.fixture
def executed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The statements that were executed since the list was cleared."""
    statements: list[str] = []

    def counting(method: Callable[..., Any]) -> Callable[..., Any]:
        async def counted(connection: Any, query: str, *arguments: Any, **options: Any) -> Any:
            statements.append(" ".join(query.split()))
            return await method(connection, query, *arguments, **options)

        return counted

    for name in ("fetch", "fetchrow", "execute"):
        monkeypatch.setattr(asyncpg.Connection, name, counting(getattr(asyncpg.Connection, name)))
    return statements


def events(count: int, batch: str, kind: CallKind = "track", **options: Any) -> list[InboundEvent]:
    name = "page_viewed" if kind == "track" else kind
    return [InboundEvent(kind, f"{batch}-{n}", name, user_id=f"u{n}", **options) for n in range(count)]


@pytest.mark.parametrize("count", [1, 100])
async def test_a_batch_that_changes_nothing_costs_three_statements(
    database: Database, executed: list[str], count: int
) -> None:
    catalogue = DefinitionRegistry()
    await accept(database, catalogue, events(count, "new"), source="test")
    executed.clear()
    await accept(database, catalogue, events(count, "known"), source="test")
    assert len(executed) == TRANSACTION + len(["edition", "identities", "insert"])
    executed.clear()
    await accept(database, catalogue, events(count, "traced", trace=f"{1:032x}"), source="test")
    assert len(executed) == TRANSACTION + len(["edition", "identities", "insert with its trace"])


@pytest.mark.parametrize("count", [1, 100])
async def test_a_batch_that_changes_profiles_costs_three_statements_more(
    database: Database, executed: list[str], count: int
) -> None:
    catalogue = DefinitionRegistry()
    await accept(database, catalogue, events(count, "new"), source="test")
    executed.clear()
    await accept(database, catalogue, events(count, "told", "identify", traits={"plan": "team"}), source="test")
    steps = ["edition", "identities", "lock", "insert", "runs of the lanes", "save"]
    assert len(executed) == TRANSACTION + len(steps), executed


@pytest.mark.parametrize("account", [None, "acme"])
async def test_members_whose_account_has_nothing_new_cost_no_more(
    database: Database, executed: list[str], account: str | None
) -> None:
    lanes = Lanes(database)
    await lanes.publish(READER)
    if account is not None:
        for n in range(3):
            await lanes.joins(f"u{n}", account, plan="trial")
    await accept(database, lanes.catalogue, events(3, "new"), source="test")
    await lanes.accept(*(lanes.call("track", "signed_up", user=f"u{n}") for n in range(3)))
    executed.clear()
    await lanes.accept(*(lanes.call("track", "limit_reached", user=f"u{n}") for n in range(3)))
    steps = ["edition", "identities", "lock", "insert", "runs of the lanes", "save", "outbox"]
    assert len(executed) == TRANSACTION + len(steps), executed


@pytest.mark.parametrize("count", [1, 20])
async def test_a_batch_of_consents_reads_the_lanes_of_unsettled_messages_and_the_accounts_of_all_people_at_once(
    database: Database, executed: list[str], count: int
) -> None:
    rules = ConsentRuleSet(rules=ConsentRules.model_validate({"confirm": [{"channel": "email", "topic": "offers"}]}))
    catalogue = DefinitionRegistry(consent=rules)
    await accept(database, catalogue, events(count, "new"), source="test")
    executed.clear()
    traits = {"consents": {"email": {"offers": True}}}
    await accept(database, catalogue, events(count, "told", "identify", traits=traits), source="test")
    lanes = [statement for statement in executed if statement == " ".join(due._LANES.text.split())]
    assert len(lanes) == len(["before the locks of the batch", "before those of the people", "after them"])
    accounts = [statement for statement in executed if statement == " ".join(subjects._ACCOUNTS.text.split())]
    assert len(accounts) == 1

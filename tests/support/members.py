"""Lanes of people and their accounts on a real PostgreSQL, without Temporal: calls, and what each lane holds."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from activities.dependencies import Dependencies
from activities.steps import apply as steps
from journeys.decision.decide import decide
from journeys.decision.effects import effects_to_json, log_to_json
from journeys.decision.occurrences import TimerDue
from journeys.decision.state import RunState, state_from_json, state_to_json
from journeys.events.inbound import CallKind, InboundEvent
from journeys.gate.policy import Policy
from journeys.protocol import wire
from journeys.protocol.envelope import occurrence_of
from journeys.protocol.step_outcome import StepOutcome
from journeys.protocol.wire import Envelope
from store.database import Database, execute, fetch_all, sql
from store.definitions.registry import DefinitionRegistry
from store.events import ingest
from store.outbox import fan_out
from store.outbox.undecided import undecided_of_run
from tests.support.steps import publish

TYPES = {"account.plan": "string", "account.seats": "int", "profile.role": "string"}
READER = """
journey: reader
entry: {on: signed_up, again: never}
topic: onboarding
start: here
states:
  here:
    on:
      limit_reached: {to: there, when: account.plan == "trial" && profile.role == "admin"}
      contract_ended: there
    after: {P1D: there}
  there: {}
"""
OTHER = """
journey: other
entry: {on: looked_around, again: never}
topic: onboarding
start: here
states:
  here: {on: {limit_reached: there}}
  there: {}
"""
OF_ACCOUNTS = """
journey: contract
subject: account
entry: {on: contract_started, again: never}
topic: renewal
start: here
states:
  here: {on: {limit_reached: {do: [{set: {reached: "1"}}]}}}
variables: {reached: int}
"""

_LANE = sql(
    """
    SELECT seq, kind, name, event_id, at, data, facts, copy_of, trace FROM outbox
    WHERE recipient = :key AND kind <> 'wake' ORDER BY seq
    """
)
_KEY = sql("SELECT subject_key FROM identities WHERE value = :name")
_SUBJECT = sql("SELECT * FROM subjects WHERE key = :key")
_RUNS = sql("SELECT * FROM runs WHERE lane = :lane ORDER BY started_at, id")


@dataclass(frozen=True, slots=True)
class Held:
    """A row of a lane, as far as these tests look at it."""

    kind: str
    name: str
    account: Mapping[str, Any] | None
    profile: Mapping[str, Any] | None
    copy_of: int | None
    at: datetime


class Lanes:
    """One database with its people and accounts."""

    def __init__(self, database: Database) -> None:
        self.database, self.catalogue = database, DefinitionRegistry()
        self.deps = Dependencies(database, self.catalogue, Policy(), {})
        self.said = 0

    async def publish(self, *sources: str) -> None:
        for source in sources:
            await publish(self.database, source, TYPES)

    def call(
        self, kind: CallKind, name: str = "", *, user: str | None = None, account: str | None = None, **data: Any
    ) -> InboundEvent:
        """A call; `anonymous` in the data is the visitor's id, `at` the sender's instant."""
        self.said += 1
        visitor, at = data.pop("anonymous", None), data.pop("at", None)
        given: dict[str, Any] = {"data": data} if kind == "track" else {"traits": data}
        return InboundEvent(
            kind, f"m{self.said}", name or kind, user_id=user, anonymous_id=visitor, account_id=account, timestamp=at, **given
        )  # fmt: skip

    async def accept(self, *calls: InboundEvent) -> None:
        await ingest.accept(self.database, self.catalogue, list(calls), source="test")

    async def joins(self, user: str, account: str = "acme", **traits: Any) -> None:
        await self.accept(self.call("group", user=user, account=account, **traits))

    async def leaves(self, user: str, account: str = "acme") -> None:
        await self.accept(self.call("track", "account_left", user=user, account=account))

    async def account(self, name: str = "acme", **traits: Any) -> None:
        """Fields of an account change, by nobody of its people."""
        await self.accept(self.call("group", account=name, **traits))

    async def happens(self, name: str, account: str = "acme") -> None:
        """Something happens to an account itself."""
        await self.accept(self.call("track", name, account=account))

    async def track(self, user: str, name: str, **data: Any) -> None:
        await self.accept(self.call("track", name, user=user, **data))

    async def identify(self, user: str, **traits: Any) -> None:
        await self.accept(self.call("identify", user=user, **traits))

    async def fan_out(self, account: str = "acme") -> int:
        return await fan_out.fan_out(self.database, await self.key(account))

    # -- what is there -------------------------------------------------------------------------------------------

    async def rows(self, statement: Any, **values: Any) -> Sequence[Mapping[str, Any]]:
        async with self.database.reading() as connection:
            return await fetch_all(connection, statement, **values)

    async def execute(self, text: str, **values: Any) -> int:
        async with self.database.transaction() as connection:
            return await execute(connection, sql(text), **values)

    async def key(self, name: str) -> str:
        return str((await self.rows(_KEY, name=name))[0]["subject_key"])

    async def subject(self, name: str) -> Mapping[str, Any]:
        return (await self.rows(_SUBJECT, key=await self.key(name)))[0]

    async def lane(self, name: str) -> list[Held]:
        """What the lane of a person or an account holds, in order."""
        found = []
        for row in await self.rows(_LANE, key=await self.key(name)):
            facts = json.loads(row["facts"]) if row["facts"] else {}
            held = Held(row["kind"], row["name"], facts.get("account"), facts.get("profile"), row["copy_of"], row["at"])
            found.append(held)
        return found

    async def copies(self, name: str) -> list[Held]:
        return [row for row in await self.lane(name) if row.copy_of is not None]

    # -- runs ----------------------------------------------------------------------------------------------------

    async def run(self, name: str) -> Mapping[str, Any]:
        """The one run of a person."""
        (run,) = await self.rows(_RUNS, lane=await self.key(name))
        return run

    async def heard(self, name: str, seqs: Mapping[str, int] | None = None) -> list[Envelope]:
        """Everything that was accepted for a person's run, as it receives it, after `seqs`."""
        run = await self.run(name)
        async with self.database.reading() as connection:
            chart = await self.catalogue.chart(connection, run["definition"])
            return await undecided_of_run(connection, chart, run["id"], seqs or {})

    async def decided(self, name: str) -> RunState:
        """The state of a person's run after everything that was accepted for it."""
        run = await self.run(name)
        async with self.database.reading() as connection:
            chart = await self.catalogue.chart(connection, run["definition"])
        state = state_from_json(json.loads(run["memory"])) if run["memory"] != "{}" else RunState()
        for envelope in await self.heard(name, state.seqs):
            state = decide(chart, state, occurrence_of(envelope)).state
        return state

    async def timer_step(self, name: str, state: RunState, at: datetime) -> wire.StepInput:
        """The step of a timer that is due at an instant, decided on a state, as a worker hands it over."""
        run = await self.run(name)
        async with self.database.reading() as connection:
            chart = await self.catalogue.chart(connection, run["definition"])
        made = decide(chart, state, TimerDue(at))
        return wire.StepInput(
            run["id"], run["step"] + 1, run["definition"], state_to_json(made.state), log_to_json(made.log),
            effects_to_json(made.effects), datetime.now(UTC).isoformat(), at.isoformat(), is_deadline=True,
        )  # fmt: skip

    async def apply(self, step: wire.StepInput) -> StepOutcome:
        return await steps.apply_step(self.deps, step)

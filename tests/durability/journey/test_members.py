"""Members of an account decide their own signals and the account's in one order, on fields as they were there."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest_asyncio

from journeys.decision.compiler import artifact_of, load_chart
from journeys.events.inbound import CallKind, InboundEvent
from journeys.gate.policy import Policy
from journeys.language.parsing import read_journey
from journeys.simulation.recording import RecordedEvent, RecordedKind, RecordedSubject
from journeys.simulation.simulator import play_group
from journeys.simulation.timeline import Scenario
from journeys.tasks.assignment import Roster
from store.events.changes import close_task
from tests.support.live_stack import LiveStack
from tests.support.worker_parts import running_relay, stack_without_workers, worker

TYPES = {"account.plan": "string", "profile.role": "string"}
RECORDED: Mapping[CallKind, RecordedKind] = {"track": "signal", "identify": "profile", "group": "account"}
TRIAL = """
journey: trial
entry: {on: signed_up, again: never}
topic: onboarding
start: trying
states:
  trying:
    on:
      limit_reached:
        - {to: asked, when: account.plan == "trial"}
        - {to: thanked}
  asked: {}
  thanked: {}
"""
ROLES = """
journey: roles
entry: {on: signed_up, again: never}
topic: onboarding
start: here
states:
  here:
    on:
      contract_ended:
        - {to: admins, when: profile.role == "admin"}
        - {to: others}
  admins: {}
  others: {}
"""
CONTRACTS = """
journey: contracts
entry: {on: signed_up, again: never}
topic: onboarding
variables: {ended: int}
start: here
states:
  here:
    on: {contract_ended: {to: ended, when: account.plan != "free"}}
  ended: {}
"""
CALLS = """
journey: calls
entry: {on: signed_up, again: never}
topic: onboarding
start: here
states:
  here:
    do: [{task: call, sla: PT24H}]
    on:
      call.closed:
        - {to: admins, when: profile.role == "admin" && account.plan == "paid"}
        - {to: others}
  admins: {}
  others: {}
"""


@pytest_asyncio.fixture
async def stack(database_url: str, temporal_address: str, task_queue: str, tmp_path: Path) -> AsyncIterator[LiveStack]:
    async with stack_without_workers(database_url, temporal_address, task_queue, tmp_path) as running, worker(running):
        yield running


class Told:
    """Calls about Ada and her account, live and for the simulation."""

    def __init__(self) -> None:
        self.events: list[RecordedEvent] = []

    def _call(
        self, kind: CallKind, name: str, data: dict[str, Any], *, user: str | None = None, account: str | None = None
    ) -> InboundEvent:
        at = datetime.now(UTC)
        subject: RecordedSubject = "user" if user else "account"
        who = user or account or ""
        self.events.append(RecordedEvent(at, who, RECORDED[kind], name, data, account=account or "", subject=subject))
        given: dict[str, Any] = {"data": data} if kind == "track" else {"traits": data}
        identity = f"m{len(self.events)}"
        return InboundEvent(kind, identity, name, user_id=user, account_id=account, timestamp=at, **given)

    def joins(self, **traits: Any) -> InboundEvent:
        return self._call("group", "group", traits, user="ada", account="acme")

    def account(self, **traits: Any) -> InboundEvent:
        return self._call("group", "group", traits, account="acme")

    def happens_to_account(self, name: str) -> InboundEvent:
        return self._call("track", name, {}, account="acme")

    def identify(self, **traits: Any) -> InboundEvent:
        return self._call("identify", "identify", traits, user="ada")

    def track(self, name: str) -> InboundEvent:
        return self._call("track", name, {}, user="ada")

    def simulated(self, source: str) -> str:
        """The state in which the simulation ends."""
        journey, _ = read_journey(source)
        assert journey is not None
        chart = load_chart(artifact_of(journey, TYPES))
        (run,) = play_group(Scenario((chart,), Policy()), self.events, datetime.now(UTC)).open_runs
        return run.state.state


async def test_a_users_signal_is_decided_on_the_accounts_fields_as_they_were_then(stack: LiveStack) -> None:
    """Nobody who has paid is told to."""
    told = Told()
    await stack.publish(TRIAL, TYPES)
    async with running_relay(stack):
        await stack.accept(told.joins(plan="trial"), told.track("signed_up"))
        await stack.until("SELECT state FROM runs", lambda state: state == "trying")
        await stack.accept(told.account(plan="paid"))
        await stack.accept(told.track("limit_reached"))
        state = await stack.until("SELECT state FROM runs", lambda state: state != "trying")
    assert (state, told.simulated(TRIAL)) == ("thanked", "thanked")


async def test_an_accounts_signal_is_decided_on_the_members_fields_as_they_were_then(stack: LiveStack) -> None:
    told = Told()
    await stack.publish(ROLES, TYPES)
    async with running_relay(stack):
        await stack.accept(told.joins(), told.identify(role="viewer"), told.track("signed_up"))
        await stack.until("SELECT state FROM runs", lambda state: state == "here")
        await stack.accept(told.identify(role="admin"))
        await stack.accept(told.happens_to_account("contract_ended"))
        state = await stack.until("SELECT state FROM runs", lambda state: state != "here")
    assert (state, told.simulated(ROLES)) == ("admins", "admins")


async def test_what_happened_to_the_account_before_an_entry_is_no_news(stack: LiveStack) -> None:
    """Also for a chart that reads no field of the profile, and though the account's row is delivered last."""
    told = Told()
    await stack.publish(CONTRACTS, TYPES)
    await stack.accept(told.joins(plan="team"))
    await stack.accept(told.happens_to_account("contract_ended"))
    await stack.accept(told.track("signed_up"))
    async with running_relay(stack):
        await stack.until("SELECT state FROM runs", lambda state: state == "here")
        await stack.until("SELECT count(*) FROM outbox WHERE delivered_at IS NULL", lambda n: n == 0)
        await stack.accept(told.identify(role="admin"))
        await stack.until("SELECT count(*) FROM outbox WHERE delivered_at IS NULL", lambda n: n == 0)
    lines = await stack.rows("SELECT text FROM timeline ORDER BY step, n")
    assert (told.simulated(CONTRACTS), "ended" in str(lines)) == ("here", False)


async def test_a_signal_of_our_own_is_decided_on_fields_as_they_were_then(stack: LiveStack) -> None:
    """A change of fields alone is not signalled: the signal that comes next has to bring it."""
    told = Told()
    await stack.publish(CALLS, TYPES)
    async with running_relay(stack):
        await stack.accept(told.joins(plan="trial"), told.identify(role="viewer"), told.track("signed_up"))
        task = await stack.until("SELECT id FROM tasks")
        await stack.accept(told.identify(role="admin"))
        await stack.until("SELECT count(*) FROM outbox WHERE delivered_at IS NULL", lambda n: n == 0)
        await stack.accept(told.account(plan="paid"))
        await close_task(
            stack.database, task, resolution="done", by="bea", note="", roster=Roster(), now=datetime.now(UTC)
        )
        assert await stack.until("SELECT state FROM runs", lambda state: state != "here") == "admins"

"""Lanes of members against a model that copies an account's row to all of them at once, whatever the order of the copies."""

from __future__ import annotations

import asyncio
import itertools
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from journeys.events.inbound import InboundEvent
from store.database import Database
from store.outbox import fan_out
from store.outbox.copies import catch_up
from store.outbox.derived import DerivedSignal, enqueue_derived
from store.people import subjects
from tests.support.members import OF_ACCOUNTS, OTHER, READER, Lanes

PEOPLE, ACCOUNTS = ("ada", "ben", "cleo"), ("acme", "west")
Operation = tuple[str, ...]
Row = tuple[str, str, dict[str, Any] | None, dict[str, Any]]
"""Kind, name, fields of the account, fields of the profile."""

_person, _account = st.sampled_from(PEOPLE), st.sampled_from(ACCOUNTS)
_events = st.one_of(
    st.tuples(st.just("fields"), _account, st.sampled_from(["trial", "paid", "free"])),
    st.tuples(st.just("happens"), _account),
    st.tuples(st.just("joins"), _person, _account),
    st.tuples(st.just("tells"), _person, _account, st.sampled_from(["trial", "paid"])),
    st.tuples(st.just("leaves"), _person),
    st.tuples(st.just("enters"), _person),
    st.tuples(st.just("signals"), _person),
    st.tuples(st.just("identifies"), _person, st.sampled_from(["admin", "viewer"])),
)
_operations = st.one_of(
    _events.map(lambda event: ("batch", event)),
    st.lists(_events, min_size=2, max_size=5).map(lambda events: ("batch", *events)),
    st.tuples(st.just("slice"), _account),
    st.tuples(st.just("timer"), _person),
    st.tuples(st.just("derived"), _person),
)


@dataclass
class Person:
    """A member in the model; `lane` is what theirs must hold."""

    account: str | None = None
    role: str | None = None
    entered: bool = False
    lane: list[Row] = field(default_factory=list)


class Model:
    """What every lane holds if each row reaches all members in the moment in which it is accepted."""

    def __init__(self) -> None:
        self.people = {name: Person() for name in PEOPLE}
        self.plans: dict[str, str] = {}

    def put(self, person: Person, kind: str, name: str = "", *, left: bool = False) -> None:
        if not person.entered:
            return
        plan = self.plans.get(person.account or "")
        known = {} if left else None if person.account is None else {"plan": plan} if plan else {}
        person.lane.append((kind, name, known, {"role": person.role} if person.role else {}))

    def happen(self, what: str, who: str, value: str = "", plan: str = "") -> None:
        if what == "tells":
            joins = self.people[who].account != value
            self.people[who].account = None if joins else value
            self._happen_to_account("fields", value, plan)
            self._happen_to_person("joins", self.people[who], value)
        elif what in {"fields", "happens"}:
            self._happen_to_account(what, who, value)
        else:
            self._happen_to_person(what, self.people[who], value)

    def _happen_to_account(self, what: str, account: str, plan: str) -> None:
        if what == "fields" and self.plans.get(account) == plan:
            return
        if what == "fields":
            self.plans[account] = plan
        for member in self.people.values():
            if member.account == account:
                self.put(member, *(("facts",) if what == "fields" else ("signal", "contract_ended")))

    def _happen_to_person(self, what: str, person: Person, value: str) -> None:
        match what:
            case "joins" if person.account != value:
                person.account = value
                self.put(person, "facts")
            case "leaves" if person.account is not None:
                person.account = None
                self.put(person, "facts", left=True)
            case "enters" if not person.entered:
                person.entered = True
                self.put(person, "signal", "signed_up")
            case "signals":
                self.put(person, "signal", "limit_reached")
            case "identifies" if person.role != value:
                person.role = value
                self.put(person, "facts")


class Played:
    """The same on the real store."""

    def __init__(self, lanes: Lanes, example: int, model: Model) -> None:
        self.lanes, self.model, self.prefix = lanes, model, f"{example}-"

    def call(self, what: str, who: str, value: str = "", plan: str = "") -> InboundEvent:
        name, lanes = self.prefix + who, self.lanes
        match what:
            case "tells":
                return lanes.call("group", user=name, account=self.prefix + value, plan=plan)
            case "fields":
                return lanes.call("group", account=name, plan=value)
            case "happens":
                return lanes.call("track", "contract_ended", account=name)
            case "joins":
                return lanes.call("group", user=name, account=self.prefix + value)
            case "leaves":
                account = self.model.people[who].account
                named = self.prefix + account if account else None
                return lanes.call("track", "account_left", user=name, account=named)
            case "identifies":
                return lanes.call("identify", user=name, role=value)
            case _:
                return lanes.call("track", {"enters": "signed_up", "signals": "limit_reached"}[what], user=name)

    async def play(self, operation: Any) -> None:
        kind, *rest = operation
        if kind == "batch":
            calls = []
            for event in rest:
                calls.append(self.call(*event))
                self.model.happen(*event)
            await self.lanes.accept(*calls)
        elif kind == "slice":
            await fan_out.copy_slice(self.lanes.database, await self.lanes.key(self.prefix + rest[0]))
        elif self.model.people[rest[0]].entered:
            await getattr(self, kind)(rest[0])

    async def timer(self, who: str) -> None:
        """As a timer's step does before it compares."""
        async with self.lanes.database.transaction() as connection:
            locked = await subjects.lock_subjects(connection, [await self.lanes.key(self.prefix + who)])
            for person in locked.values():
                await catch_up(connection, person)

    async def derived(self, who: str) -> None:
        run = await self.lanes.run(self.prefix + who)
        async with self.lanes.database.transaction() as connection:
            chart = await self.lanes.catalogue.chart(connection, run["definition"])
            signal = DerivedSignal(
                run["lane"], run["id"], "signal", "limit_reached", "d", datetime.now(UTC), {}, chart.fields
            )
            await enqueue_derived(connection, signal)
        self.model.happen("signals", who)


async def check(lanes: Lanes, example: int, operations: list[Any]) -> None:
    model = Model()
    played = Played(lanes, example, model)
    for name in PEOPLE:
        await lanes.identify(played.prefix + name)
    for name in ACCOUNTS:
        await lanes.account(played.prefix + name)
    for operation in operations:
        await played.play(operation)
    for name in ACCOUNTS:
        await lanes.fan_out(played.prefix + name)
    for name, person in model.people.items():
        lane = await lanes.lane(played.prefix + name)
        assert [(row.kind, row.name, row.account, row.profile) for row in lane] == person.lane, name


async def test_each_lane_holds_each_row_of_its_account_once_in_order_and_with_the_fields_of_its_place(
    database_url: str,
) -> None:
    def play() -> None:
        numbers = itertools.count()
        with asyncio.Runner() as runner:
            lanes = Lanes(Database(database_url))
            runner.run(lanes.publish(READER, OTHER, OF_ACCOUNTS))

            @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
            @given(st.lists(_operations, min_size=8, max_size=30))
            def all_orders(operations: list[Any]) -> None:
                runner.run(check(lanes, next(numbers), operations))

            all_orders()
            runner.run(lanes.database.close())

    await asyncio.to_thread(play)

"""Why a person never got a message, though nothing was ever planned: what is read for the question, and the answer's shape.

A run is asked about by its own version of the journey, which it keeps whatever is published; the live one is for who may enter.
A person of several accounts is asked about once for each of them, where the journey is the account's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Annotated, Any, Protocol

from fastapi import Query
from pydantic import BaseModel
from starlette.responses import Response

from api.content.endpoints import TemplateDesk
from api.http.auth import Scope
from api.http.pagination import RecordId, ShortText, json_response
from api.http.problems import ProblemError
from api.http.routes import Routes
from api.http.schemas import MessageView
from api.people.endpoints import known_subject
from journeys.consent.statements import ADDRESS_FIELDS
from journeys.content.template_info import MissingFields
from journeys.decision.chart import Chart
from journeys.decision.occurrences import Facts
from journeys.gate.policy import Policy
from journeys.gate.verdicts import (
    DeferUntil,
    MergeInto,
    RecipientContext,
    Replace,
    SendNow,
    SendRequest,
    Verdict,
    Withhold,
)
from journeys.language.actions import Send, action_name
from journeys.whynot.gate_obstacles import GateFacts
from journeys.whynot.obstacles import Obstacle, PersonView, obstacles, sends_of
from store.consent import requests
from store.database import Connection, Database
from store.definitions.registry import DefinitionRegistry
from store.people import subjects
from store.people.test_clocks import read_clock
from store.reads import people as queries
from store.reads import whynot
from store.reads.messages import messages_of_template

TAG = "Why"
AboutParam = tuple[Chart, str | None]
"""A journey, and the account that it is about, of an account's journey."""


class GateAnswer(Protocol):
    """What the gate would say now, and of what it was made. `now` is the person's clock's."""

    @property
    def verdict(self) -> Verdict: ...
    @property
    def ask(self) -> SendRequest: ...
    @property
    def standing(self) -> RecipientContext: ...
    @property
    def facts(self) -> Facts: ...
    @property
    def now(self) -> datetime: ...


DryRun = Callable[[Connection, str, Chart, Send, str, str | None, MissingFields], Awaitable[GateAnswer]]
"""What the gate would say now to this action of this chart and run, about this account, for the person with this key."""


class ChangeView(BaseModel):
    """What would take an obstacle away: `kind` and its `params` for a machine (docs/policy.md), `text` for a person."""

    kind: str
    text: str
    params: dict[str, Any]


class ObstacleView(BaseModel):
    """What stands in the way in one journey, since when if that is known, and the change that would take it away."""

    journey: str
    account: str | None
    """The id of the account that it is about, of an account's journey."""
    action: str
    code: str
    what: str
    change: ChangeView
    since: datetime | None


class GateView(BaseModel):
    """What the gate would say if the journey asked for it now."""

    journey: str
    account: str | None
    action: str
    verdict: str
    until: datetime | None
    reasons: list[dict[str, str]]


class WhyNotView(BaseModel):
    """Every journey that sends the template: how far the person is from it, what the gate would say, what was decided before."""

    template: str
    obstacles: list[ObstacleView]
    gate: list[GateView]
    messages: list[MessageView]


class WhyNotRoutes:
    """The route that says what stands in the way of a message."""

    def __init__(self, database: Database, catalogue: DefinitionRegistry, asking: DryRun, desk: TemplateDesk) -> None:
        self._database, self._catalogue, self._asking, self._desk = database, catalogue, asking, desk

    def routes(self, routes: Routes) -> None:
        add = partial(routes.add, scope=Scope.OPERATE, tag=TAG, refuses=("not-found",))
        add("GET", "/v1/users/{id:id}/why-not", self.why_not, summary="Why a message never came", gives=WhyNotView)

    async def why_not(
        self, id: RecordId, template: Annotated[ShortText, Query(description="As journeys name it.")]
    ) -> Response:
        """Answers also when nothing was ever planned. Make the first obstacle's change and ask again: the last leads to the message.

        `obstacles` are in the order in which to remove them; none for a journey that has sent it.
        """
        refused = await asyncio.to_thread(self._desk.refused, template)
        lacks = await asyncio.to_thread(self._desk.lacking, template)
        async with self._database.transaction() as connection:
            person = await known_subject(connection, "user", id)
            keys = await queries.subject_keys(connection, person.key)
            accounts = await whynot.accounts_of(connection, person.key)
            reading = _Reading(self._asking, self._catalogue, connection, person, keys, accounts, template, lacks)
            found = await reading.questions(refused)
            if not found:
                raise ProblemError("not-found", f"No published journey sends {template}.")
            messages = await messages_of_template(connection, keys, template)
        # The search for a way takes its time, and nobody's lock is held for it.
        policy = self._catalogue.consent.policy
        view = {
            "template": template,
            "obstacles": [each for question in found for each in question.obstacles(policy)],
            "messages": messages,
            "gate": [each for question in found for each in question.gate],
        }
        return json_response(view)


@dataclass(frozen=True, slots=True)
class _Question:
    """All that the answer for one journey is made of, read."""

    chart: Chart
    account: str | None
    template: str
    known: PersonView
    now: datetime
    said: Sequence[tuple[Send, Verdict]]

    def obstacles(self, policy: Policy) -> list[dict[str, Any]]:
        found = obstacles(self.chart, policy, self.template, self.known, self.now)
        return [_obstacle_view(each, self.account) for each in found]

    @property
    def gate(self) -> list[dict[str, Any]]:
        return [_gate_view(self.chart, self.account, send, verdict) for send, verdict in self.said]


@dataclass(frozen=True, slots=True)
class _Reading:
    """What is read for one question about one person."""

    asking: DryRun
    catalogue: DefinitionRegistry
    connection: Connection
    person: queries.SubjectKeys
    keys: list[str]
    accounts: list[str]
    template: str
    lacks: MissingFields

    async def questions(self, refused: tuple[str, datetime | None] | None) -> list[_Question]:
        """One for each journey that may bring them the template; `refused` is why its content may not be sent at all."""
        about = await self._about()
        # All of them at once: the gate is asked about one after the other, and would lock them in another order.
        await subjects.lock_subjects(self.connection, {self.person.key, *self.accounts} if about else ())
        around = await self._around(refused) if about else GateFacts()
        return [await self._of(chart, account, around) for chart, account in about]

    async def _about(self) -> list[AboutParam]:
        """The charts of their open runs, where those send it; else the live ones, which they may enter."""
        index = await self.catalogue.current(self.connection)
        found: dict[tuple[str, str | None], Chart] = {}
        for definition, lane in await whynot.open_definitions(self.connection, [*self.keys, *self.accounts]):
            chart = await self.catalogue.chart(self.connection, definition)
            if sends_of(chart, self.template):
                found[chart.key, lane if lane in self.accounts else None] = chart
        for chart in index.live:
            if sends_of(chart, self.template):
                nobody: list[str | None] = [None]
                for account in self.accounts or nobody if chart.spec.subject == "account" else nobody:
                    found.setdefault((chart.key, account), chart)
        return [(found[place], place[1]) for place in sorted(found, key=self._in_order)]

    def _in_order(self, place: tuple[str, str | None]) -> tuple[str, int]:
        journey, account = place
        return journey, self.accounts.index(account) if account is not None else -1

    async def _of(self, chart: Chart, account: str | None, around: GateFacts) -> _Question:
        """What is known of them where this journey is concerned, and what the gate would say to each of its actions."""
        connection, lanes = self.connection, [account] if account is not None else self.keys
        runs = await whynot.runs_of(connection, lanes, chart.key)
        run = next((each.run for each in runs if each.is_open and each.definition == chart.hash), "")
        sends = sends_of(chart, self.template)
        asked = (connection, self.person.key, chart)
        said = [await self.asking(*asked, send, run, account, self.lacks) for send in sends]
        clock = await read_clock(connection, self.person.clock) if self.person.clock is not None else None
        known = PersonView(
            runs,
            said[0].facts,
            said[0].standing,
            around,
            await whynot.last_heard(connection, lanes, chart.spec.entry.on),
            await whynot.last_decisions(connection, self.keys, self.template, clock),
            account,
            {action_name(send): each.ask.missing for send, each in zip(sends, said, strict=True)},
        )
        verdicts = [(send, each.verdict) for send, each in zip(sends, said, strict=True)]
        named = await queries.account_id(connection, account)
        return _Question(chart, named, self.template, known, said[0].now, verdicts)

    async def _around(self, refused: tuple[str, datetime | None] | None) -> GateFacts:
        known = {channel: self.person.profile.get(name) for channel, name in ADDRESS_FIELDS.items()}
        addresses = {channel: value for channel, value in known.items() if isinstance(value, str) and value}
        since = await whynot.since_when(
            self.connection, self.person.key, self.person.account_key, self.catalogue.consent.addresses, addresses
        )
        tickets = [name[1] for name in since if name[0] == "ticket"]
        waiting = await requests.pending_confirmations(self.connection, self.person.key)
        # Of one place that was asked about twice the first says since when.
        pending = {(item["channel"], item["topic"]): item["at"] for item in reversed(waiting)}
        if refused is None:
            return GateFacts(since, tickets, pending=pending)
        fault, at = refused
        told = since | ({("content", self.template): at} if at else {})
        return GateFacts(told, tickets, {self.template: fault}, pending)


def _obstacle_view(found: Obstacle, account: str | None) -> dict[str, Any]:
    change = {"kind": found.change.kind, "text": found.change.text, "params": dict(found.change.params)}
    return {
        "journey": found.journey,
        "account": account,
        "action": found.action,
        "code": found.code,
        "what": found.what,
        "change": change,
        "since": found.since,
    }


def _gate_view(chart: Chart, account: str | None, send: Send, verdict: Verdict) -> dict[str, Any]:
    until = verdict.until if isinstance(verdict, DeferUntil) else None
    names = {SendNow: "send", DeferUntil: "defer", MergeInto: "merge", Replace: "replace", Withhold: "withhold"}
    reasons = [{"code": reason.code, "text": reason.text} for reason in verdict.reasons]
    return {
        "journey": chart.key,
        "account": account,
        "action": action_name(send),
        "verdict": names[type(verdict)],
        "until": until,
        "reasons": reasons,
    }

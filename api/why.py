"""Why a message was sent, merged, deferred or withheld; and why one never was, though nothing was ever planned."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Annotated, Any, Protocol

from fastapi import Query
from pydantic import BaseModel
from starlette.responses import Response

from api.content import Desk
from api.keys import Scope
from api.pages import Id, RowId, Word, answer
from api.people import known
from api.problems import ProblemError
from api.routes import Routes
from api.shapes import MessageView, Told
from journeys import definition as d
from journeys.chart import Chart
from journeys.consent_rules import ConsentBook
from journeys.definition import Send
from journeys.occurrences import Facts
from journeys.policy import Policy
from journeys.verdicts import DeferUntil, MergeInto, Replace, SendNow, Standing, Verdict, Withhold
from journeys.whynot import Known, Obstacle, obstacles, sends_of
from journeys.whynot_gate import Around
from store import queries, timelines, whynot
from store.catalogue import Catalogue
from store.database import Connection, Database

TAG = "Why"


class Said(Protocol):
    """What the gate would say now, and of what it was made. `now` is the person's clock's."""

    @property
    def verdict(self) -> Verdict: ...
    @property
    def standing(self) -> Standing: ...
    @property
    def facts(self) -> Facts: ...
    @property
    def now(self) -> datetime: ...


Asking = Callable[[Connection, str, Chart, Send, str], Awaitable[Said]]
"""What the gate would say now to this action of this chart and run, for the person with this key."""


class WhyView(BaseModel):
    """A message, the parts it was made of or the whole it became a part of, and the decisions around it."""

    message: MessageView
    parts: list[MessageView]
    whole: MessageView | None
    decided: list[Told]


class ChangeView(BaseModel):
    """What would take an obstacle away: `kind` and its `params` for a machine (docs/policy.md), `text` for a person."""

    kind: str
    text: str
    params: dict[str, Any]


class ObstacleView(BaseModel):
    """What stands in the way in one journey, since when if that is known, and the change that would take it away."""

    journey: str
    action: str
    code: str
    what: str
    change: ChangeView
    since: datetime | None


class GateView(BaseModel):
    """What the gate would say if the journey asked for it now."""

    journey: str
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


class Whys:
    """The routes that explain."""

    def __init__(self, database: Database, catalogue: Catalogue, asking: Asking, desk: Desk) -> None:
        self._database, self._catalogue, self._asking, self._desk = database, catalogue, asking, desk

    def routes(self, routes: Routes) -> None:
        add = partial(routes.add, scope=Scope.OPERATE, tag=TAG, refuses=("not-found",))
        add("GET", "/v1/messages/{id}/why", self.why, summary="Why this became of a message", gives=WhyView)
        add("GET", "/v1/users/{id:id}/why-not", self.why_not, summary="Why a message never came", gives=WhyNotView)

    async def why(self, id: RowId) -> Response:
        """The gate's reasons, and the decisions of its run in the step that asked for it."""
        async with self._database.reading() as connection:
            found = await timelines.message(connection, id)
            if found is None:
                raise ProblemError("not-found", "There is no message of this number.")
            whole = await timelines.message_with(connection, found["merged_into"]) if found["merged_into"] else None
            view = {
                "message": found,
                "parts": await timelines.parts(connection, found["key"]),
                "whole": whole,
                "decided": await timelines.of_step(connection, found["run"], found["step"]),
            }
        return answer(view)

    async def why_not(self, id: Id, template: Annotated[Word, Query(description="As journeys name it.")]) -> Response:
        """Answers also when nothing was ever planned. Make the first obstacle's change and ask again: the last leads to the message.

        `obstacles` are in the order in which to remove them; none for a journey that has sent it.
        """
        refused = await asyncio.to_thread(self._desk.refused, template)
        async with self._database.transaction() as connection:
            person = await known(connection, "user", id)
            index = await self._catalogue.current(connection)
            sending = [chart for chart in index.live if sends_of(chart, template)]
            if not sending:
                raise ProblemError("not-found", f"No published journey sends {template}.")
            keys = await queries.keys_of(connection, person.key)
            asked = _Asked(self, connection, person, keys, template, refused)
            found = [await asked.of(chart) for chart in sending]
            messages = await timelines.of_template(connection, keys, template)
        # The search for a way takes its time, and nobody's lock is held for it.
        view = {
            "template": template,
            "obstacles": [each for question in found for each in question.obstacles(self.book.policy)],
            "messages": messages,
            "gate": [each for question in found for each in question.gate],
        }
        return answer(view)

    async def say(self, connection: Connection, person: str, chart: Chart, send: Send, run: str) -> Said:
        """What the gate would say now."""
        return await self._asking(connection, person, chart, send, run)

    @property
    def book(self) -> ConsentBook:
        """The rules by which the gate decides, and how addresses are recognised."""
        return self._catalogue.consent


@dataclass(frozen=True, slots=True)
class _Question:
    """All that the answer for one journey is made of, read."""

    chart: Chart
    template: str
    known: Known
    now: datetime
    gate: list[dict[str, Any]]

    def obstacles(self, policy: Policy) -> list[dict[str, Any]]:
        return [_obstacle_view(each) for each in obstacles(self.chart, policy, self.template, self.known, self.now)]


class _Asked:
    """What is read for one question about one person."""

    def __init__(
        self,
        whys: Whys,
        connection: Connection,
        person: queries.Found,
        keys: list[str],
        template: str,
        refused: tuple[str, datetime | None] | None,
    ) -> None:
        self.whys, self.connection, self.person, self.keys = whys, connection, person, keys
        self.template, self.refused = template, refused

    async def of(self, chart: Chart) -> _Question:
        """What is known of them where this journey is concerned, and what the gate would say to each of its actions."""
        connection, account = self.connection, self.person.account_key
        keys = [account] if chart.spec.subject == "account" and account is not None else self.keys
        runs = await whynot.runs_of(connection, keys, chart.key)
        newest = next(iter(runs), None)
        run = newest.run if newest is not None and newest.is_open else ""
        sends = sends_of(chart, self.template)
        said = [await self.whys.say(connection, self.person.key, chart, send, run) for send in sends]
        known = Known(
            runs,
            said[0].facts,
            said[0].standing,
            await self._around(),
            await whynot.last_heard(connection, keys, chart.spec.entry.on),
            await whynot.decided_of(connection, self.keys, self.template),
        )
        gate = [_gate_view(chart, send, each.verdict) for send, each in zip(sends, said, strict=True)]
        return _Question(chart, self.template, known, said[0].now, gate)

    async def _around(self) -> Around:
        profile = self.person.profile
        known = {"email": profile.get("email"), "sms": profile.get("phone")}
        addresses = {channel: value for channel, value in known.items() if isinstance(value, str) and value}
        since = await whynot.since_when(
            self.connection, self.person.key, self.person.account_key, self.whys.book.addresses, addresses
        )
        tickets = [name[1] for name in since if name[0] == "ticket"]
        if self.refused is None:
            return Around(since, tickets)
        fault, at = self.refused
        return Around(since | ({("content", self.template): at} if at else {}), tickets, {self.template: fault})


def _obstacle_view(found: Obstacle) -> dict[str, Any]:
    change = {"kind": found.change.kind, "text": found.change.text, "params": dict(found.change.params)}
    return {
        "journey": found.journey,
        "action": found.action,
        "code": found.code,
        "what": found.what,
        "change": change,
        "since": found.since,
    }


def _gate_view(chart: Chart, send: Send, verdict: Verdict) -> dict[str, Any]:
    until = verdict.until if isinstance(verdict, DeferUntil) else None
    names = {SendNow: "send", DeferUntil: "defer", MergeInto: "merge", Replace: "replace", Withhold: "withhold"}
    reasons = [{"code": reason.code, "text": reason.text} for reason in verdict.reasons]
    return {
        "journey": chart.key,
        "action": d.action_name(send),
        "verdict": names[type(verdict)],
        "until": until,
        "reasons": reasons,
    }

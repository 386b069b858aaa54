"""Why a message was sent, merged, deferred or withheld; and why one never was, though nothing was ever planned."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from functools import partial
from typing import Annotated, Any

from fastapi import Query
from pydantic import BaseModel
from starlette.responses import Response

from api.keys import Scope
from api.pages import Id, RowId, Word, answer
from api.people import known
from api.problems import ProblemError
from api.routes import Routes
from api.shapes import MessageView, Told
from journeys import definition as d
from journeys.chart import Chart
from journeys.definition import Send
from journeys.verdicts import DeferUntil, MergeInto, Replace, SendNow, Verdict, Withhold
from journeys.walk import actions_of
from journeys.whynot import obstacles
from store import queries, timelines, whynot
from store.catalogue import Catalogue
from store.database import Connection, Database

TAG = "Why"
Asking = Callable[[Connection, str, Chart, Send], Awaitable[Verdict]]
"""What the gate would say now to this action of this chart, for the person with this key."""


class WhyView(BaseModel):
    """A message, the parts it was made of or the whole it became a part of, and the decisions around it."""

    message: MessageView
    parts: list[MessageView]
    whole: MessageView | None
    decided: list[Told]


class ObstacleView(BaseModel):
    """What stands in the way in one journey, and the change that would take it away."""

    journey: str
    action: str
    code: str
    what: str
    change: str
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

    def __init__(self, database: Database, catalogue: Catalogue, asking: Asking) -> None:
        self._database, self._catalogue, self._asking = database, catalogue, asking

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
        """Answers also when nothing was ever planned: which guard, state, consent, cap or priority stood in the way, since when."""
        async with self._database.transaction() as connection:
            person = await known(connection, "user", id)
            index = await self._catalogue.current(connection)
            sending = [chart for chart in index.live if _sends(chart, template)]
            if not sending:
                raise ProblemError("not-found", f"No published journey sends {template}.")
            keys = await queries.keys_of(connection, person.key)
            view = {
                "template": template,
                "obstacles": [
                    each
                    for chart in sending
                    for each in await self._obstacles(connection, chart, template, keys, person)
                ],
                "messages": await timelines.of_template(connection, keys, template),
                "gate": [
                    _gate_view(chart, send, await self._asking(connection, person.key, chart, send))
                    for chart in sending
                    for send in _sends(chart, template)
                    if chart.spec.subject == "user"
                ],
            }
        return answer(view)

    async def _obstacles(
        self, connection: Connection, chart: Chart, template: str, keys: list[str], person: queries.Found
    ) -> list[dict[str, Any]]:
        if chart.spec.subject == "account" and person.account_key is not None:
            keys = [person.account_key]
        runs = await whynot.runs_of(connection, keys, chart.key)
        heard = await whynot.last_heard(connection, keys, chart.spec.entry.on)
        facts = {"profile": dict(person.profile), "account": {}}
        found = obstacles(chart, template, runs, facts, heard, datetime.now(UTC))
        return [
            {
                "journey": o.journey,
                "action": o.action,
                "code": o.code,
                "what": o.what,
                "change": o.change,
                "since": o.since,
            }
            for o in found
        ]


def _sends(chart: Chart, template: str) -> list[Send]:
    """Each action once by its name."""
    found = {
        d.action_name(doing.action): doing.action
        for doing in actions_of(chart.spec)
        if isinstance(doing.action, Send) and doing.action.send == template
    }
    return list(found.values())


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

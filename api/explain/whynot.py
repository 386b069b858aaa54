"""The why-not endpoint: obstacles between a person and a message, with the gate's answer.

The models are for OpenAPI only; the response is built from rows.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import datetime
from functools import partial
from typing import Annotated, Any

from fastapi import Query
from pydantic import BaseModel
from starlette.responses import Response

from api.content.endpoints import TemplateDesk
from api.explain.question import DryRun, Question, QuestionReader
from api.http.pagination import RecordId, ShortText, json_response
from api.http.problems import ProblemError
from api.http.routes import Routes
from api.http.schemas import MessageView
from api.people.endpoints import known_subject
from journeys.access.callers import Scope
from journeys.gate.policy import Policy
from journeys.gate.verdicts import DeferUntil, MergeInto, Replace, SendNow, Withhold
from journeys.language.actions import action_name
from journeys.whynot.obstacles import obstacles
from store.database import Database
from store.definitions.registry import DefinitionRegistry
from store.people import subjects
from store.reads import people as queries
from store.reads import whynot
from store.reads.messages import messages_of_template

TAG = "Why"
_VERDICTS = {SendNow: "send", DeferUntil: "defer", MergeInto: "merge", Replace: "replace", Withhold: "withhold"}


class ChangeView(BaseModel):
    """A change that removes an obstacle: `kind` and `params` for programs (docs/policy.md), `text` for people."""

    kind: str
    text: str
    params: dict[str, Any]


class ObstacleView(BaseModel):
    """An obstacle in one journey, since when it is known to exist, and the change that removes it."""

    journey: str
    account: str | None
    """The id of the account, for an account's journey."""
    action: str
    code: str
    what: str
    change: ChangeView
    since: datetime | None


class GateView(BaseModel):
    """The verdict of the gate if the journey requested the message now."""

    journey: str
    account: str | None
    action: str
    verdict: str
    until: datetime | None
    reasons: list[dict[str, str]]


class WhyNotView(BaseModel):
    """For every journey that sends the template: its obstacles, the gate's verdict now, and earlier messages."""

    template: str
    obstacles: list[ObstacleView]
    gate: list[GateView]
    messages: list[MessageView]


class WhyNotRoutes:
    """The route that explains why a person has not received a message."""

    def __init__(self, database: Database, catalogue: DefinitionRegistry, dry_run: DryRun, desk: TemplateDesk) -> None:
        self._database, self._catalogue, self._dry_run, self._desk = database, catalogue, dry_run, desk

    def routes(self, routes: Routes) -> None:
        """Add the route."""
        add = partial(routes.add, scope=Scope.OPERATE, tag=TAG, refuses=("not-found",))
        add(
            "GET",
            "/v1/users/{id:id}/why-not",
            self.why_not,
            scope=Scope.READ,
            summary="Why a message was never sent",
            gives=WhyNotView,
        )

    async def why_not(
        self, id: RecordId, template: Annotated[ShortText, Query(description="As journeys name it.")]
    ) -> Response:
        """Obstacles of every journey that sends the template, also if the message was never planned.

        `obstacles` are in the order in which to remove them: make the first change and call again, until none is left. A
        journey that has sent the message has none.
        """
        refused = await asyncio.to_thread(self._desk.refused, template)
        missing_fields = await asyncio.to_thread(self._desk.unknown_fields, template)
        async with self._database.transaction() as connection:
            person = await known_subject(connection, "user", id)
            keys = await queries.subject_keys(connection, person.key)
            accounts = await whynot.accounts_of(connection, person.key)
            # All at once, and before the addresses that a dry run locks (`store/locks.py`).
            await subjects.lock_subjects(connection, {person.key, *accounts})
            reader = QuestionReader(
                self._dry_run, self._catalogue, connection, person, keys, accounts, template, missing_fields
            )
            questions = await reader.questions(refused)
            if not questions:
                raise ProblemError("not-found", f"No published journey sends {template}.")
            messages = await messages_of_template(connection, keys, template)
        # The search for a path takes time: no lock is held for it.
        policy = self._catalogue.consent.policy
        view = {
            "template": template,
            "obstacles": [view for question in questions for view in _obstacle_views(question, policy)],
            "messages": messages,
            "gate": [view for question in questions for view in _gate_views(question)],
        }
        return json_response(view)


def _obstacle_views(question: Question, policy: Policy) -> Iterator[dict[str, Any]]:
    for obstacle in obstacles(question.chart, policy, question.template, question.person, question.now):
        change = obstacle.change
        yield {
            "journey": obstacle.journey,
            "account": question.account,
            "action": obstacle.action,
            "code": obstacle.code,
            "what": obstacle.what,
            "change": {"kind": change.kind, "text": change.text, "params": dict(change.params)},
            "since": obstacle.since,
        }


def _gate_views(question: Question) -> Iterator[dict[str, Any]]:
    for send, verdict in question.verdicts:
        yield {
            "journey": question.chart.key,
            "account": question.account,
            "action": action_name(send),
            "verdict": _VERDICTS[type(verdict)],
            "until": verdict.until if isinstance(verdict, DeferUntil) else None,
            "reasons": [{"code": reason.code, "text": reason.text} for reason in verdict.reasons],
        }

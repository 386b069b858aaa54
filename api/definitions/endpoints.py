"""Endpoints of journeys: publication, versions, diagrams."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Annotated, Any

import orjson
from fastapi import Path, Query
from starlette.requests import Request
from starlette.responses import Response

from api.definitions.schemas import CheckResultView, JourneyView, PublishedView, VersionView
from api.http.auth import RequestKey
from api.http.body import read_bytes
from api.http.pagination import Cursor, Limit, Page, ShortText, decode, json_response, number_in, page_of
from api.http.problems import ProblemError
from api.http.routes import BODY_LIMIT, Routes
from journeys.access.callers import Scope
from journeys.checks.checker import PublishableDefinition, publishable
from journeys.checks.warnings import content_past_review, misspelt_owners, tasks_without_deadline
from journeys.content.template_info import TemplateInfos
from journeys.decision.compiler import load_chart
from journeys.events.tracking_plan import TrackingPlan
from journeys.gate.policy import Policy
from journeys.language.diagram import diagram
from journeys.language.problems import Problem, dotted
from journeys.tasks.assignment import Roster
from store.database import Connection, Database
from store.definitions.catalogue_versions import keep_journey
from store.definitions.publishing import NewDefinition, publish_within
from store.definitions.registry import readable_charts
from store.locks import Lock, lock_until_commit
from store.reads import definitions

TAG = "Journeys"
MERMAID = "text/vnd.mermaid"
JourneyKeyParam = Annotated[str, Path(pattern=r"^[a-z][a-z0-9_-]{0,63}$")]


@dataclass(frozen=True, slots=True)
class CheckerInputs:
    """Inputs of the checker. Templates are read again for each check, because people edit them."""

    plan: TrackingPlan
    policy: Policy
    templates: Callable[[], TemplateInfos]
    roster: Roster


class JourneyDetailView(JourneyView):
    """A journey with its definition; `source` is the text as its author wrote it."""

    definition: dict[str, Any]
    source: str


class JourneyRoutes:
    """Routes of journeys."""

    def __init__(self, database: Database, inputs: CheckerInputs) -> None:
        self._database = database
        self._inputs = inputs

    def routes(self, routes: Routes) -> None:
        add = partial(routes.add, scope=Scope.READ, tag=TAG)
        unknown = ("not-found",)
        path = "/v1/journeys/{key}"
        add("GET", "/v1/journeys", self.published, summary="List published journeys", gives=Page[JourneyView])
        add(
            "POST",
            "/v1/journeys:check",
            self.check,
            summary="Check a definition",
            gives=CheckResultView,
            extra=_BODY,
            refuses=_LARGE,
        )
        add("GET", path, self.one, summary="Get a journey", gives=JourneyDetailView, refuses=unknown)
        add(
            "PUT",
            path,
            self.put,
            scope=Scope.PUBLISH,
            summary="Publish a definition",
            gives=PublishedView,
            refuses=("invalid-journey", "precondition-failed", *_LARGE),
            extra=_BODY_AND_MATCH,
            responses={201: {"description": "A new version", "model": PublishedView}},
        )
        add("GET", f"{path}/versions", self.versions, summary="List versions", gives=Page[VersionView], refuses=unknown)
        add(
            "GET",
            f"{path}/diagram",
            self.diagram,
            summary="Diagram of a journey (Mermaid)",
            refuses=unknown,
            responses={200: {"description": "Mermaid", "content": {MERMAID: {"schema": {"type": "string"}}}}},
        )

    async def published(self, limit: Limit = 50, cursor: Cursor = None) -> Response:
        """Published journeys by key, with their number of open runs."""
        position = decode(cursor, str)
        async with self._database.reading() as connection:
            journeys = await definitions.list_journeys(connection, position[0] if position else "", limit + 1)
        return page_of(journeys, limit, lambda journey: (journey["key"],))

    async def one(self, key: JourneyKeyParam) -> Response:
        """A journey with its complete definition, as runs use it."""
        journey = await self._current(key)
        definition = orjson.loads(journey.pop("artifact"))["journey"]
        return json_response({**journey, "definition": definition}, headers={"ETag": f'"{journey["hash"]}"'})

    async def versions(self, key: JourneyKeyParam, limit: Limit = 50, cursor: Cursor = None) -> Response:
        """Newest first. A definition never changes: a change is a new version."""
        number = number_in(cursor)
        before = min(number, 2**31 - 1) if number is not None else None
        await self._current(key)
        async with self._database.reading() as connection:
            versions = await definitions.list_versions(connection, key, before, limit + 1)
        return page_of(versions, limit, lambda version: (version["version"],))

    async def diagram(
        self, key: JourneyKeyParam, here: Annotated[ShortText | None, Query(description="A state to mark.")] = None
    ) -> Response:
        """State diagram of the current version."""
        journey = await self._current(key)
        text = diagram(load_chart(journey["artifact"]).spec, here)
        return Response(text, media_type=f"{MERMAID}; charset=utf-8", headers={"ETag": f'"{journey["hash"]}"'})

    async def _current(self, key: str) -> dict[str, Any]:
        async with self._database.reading() as connection:
            journey = await definitions.get_journey(connection, key)
        if journey is None:
            raise ProblemError("not-found", "No journey with this key is published.")
        return journey

    async def check(self, request: Request) -> Response:
        """Report every problem of a definition. Nothing is published."""
        text = await read_bytes(request, BODY_LIMIT)
        if not text:
            raise ProblemError("malformed-request", "Send the definition as the body.")
        async with self._database.reading() as connection:
            result = await self._checked(connection, text, "")
        if isinstance(result, PublishableDefinition):
            named = {"key": result.journey.journey, "hash": result.hash}
            return json_response({"publishable": True, **named, "problems": [], "warnings": self._warnings(result)})
        return json_response(
            {"publishable": False, "key": None, "hash": None, "problems": [fault_view(problem) for problem in result]}
        )

    async def put(
        self,
        request: Request,
        key: JourneyKeyParam,
        caller: RequestKey,
        by: Annotated[ShortText | None, Query(description="Name of the person who publishes.")] = None,
    ) -> Response:
        """Publish a definition, as YAML or JSON. Open runs keep their version.

        Where a catalogue is published, its next version has this definition.
        """
        text = await read_bytes(request, BODY_LIMIT)
        async with self._database.transaction() as connection:
            await definitions.lock_publishing(connection)
            current = await definitions.get_journey(connection, key)
            _check_preconditions(request, current["hash"] if current else None)
            result = await self._checked(connection, text, key)
            if not isinstance(result, PublishableDefinition):
                problems = [fault_view(problem) for problem in result]
                raise ProblemError("invalid-journey", f"{len(problems)} problems: nothing was published.", problems)
            if result.journey.journey != key:
                fault = {"detail": f"the definition's key is {result.journey.journey}, not {key}", "pointer": "journey"}
                raise ProblemError("invalid-journey", "The path names another journey.", [fault])
            await lock_until_commit(connection, Lock.CATALOGUE)
            new = NewDefinition(load_chart(result.artifact_text), result.artifact_text, text.decode())
            version, created = await publish_within(connection, new, caller.acts_for(by))
            await keep_journey(connection, key, text, caller.acts_for(by))
        view: dict[str, Any] = {"key": key, "version": version, "hash": result.hash, "created": created}
        view["warnings"] = self._warnings(result)
        headers = {"ETag": f'"{result.hash}"'} | ({"Location": f"/v1/journeys/{key}"} if created else {})
        return json_response(view, 201 if created else 200, headers)

    def _warnings(self, definition: PublishableDefinition) -> list[str]:
        overdue = content_past_review(definition.journey, self._inputs.templates(), datetime.now(UTC).date())
        owners = misspelt_owners(definition.journey, self._inputs.roster)
        at_paths = (*tasks_without_deadline(definition.journey), *owners)
        return [*overdue, *(f"{dotted(path)}: {text}" for path, text in at_paths)]

    async def _checked(self, connection: Connection, text: bytes, key: str) -> PublishableDefinition | list[Problem]:
        """Check in a thread: a large definition would delay other requests."""
        others = [chart.spec for chart in readable_charts(await definitions.other_live_artifacts(connection, key))]
        templates = self._inputs.templates()
        return await asyncio.to_thread(publishable, text, self._inputs.plan, templates, others, self._inputs.policy)


def _check_preconditions(request: Request, current: str | None) -> None:
    """Check If-Match and If-None-Match (RFC 9110 §13), so that nobody overwrites a version they have not seen."""
    wanted = request.headers.get("if-match")
    if wanted is not None and not (current and (wanted == "*" or f'"{current}"' in _tags(wanted))):
        raise ProblemError("precondition-failed", "Another version is live. Read it, then publish with its ETag.")
    if request.headers.get("if-none-match") == "*" and current is not None:
        raise ProblemError("precondition-failed", "A journey with this key is already published.")


def _tags(header: str) -> set[str]:
    return {tag.strip().removeprefix("W/") for tag in header.split(",")}


def fault_view(problem: Problem) -> dict[str, Any]:
    """A problem as an error of a refusal."""
    return {
        "turn": "author",
        "code": problem.code,
        "detail": problem.what,
        "pointer": problem.place,
        "line": problem.line,
        "column": problem.column,
        "harm": problem.harm,
        "mend": problem.mend,
    }


_LARGE = ("too-large", "unsupported-media-type")
_TEXT = {"type": "string", "description": "A definition; see docs/journey-language.md."}
_BODY: Mapping[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/yaml": {"schema": _TEXT, "example": "journey: hello\nsubject: user\n…"},
            "application/json": {"schema": {"type": "object"}},
        },
    }
}
_BODY_AND_MATCH: Mapping[str, Any] = {
    **_BODY,
    "parameters": [
        {"name": name, "in": "header", "required": False, "schema": {"type": "string"}, "description": description}
        for name, description in (
            ("If-Match", "ETag of the version to replace."),
            ("If-None-Match", "`*`: publish only if the key is new."),
        )
    ],
}

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
from api.http.auth import Scope
from api.http.body import read_bytes
from api.http.pagination import Cursor, Limit, Page, ShortText, decode, json_response, page_of
from api.http.problems import ProblemError
from api.http.routes import BODY_LIMIT, Routes
from journeys.checks.checker import PublishableDefinition, publishable
from journeys.checks.warnings import content_past_review, tasks_without_deadline
from journeys.content.template_info import TemplateInfos
from journeys.decision.compiler import load_chart
from journeys.events.tracking_plan import TrackingPlan
from journeys.language.diagram import diagram
from journeys.language.problems import Problem, dotted
from store.database import Connection, Database
from store.definitions.publishing import publish_definition
from store.reads import definitions

TAG = "Journeys"
MERMAID = "text/vnd.mermaid"
JourneyKeyParam = Annotated[str, Path(pattern=r"^[a-z][a-z0-9_-]{0,63}$")]


@dataclass(frozen=True, slots=True)
class CheckerInputs:
    """What a definition is checked against. Templates are read anew each time: people edit them."""

    plan: TrackingPlan
    templates: Callable[[], TemplateInfos]


class JourneyDetailView(JourneyView):
    """A journey with its definition; `source` is the text as its author wrote it."""

    definition: dict[str, Any]
    source: str


class JourneyRoutes:
    """The routes of journeys."""

    def __init__(self, database: Database, deps: CheckerInputs) -> None:
        self._database = database
        self._house = deps

    def routes(self, routes: Routes) -> None:
        add = partial(routes.add, scope=Scope.OPERATE, tag=TAG)
        unknown = ("not-found",)
        one = "/v1/journeys/{key}"
        add("GET", "/v1/journeys", self.published, summary="What is published", gives=Page[JourneyView])
        add(
            "POST",
            "/v1/journeys:check",
            self.check,
            summary="Try a definition",
            gives=CheckResultView,
            extra=_BODY,
            refuses=_LARGE,
        )
        add("GET", one, self.one, summary="One journey", gives=JourneyDetailView, refuses=unknown)
        add(
            "PUT",
            one,
            self.put,
            summary="Publish a definition",
            gives=PublishedView,
            refuses=("invalid-journey", "precondition-failed", *_LARGE),
            extra=_BODY_AND_MATCH,
            responses={201: {"description": "A new version", "model": PublishedView}},
        )
        add("GET", f"{one}/versions", self.versions, summary="Its versions", gives=Page[VersionView], refuses=unknown)
        add(
            "GET",
            f"{one}/diagram",
            self.diagram,
            summary="Its diagram (Mermaid)",
            refuses=unknown,
            responses={200: {"description": "Mermaid", "content": {MERMAID: {"schema": {"type": "string"}}}}},
        )

    async def published(self, limit: Limit = 50, cursor: Cursor = None) -> Response:
        """By key, each with the number of its open runs."""
        place = decode(cursor, str)
        async with self._database.reading() as connection:
            found = await definitions.list_journeys(connection, place[0] if place else "", limit + 1)
        return page_of(found, limit, lambda journey: (journey["key"],))

    async def one(self, key: JourneyKeyParam) -> Response:
        """With its handoff, states and all: the definition as runs carry it."""
        found = await self._current(key)
        definition = orjson.loads(found.pop("artifact"))["journey"]
        return json_response({**found, "definition": definition}, headers={"ETag": f'"{found["hash"]}"'})

    async def versions(self, key: JourneyKeyParam, limit: Limit = 50, cursor: Cursor = None) -> Response:
        """The newest first. A definition never changes: a change is a new version."""
        place = decode(cursor, int)
        before = min(place[0], 2**31 - 1) if place else None
        await self._current(key)
        async with self._database.reading() as connection:
            found = await definitions.list_versions(connection, key, before, limit + 1)
        return page_of(found, limit, lambda version: (version["version"],))

    async def diagram(
        self, key: JourneyKeyParam, here: Annotated[ShortText | None, Query(description="A state to mark.")] = None
    ) -> Response:
        """Drawn from the model that runs."""
        found = await self._current(key)
        text = diagram(load_chart(found["artifact"]).spec, here)
        return Response(text, media_type=f"{MERMAID}; charset=utf-8", headers={"ETag": f'"{found["hash"]}"'})

    async def _current(self, key: str) -> dict[str, Any]:
        async with self._database.reading() as connection:
            found = await definitions.get_journey(connection, key)
        if found is None:
            raise ProblemError("not-found", "No journey of this key is published.")
        return found

    async def check(self, request: Request) -> Response:
        """Every problem of a definition, without publishing anything."""
        text = await read_bytes(request, BODY_LIMIT)
        if not text:
            raise ProblemError("malformed-request", "Send the definition as the body.")
        async with self._database.reading() as connection:
            found = await self._checked(connection, text, "")
        if isinstance(found, PublishableDefinition):
            named = {"key": found.journey.journey, "hash": found.hash}
            return json_response({"publishable": True, **named, "problems": [], "warnings": self._warnings(found)})
        return json_response(
            {"publishable": False, "key": None, "hash": None, "problems": [_fault(each) for each in found]}
        )

    async def put(
        self,
        request: Request,
        key: JourneyKeyParam,
        by: Annotated[ShortText, Query(description="Who publishes.")] = "operator",
    ) -> Response:
        """YAML or JSON. Runs in flight keep the definition that they began with."""
        text = await read_bytes(request, BODY_LIMIT)
        async with self._database.transaction() as connection:
            await definitions.lock_publishing(connection)
            current = await definitions.get_journey(connection, key)
            _hold_to(request, current["hash"] if current else None)
            found = await self._checked(connection, text, key)
            if not isinstance(found, PublishableDefinition):
                problems = [_fault(each) for each in found]
                raise ProblemError("invalid-journey", f"{len(problems)} problems: nothing was published.", problems)
            if found.journey.journey != key:
                fault = {"detail": f"the definition's key is {found.journey.journey}, not {key}", "pointer": "journey"}
                raise ProblemError("invalid-journey", "The path names another journey.", [fault])
            chart = load_chart(found.artifact_text)
            version, created = await publish_definition(self._database, chart, found.artifact_text, text.decode(), by)
        view: dict[str, Any] = {"key": key, "version": version, "hash": found.hash, "created": created}
        view["warnings"] = self._warnings(found)
        headers = {"ETag": f'"{found.hash}"'} | ({"Location": f"/v1/journeys/{key}"} if created else {})
        return json_response(view, 201 if created else 200, headers)

    def _warnings(self, found: PublishableDefinition) -> list[str]:
        old = content_past_review(found.journey, self._house.templates(), datetime.now(UTC).date())
        return [*old, *(f"{dotted(path)}: {what}" for path, what in tasks_without_deadline(found.journey))]

    async def _checked(self, connection: Connection, text: bytes, key: str) -> PublishableDefinition | list[Problem]:
        """In a thread: a large definition takes long enough for others to notice."""
        others = [load_chart(artifact).spec for artifact in await definitions.other_live_artifacts(connection, key)]
        templates = self._house.templates()
        return await asyncio.to_thread(publishable, text, self._house.plan, templates, others)


def _hold_to(request: Request, current: str | None) -> None:
    """If-Match and If-None-Match (RFC 9110 §13): nobody overwrites what they have not seen."""
    wanted = request.headers.get("if-match")
    if wanted is not None and not (current and (wanted == "*" or f'"{current}"' in _tags(wanted))):
        raise ProblemError("precondition-failed", "Another version is live. Read it, then publish over its ETag.")
    if request.headers.get("if-none-match") == "*" and current is not None:
        raise ProblemError("precondition-failed", "A journey of this key is published already.")


def _tags(header: str) -> set[str]:
    return {tag.strip().removeprefix("W/") for tag in header.split(",")}


def _fault(problem: Problem) -> dict[str, Any]:
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
_TEXT = {"type": "string", "description": "A definition: docs/journey-language.md."}
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
        {"name": name, "in": "header", "required": False, "schema": {"type": "string"}, "description": what}
        for name, what in (
            ("If-Match", "The ETag of the version that is replaced."),
            ("If-None-Match", "`*`: only if there is none yet."),
        )
    ],
}

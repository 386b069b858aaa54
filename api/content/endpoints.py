"""Endpoints of templates: list, preview, test send."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Annotated, Any, Protocol

from fastapi import Path
from starlette.responses import Response

from api.content.schemas import (
    PreviewIn,
    PreviewView,
    TemplateList,
    TestSendIn,
    TestSent,
)
from api.http.auth import Scope
from api.http.pagination import json_response
from api.http.problems import ProblemError
from api.http.routes import Routes
from api.people.endpoints import known_subject
from journeys.checks.warnings import templates_sent_by
from journeys.content.template_info import MissingFields
from journeys.decision.compiler import load_chart
from store.database import Database
from store.reads import content_usage
from store.reads import people as queries
from store.reads.definitions import live_artifacts

TAG = "Content"
TemplateNameParam = Annotated[str, Path(max_length=128, description="As journeys name it: setup/first-steps.")]
KEPT_SECONDS = 60.0
"""How long counts of what was sent are believed: they are read from the whole ledger."""


class TemplateDesk(Protocol):
    """What is asked of whoever knows the templates. Unknown names raise LookupError, a broken catalogue ValueError."""

    def listing(self) -> list[dict[str, Any]]: ...
    def refused(self, name: str) -> tuple[str, datetime | None] | None: ...
    def unknown_fields(self, name: str) -> MissingFields: ...
    def preview(self, name: str, asked: Mapping[str, Any]) -> dict[str, Any]: ...
    def may_test(self, to: str) -> str: ...
    async def test_send(self, name: str, to: str, asked: Mapping[str, Any]) -> dict[str, Any]: ...
    def read_click(self, token: str) -> tuple[str, int] | None: ...


class TemplateRoutes:
    """The routes below `/v1/templates`."""

    def __init__(self, database: Database, desk: TemplateDesk) -> None:
        self._database, self._desk = database, desk
        self._counted: tuple[float, list[dict[str, Any]]] = (-KEPT_SECONDS, [])

    def routes(self, routes: Routes) -> None:
        add = partial(routes.add, scope=Scope.OPERATE, tag=TAG)
        refuses = ("not-found", "conflict")
        add("GET", "/v1/templates", self.templates, summary="What there is", gives=TemplateList, refuses=("conflict",))
        one = "/v1/templates/{name:template}"
        add("POST", f"{one}/preview", self.preview, summary="See it", gives=PreviewView, refuses=refuses)
        add("POST", f"{one}/test-send", self.test_send, summary="Send a test", gives=TestSent, refuses=refuses)

    async def templates(self) -> Response:
        """With owner, status and review date, where each is used, and how often it was sent (at most a minute old)."""
        listing = await self._read(self._desk.listing)
        async with self._database.reading() as connection:
            live = [load_chart(text).spec for text in await live_artifacts(connection)]
            if time.monotonic() - self._counted[0] > KEPT_SECONDS:
                self._counted = (time.monotonic(), await content_usage.uses_of_template(connection))
        actions = {(name, spec.journey): found for spec in live for name, found in templates_sent_by(spec).items()}
        return json_response(
            {"items": [{**each, **_reuse(each["name"], actions, self._counted[1])} for each in listing]}
        )

    async def preview(self, name: TemplateNameParam, asked: PreviewIn) -> Response:
        """Nothing is sent and nothing is written. `missing` are the fields and variables that are not known."""
        return json_response(await self._read(partial(self._desk.preview, name, await self._asked(asked))))

    async def test_send(self, name: TemplateNameParam, asked: TestSendIn) -> Response:
        """By e-mail, marked as a test, to an address of the allow-list only; past the ledger, so that no cap counts it."""
        if why := self._desk.may_test(asked.to):
            raise ProblemError("invalid-request", "Nothing was sent.", [{"detail": why, "pointer": "/to"}])
        for_whom = await self._asked(asked)
        try:
            found = await self._desk.test_send(name, asked.to, for_whom)
        except LookupError as error:
            raise _unknown() from error
        except ValueError as error:
            raise _unreadable(error) from error
        if not found["sent"]:
            raise ProblemError("conflict", f"It was not sent: {found['detail']}")
        return json_response(found)

    async def _asked(self, asked: PreviewIn) -> dict[str, Any]:
        given = asked.model_dump()
        if asked.user is None:
            return given
        async with self._database.reading() as connection:
            person = await known_subject(connection, "user", asked.user)
            found = (
                await queries.find_subject(connection, "account", person.account_key) if person.account_key else None
            )
        account = found.profile if found is not None else {}
        return {**given, "profile": {**person.profile, **asked.profile}, "account": {**account, **asked.account}}

    async def _read(self, ask: Any) -> Any:
        """In a thread: reading the catalogue takes long enough for others to notice."""
        try:
            return await asyncio.to_thread(ask)
        except LookupError as error:
            raise _unknown() from error
        except ValueError as error:
            raise _unreadable(error) from error


def _reuse(
    name: str, actions: Mapping[tuple[str, str], list[str]], counted: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    sent = {each["journey"]: each for each in counted if each["template"] == name}
    live = [journey for template, journey in actions if template == name]
    used_by = [
        {
            "journey": journey,
            "actions": actions.get((name, journey), []),
            "sent": sent[journey]["sent"] if journey in sent else 0,
            "last_at": sent[journey]["last_at"] if journey in sent else None,
        }
        for journey in sorted({*live, *sent})
    ]
    return {"used_by": used_by, "reuse": {"journeys": len(live), "sent": sum(each["sent"] for each in used_by)}}


def _unknown() -> ProblemError:
    return ProblemError("not-found", "The catalogue has no template, or no variant of it, of this name.")


def _unreadable(error: Exception) -> ProblemError:
    errors = [{"turn": "author", "detail": line} for line in str(error).splitlines()]
    return ProblemError("conflict", "The catalogue's templates cannot be read; the author mends them.", errors)

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
from api.http.pagination import json_response
from api.http.problems import ProblemError
from api.http.routes import Routes
from api.people.endpoints import known_subject
from journeys.access.callers import Scope
from journeys.checks.warnings import templates_sent_by
from journeys.content.template_info import MissingFields
from store.database import Database
from store.definitions.registry import readable_charts
from store.reads import content_usage
from store.reads import people as queries
from store.reads.definitions import live_artifacts

TAG = "Content"
TemplateNameParam = Annotated[str, Path(max_length=128, description="As journeys name it: setup/first-steps.")]
KEPT_SECONDS = 60.0
"""Lifetime of cached counts of sent messages: counting reads the whole ledger."""


class TemplateDesk(Protocol):
    """Access to the catalogue's templates. Unknown names raise LookupError, a broken catalogue ValueError."""

    def listing(self) -> list[dict[str, Any]]: ...
    def refused(self, name: str) -> tuple[str, datetime | None] | None: ...
    def unknown_fields(self, name: str) -> MissingFields: ...
    def preview(self, name: str, request: Mapping[str, Any]) -> dict[str, Any]: ...
    def may_test(self, to: str) -> str: ...
    async def test_send(self, name: str, to: str, request: Mapping[str, Any]) -> dict[str, Any]: ...
    def read_click(self, token: str) -> tuple[str, int] | None: ...


class TemplateRoutes:
    """Routes below `/v1/templates`."""

    def __init__(self, database: Database, desk: TemplateDesk) -> None:
        self._database, self._desk = database, desk
        self._counted: tuple[float, list[dict[str, Any]]] = (-KEPT_SECONDS, [])

    def routes(self, routes: Routes) -> None:
        add = partial(routes.add, scope=Scope.OPERATE, tag=TAG)
        refuses = ("not-found", "conflict")
        add(
            "GET",
            "/v1/templates",
            self.templates,
            scope=Scope.READ,
            summary="List templates",
            gives=TemplateList,
            refuses=("conflict",),
        )
        path = "/v1/templates/{name:template}"
        add(
            "POST",
            f"{path}/preview",
            self.preview,
            scope=Scope.READ,
            summary="Preview a template",
            gives=PreviewView,
            refuses=refuses,
        )
        add("POST", f"{path}/test-send", self.test_send, summary="Send a test mail", gives=TestSent, refuses=refuses)

    async def templates(self) -> Response:
        """Templates with owner, status, review date, the journeys that use them, and counts that may be a minute old."""
        listing = await self._read(self._desk.listing)
        async with self._database.reading() as connection:
            live = [chart.spec for chart in readable_charts(await live_artifacts(connection))]
            if time.monotonic() - self._counted[0] > KEPT_SECONDS:
                self._counted = (time.monotonic(), await content_usage.uses_of_template(connection))
        actions = {(name, spec.journey): names for spec in live for name, names in templates_sent_by(spec).items()}
        return json_response(
            {"items": [{**item, **_reuse(item["name"], actions, self._counted[1])} for item in listing]}
        )

    async def preview(self, name: TemplateNameParam, request: PreviewIn) -> Response:
        """Render a template. Nothing is sent or written. `missing` lists fields and variables without a value."""
        return json_response(await self._read(partial(self._desk.preview, name, await self._sample(request))))

    async def test_send(self, name: TemplateNameParam, request: TestSendIn) -> Response:
        """Send a marked test mail to an address of the allow-list. It is not in the ledger, so no cap counts it."""
        if reason := self._desk.may_test(request.to):
            raise ProblemError("invalid-request", "Nothing was sent.", [{"detail": reason, "pointer": "/to"}])
        sample = await self._sample(request)
        try:
            result = await self._desk.test_send(name, request.to, sample)
        except LookupError as error:
            raise _unknown() from error
        except ValueError as error:
            raise _unreadable(error) from error
        if not result["sent"]:
            raise ProblemError("conflict", f"The test was not sent: {result['detail']}")
        return json_response(result)

    async def _sample(self, request: PreviewIn) -> dict[str, Any]:
        sample = request.model_dump()
        if request.user is None:
            return sample
        async with self._database.reading() as connection:
            person = await known_subject(connection, "user", request.user)
            account = (
                await queries.find_subject(connection, "account", person.account_key) if person.account_key else None
            )
        fields = account.profile if account is not None else {}
        return {**sample, "profile": {**person.profile, **request.profile}, "account": {**fields, **request.account}}

    async def _read(self, read: Any) -> Any:
        """Run in a thread: reading the catalogue would delay other requests."""
        try:
            return await asyncio.to_thread(read)
        except LookupError as error:
            raise _unknown() from error
        except ValueError as error:
            raise _unreadable(error) from error


def _reuse(
    name: str, actions: Mapping[tuple[str, str], list[str]], counted: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    sent = {use["journey"]: use for use in counted if use["template"] == name}
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
    return {"used_by": used_by, "reuse": {"journeys": len(live), "sent": sum(use["sent"] for use in used_by)}}


def _unknown() -> ProblemError:
    return ProblemError("not-found", "The catalogue has no template or variant with this name.")


def _unreadable(error: Exception) -> ProblemError:
    errors = [{"turn": "author", "detail": line} for line in str(error).splitlines()]
    return ProblemError(
        "conflict", "The catalogue's templates cannot be read. The author must correct these faults.", errors
    )

"""From a trace id to everything that came of it, and from the id that a sender gave its event to the trace."""

from __future__ import annotations

from datetime import datetime
from functools import partial
from typing import Annotated, Any

from fastapi import Path, Query
from pydantic import BaseModel
from starlette.responses import Response

from api.http.auth import Scope
from api.http.pagination import ShortText, json_response
from api.http.problems import ProblemError
from api.http.routes import Routes
from api.http.schemas import MessageView
from journeys.events.tracing import is_trace
from store.database import Database
from store.reads import traces

TAG = "Traces"
_EXAMPLE = "00000000000004d2a3ce929d0e0e4736"
TraceId = Annotated[
    str, Path(pattern="^[0-9a-f]{32}$", description="32 hex digits, as in `X-Tenure-Trace` and in log lines.")
]


class TracedEvent(BaseModel):
    """An accepted event and its trace."""

    id: int
    source: str
    message_id: str
    kind: str
    name: str
    subject: str
    at: datetime
    received_at: datetime
    trace: str


class TracedEvents(BaseModel):
    """Those to which senders gave one id: a sender's ids are its own, and another may use the same."""

    items: list[TracedEvent]


class TracedLine(BaseModel):
    """What a run decided, in words."""

    run: str
    step: int
    n: int
    at: datetime
    recorded_at: datetime
    kind: str
    about: str
    text: str


class TraceView(BaseModel):
    """From event to send. `feed` has every verdict, attempt and reaction as the warehouse gets them; at most 200 of each.

    A trace without events is that of a step that none caused: a timer's, or an operator's.
    """

    trace: str
    events: list[TracedEvent]
    lines: list[TracedLine]
    messages: list[MessageView]
    feed: list[dict[str, Any]]


class TraceRoutes:
    """The routes below `/v1/traces`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def routes(self, routes: Routes) -> None:
        add = partial(routes.add, "GET", scope=Scope.OPERATE, tag=TAG)
        add("/v1/traces", self.traces, summary="The trace of an event", gives=TracedEvents)
        add(
            "/v1/traces/{trace}",
            self.trace,
            summary="From event to send",
            gives=TraceView,
            refuses=("not-found",),
        )

    async def traces(
        self,
        message_id: Annotated[ShortText, Query(description="As its sender gave it: `messageId`, or a signal's `id`.")],
    ) -> Response:
        """For who has no trace id yet, but knows which event is meant."""
        async with self._database.reading() as connection:
            return json_response({"items": await traces.events_with_message_id(connection, message_id)})

    async def trace(self, trace: TraceId) -> Response:
        """The way from what was accepted to what was sent, or back."""
        async with self._database.reading() as connection:
            found = await traces.trace(connection, trace) if is_trace(trace) else None
        if found is None:
            raise ProblemError("not-found", "Nothing here has this trace.")
        return json_response(found)

"""Trace endpoints: everything of one trace, and the traces of a message id."""

from __future__ import annotations

from datetime import datetime
from functools import partial
from typing import Annotated, Any

from fastapi import Path, Query
from pydantic import BaseModel
from starlette.responses import Response

from api.http.pagination import ShortText, json_response
from api.http.problems import ProblemError
from api.http.routes import Routes
from api.http.schemas import MessageView
from journeys.access.callers import Scope
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
    """The events with one message id: ids are unique per sender, so there may be several."""

    items: list[TracedEvent]


class TracedLine(BaseModel):
    """A decision of a run, as a sentence."""

    run: str
    step: int
    n: int
    at: datetime
    recorded_at: datetime
    kind: str
    about: str
    text: str


class TraceView(BaseModel):
    """Events, decisions, messages and feed lines of a trace, at most 200 of each. `feed` lines are as exported.

    A trace without events belongs to a step that a timer or an operator caused.
    """

    trace: str
    events: list[TracedEvent]
    lines: list[TracedLine]
    messages: list[MessageView]
    feed: list[dict[str, Any]]


class TraceRoutes:
    """Routes below `/v1/traces`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def routes(self, routes: Routes) -> None:
        add = partial(routes.add, "GET", scope=Scope.READ, tag=TAG)
        add("/v1/traces", self.traces, summary="Find the trace of an event", gives=TracedEvents)
        add(
            "/v1/traces/{trace}",
            self.trace,
            summary="Get a trace",
            gives=TraceView,
            refuses=("not-found",),
        )

    async def traces(
        self,
        message_id: Annotated[ShortText, Query(description="The sender's id: `messageId`, or a signal's `id`.")],
    ) -> Response:
        """Find an event and its trace by the id that its sender gave it."""
        async with self._database.reading() as connection:
            return json_response({"items": await traces.events_with_message_id(connection, message_id)})

    async def trace(self, trace: TraceId) -> Response:
        """Everything from the accepted event to the messages that were sent."""
        async with self._database.reading() as connection:
            view = await traces.trace(connection, trace) if is_trace(trace) else None
        if view is None:
            raise ProblemError("not-found", "No event, decision or message has this trace.")
        return json_response(view)

"""The why endpoint: a message's decisions and outcomes, with the reasons of each."""

from __future__ import annotations

from datetime import datetime
from functools import partial
from typing import Literal

from pydantic import BaseModel
from starlette.responses import Response

from api.explain.sent_content import SentContentView, sent_content
from api.http.auth import RequestKey
from api.http.pagination import RowId, json_response
from api.http.problems import ProblemError
from api.http.routes import Routes
from api.http.schemas import MessageView, ReasonView, TimelineEntry
from journeys.access.callers import Scope
from store.database import Database
from store.exports import feed
from store.reads import messages, timeline

TAG = "Why"
MOST = 1_000
"""Most lines of one message's story."""


class OutcomeView(BaseModel, extra="allow"):
    """A verdict of the gate, the result of an attempt, or a reaction, as in `docs/feed.md`, with reasons as text.

    A verdict that was repeated without a change is listed once, at its first instant. `at` is a real instant.
    """

    at: datetime
    type: Literal["decision", "delivery", "reaction"]
    verdict: str | None = None
    result: str | None = None
    reaction: str | None = None
    attempt: int | None = None
    until: datetime | None = None
    reasons: list[ReasonView] = []


class WhyView(BaseModel):
    """A message with its content and its story, its parts or its digest, and the decisions of the step that requested it."""

    message: MessageView
    content: SentContentView | None
    story: list[OutcomeView]
    parts: list[MessageView]
    whole: MessageView | None
    decided: list[TimelineEntry]


class WhyRoutes:
    """The route that explains a message."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def routes(self, routes: Routes) -> None:
        add = partial(routes.add, scope=Scope.OPERATE, tag=TAG, refuses=("not-found",))
        add(
            "GET",
            "/v1/messages/{id}/why",
            self.why,
            scope=Scope.READ,
            summary="Why a message was sent or not",
            gives=WhyView,
        )

    async def why(self, id: RowId, caller: RequestKey) -> Response:
        """What was sent, the gate's reasons at each decision, and the run's decisions in the step that requested the message."""
        async with self._database.reading() as connection:
            message = await messages.get_message(connection, id)
            if message is None:
                raise ProblemError("not-found", "There is no message with this id.")
            digest = (
                await messages.message_with_key(connection, message["merged_into"]) if message["merged_into"] else None
            )
            content = await messages.content_of_message(connection, id)
            view = {
                "message": message,
                "content": sent_content(content, may_read_addresses=Scope.OPERATE in caller.scopes),
                "story": await feed.lines_of_message(connection, id, MOST),
                "parts": await messages.parts_of_message(connection, message["key"]),
                "whole": digest,
                "decided": await timeline.timeline_of_step(connection, message["run"], message["step"]),
            }
        return json_response(view)

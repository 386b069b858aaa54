"""Why a message was sent, merged, deferred or withheld."""

from __future__ import annotations

from datetime import datetime
from functools import partial
from typing import Literal

from pydantic import BaseModel
from starlette.responses import Response

from api.http.auth import Scope
from api.http.pagination import RowId, json_response
from api.http.problems import ProblemError
from api.http.routes import Routes
from api.http.schemas import MessageView, ReasonView, TimelineEntry
from store.database import Database
from store.exports import feed
from store.reads import messages, timeline

TAG = "Why"
MOST = 1_000
"""Lines of a message's story."""


class OutcomeView(BaseModel, extra="allow"):
    """A verdict of the gate, the end of an attempt, or what the person did, as in `docs/feed.md`, with reasons in words.

    A verdict that was repeated while nothing changed stands once, as it was said first. `at` is a real instant.
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
    """A message, all that was decided about it and became of it, its parts or whole, and the decisions of the step that asked."""

    message: MessageView
    story: list[OutcomeView]
    parts: list[MessageView]
    whole: MessageView | None
    decided: list[TimelineEntry]


class WhyRoutes:
    """The routes that explain."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def routes(self, routes: Routes) -> None:
        add = partial(routes.add, scope=Scope.OPERATE, tag=TAG, refuses=("not-found",))
        add("GET", "/v1/messages/{id}/why", self.why, summary="Why this became of a message", gives=WhyView)

    async def why(self, id: RowId) -> Response:
        """The gate's reasons, each time that it was asked, and the decisions of its run in the step that asked for it."""
        async with self._database.reading() as connection:
            found = await messages.get_message(connection, id)
            if found is None:
                raise ProblemError("not-found", "There is no message of this number.")
            whole = await messages.message_with_key(connection, found["merged_into"]) if found["merged_into"] else None
            view = {
                "message": found,
                "story": await feed.lines_of_message(connection, id, MOST),
                "parts": await messages.parts_of_message(connection, found["key"]),
                "whole": whole,
                "decided": await timeline.timeline_of_step(connection, found["run"], found["step"]),
            }
        return json_response(view)

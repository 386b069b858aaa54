"""Why a message was sent, merged, deferred or withheld."""

from __future__ import annotations

from functools import partial

from pydantic import BaseModel
from starlette.responses import Response

from api.keys import Scope
from api.pages import RowId, answer
from api.problems import ProblemError
from api.routes import Routes
from api.shapes import MessageView, Told
from store import timelines
from store.database import Database

TAG = "Why"


class WhyView(BaseModel):
    """A message, the parts it was made of or the whole it became a part of, and the decisions around it."""

    message: MessageView
    parts: list[MessageView]
    whole: MessageView | None
    decided: list[Told]


class Whys:
    """The routes that explain."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def routes(self, routes: Routes) -> None:
        add = partial(routes.add, scope=Scope.OPERATE, tag=TAG, refuses=("not-found",))
        add("GET", "/v1/messages/{id}/why", self.why, summary="Why this became of a message", gives=WhyView)

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

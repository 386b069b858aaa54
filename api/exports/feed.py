"""Endpoints of the feed: ordered, signed pages and the push's state."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Annotated, Any

import orjson
from fastapi import Header, Query
from starlette.responses import Response

from api.exports.schemas import FeedLine, PushView
from api.http.auth import Scope
from api.http.pagination import json_response
from api.http.problems import ProblemError
from api.http.routes import Routes
from journeys.gate.feed import MOST, feed_page, identity
from store.database import Database
from store.exports import feed, feed_push

TAG = "Feed"
NDJSON = "application/x-ndjson"
FeedSigner = Callable[[str, bytes], dict[str, str]]
"""The headers that vouch for a body, under an identity."""

_MESSAGE = {
    "id": 7,
    "key": "journey/setup-and-activation/u_1/-/1#setting_up.1/checklist.1>u_1",
    "run": "journey/setup-and-activation/u_1/-/1",
    "step": 2,
    "journey": "setup-and-activation",
    "state": "setting_up",
    "action": "checklist",
    "template": "setup/checklist",
    "topic": "onboarding",
    "priority": "lifecycle",
    "channel": "email",
    "status": "sending",
    "recipient": "u_1",
    "subject": "u_1",
    "user_id": "u-42",
}
EXAMPLE: dict[str, Any] = {
    "schema": 1,
    "after": 40,
    "next": 42,
    "more": False,
    "items": [
        {
            "id": 41,
            "at": "2026-05-03T10:00:00.120000Z",
            "type": "decision",
            "verdict": "send",
            "attempt": 1,
            "reasons": [],
            "trace": "00000000000004d2a3ce929d0e0e4736",
            "message": _MESSAGE,
        },
        {
            "id": 42,
            "at": "2026-05-03T10:00:00.480000Z",
            "type": "delivery",
            "result": "sent",
            "attempt": 1,
            "trace": "00000000000004d2a3ce929d0e0e4736",
            "message": {**_MESSAGE, "status": "sent"},
        },
    ],
}


class FeedRoutes:
    """The routes below `/v1/feed`."""

    def __init__(self, database: Database, sign: FeedSigner | None) -> None:
        self._database, self._sign = database, sign
        self._horizon = feed.Horizon()

    def routes(self, routes: Routes) -> None:
        add = partial(routes.add, scope=Scope.OPERATE, tag=TAG)
        add(
            "GET",
            "/v1/feed",
            self.feed,
            summary="Decisions and deliveries, in order",
            responses={200: {"content": {"application/json": {"schema": _SCHEMA, "example": EXAMPLE}, NDJSON: _LINES}}},
        )
        add("GET", "/v1/feed/push", self.push, summary="How far the push has come", gives=PushView)
        add(
            "POST",
            "/v1/feed/push/retry",
            self.retry,
            summary="Push again now",
            gives=PushView,
            refuses=("conflict",),
        )

    async def feed(
        self,
        after: Annotated[
            int, Query(ge=0, le=2**63 - 1, description="`next` of the page before; 0 is the beginning.")
        ] = 0,
        limit: Annotated[int, Query(ge=1, le=MOST, description="Lines of a page.")] = 500,
        accept: Annotated[
            str, Header(description=f"`{NDJSON}` gives one line a row, the cursor in `X-Tenure-Next`.")
        ] = "",
    ) -> Response:
        """At least once, in order, nothing skipped: keep what came, then ask again with its `next`. Signed where a secret is set."""
        upto = await self._horizon.look(self._database, wanted=after)
        async with self._database.reading() as connection:
            lines = await feed.read_lines(connection, after, upto, limit)
        told = feed_page(lines, after, more=bool(lines) and lines[-1]["id"] < upto)
        as_lines = NDJSON in accept
        options = orjson.OPT_UTC_Z | orjson.OPT_APPEND_NEWLINE
        body = (
            b"".join(orjson.dumps(each, option=options) for each in lines)
            if as_lines
            else orjson.dumps(told, option=orjson.OPT_UTC_Z)
        )
        signed = self._sign(identity(after, told["next"]), body) if self._sign is not None else {}
        headers = {
            **signed,
            "X-Tenure-Next": str(told["next"]),
            "X-Tenure-More": str(told["more"]).lower(),
            "Cache-Control": "no-store",
        }
        return Response(body, headers=headers, media_type=NDJSON if as_lines else "application/json")

    async def push(self) -> Response:
        """What an alert on lag leads to: since when, and the receiver's last answer."""
        return json_response(await self._view())

    async def retry(self) -> Response:
        """For a receiver that was mended: the next try is now instead of by the schedule."""
        async with self._database.transaction() as connection:
            again = await feed_push.restart_push(connection)
        if not again:
            raise ProblemError("conflict", "No push waits for its next try.")
        return json_response(await self._view())

    async def _view(self) -> dict[str, Any]:
        async with self._database.reading() as connection:
            at, lag = await feed_push.read_position(connection), await feed_push.push_lag(connection)
        return {
            "position": at.position,
            "newest": lag.newest,
            "oldest_waiting_at": lag.oldest_at,
            "lag_seconds": lag.seconds,
            "attempts": at.attempts,
            "due_at": at.due_at,
            "last_error": at.last_error,
            "pushed_at": at.pushed_at,
        }


_LINES = {
    "schema": {"type": "string"},
    "example": "".join(f"{orjson.dumps(each).decode()}\n" for each in EXAMPLE["items"]),
}
_SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["schema", "after", "next", "more", "items"],
    "properties": {
        "schema": {"type": "integer", "const": 1},
        "after": {"type": "integer"},
        "next": {"type": "integer", "description": "Goes into `after`."},
        "more": {"type": "boolean", "description": "There is something behind `next` already."},
        "items": {"type": "array", "items": FeedLine.model_json_schema()},
    },
}

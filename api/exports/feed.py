"""Endpoints of the feed: ordered, signed pages and the push's state."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Annotated, Any

import orjson
from fastapi import Header, Query
from starlette.responses import Response

from api.exports.schemas import FeedLine, PushView
from api.http.pagination import json_response
from api.http.problems import ProblemError
from api.http.routes import Routes
from journeys.access.callers import Scope
from journeys.gate.feed import MOST, feed_page, identity
from store.database import Database
from store.exports import feed, feed_push
from store.retention.feed import deleted_upto

TAG = "Feed"
NDJSON = "application/x-ndjson"
FeedSigner = Callable[[str, bytes], dict[str, str]]
"""Returns the signature headers of a body with an identity."""

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
    """Routes below `/v1/feed`."""

    def __init__(self, database: Database, sign: FeedSigner | None) -> None:
        self._database, self._sign = database, sign
        self._horizon = feed.Horizon()

    def routes(self, routes: Routes) -> None:
        add = partial(routes.add, scope=Scope.OPERATE, tag=TAG)
        add(
            "GET",
            "/v1/feed",
            self.feed,
            scope=Scope.READ,
            summary="Decisions and deliveries, in order",
            refuses=("gone",),
            responses={200: {"content": {"application/json": {"schema": _SCHEMA, "example": EXAMPLE}, NDJSON: _LINES}}},
        )
        add("GET", "/v1/feed/push", self.push, scope=Scope.READ, summary="State of the push", gives=PushView)
        add(
            "POST",
            "/v1/feed/push/retry",
            self.retry,
            summary="Retry the push now",
            gives=PushView,
            refuses=("conflict",),
        )

    async def feed(
        self,
        after: Annotated[
            int, Query(ge=0, le=2**63 - 1, description="`next` of the previous page; 0 starts at the beginning.")
        ] = 0,
        limit: Annotated[int, Query(ge=1, le=MOST, description="Number of lines in a page.")] = 500,
        accept: Annotated[
            str, Header(description=f"`{NDJSON}` returns one JSON line a row, and the cursor in `X-Tenure-Next`.")
        ] = "",
    ) -> Response:
        """A page of lines, at least once, in order. Store them, then continue with `next`. Signed if a secret is set.

        `410` for a cursor before lines that retention has deleted; `after=0` begins with the oldest line there is.
        """
        upto = await self._horizon.look(self._database, wanted=after)
        async with self._database.reading() as connection:
            lines = await feed.read_lines(connection, after, upto, limit)
            deleted = await deleted_upto(connection)  # read after the lines: what it does not tell was still there
        if 0 < after < deleted:
            raise ProblemError(
                "gone", f"Retention has deleted lines after {after}, up to {deleted}. Begin with after=0."
            )
        page = feed_page(lines, after, more=bool(lines) and lines[-1]["id"] < upto)
        as_lines = NDJSON in accept
        options = orjson.OPT_UTC_Z | orjson.OPT_APPEND_NEWLINE
        body = (
            b"".join(orjson.dumps(line, option=options) for line in lines)
            if as_lines
            else orjson.dumps(page, option=orjson.OPT_UTC_Z)
        )
        signed = self._sign(identity(after, page["next"]), body) if self._sign is not None else {}
        headers = {
            **signed,
            "X-Tenure-Next": str(page["next"]),
            "X-Tenure-More": str(page["more"]).lower(),
            "Cache-Control": "no-store",
        }
        return Response(body, headers=headers, media_type=NDJSON if as_lines else "application/json")

    async def push(self) -> Response:
        """Position, lag and last error of the push, for example after an alert on lag."""
        return json_response(await self._view())

    async def retry(self) -> Response:
        """Push again now instead of at the scheduled time, for example once the receiver is repaired."""
        async with self._database.transaction() as connection:
            restarted = await feed_push.restart_push(connection)
        if not restarted:
            raise ProblemError("conflict", "No failed push is waiting for a retry.")
        return json_response(await self._view())

    async def _view(self) -> dict[str, Any]:
        async with self._database.reading() as connection:
            state, lag = await feed_push.read_position(connection), await feed_push.push_lag(connection)
        return {
            "position": state.position,
            "newest": lag.newest,
            "oldest_waiting_at": lag.oldest_at,
            "lag_seconds": lag.seconds,
            "attempts": state.attempts,
            "due_at": state.due_at,
            "last_error": state.last_error,
            "pushed_at": state.pushed_at,
        }


_LINES = {
    "schema": {"type": "string"},
    "example": "".join(f"{orjson.dumps(line).decode()}\n" for line in EXAMPLE["items"]),
}
_SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["schema", "after", "next", "more", "items"],
    "properties": {
        "schema": {"type": "integer", "const": 1},
        "after": {"type": "integer"},
        "next": {"type": "integer", "description": "Pass it as `after` to get the next page."},
        "more": {"type": "boolean", "description": "Lines after `next` exist already."},
        "items": {"type": "array", "items": FeedLine.model_json_schema()},
    },
}

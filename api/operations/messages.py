"""Endpoints of the ledger: list messages, resend one."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query
from starlette.responses import Response

from api.http.pagination import Cursor, Limit, Page, RowId, ShortText, json_response, number_in, page_of
from api.http.problems import ProblemError
from api.http.routes import Routes
from api.http.schemas import MessageView
from api.people.endpoints import MessageStatus
from journeys.access.callers import Scope
from store.database import Database
from store.messages.resend import resend_message
from store.reads.messages import get_message, list_messages

TAG = "Messages"


class MessageRoutes:
    """Routes below `/v1/messages`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def routes(self, routes: Routes) -> None:
        routes.add(
            "GET",
            "/v1/messages",
            self.messages,
            scope=Scope.READ,
            tag=TAG,
            summary="List messages of all people",
            gives=Page[MessageView],
        )
        routes.add(
            "POST",
            "/v1/messages/{id}/resend",
            self.resend,
            scope=Scope.OPERATE,
            tag=TAG,
            summary="Resend a message",
            gives=MessageView,
            refuses=("not-found", "conflict", "clock-advancing"),
        )

    async def messages(
        self,
        status: MessageStatus = None,
        run: Annotated[ShortText | None, Query(description="Only messages of this run.")] = None,
        limit: Limit = 50,
        cursor: Cursor = None,
    ) -> Response:
        """Newest first. Messages with status `unknown` may or may not have arrived."""
        before = number_in(cursor)
        async with self._database.reading() as connection:
            rows = await list_messages(connection, run=run, status=status, before=before, limit=limit + 1)
        return page_of(rows, limit)

    async def resend(self, id: RowId) -> Response:
        """Resend a message that is `unknown` or `failed`. It is due now, and the gate may still defer or withhold it.

        An `unknown` message may have arrived: then the person gets it twice, with one Message-ID.
        """
        resent = await resend_message(self._database, id)
        async with self._database.reading() as connection:
            message = await get_message(connection, id)
        if message is None:
            raise ProblemError("not-found", "There is no message with this id.")
        if not resent:
            raise ProblemError(
                "conflict", f"The message is {message['status']}. Only unknown or failed messages can be resent."
            )
        return json_response(message)

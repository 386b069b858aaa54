"""Endpoints of the ledger: list messages, resend one."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query
from starlette.responses import Response

from api.http.auth import Scope
from api.http.pagination import Cursor, Limit, Page, RowId, ShortText, decode, json_response, page_of
from api.http.problems import ProblemError
from api.http.routes import Routes
from api.http.schemas import MessageView
from api.people.endpoints import MessageStatus
from store.database import Database
from store.messages.resend import resend_message
from store.reads.messages import get_message, list_messages

TAG = "Messages"


class MessageRoutes:
    """The routes below `/v1/messages`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def routes(self, routes: Routes) -> None:
        routes.add(
            "GET",
            "/v1/messages",
            self.messages,
            scope=Scope.OPERATE,
            tag=TAG,
            summary="The ledger over all people",
            gives=Page[MessageView],
        )
        routes.add(
            "POST",
            "/v1/messages/{id}/resend",
            self.resend,
            scope=Scope.OPERATE,
            tag=TAG,
            summary="Send it again",
            gives=MessageView,
            refuses=("not-found", "conflict"),
        )

    async def messages(
        self,
        status: MessageStatus = None,
        run: Annotated[ShortText | None, Query(description="Of one run.")] = None,
        limit: Limit = 50,
        cursor: Cursor = None,
    ) -> Response:
        """`unknown` are the sends of which nobody can say whether they arrived."""
        place = decode(cursor, int)
        async with self._database.reading() as connection:
            before = place[0] if place else None
            found = await list_messages(connection, run=run, status=status, before=before, limit=limit + 1)
        return page_of(found, limit, lambda message: (message["id"],))

    async def resend(self, id: RowId) -> Response:
        """Only what is `unknown` or `failed`. It is due now and passes the gate again, which may defer or withhold it.

        What is `unknown` may have arrived: then the person has it twice, under one Message-ID.
        """
        again = await resend_message(self._database, id)
        async with self._database.reading() as connection:
            found = await get_message(connection, id)
        if found is None:
            raise ProblemError("not-found", "There is no message of this number.")
        if not again:
            raise ProblemError("conflict", f"It is {found['status']}: only what is unknown or failed is sent again.")
        return json_response(found)

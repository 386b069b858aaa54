"""Endpoints of conversations: replies that pause a journey's messages until they are closed."""

from __future__ import annotations

from functools import partial
from typing import Annotated

from fastapi import Query
from starlette.responses import Response

from api.http.auth import RequestKey
from api.http.pagination import Cursor, Limit, Page, RowId, ShortText, json_response, number_in, page_of
from api.http.problems import ProblemError
from api.http.routes import Routes
from api.people.endpoints import known_subject
from api.tasks.schemas import ConversationClosingIn, ConversationView
from journeys.access.callers import Scope
from journeys.tasks.assignment import Roster
from store.database import Database
from store.events.changes import close_task
from store.process_clock import current_instant
from store.reads import conversations
from store.reads import people as queries
from store.tasks import tasks

TAG = "Conversations"


class ConversationRoutes:
    """Routes of conversations."""

    def __init__(self, database: Database, roster: Roster) -> None:
        self._database, self._roster = database, roster

    def routes(self, routes: Routes) -> None:
        add = partial(routes.add, scope=Scope.OPERATE, tag=TAG)
        add(
            "GET",
            "/v1/conversations",
            self.listed,
            scope=Scope.READ,
            summary="List conversations",
            gives=Page[ConversationView],
            refuses=("not-found",),
        )
        add(
            "POST",
            "/v1/conversations/{id}/close",
            self.close,
            summary="Close a conversation",
            gives=ConversationView,
            refuses=("not-found", "conflict", "clock-advancing"),
        )

    async def listed(
        self,
        user: Annotated[ShortText | None, Query(description="Only those of one person, by id.")] = None,
        standing: Annotated[bool | None, Query(description="true: only open ones; false: only ended ones.")] = None,
        limit: Limit = 50,
        cursor: Cursor = None,
    ) -> Response:
        """Newest first."""
        before = number_in(cursor)
        async with self._database.reading() as connection:
            keys = None
            if user is not None:
                keys = await queries.subject_keys(connection, (await known_subject(connection, "user", user)).key)
            items = await conversations.list_conversations(
                connection,
                now=current_instant(),
                keys=keys,
                standing=standing,
                before=before,
                limit=limit + 1,
            )
        return page_of(items, limit)

    async def close(self, id: RowId, closing: ConversationClosingIn, caller: RequestKey) -> Response:
        """Close a conversation and its task; closing the task does the same. If it is closed twice, the first time counts."""
        async with self._database.reading() as connection:
            conversation = await conversations.get_conversation(connection, id)
        if conversation is None:
            raise ProblemError("not-found", "There is no conversation with this id.")
        if conversation["closed_at"] is None and conversation["task_id"] is not None:
            try:
                await close_task(
                    self._database,
                    conversation["task_id"],
                    resolution=closing.resolution,
                    by=caller.acts_for(closing.by),
                    note="",
                    roster=self._roster,
                    now=current_instant(),
                )
            except tasks.OutcomeNotDeclared as error:
                raise ProblemError("conflict", f"{error}.") from error
            except tasks.TaskNotOpen as error:
                raise ProblemError(
                    "conflict", "The conversation's task has already ended. The conversation ends by itself."
                ) from error
        async with self._database.reading() as connection:
            return json_response(await conversations.get_conversation(connection, id))

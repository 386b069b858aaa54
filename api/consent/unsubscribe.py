"""Unsubscribe link, `/u/{token}` (RFC 8058).

A GET changes nothing.

A GET changes nothing.

Mail scanners follow every link, so looking changes nothing. The answer to a POST is a plain 200: no redirect, no cookie, no
question (RFC 8058 §3.1).
"""

from __future__ import annotations

from functools import partial
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from api.consent import hosted_pages
from api.consent.hosted_pages import LinkVisit
from api.consent.preference_page import SECONDS, TAG, LinkToken
from api.consent.preference_view import title_of
from api.http.auth import Scope
from api.http.problems import ProblemError
from api.http.routes import Routes
from journeys.consent.changes import ConsentChange
from journeys.consent.preferences import channel_label, is_stopped
from journeys.gate.verdicts import ANY
from store.consent import in_flight, records
from store.database import Database
from store.definitions.registry import DefinitionRegistry
from store.events.changes import change_consents

ONE_CLICK = ("List-Unsubscribe", ["One-Click"])
_SCHEMA = {
    "type": "object",
    "properties": {
        "List-Unsubscribe": {"type": "string", "enum": ["One-Click"]},
        "action": {"type": "string", "enum": ["unsubscribe", "stop"]},
    },
}
FORM: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            kind: {"schema": _SCHEMA, "example": {"List-Unsubscribe": "One-Click"}}
            for kind in ("application/x-www-form-urlencoded", "multipart/form-data")
        },
    }
}


class UnsubscribeRoutes:
    """The routes behind `List-Unsubscribe` and the footer's link."""

    def __init__(self, database: Database, catalogue: DefinitionRegistry, seconds: float) -> None:
        self._database, self._catalogue, self._seconds = database, catalogue, seconds

    def routes(self, routes: Routes) -> None:
        add = partial(
            routes.add,
            path="/u/{token}",
            scope=Scope.PUBLIC,
            tag=TAG,
            refuses=("not-found",),
            responses=hosted_pages.GIVES,
            seconds=self._seconds + SECONDS,
        )
        add("GET", endpoint=self.ask, summary="A page with a button; nothing is changed")
        add("POST", endpoint=self.unsubscribe, summary="Unsubscribe in one click (RFC 8058)", extra=FORM)

    async def ask(self, token: LinkToken, request: Request) -> Response:
        """Looking is not leaving."""
        return await hosted_pages.page_or_refusal(request, self._ask(token))

    async def unsubscribe(self, token: LinkToken, request: Request) -> Response:
        """In force when this is answered; what was on its way by then is named."""
        return await hosted_pages.page_or_refusal(request, self._unsubscribe(token, request))

    async def _ask(self, token: str) -> Response:
        came, stopped = await self._visit(token)
        return self._page(came, stopped=stopped)

    async def _visit(self, token: str) -> tuple[LinkVisit, bool]:
        async with self._database.reading() as connection:
            came = await hosted_pages.open_visit(connection, self._catalogue.consent, token, "unsubscribe")
            said = await records.list_consents(connection, came.person)
        return came, is_stopped({(item["channel"], item["topic"]): item["granted"] for item in said})

    async def _unsubscribe(self, token: str, request: Request) -> Response:
        fields = await hosted_pages.form(request)
        came, stopped = await self._visit(token)
        change, done = self._said(fields, came, request)
        policy = self._catalogue.consent.policy
        effect = await change_consents(self._database, self._catalogue, policy, came.person, [change])
        left = await in_flight.wait_out(self._database, policy, [effect])
        named = [
            f"{title_of(self._catalogue.consent, each.topic or ANY)} by {channel_label(each.channel)}" for each in left
        ]
        stopped = stopped or (change.channel, change.topic) == (ANY, ANY)
        return self._page(came, stopped=stopped, done=done, left=named)

    def _said(self, fields: dict[str, list[str]], came: LinkVisit, request: Request) -> tuple[ConsentChange, str]:
        """What the POST means. Raises ProblemError for one that is neither."""
        name, value = ONE_CLICK
        link, what = came.link, self._what(came)
        match fields.get("action"):
            case ["stop"]:
                proof = hosted_pages.proof(request, self._catalogue.consent, came, "unsubscribe-page")
                return ConsentChange(
                    ANY, ANY, False, "unsubscribe-page", "Stop all messages", proof
                ), "All messages are stopped."
            case ["unsubscribe"]:
                proof = hosted_pages.proof(request, self._catalogue.consent, came, "unsubscribe-page")
                change = ConsentChange(link.channel, link.topic, False, "unsubscribe-page", self._wording(came), proof)
            case None if fields.get(name) == value:
                proof = hosted_pages.proof(request, self._catalogue.consent, came, "one-click")
                change = ConsentChange(
                    link.channel, link.topic, False, "one-click", "List-Unsubscribe=One-Click", proof
                )
            case _:
                fault = {"detail": "is needed: List-Unsubscribe=One-Click", "pointer": "/List-Unsubscribe"}
                raise ProblemError("invalid-request", "Nobody asked to unsubscribe.", [fault])
        return change, f"You are unsubscribed from {what}."

    def _page(self, came: LinkVisit, *, stopped: bool, done: str = "", left: list[str] | None = None) -> Response:
        return hosted_pages.render_page(
            "unsubscribe",
            title="You are unsubscribed" if done else "Unsubscribe",
            wording=self._wording(came),
            preferences=hosted_pages.preferences_of(self._catalogue.consent, came),
            stopped=stopped,
            done=done,
            left=left or [],
        )

    def _what(self, came: LinkVisit) -> str:
        topic, channel = title_of(self._catalogue.consent, came.link.topic), came.link.channel
        return topic if channel == ANY else f"{topic} by {channel_label(channel)}"

    def _wording(self, came: LinkVisit) -> str:
        return f"Do you want to stop getting {self._what(came)}?"

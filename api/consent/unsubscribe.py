"""Unsubscribe link, `/u/{token}` (RFC 8058).

A GET changes nothing, because mail scanners follow every link. A POST is answered with a plain 200: no redirect, no cookie,
no question (RFC 8058 §3.1).
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
from api.http.forms import read_form
from api.http.problems import ProblemError
from api.http.routes import Routes
from journeys.access.callers import Scope
from journeys.consent.changes import ConsentChange
from journeys.consent.precedence import StatedBy
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
    """Routes of the `List-Unsubscribe` header and of the footer's link."""

    def __init__(self, database: Database, catalogue: DefinitionRegistry, seconds: float) -> None:
        self._database, self._catalogue, self._seconds = database, catalogue, seconds

    def routes(self, routes: Routes) -> None:
        add = partial(
            routes.add,
            path="/u/{token}",
            scope=Scope.LINK,
            tag=TAG,
            refuses=("not-found", "clock-advancing"),
            responses=hosted_pages.GIVES,
            seconds=self._seconds + SECONDS,
        )
        add("GET", endpoint=self.ask, summary="Show the unsubscribe page")
        add("POST", endpoint=self.unsubscribe, summary="Unsubscribe in one click (RFC 8058)", extra=FORM)

    async def ask(self, token: LinkToken, request: Request) -> Response:
        """A page with a button. A GET changes nothing."""
        return await hosted_pages.page_or_refusal(request, self._ask(token))

    async def unsubscribe(self, token: LinkToken, request: Request) -> Response:
        """Unsubscribe. It is in force when the response is sent; the page lists messages already on their way."""
        return await hosted_pages.page_or_refusal(request, self._unsubscribe(token, request))

    async def _ask(self, token: str) -> Response:
        visit, stopped = await self._visit(token)
        return self._page(visit, stopped=stopped)

    async def _visit(self, token: str) -> tuple[LinkVisit, bool]:
        opened = hosted_pages.open_visit(self._database, self._catalogue.consent, token, "unsubscribe")
        async with opened as (connection, visit):
            statements = await records.list_consents(connection, visit.person)
        return visit, is_stopped({(item["channel"], item["topic"]): item["granted"] for item in statements})

    async def _unsubscribe(self, token: str, request: Request) -> Response:
        visit, stopped = await self._visit(token)  # the token first: a stranger's form is not even read
        fields = await read_form(request)
        change, done = self._change(fields, visit, request)
        policy = self._catalogue.consent.policy
        result = await change_consents(self._database, self._catalogue, policy, visit.person, [change])
        remaining = await in_flight.wait_out(self._database, policy, [result])
        in_flight_labels = [
            f"{title_of(self._catalogue.consent, message.topic or ANY)} by {channel_label(message.channel)}"
            for message in remaining
        ]
        stopped = stopped or (change.channel, change.topic) == (ANY, ANY)
        return self._page(visit, stopped=stopped, done=done, in_flight=in_flight_labels)

    def _change(self, fields: dict[str, list[str]], visit: LinkVisit, request: Request) -> tuple[ConsentChange, str]:
        """The consent change of a POST, and the confirmation text. Raises ProblemError if it has no valid action."""
        name, value = ONE_CLICK
        link = visit.link
        place, page, wording = (link.channel, link.topic), "unsubscribe-page", self._wording(visit)
        done = f"You are unsubscribed from {self._label(visit)}."
        match fields.get("action"):
            case ["stop"]:
                place, wording, done = (ANY, ANY), "Stop all messages", "All messages are stopped."
            case ["unsubscribe"]:
                pass
            case None if fields.get(name) == value:
                page, wording = "one-click", "List-Unsubscribe=One-Click"
            case _:
                fault = {"detail": "must be One-Click", "pointer": "/List-Unsubscribe"}
                raise ProblemError("invalid-request", "The form has no valid action.", [fault])
        proof = hosted_pages.proof(request, self._catalogue.consent, visit, page)
        return ConsentChange(*place, False, page, wording, proof, by=StatedBy.PERSON), done

    def _page(self, visit: LinkVisit, *, stopped: bool, done: str = "", in_flight: list[str] | None = None) -> Response:
        return hosted_pages.render_page(
            "unsubscribe",
            title="You are unsubscribed" if done else "Unsubscribe",
            wording=self._wording(visit),
            preferences=hosted_pages.preferences_of(self._catalogue.consent, visit),
            stopped=stopped,
            done=done,
            in_flight=in_flight or [],
        )

    def _label(self, visit: LinkVisit) -> str:
        topic, channel = title_of(self._catalogue.consent, visit.link.topic), visit.link.channel
        return topic if channel == ANY else f"{topic} by {channel_label(channel)}"

    def _wording(self, visit: LinkVisit) -> str:
        return f"Do you want to stop getting {self._label(visit)}?"

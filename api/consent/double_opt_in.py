"""Confirmation page of double opt-in, `/y/{token}`.

Only its button (a POST) confirms; mail scanners that follow the link (GET) do not.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from api.consent import hosted_pages
from api.consent.hosted_pages import LinkVisit
from api.consent.preference_page import TAG, LinkToken
from api.consent.preference_view import title_of
from api.http.forms import read_form
from api.http.problems import ProblemError
from api.http.routes import Routes
from journeys.access.callers import Scope
from journeys.consent.preferences import channel_label
from journeys.gate.verdicts import ANY
from store.consent.double_opt_in import AddressChanged, NothingToConfirm
from store.database import Database
from store.definitions.registry import DefinitionRegistry
from store.events.changes import confirm_consent

FORM: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/x-www-form-urlencoded": {
                "schema": {
                    "type": "object",
                    "properties": {"action": {"type": "string", "enum": ["confirm"]}},
                    "required": ["action"],
                },
                "example": {"action": "confirm"},
            }
        },
    }
}


class DoubleOptInRoutes:
    """The routes behind the link of a confirmation mail."""

    def __init__(self, database: Database, catalogue: DefinitionRegistry) -> None:
        self._database, self._catalogue = database, catalogue

    def routes(self, routes: Routes) -> None:
        add = partial(
            routes.add,
            path="/y/{token}",
            scope=Scope.LINK,
            tag=TAG,
            refuses=("not-found", "gone", "conflict", "clock-advancing"),
            responses=hosted_pages.GIVES,
        )
        add("GET", endpoint=self.asked, summary="Show the confirmation page")
        add("POST", endpoint=self.confirm, summary="Confirm a pending grant", extra=FORM)

    async def asked(self, token: LinkToken, request: Request) -> Response:
        """A page with a button. A GET changes nothing: mail scanners follow links."""
        return await hosted_pages.page_or_refusal(request, self._asked(token))

    async def confirm(self, token: LinkToken, request: Request) -> Response:
        """Grant the consent. A repetition has no further effect; 409 if the person has opted out or moved since."""
        return await hosted_pages.page_or_refusal(request, self._confirm(token, request))

    async def _asked(self, token: str) -> Response:
        return self._page(await self._visit(token))

    async def _visit(self, token: str) -> LinkVisit:
        async with hosted_pages.open_visit(self._database, self._catalogue.consent, token, "confirm") as (_, visit):
            return visit

    async def _confirm(self, token: str, request: Request) -> Response:
        visit = await self._visit(token)
        if (await read_form(request)).get("action") != ["confirm"]:
            fault = {"detail": "must be confirm", "pointer": "/action"}
            raise ProblemError("invalid-request", "The form has no valid action.", [fault])
        proof = hosted_pages.proof(request, self._catalogue.consent, visit, "confirmation-page")
        try:
            await confirm_consent(self._database, self._catalogue, visit.link, proof)
        except AddressChanged as error:
            raise ProblemError(
                "conflict",
                "This link was sent to another address than yours is now. Subscribe again to get these messages.",
            ) from error
        except NothingToConfirm as error:
            raise ProblemError(
                "conflict", "You have unsubscribed since this link was sent. Subscribe again to get these messages."
            ) from error
        return self._page(visit, done=f"Thank you. You get {self._label(visit)} from now on.")

    def _page(self, visit: LinkVisit, *, done: str = "") -> Response:
        return hosted_pages.render_page(
            "confirm",
            title="Confirmed" if done else "Please confirm",
            wording=f"Do you want to get {self._label(visit)}?",
            done=done,
        )

    def _label(self, visit: LinkVisit) -> str:
        topic, channel = title_of(self._catalogue.consent, visit.link.topic), visit.link.channel
        return topic if channel == ANY else f"{topic} by {channel_label(channel)}"

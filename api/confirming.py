"""The second half of a double opt-in, `/y/{token}`: the yes is a grant when its button is pressed, not when it is looked at."""

from __future__ import annotations

from functools import partial
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from api import hosted
from api.choices import title_of
from api.hosted import Visit
from api.keys import Scope
from api.preferences import TAG, Token
from api.problems import ProblemError
from api.routes import Routes
from journeys.preferences import spoken
from journeys.verdicts import ANY
from store import confirmations
from store.catalogue import Catalogue
from store.confirmations import NotOpen
from store.database import Database

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


class Confirming:
    """The routes behind the link of a confirmation mail."""

    def __init__(self, database: Database, catalogue: Catalogue) -> None:
        self._database, self._catalogue = database, catalogue

    def routes(self, routes: Routes) -> None:
        add = partial(
            routes.add,
            path="/y/{token}",
            scope=Scope.PUBLIC,
            tag=TAG,
            refuses=("not-found", "gone", "conflict"),
            responses=hosted.GIVES,
        )
        add("GET", endpoint=self.asked, summary="A page with a button; nothing is changed")
        add("POST", endpoint=self.confirm, summary="Make a pending yes a grant", extra=FORM)

    async def asked(self, token: Token, request: Request) -> Response:
        """A scanner that follows links confirms nothing."""
        return await hosted.answered(request, self._asked(token))

    async def confirm(self, token: Token, request: Request) -> Response:
        """Once more does no harm."""
        return await hosted.answered(request, self._confirm(token, request))

    async def _asked(self, token: str) -> Response:
        return self._page(await self._visit(token))

    async def _visit(self, token: str) -> Visit:
        async with self._database.reading() as connection:
            return await hosted.visit(connection, self._catalogue.consent, token, "confirm")

    async def _confirm(self, token: str, request: Request) -> Response:
        came = await self._visit(token)
        if (await hosted.form(request)).get("action") != ["confirm"]:
            fault = {"detail": "is confirm", "pointer": "/action"}
            raise ProblemError("invalid-request", "The form does not say what to do.", [fault])
        proof = hosted.proof(request, self._catalogue.consent, came, "confirmation-page")
        try:
            await confirmations.confirm(self._database, self._catalogue, came.link, proof)
        except NotOpen as error:
            raise ProblemError("conflict", "You have said no to this since. Choose it again to get it.") from error
        return self._page(came, done=f"Thank you. You get {self._what(came)} from now on.")

    def _page(self, came: Visit, *, done: str = "") -> Response:
        return hosted.page(
            "confirm",
            title="Confirmed" if done else "Please confirm",
            wording=f"Do you want to get {self._what(came)}?",
            preferences=hosted.preferences_of(self._catalogue.consent, came) if done else "",
            done=done,
        )

    def _what(self, came: Visit) -> str:
        topic, channel = title_of(self._catalogue.consent, came.link.topic), came.link.channel
        return topic if channel == ANY else f"{topic} by {spoken(channel)}"

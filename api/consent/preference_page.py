"""Preference page, `/p/{token}`: every topic and channel, saved by one button."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial
from typing import Annotated, Any

from fastapi import Path
from starlette.requests import Request
from starlette.responses import Response

from api.consent import hosted_pages
from api.consent.hosted_pages import LinkVisit
from api.consent.preference_view import QUESTION, PreferenceView, preference_view, title_of
from api.consent.schemas import PreferenceLink
from api.http.auth import Scope
from api.http.pagination import RecordId, json_response
from api.http.problems import ProblemError
from api.http.routes import Routes
from api.people.endpoints import known_subject
from journeys.consent.changes import ConsentChange
from journeys.consent.preferences import channel_label, is_stopped, statements_to_make
from journeys.gate.verdicts import ANY
from journeys.tokens.signed_links import LIFETIMES, MAX_TOKEN, Link
from store.consent import in_flight
from store.consent.consents import ConsentChangeResult
from store.database import Database
from store.definitions.registry import DefinitionRegistry
from store.events.changes import change_consents

TAG = "Preferences"
LinkToken = Annotated[str, Path(min_length=1, max_length=MAX_TOKEN, description="Signed; from a message or the API.")]
SOURCE = "preference-page"
SECONDS = in_flight.WAIT_SECONDS
FORM: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/x-www-form-urlencoded": {
                "schema": {
                    "type": "object",
                    "properties": {
                        "action": {"type": "string", "enum": ["save", "stop", "lift"]},
                        "shown": {"type": "array", "items": {"type": "string"}},
                        "on": {"type": "array", "items": {"type": "string"}},
                    },
                    "required": ["action"],
                },
                "example": {"action": "save", "shown": ["email:offers"], "on": ["email:offers"]},
            }
        },
    }
}


class PreferenceRoutes:
    """The page's routes, and the one that gives its address to the product or an agent."""

    def __init__(self, database: Database, catalogue: DefinitionRegistry, seconds: float) -> None:
        self._database, self._catalogue, self._seconds = database, catalogue, seconds

    def routes(self, routes: Routes) -> None:
        add = partial(
            routes.add,
            path="/p/{token}",
            scope=Scope.PUBLIC,
            tag=TAG,
            refuses=("not-found", "gone"),
            responses=hosted_pages.GIVES,
            seconds=self._seconds + SECONDS,
        )
        add("GET", endpoint=self.show, summary="What a person gets, and why")
        add("POST", endpoint=self.save, summary="Save what they choose, stop everything, or lift that", extra=FORM)
        routes.add(
            "POST",
            "/v1/users/{id:id}/preference-link",
            self.link,
            Scope.OPERATE,
            summary="The address of a person's preference page",
            tag=TAG,
            gives=PreferenceLink,
            refuses=("not-found",),
        )

    async def link(self, id: RecordId) -> Response:
        """For the product's own settings, or for an agent who is asked."""
        async with self._database.reading() as connection:
            found = await known_subject(connection, "user", id)
        now, lifetime = datetime.now(UTC), LIFETIMES["preferences"]
        assert lifetime is not None
        url = self._catalogue.consent.links.url(Link("preferences", found.key), now)
        return json_response({"url": url, "expires_at": now + lifetime})

    async def show(self, token: LinkToken, request: Request) -> Response:
        """Nothing is changed by looking."""
        return await hosted_pages.page_or_refusal(request, self._show(token))

    async def save(self, token: LinkToken, request: Request) -> Response:
        """In force when the page comes back; what was on its way by then is named there."""
        return await hosted_pages.page_or_refusal(request, self._save(token, request))

    async def _show(self, token: str) -> Response:
        _, choices = await self._visit(token)
        return _page(choices)

    async def _visit(self, token: str) -> tuple[LinkVisit, PreferenceView]:
        async with self._database.reading() as connection:
            came = await hosted_pages.open_visit(connection, self._catalogue.consent, token, "preferences")
            return came, await preference_view(connection, self._catalogue, came.person)

    async def _save(self, token: str, request: Request) -> Response:
        fields = await hosted_pages.form(request)
        came, choices = await self._visit(token)
        book = self._catalogue.consent
        proof = hosted_pages.proof(request, book, came, SOURCE)
        changes, done = self._said(fields, choices, proof)
        effect = await change_consents(self._database, self._catalogue, book.policy, came.person, changes)
        left = await in_flight.wait_out(self._database, book.policy, [effect])
        _, after = await self._visit(token)
        return _page(after, done=_done(done, effect), left=[self._named(each) for each in left])

    def _said(
        self, fields: dict[str, list[str]], choices: PreferenceView, proof: dict[str, str]
    ) -> tuple[list[ConsentChange], str]:
        """What the button means. Raises ProblemError for a form that is not ours."""
        match fields.get("action"):
            case ["stop"]:
                return [ConsentChange(ANY, ANY, False, SOURCE, "Stop all messages", proof)], "All messages are stopped."
            case ["lift"]:
                return [
                    ConsentChange(ANY, ANY, None, SOURCE, "Resume messages", proof)
                ], "Messages may come again, as chosen below."
            case ["save"]:
                policy = self._catalogue.consent.policy
                wanted = self._wanted(fields, choices)
                return [
                    ConsentChange(
                        each.channel,
                        each.topic,
                        each.granted,
                        SOURCE,
                        choices.wording((each.channel, each.topic)),
                        proof,
                    )
                    for each in statements_to_make(policy, choices.said, wanted)
                ], "Your choices are saved."
            case _:
                fault = {"detail": "is save, stop or lift", "pointer": "/action"}
                raise ProblemError("invalid-request", "The form does not say what to do.", [fault])

    def _wanted(self, fields: dict[str, list[str]], choices: PreferenceView) -> dict[tuple[str, str], bool]:
        """Only what the person was shown: a topic that has come up since is not refused by a box they never saw."""
        places = choices.places()
        on = set(fields.get("on", ()))
        return {places[value]: value in on for value in fields.get("shown", ()) if value in places}

    def _named(self, each: in_flight.InFlightMessage) -> str:
        return f"{title_of(self._catalogue.consent, each.topic or ANY)} by {channel_label(each.channel)}"


def _page(choices: PreferenceView, *, done: str = "", left: list[str] | None = None) -> Response:
    return hosted_pages.render_page(
        "preferences",
        title="Your messages",
        wording=QUESTION,
        topics=choices.topics,
        stopped=is_stopped(choices.said),
        done=done,
        left=left or [],
    )


def _done(done: str, effect: ConsentChangeResult) -> str:
    if not effect.pending:
        return done
    return f"{done} What must be confirmed waits until you follow the link that was sent to you by e-mail."

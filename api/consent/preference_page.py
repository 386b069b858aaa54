"""Preference page, `/p/{token}`: every topic and channel, saved by one button."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any

from fastapi import Path
from starlette.requests import Request
from starlette.responses import Response

from api.consent import hosted_pages
from api.consent.hosted_pages import LinkVisit
from api.consent.preference_view import QUESTION, PreferenceView, preference_view, title_of
from api.consent.schemas import PreferenceLink
from api.http.forms import read_form
from api.http.pagination import RecordId, json_response
from api.http.problems import ProblemError
from api.http.routes import Routes
from api.people.endpoints import known_subject
from journeys.access.callers import Scope
from journeys.consent.changes import ConsentChange
from journeys.consent.precedence import StatedBy
from journeys.consent.preferences import channel_label, is_stopped, statements_to_make
from journeys.gate.verdicts import ANY
from journeys.tokens.signed_links import LIFETIMES, MAX_TOKEN, Link
from store.consent import in_flight
from store.consent.consents import ConsentChangeResult
from store.database import Database
from store.definitions.registry import DefinitionRegistry
from store.events.changes import change_consents
from store.people.test_clocks import now_for

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
    """Routes of the page, and the one that creates a link to it."""

    def __init__(self, database: Database, catalogue: DefinitionRegistry, seconds: float) -> None:
        self._database, self._catalogue, self._seconds = database, catalogue, seconds

    def routes(self, routes: Routes) -> None:
        add = partial(
            routes.add,
            path="/p/{token}",
            scope=Scope.LINK,
            tag=TAG,
            refuses=("not-found", "gone", "clock-advancing"),
            responses=hosted_pages.GIVES,
            seconds=self._seconds + SECONDS,
        )
        add("GET", endpoint=self.show, summary="Show the preference page")
        add("POST", endpoint=self.save, summary="Save choices, stop all messages, or resume them", extra=FORM)
        routes.add(
            "POST",
            "/v1/users/{id:id}/preference-link",
            self.link,
            Scope.OPERATE,
            summary="Create a link to a person's preference page",
            tag=TAG,
            gives=PreferenceLink,
            refuses=("not-found",),
        )

    async def link(self, id: RecordId) -> Response:
        """A link for the product's own settings page, or for a support agent to send."""
        async with self._database.reading() as connection:
            person = await known_subject(connection, "user", id)
            now = await now_for(connection, person.clock)
        lifetime = LIFETIMES["preferences"]
        assert lifetime is not None
        url = self._catalogue.consent.links.url(Link("preferences", person.key), now)
        return json_response({"url": url, "expires_at": now + lifetime})

    async def show(self, token: LinkToken, request: Request) -> Response:
        """Show the page. A GET changes nothing."""
        return await hosted_pages.page_or_refusal(request, self._show(token))

    async def save(self, token: LinkToken, request: Request) -> Response:
        """Save the form. Changes are in force when the page is returned; it lists messages already on their way."""
        return await hosted_pages.page_or_refusal(request, self._save(token, request))

    async def _show(self, token: str) -> Response:
        _, choices = await self._visit(token)
        return _page(choices)

    async def _visit(self, token: str) -> tuple[LinkVisit, PreferenceView]:
        opened = hosted_pages.open_visit(self._database, self._catalogue.consent, token, "preferences")
        async with opened as (connection, visit):
            return visit, await preference_view(connection, self._catalogue, visit.person, visit.now)

    async def _save(self, token: str, request: Request) -> Response:
        visit, choices = await self._visit(token)  # the token first: a stranger's form is not even read
        fields = await read_form(request)
        rule_set = self._catalogue.consent
        proof = hosted_pages.proof(request, rule_set, visit, SOURCE)
        changes, done = self._changes(fields, choices, proof)
        result = await change_consents(self._database, self._catalogue, rule_set.policy, visit.person, changes)
        remaining = await in_flight.wait_out(self._database, rule_set.policy, [result])
        _, after = await self._visit(token)
        in_flight_labels = [self._label(message) for message in remaining]
        return _page(after, done=_done(done, result), in_flight=in_flight_labels)

    def _changes(
        self, fields: dict[str, list[str]], choices: PreferenceView, proof: dict[str, str]
    ) -> tuple[list[ConsentChange], str]:
        """The consent changes and confirmation text of the pressed button. Raises ProblemError for an unknown one."""
        match fields.get("action"):
            case ["stop"]:
                return [_said(ANY, ANY, False, "Stop all messages", proof)], "All messages are stopped."
            case ["lift"]:
                return [_said(ANY, ANY, None, "Resume messages", proof)], "Messages are resumed, as chosen below."
            case ["save"]:
                policy = self._catalogue.consent.policy
                wanted = self._wanted(fields, choices)
                return [
                    _said(
                        statement.channel,
                        statement.topic,
                        statement.granted,
                        choices.wording((statement.channel, statement.topic)),
                        proof,
                    )
                    for statement in statements_to_make(policy, choices.statements, wanted)
                ], "Your choices are saved."
            case _:
                fault = {"detail": "must be save, stop or lift", "pointer": "/action"}
                raise ProblemError("invalid-request", "The form has no valid action.", [fault])

    def _wanted(self, fields: dict[str, list[str]], choices: PreferenceView) -> dict[tuple[str, str], bool]:
        """Choices for the boxes that the form showed. A topic added since is not refused by a box the person never saw."""
        places = choices.places()
        on = set(fields.get("on", ()))
        return {places[value]: value in on for value in fields.get("shown", ()) if value in places}

    def _label(self, message: in_flight.InFlightMessage) -> str:
        return f"{title_of(self._catalogue.consent, message.topic or ANY)} by {channel_label(message.channel)}"


def _said(channel: str, topic: str, granted: bool | None, wording: str, proof: dict[str, str]) -> ConsentChange:
    return ConsentChange(channel, topic, granted, SOURCE, wording, proof, by=StatedBy.PERSON)


def _page(choices: PreferenceView, *, done: str = "", in_flight: list[str] | None = None) -> Response:
    return hosted_pages.render_page(
        "preferences",
        title="Your messages",
        wording=QUESTION,
        topics=choices.topics,
        stopped=is_stopped(choices.statements),
        done=done,
        in_flight=in_flight or [],
    )


def _done(done: str, result: ConsentChangeResult) -> str:
    if not result.pending:
        return done
    return f"{done} Subscriptions that need confirmation begin when you follow the link we sent you by e-mail."

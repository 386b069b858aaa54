"""Hosted pages for recipients: no login, no script.

Only a POST changes something. The token in the URL is the authority: there is no session that a forged request (CSRF) could
use. Responses are never cached, framed or indexed, and send no referrer.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import AsyncIterator, Awaitable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import Response

from api.http.problems import ProblemError, translate
from journeys.consent.rules import ConsentRuleSet
from journeys.tokens.signed_links import LIFETIMES, Link, LinkError, LinkExpired, Purpose
from store.database import Connection, Database
from store.people import subjects
from store.people.identities import find_subjects
from store.people.test_clocks import now_of_subject

FOLDER = Path(__file__).parent / "hosted_pages"
_CSS = (FOLDER / "style.css").read_text("utf-8")
_PAGES = Environment(
    loader=FileSystemLoader(FOLDER), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
)
_CSP = "; ".join(
    (
        "default-src 'none'",
        f"style-src 'sha256-{b64encode(sha256(_CSS.encode()).digest()).decode()}'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
)
HEADERS = {
    "Content-Security-Policy": _CSP,
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "X-Robots-Tag": "noindex",
}
HTML = "text/html; charset=utf-8"
GIVES: dict[int | str, dict[str, Any]] = {
    200: {"description": "A page", "content": {"text/html": {"schema": {"type": "string"}}}}
}
"""A refusal is a page too, for clients that accept `text/html`."""


@dataclass(frozen=True, slots=True)
class LinkVisit:
    """A visit by a signed link; `person` is the current key of the link's person, `now` is by their clock."""

    link: Link
    issued_at: datetime
    person: str
    now: datetime


def render_page(name: str, *, status: int = 200, **values: Any) -> Response:
    """Render a template of the folder; every value is escaped."""
    html = _PAGES.get_template(f"{name}.html").render(css=Markup(_CSS), **values)  # noqa: S704 -- our own file
    return Response(html, status, HEADERS, HTML)


async def page_or_refusal(request: Request, work: Awaitable[Response]) -> Response:
    """The page, or the refusal as a page. Raises if the client does not accept HTML, and gets a problem document."""
    try:
        return await work
    except Exception as error:
        if "text/html" not in request.headers.get("accept", ""):
            raise
        problem = translate(error)
        detail = (
            problem.detail
            if problem.status_code < 500
            else "Something went wrong on our side. Please try again in a few minutes."
        )
        return render_page("refusal", status=problem.status_code, title="This did not work", detail=detail)


@asynccontextmanager
async def open_visit(
    database: Database, rule_set: ConsentRuleSet, token: str, purpose: Purpose
) -> AsyncIterator[tuple[Connection, LinkVisit]]:
    """The visit by this link, with a connection. Raises ProblemError if it is invalid or expired, or its person is unknown.

    The token is verified before a connection is taken: what a stranger makes up costs none.
    """
    with _refusals():
        key = rule_set.links.person_in(token, purpose)
    async with database.reading() as connection:
        # By key alone: a user id may look like another person's key.
        person = await subjects.canonical_key(connection, key)
        now = await now_of_subject(connection, person)
        with _refusals():
            link = rule_set.links.read(token, purpose, now)
        if ("key", person) not in await find_subjects(connection, [("key", person)]):
            raise ProblemError("not-found", "We no longer have data for this link, and send you nothing.")
        if purpose == "preferences" and person != link.person:
            # The visitor whose link it was may be anybody who was later taken for this user.
            raise ProblemError("gone", "You have signed in since this link was made. Use the link in a newer message.")
        yield connection, LinkVisit(link, rule_set.links.issued_at(token), person, now)


@contextmanager
def _refusals() -> Iterator[None]:
    try:
        yield
    except LinkExpired as expired:
        raise ProblemError("gone", f"{_sentence(expired)}. Use the link in a newer message.") from expired
    except LinkError as error:
        raise ProblemError("not-found", f"{_sentence(error)}. Copy the whole link from the message.") from error


def preferences_of(rule_set: ConsentRuleSet, visit: LinkVisit) -> str:
    """Path of the preference page; empty once the visited link is older than a preference link may be.

    Empty also where the link's visitor has become a user: anybody may have it, and it would open the user's choices.
    """
    lifetime = LIFETIMES["preferences"]
    if visit.person != visit.link.person:
        return ""
    if lifetime is not None and visit.now - visit.issued_at > lifetime:
        return ""
    token = rule_set.links.token(Link("preferences", visit.person, ref=visit.link.ref), visit.issued_at)
    return f"/p/{token}"


def proof(request: Request, rule_set: ConsentRuleSet, visit: LinkVisit, page_name: str) -> dict[str, str]:
    """Proof of a click: the signed link, the message or request it came from, and the client's address as a hash."""
    evidence = {"by": "signed-link", "page": page_name, "link_issued": visit.issued_at.isoformat()}
    if visit.link.ref:
        evidence["request" if visit.link.purpose == "confirm" else "message"] = visit.link.ref
    if request.client is not None:
        evidence["ip_hash"] = rule_set.addresses.digest("ip", request.client.host)
    return evidence


def _sentence(error: Exception) -> str:
    text = str(error)
    return text[:1].upper() + text[1:]

"""Hosted pages for recipients: no login, no script.

Only a POST changes something.

Only a POST changes something.

The token in the address is the authority, so there is no session that another site could ride on (CSRF), and the answer is
never cached, framed, indexed or told to anybody by its address.
"""

from __future__ import annotations

import email
from base64 import b64encode
from collections.abc import Awaitable
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import Response

from api.http.problems import ProblemError, translate
from journeys.consent.rules import ConsentRuleSet
from journeys.tokens.signed_links import LIFETIMES, Link, LinkError, LinkExpired, Purpose
from store.database import Connection
from store.people import subjects
from store.people.identities import find_subjects

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
"""A refusal is a page too, for who asks for `text/html`."""
MOST_FIELDS = 1_000


@dataclass(frozen=True, slots=True)
class LinkVisit:
    """Who came by which link; `person` is their key as of now."""

    link: Link
    issued_at: datetime
    person: str


def render_page(name: str, *, status: int = 200, **values: Any) -> Response:
    """One of ours, every value escaped."""
    html = _PAGES.get_template(f"{name}.html").render(css=Markup(_CSS), **values)  # noqa: S704 -- our own file
    return Response(html, status, HEADERS, HTML)


async def page_or_refusal(request: Request, work: Awaitable[Response]) -> Response:
    """The page, or the refusal as one for who reads pages. Raises for everybody else, who gets a problem document."""
    try:
        return await work
    except Exception as error:
        if "text/html" not in request.headers.get("accept", ""):
            raise
        problem = translate(error)
        detail = problem.detail if problem.status_code < 500 else "Our side does not answer just now. Please try again."
        return render_page("refusal", status=problem.status_code, title="This did not work", detail=detail)


async def open_visit(connection: Connection, book: ConsentRuleSet, token: str, purpose: Purpose) -> LinkVisit:
    """Who holds this link. Raises ProblemError for one that is not ours, is too old, or whose person is gone."""
    try:
        link = book.links.read(token, purpose, datetime.now(UTC))
    except LinkExpired as expired:
        raise ProblemError("gone", f"{_sentence(expired)}. Use the link in a newer message.") from expired
    except LinkError as error:
        raise ProblemError("not-found", f"{_sentence(error)}. Copy it whole from the message.") from error
    # By key alone: somebody may be called by a user id that looks like another's key.
    person = await subjects.canonical_key(connection, link.person)
    if ("key", person) not in await find_subjects(connection, [("key", person)]):
        raise ProblemError("not-found", "Nobody is known by this link any more, so nothing is sent to you.")
    return LinkVisit(link, book.links.issued_at(token), person)


def preferences_of(book: ConsentRuleSet, came: LinkVisit) -> str:
    """The way to all choices, good no longer than the link they came by would have been; empty when that is over."""
    lifetime = LIFETIMES["preferences"]
    if lifetime is not None and datetime.now(UTC) - came.issued_at > lifetime:
        return ""
    token = book.links.token(Link("preferences", came.person, ref=came.link.ref), came.issued_at)
    return f"/p/{token}"


async def form(request: Request) -> dict[str, list[str]]:
    """A form's fields, urlencoded or multipart, as RFC 8058 §3.2 allows both. Raises ProblemError for another body."""
    body = await request.body()
    kind = request.headers.get("content-type", "")
    try:
        if kind.startswith("multipart/form-data"):
            return _multipart(kind, body)
        return parse_qs(body.decode("utf-8"), max_num_fields=MOST_FIELDS)
    except (ValueError, UnicodeDecodeError) as error:
        raise ProblemError("malformed-request", "The form cannot be read.") from error


def proof(request: Request, book: ConsentRuleSet, came: LinkVisit, page_name: str) -> dict[str, str]:
    """What vouches for a click: the signed link, where it came from, and the address it was followed from, hashed."""
    told = {"by": "signed-link", "page": page_name, "link_issued": came.issued_at.isoformat()}
    if came.link.ref:
        told["request" if came.link.purpose == "confirm" else "message"] = came.link.ref
    if request.client is not None:
        told["ip_hash"] = book.addresses.digest("ip", request.client.host)
    return told


def _multipart(kind: str, body: bytes) -> dict[str, list[str]]:
    message = email.message_from_bytes(b"Content-Type: " + kind.encode("latin-1") + b"\r\n\r\n" + body)
    fields: dict[str, list[str]] = {}
    for part in message.get_payload() if message.is_multipart() else ():
        name = part.get_param("name", header="content-disposition") if not isinstance(part, str) else None
        if isinstance(name, str) and not isinstance(part, str):
            content = part.get_payload(decode=True)
            fields.setdefault(name, []).append(content.decode() if isinstance(content, bytes) else "")
    return fields


def _sentence(error: Exception) -> str:
    words = str(error)
    return words[:1].upper() + words[1:]

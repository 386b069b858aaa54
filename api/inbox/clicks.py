"""Redirect of tracked links.

A click is a signal unless a machine made it. A request is a machine's if

- its method is not GET
- its headers declare a prefetch (`Sec-Purpose`, `Purpose`, `X-Moz`) or no navigation (`Sec-Fetch-Mode`)
- its `User-Agent` is missing, or that of a scanner, preview or program
- it comes within two seconds of the hand-over to the relay, when nobody can have read the mail (`store/engagement/clicks.py`)

A machine is redirected too: it must not see anything else than a person.
"""

from __future__ import annotations

import re
from typing import Annotated
from urllib.parse import quote

from fastapi import Path
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import Response

from api.content.endpoints import TemplateDesk
from api.http.problems import ProblemError
from api.http.routes import Routes
from journeys.access.callers import Scope
from store.database import Database
from store.definitions.registry import DefinitionRegistry
from store.engagement import clicks

TAG = "Links"
ClickToken = Annotated[str, Path(min_length=1, max_length=4_000)]
_SCANNERS = re.compile(
    r"bot\b|bot/|crawl|spider|slurp|preview|scan|barracuda|mimecast|proofpoint|safelinks|symantec|trendmicro|forcepoint|"
    r"fireeye|cisco|sophos|googleimageproxy|facebookexternalhit|whatsapp|slack|telegram|skypeuripreview|"
    r"headless|phantom|curl|wget|python|aiohttp|httpx|go-http|java/|okhttp|libwww|apache-http|node-fetch|axios|monitor",
    re.IGNORECASE,
)
_SAFE = ":/%#?=@[]!$&'()*+,;~"
_HEADERS = {"Cache-Control": "no-store", "Referrer-Policy": "no-referrer", "X-Robots-Tag": "noindex, nofollow"}


def is_by_person(headers: Headers) -> bool:
    """Whether the headers look like those of a person who followed the link."""
    purposes = (headers.get(name, "") for name in ("sec-purpose", "purpose", "x-purpose", "x-moz"))
    if any("prefetch" in purpose or "preview" in purpose for purpose in purposes):
        return False
    if headers.get("sec-fetch-mode", "navigate") != "navigate":
        return False
    agent = headers.get("user-agent", "")
    return bool(agent) and _SCANNERS.search(agent) is None


class ClickRoutes:
    """The public route of tracked links."""

    def __init__(self, database: Database, catalogue: DefinitionRegistry, desk: TemplateDesk) -> None:
        self._database, self._catalogue, self._desk = database, catalogue, desk

    def routes(self, routes: Routes) -> None:
        for method, endpoint in (("GET", self.follow), ("HEAD", self.look)):
            routes.add(
                method,
                "/c/{token}",
                endpoint,
                Scope.LINK,
                summary="Follow a link of a message",
                tag=TAG,
                status=302,
                refuses=("not-found", "clock-advancing"),
            )

    async def follow(self, request: Request, token: ClickToken) -> Response:
        """Redirect to the link of the message. The target is in the ledger, not in the token, so it cannot be forged."""
        return await self._redirect(token, counts=is_by_person(request.headers))

    async def look(self, token: ClickToken) -> Response:
        """The same redirect, not counted as a click."""
        return await self._redirect(token, counts=False)

    async def _redirect(self, token: str, *, counts: bool) -> Response:
        named = self._desk.read_click(token)
        target = (
            await clicks.record_click(self._database, self._catalogue, *named, counts=counts)
            if named is not None
            else None
        )
        if target is None:
            raise ProblemError("not-found", "This link is invalid, or its message is no longer stored.")
        return Response(None, 302, {**_HEADERS, "Location": quote(target, safe=_SAFE)})

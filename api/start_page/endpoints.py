"""Routes of the start page, of the documentation page and of their files.

The pages hold nothing that needs a key. The documentation page reads `/openapi.json` in the browser, which asks for one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import Response

from api.http.problems import ProblemError
from api.http.routes import Routes
from journeys.access.callers import Scope

TAG: Final = "Pages"
FOLDER: Final = Path(__file__).parent
_HTML: Final = "text/html; charset=utf-8"
_PAGES: Final = Environment(
    loader=FileSystemLoader(FOLDER / "files"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
)
FILES: Final[Mapping[str, tuple[Path, str]]] = {
    "style.css": (FOLDER / "files" / "style.css", "text/css"),
    "docs.js": (FOLDER / "files" / "docs.js", "text/javascript"),
    "swagger-ui.css": (FOLDER / "swagger_ui" / "swagger-ui.css", "text/css"),
    "swagger-ui-bundle.js": (FOLDER / "swagger_ui" / "swagger-ui-bundle.js", "text/javascript"),
}
"""Files of the pages by name, with their media types."""
_SAFE: Final = {"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "X-Robots-Tag": "noindex"}
_NOTHING: Final = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
_POLICIES: Final = {
    "start": _NOTHING + "style-src 'self'",
    # Swagger UI writes style attributes. Its scripts, images and requests are of this origin only.
    "docs": _NOTHING + "script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; connect-src 'self'",
}


class StartPageRoutes:
    """Pages for people who open the API's address in a browser; `links` are name and address of what else runs."""

    def __init__(self, links: Sequence[tuple[str, str]]) -> None:
        self._links = links

    def routes(self, routes: Routes) -> None:
        anyone, page = Scope.ANYONE, _content("text/html")
        routes.add("GET", "/", self.start, anyone, summary="Start page", tag=TAG, fast=True, responses=page)
        routes.add("GET", "/docs", self.docs, anyone, summary="Documentation page", tag=TAG, fast=True, responses=page)
        routes.add(
            "GET",
            "/docs/{file}",
            self.file,
            anyone,
            summary="File of the pages",
            tag=TAG,
            responses=_content("text/plain"),
            refuses=("not-found",),
        )

    async def start(self, _: Request) -> Response:
        """What runs here and where its parts are."""
        return _page("start", links=self._links)

    async def docs(self, _: Request) -> Response:
        """The routes of `/openapi.json`, to read and to try out."""
        return _page("docs")

    async def file(self, file: str) -> Response:
        """A style or script of the pages."""
        if file not in FILES:
            raise ProblemError("not-found", "There is no such file.")
        path, media_type = FILES[file]
        return Response(path.read_bytes(), headers={**_SAFE, "Cache-Control": "max-age=3600"}, media_type=media_type)


def _content(media_type: str) -> dict[int | str, dict[str, Any]]:
    return {200: {"description": "The file", "content": {media_type: {"schema": {"type": "string"}}}}}


def _page(name: Literal["start", "docs"], **values: Any) -> Response:
    headers = {**_SAFE, "Content-Security-Policy": _POLICIES[name], "Cache-Control": "no-store"}
    return Response(_PAGES.get_template(f"{name}.html").render(values), 200, headers, _HTML)

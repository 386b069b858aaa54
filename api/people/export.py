"""Export of a person: everything known of them, as JSON and as a page."""

from __future__ import annotations

import asyncio
from base64 import b64encode
from collections.abc import Mapping
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import orjson
import structlog
from fastapi import Header, Query
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from starlette.responses import Response

from api.http.auth import RequestKey
from api.http.pagination import RecordId, json_response
from api.http.routes import Routes
from api.people.endpoints import TAG, held_view, known_subject
from api.people.schemas import PersonExportView
from api.people.sent_messages import sent_messages
from journeys.access.callers import Scope
from journeys.tokens.address_hash import AddressHash
from store.database import Database
from store.process_clock import current_instant
from store.reads.people import subject_keys
from store.reads.personal_export import PersonalExport, export_person
from store.reads.personal_tables import IMPERSONAL

log = structlog.get_logger()

SECONDS: Final = 60.0
FOLDER: Final = Path(__file__).parent / "export_page"
_CSS: Final = (FOLDER / "style.css").read_text("utf-8")
_PAGES: Final = Environment(
    loader=FileSystemLoader(FOLDER), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
)
_STYLE: Final = b64encode(sha256(_CSS.encode()).digest()).decode()
_HEADERS: Final = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer"}
_PAGE_HEADERS: Final = {
    **_HEADERS,
    "Content-Security-Policy": f"default-src 'none'; style-src 'sha256-{_STYLE}'; base-uri 'none'; frame-ancestors 'none'",
}
_GIVES: Final[dict[int | str, dict[str, Any]]] = {
    200: {"description": "Everything known of the person", "content": {"text/html": {"schema": {"type": "string"}}}}
}
Format = Annotated[
    Literal["json", "html"] | None,
    Query(description="By default a page for clients that prefer `text/html`, else JSON."),
]
Accept = Annotated[str, Header(include_in_schema=False)]


class ExportRoutes:
    """The route of the export. One is made at a time in each process: it is held in memory."""

    def __init__(self, database: Database, addresses: AddressHash) -> None:
        self._database, self._addresses = database, addresses
        self._one = asyncio.Semaphore(1)

    def routes(self, routes: Routes) -> None:
        routes.add(
            "GET",
            "/v1/users/{id:id}/export",
            self.export,
            Scope.OPERATE,
            summary="Export everything known of a person",
            tag=TAG,
            gives=PersonExportView,
            refuses=("not-found",),
            responses={200: {**_GIVES[200], "model": PersonExportView}},
            seconds=SECONDS,
        )

    async def export(self, id: RecordId, caller: RequestKey, format: Format = None, accept: Accept = "") -> Response:
        """Every row of every table that is about the person and the visitors merged into them, and what was sent to them. The access is logged with the name of the key."""
        async with self._one:
            async with self._database.reading() as connection:
                person = await known_subject(connection, "user", id)
                held = await held_view(connection, await subject_keys(connection, person.key))
            exported = await export_person(self._database, self._addresses, person.key)
            log.info("person.exported", person=person.key, by=caller.name, rows=exported.size)
            view = _view(exported, held["text"], current_instant())
            if (format or ("html" if accept.startswith("text/html") else "json")) == "html":
                return await asyncio.to_thread(_page, view)
            name = f'attachment; filename="{person.key}.json"'
            return json_response(view, headers={**_HEADERS, "Content-Disposition": name})


def _view(exported: PersonalExport, held: str, at: datetime) -> dict[str, Any]:
    return {
        "key": exported.key,
        "exported_at": at,
        "sent": sent_messages(exported.tables["messages"]),
        "held": held,
        "tables": exported.tables,
        "without": {table.name: about for table, about in sorted(IMPERSONAL.items(), key=lambda item: item[0].name)},
    }


def _page(view: Mapping[str, Any]) -> Response:
    """The page; every value is escaped."""
    tables = view["tables"]
    profiles = {row["key"]: row["profile"] for row in tables["subjects"]}
    html = _PAGES.get_template("page.html").render(
        css=Markup(_CSS),  # noqa: S704 -- our own file
        profile=profiles[view["key"]],
        as_json=_as_json,
        **view,
    )
    return Response(html, 200, _PAGE_HEADERS, "text/html; charset=utf-8")


def _as_json(value: Any) -> str:
    options = orjson.OPT_INDENT_2 | orjson.OPT_UTC_Z | orjson.OPT_NON_STR_KEYS
    return orjson.dumps(value, option=options).decode()

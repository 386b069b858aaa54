"""Endpoints of the catalogue: publication of all files as one version, and its versions."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import datetime
from functools import partial
from typing import Annotated, Any, Final

from fastapi import Query
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.requests import Request
from starlette.responses import Response

from api.definitions.endpoints import fault_view
from api.http.auth import RequestKey
from api.http.body import parse_json, read_bytes
from api.http.pagination import Cursor, Limit, Page, ShortText, json_response, number_in, page_of
from api.http.problems import ProblemError
from api.http.routes import Routes
from journeys.access.callers import Scope
from journeys.checks.catalogue import CatalogueCheck, CheckedCatalogue, OpenDefinition
from journeys.decision.compiler import load_chart
from store.database import Connection, Database
from store.definitions import catalogue_versions, publishing
from store.definitions.registry import UnreadableDefinition, read_chart
from store.locks import Lock, lock_until_commit

MOST_VERSION: Final = 2**31 - 1
MAX_BYTES: Final = 8 * 1024 * 1024
"""Of the request with all files of a catalogue."""


class CatalogueFiles(BaseModel):
    """A whole catalogue. Its journeys are published together with the templates, policy, plan, consent and team."""

    model_config = ConfigDict(extra="forbid")

    files: dict[str, str] = Field(
        description="Text of each file by its path in the folder: `tracking-plan.yaml`, `journeys/trial.yaml` …"
    )
    retire: list[str] = Field([], description="Keys of live journeys that the files do not have.")


class CatalogueVersionView(BaseModel):
    """A published version of the catalogue."""

    number: int
    hash: str
    published_at: datetime
    published_by: str


class CataloguePublishedView(CatalogueVersionView):
    """The current version. The same files published again keep it."""

    created: bool
    journeys: dict[str, int] = Field(description="Version of each journey by its key.")
    retired: list[str]
    warnings: list[str]


class CatalogueRoutes:
    """Routes of the catalogue."""

    def __init__(self, database: Database, check: CatalogueCheck) -> None:
        self._database, self._check = database, check

    def routes(self, routes: Routes) -> None:
        add = partial(routes.add, scope=Scope.READ, tag="Catalogue")
        add("GET", "/v1/catalogue", self.current, summary="Get the current version", gives=CatalogueVersionView,
            refuses=("not-found",))  # fmt: skip
        add("GET", "/v1/catalogue/versions", self.versions, summary="List versions", gives=Page[CatalogueVersionView])
        add(
            "PUT",
            "/v1/catalogue",
            self.publish,
            scope=Scope.PUBLISH,
            summary="Publish a whole catalogue",
            gives=CataloguePublishedView,
            refuses=("invalid-catalogue", "too-large", "unsupported-media-type"),
            extra=_BODY,
            responses={201: {"description": "A new version", "model": CataloguePublishedView}},
        )

    async def current(self) -> Response:
        """The version that every process uses. Without one they read the folder that their settings name."""
        async with self._database.reading() as connection:
            version = await catalogue_versions.current_version(connection)
        if version is None:
            raise ProblemError("not-found", "No catalogue is published: processes read the folder of their settings.")
        return json_response(version._asdict(), headers={"ETag": f'"{version.hash}"'})

    async def versions(self, limit: Limit = 50, cursor: Cursor = None) -> Response:
        """Newest first."""
        before = min(number_in(cursor) or MOST_VERSION, MOST_VERSION)
        async with self._database.reading() as connection:
            found = await catalogue_versions.list_catalogue_versions(connection, before, limit + 1)
        return page_of(found, limit, lambda version: (version["number"],))

    async def publish(
        self,
        request: Request,
        caller: RequestKey,
        by: Annotated[ShortText | None, Query(description="Name of the person who publishes.")] = None,
    ) -> Response:
        """Publish all files as one version, or report every problem and publish nothing. Open runs keep their definition.

        Every process uses the version within seconds. Definitions that still have open runs keep what they need.
        """
        sent = _read(await read_bytes(request, MAX_BYTES))
        files = {path: text.encode() for path, text in sent.files.items()}
        async with self._database.transaction() as connection:
            await lock_until_commit(connection, Lock.PUBLISH)
            await lock_until_commit(connection, Lock.CATALOGUE)
            checked = await self._checked(connection, files)
            retired = await _to_retire(connection, checked, sent.retire)
            versions = {}
            for path, definition in checked.definitions.items():
                new = publishing.NewDefinition(
                    load_chart(definition.artifact_text), definition.artifact_text, sent.files[path]
                )
                versions[definition.journey.journey], _ = await publishing.publish_within(
                    connection, new, caller.acts_for(by)
                )
            await publishing.retire_journeys(connection, retired)
            version, created = await catalogue_versions.add_version(connection, files, caller.acts_for(by))
        view = {
            **version._asdict(),
            "created": created,
            "journeys": versions,
            "retired": retired,
            "warnings": list(checked.warnings),
        }
        return json_response(view, 201 if created else 200, {"ETag": f'"{version.hash}"'})

    async def _checked(self, connection: Connection, files: Mapping[str, bytes]) -> CheckedCatalogue:
        """Check in a thread. Raises ProblemError with every problem."""
        current = await catalogue_versions.current_version(connection)
        before = await catalogue_versions.files_of(connection, current.number) if current is not None else {}
        in_use = _readable(await publishing.definitions_with_open_runs(connection))
        checked = await asyncio.to_thread(self._check, files, before, in_use)
        if checked.problems:
            faults = [{**fault_view(found.problem), "file": found.file} for found in checked.problems]
            raise ProblemError("invalid-catalogue", f"{len(faults)} problems: nothing was published.", faults)
        return checked


async def _to_retire(connection: Connection, checked: CheckedCatalogue, named: list[str]) -> list[str]:
    """Live journeys that the files do not have. Raises ProblemError unless the caller has named each of them."""
    published = {definition.journey.journey for definition in checked.definitions.values()}
    missing = [key for key in await publishing.live_keys(connection) if key not in published]
    faults = [
        {
            "turn": "author",
            "detail": f"{key} is live and not in the files: name it under retire, or add it",
            "pointer": key,
        }
        for key in missing
        if key not in named
    ]
    if faults:
        raise ProblemError("invalid-catalogue", "Live journeys are missing: nothing was published.", faults)
    return missing


def _readable(rows: list[dict[str, Any]]) -> list[OpenDefinition]:
    found = []
    for row in rows:
        try:
            chart = read_chart(row["artifact"], row["hash"])
        except UnreadableDefinition:
            continue  # another version of the code has published it, and checks it
        found.append(OpenDefinition(row["journey"], row["version"], row["hash"], chart.spec))
    return found


def _read(body: bytes) -> CatalogueFiles:
    try:
        return CatalogueFiles.model_validate(parse_json(body).value)
    except ValidationError as error:
        faults = [{"detail": fault["msg"], "pointer": "/".join(map(str, fault["loc"]))} for fault in error.errors()]
        raise ProblemError("malformed-request", "The body is not a catalogue.", faults) from None


_BODY: Mapping[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": CatalogueFiles.model_json_schema(),
                "example": {
                    "files": {"tracking-plan.yaml": "…", "policy.yaml": "…", "journeys/hello.yaml": "…"},
                    "retire": [],
                },
            }
        },
    }
}

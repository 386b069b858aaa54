"""OpenAPI document and its route."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastapi.openapi.utils import get_openapi
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from api.http.pagination import json_response
from api.http.problems import ProblemDocument
from api.http.routes import Routes
from journeys.access.callers import Scope

VERSION = "1"
DESCRIPTION = """
Events arrive as Segment calls or direct signals; `200` and `202` mean committed. All other endpoints are queries and operator
commands. Every refusal is `application/problem+json` with a stable `type`; `turn` names who can correct it.
"""
_SCHEMES = {
    "publicKey": {"type": "http", "scheme": "basic", "description": "A public key as user name, no password."},
    "secretKey": {"type": "http", "scheme": "basic", "description": "A secret key as user name, no password."},
    "operatorKey": {"type": "http", "scheme": "basic", "description": "An operator's key as user name, no password."},
    "bearer": {"type": "http", "scheme": "bearer", "description": "Any of these keys."},
}


class Description:
    """The route of the OpenAPI document."""

    def __init__(self) -> None:
        self._document: dict[str, Any] | None = None
        self._described: Sequence[BaseRoute] = ()

    def routes(self, routes: Routes) -> None:
        routes.add(
            "GET",
            "/openapi.json",
            self.openapi,
            Scope.READ,
            summary="OpenAPI document",
            tag="Health",
            gives=dict[str, Any],
            fast=True,
        )
        self._described = routes.made

    async def openapi(self, _: Request) -> Response:
        """OpenAPI 3.1."""
        if self._document is None:
            self._document = document(self._described)
        return json_response(self._document)


def document(routes: Sequence[BaseRoute]) -> dict[str, Any]:
    """OpenAPI 3.1 document of these routes."""
    description = get_openapi(title="Tenure", version=VERSION, description=DESCRIPTION, routes=routes)
    components = description.setdefault("components", {})
    components["securitySchemes"] = _SCHEMES
    schema = ProblemDocument.model_json_schema(ref_template="#/components/schemas/{model}")
    schemas = components.setdefault("schemas", {})
    schemas |= schema.pop("$defs", {})
    schemas["ProblemDocument"] = schema
    return description
